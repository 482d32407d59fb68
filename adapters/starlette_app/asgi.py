"""What an ASGI server loads: importing this reads the settings; the server's lifespan starts the service."""

from __future__ import annotations

from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings

from .app import create_app

app = create_app(bootstrap(Settings.from_environment()))
