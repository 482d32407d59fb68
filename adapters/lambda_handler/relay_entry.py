"""What AWS Lambda loads to relay: importing this wires a relay, once in the life of an execution environment."""

from __future__ import annotations

import os

from userservice_core.bootstrap import bootstrap_relay, configure_logging
from userservice_core.config import Settings

from .relay import create_relay_handler

_settings = Settings.from_environment()
configure_logging(_settings)
# The stream is of this environment alone, so that two that run at once do not take each other's lanes.
_service = bootstrap_relay(_settings, relay_id=os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME"), background=False)

handler = create_relay_handler(_service)
