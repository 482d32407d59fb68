"""What AWS Lambda loads: importing this starts the service, once in the life of an execution environment."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .app import LambdaContext


def _start() -> Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]]:
    # Loading makes much and drops little of it: to look for garbage meanwhile takes a sixth of the start, and later
    # what stays need not be looked at either.
    gc.disable()
    try:
        from userservice_core.bootstrap import bootstrap, configure_logging
        from userservice_core.config import Settings

        from .app import create_handler

        settings = Settings.from_environment()
        configure_logging(settings)
        # The environment is frozen between invocations, and threads in the background would be with it.
        service = bootstrap(settings, background=False)
        service.start()
        return create_handler(service)
    finally:
        gc.freeze()
        gc.enable()


handler = _start()
