"""What AWS Lambda loads for the events of others: importing this wires the service's own consumer, once."""

from __future__ import annotations

from userservice_core import lambda_kafka_handler
from userservice_core.bootstrap import bootstrap_consumer, configure_logging
from userservice_core.config import Settings

_settings = Settings.from_environment()
configure_logging(_settings)
_service = bootstrap_consumer(_settings)

handler = lambda_kafka_handler(_service.consumer, foreign_topics=_service.topics)
