"""What AWS Lambda loads: importing this starts the service, once in the life of an execution environment."""

from __future__ import annotations

from userservice_core.bootstrap import bootstrap, configure_logging
from userservice_core.config import Settings

from .app import create_handler

_settings = Settings.from_environment()
configure_logging(_settings)
# The environment is frozen between invocations, and threads in the background would be with it.
_service = bootstrap(_settings, background=False)
_service.start()

handler = create_handler(_service)
