"""What a WSGI server loads: importing this starts the service, and the end of the process closes it."""

from __future__ import annotations

import atexit

from userservice_core.bootstrap import bootstrap, configure_logging
from userservice_core.config import Settings

from .app import create_app

_settings = Settings.from_environment()
configure_logging(_settings)
_service = bootstrap(_settings)
_service.start()
atexit.register(_service.close)

app = create_app(_service)
