"""What an ASGI server loads: importing this reads the settings; the server's lifespan starts the service."""

from __future__ import annotations

from userservice_core.bootstrap import bootstrap, configure_logging
from userservice_core.config import Settings

from .app import create_app

_settings = Settings.from_environment()
configure_logging(_settings)

app = create_app(bootstrap(_settings))
