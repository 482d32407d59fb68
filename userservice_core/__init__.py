"""
A user service as a library: accounts, sign-in, sessions, roles and their events.

What this module names is the public API. Importing it loads no database, broker, cache or web framework: each name is
fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from userservice_core import errors
    from userservice_core.application.authorizer import Authorizer
    from userservice_core.bootstrap import (
        UserService,
        bootstrap,
        bootstrap_in_memory,
        bootstrap_relay,
        configure_logging,
        mail_reader,
    )
    from userservice_core.config import Settings
    from userservice_core.infrastructure.messaging.confluent_events import ConfluentEventSource
    from userservice_core.infrastructure.messaging.consumer import EventConsumer, Retries
    from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
    from userservice_core.infrastructure.messaging.lambda_events import lambda_kafka_handler
    from userservice_core.infrastructure.postgres.bus_events import PostgresEventSource
    from userservice_core.infrastructure.postgres.inbox import CREATE_INBOX, PostgresInbox
    from userservice_core.infrastructure.security.bearer_tokens import ClientCredentialsTokens, TokenFile
    from userservice_core.infrastructure.security.token_verifier import TokenVerifier
    from userservice_core.ports.bearer_tokens import BearerToken
    from userservice_core.ports.consuming import AfterDeadLetter, ConsumedEvent
    from userservice_core.ports.security import AccessClaims, PrincipalKind

__all__ = [
    "CREATE_INBOX",
    "AccessClaims",
    "AfterDeadLetter",
    "Authorizer",
    "BearerToken",
    "ClientCredentialsTokens",
    "ConfluentEventSource",
    "ConsumedEvent",
    "EventConsumer",
    "KafkaEventSource",
    "KafkaSecurity",
    "PostgresEventSource",
    "PostgresInbox",
    "PrincipalKind",
    "Retries",
    "Settings",
    "TokenFile",
    "TokenVerifier",
    "UserService",
    "bootstrap",
    "bootstrap_in_memory",
    "bootstrap_relay",
    "configure_logging",
    "errors",
    "lambda_kafka_handler",
    "mail_reader",
]

_HOMES = {
    "AccessClaims": ("userservice_core.ports.security", "AccessClaims"),
    "AfterDeadLetter": ("userservice_core.ports.consuming", "AfterDeadLetter"),
    "BearerToken": ("userservice_core.ports.bearer_tokens", "BearerToken"),
    "CREATE_INBOX": ("userservice_core.infrastructure.postgres.inbox", "CREATE_INBOX"),
    "ClientCredentialsTokens": (
        "userservice_core.infrastructure.security.bearer_tokens",
        "ClientCredentialsTokens",
    ),
    "ConfluentEventSource": (
        "userservice_core.infrastructure.messaging.confluent_events",
        "ConfluentEventSource",
    ),
    "ConsumedEvent": ("userservice_core.ports.consuming", "ConsumedEvent"),
    "EventConsumer": ("userservice_core.infrastructure.messaging.consumer", "EventConsumer"),
    "KafkaEventSource": ("userservice_core.infrastructure.messaging.kafka_events", "KafkaEventSource"),
    "KafkaSecurity": ("userservice_core.infrastructure.messaging.kafka_security", "KafkaSecurity"),
    "PostgresEventSource": ("userservice_core.infrastructure.postgres.bus_events", "PostgresEventSource"),
    "PostgresInbox": ("userservice_core.infrastructure.postgres.inbox", "PostgresInbox"),
    "Retries": ("userservice_core.infrastructure.messaging.consumer", "Retries"),
    "Authorizer": ("userservice_core.application.authorizer", "Authorizer"),
    "Settings": ("userservice_core.config", "Settings"),
    "PrincipalKind": ("userservice_core.ports.security", "PrincipalKind"),
    "TokenFile": ("userservice_core.infrastructure.security.bearer_tokens", "TokenFile"),
    "TokenVerifier": ("userservice_core.infrastructure.security.token_verifier", "TokenVerifier"),
    "UserService": ("userservice_core.bootstrap", "UserService"),
    "bootstrap": ("userservice_core.bootstrap", "bootstrap"),
    "bootstrap_in_memory": ("userservice_core.bootstrap", "bootstrap_in_memory"),
    "bootstrap_relay": ("userservice_core.bootstrap", "bootstrap_relay"),
    "configure_logging": ("userservice_core.bootstrap", "configure_logging"),
    "errors": ("userservice_core.errors", None),
    "mail_reader": ("userservice_core.bootstrap", "mail_reader"),
    "lambda_kafka_handler": ("userservice_core.infrastructure.messaging.lambda_events", "lambda_kafka_handler"),
}


def __getattr__(name: str) -> object:
    """Fetch a public name from where it lives."""
    try:
        module_name, attribute = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    module: ModuleType = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
