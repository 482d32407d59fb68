"""What a WSGI server loads: importing this starts the service, and the end of the process closes it."""

from __future__ import annotations

import atexit

from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings

from .app import create_app

_service = bootstrap(Settings.from_environment())
_service.start()
atexit.register(_service.close)

app = create_app(_service)
