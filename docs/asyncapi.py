"""
The AsyncAPI document of the events: what an installation publishes to Kafka and reads there, made from the classes.

An example is an event of its class, written as the outbox and the publisher write it.
"""

from __future__ import annotations

import enum
import inspect
import json
import types
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.event_data import event_data, wire_type
from userservice_core.domain.event_schemas import Schema, key_of, schemas_by_type, wire_name
from userservice_core.domain.events import (
    EVENT_TYPES,
    RECEIVED_TYPES,
    ErasureOutcome,
    Event,
    ReceivedTopic,
    SequencedBy,
    Topic,
)
from userservice_core.infrastructure.messaging.cloudevents import SPEC_VERSION, headers_of
from userservice_core.ports.publishing import OutboxRecord, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX: Final = "userservice."
DESCRIBED: Final = (*EVENT_TYPES, *RECEIVED_TYPES)

_SPEC: Final = "3.0.0"
_KAFKA_BINDING: Final = "0.5.0"
_AT: Final = datetime(2026, 1, 31, 12, 30, 45, 123456, UTC)
_ID: Final = UUID("019c1e4f-5a3b-7c2d-8e1f-0a1b2c3d4e5f")
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

# By the name of the member, after that of its class where a name says more than one thing.
_SAMPLES: Final[Mapping[str, Any]] = {
    "LoginFailed.reason": "invalid-credentials",
    "PermissionCreated.name": "report:read",
    "PermissionDeleted.name": "report:read",
    "PermissionUpdated.name": "report:read",
    "SessionRevoked.reason": "password-changed",
    "UnknownLoginFailed.reason": "unknown-email",
    "UserEmailChanged.method": "confirmed",
    "UserPasswordChanged.method": "reset",
    "ErasureAnswered.reason": "target-outranks-actor",
    "ErasureAnswered.outcome": ErasureOutcome.REFUSED,
    "request_id": "7d5c2b1e-4f0a-4c39-9d2e-6b8a1f3c5e70",
    "request_source": "https://privacy.example.com",
    "UserStatusChanged.reason": "asked for by the owner",
    "amr": ("pwd",),
    "by": "administrator",
    "change": "enabled",
    "changed_members": ("displayName", "language"),
    "country_code": "DE",
    "description": "Reads and writes reports",
    "display_name": "Ada Lovelace",
    "email": "ada@example.com",
    "email_hmac": "vYl5ZqkD3yB0m1m8w0bq3o2t5f6h7j8k9l0a1s2d3f4",
    "group_name": "Reports",
    "ip": "203.0.113.7",
    "name": "editor",
    "permission": "report:read",
    "previous_status": "active",
    "role": "editor",
    "roles": ("user",),
    "status": "suspended",
    "UserRegistered.status": "pending_verification",
    "UserRestored.status": "active",
    "language": "en",
    "sealed_token": "s1:nUqg2vX0kQ0yJm4yq5r8t1w3z6b9d2f4h7k0m3p6s9u",
    "to": "ada@example.com",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}

_HEADERS: Final[Mapping[str, Schema]] = {
    "ce_specversion": {"type": "string", "const": SPEC_VERSION},
    "ce_id": {"type": "string", "format": "uuid", "description": "UUIDv7 of the event; the same after a repeat"},
    "ce_type": {"type": "string", "description": "The type, with the version of its schema"},
    "ce_source": {"type": "string", "format": "uri-reference", "description": "The issuer of the installation"},
    "ce_time": {"type": "string", "format": "date-time", "description": "When it happened, in UTC"},
    "ce_subject": {"type": "string", "description": "The id of what the event is about"},
    "ce_partitionkey": {"type": "string", "description": "The key of the record"},
    "ce_sequence": {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": "The number of the event within topic and key, from 1 without gaps; absent where none is kept",
    },
    "ce_traceparent": {
        "type": "string",
        "description": "The trace that caused it (W3C), where there is one",
    },
    "content-type": {"type": "string", "const": "application/json"},
}
# What a sender may do otherwise than the service does.
_RECEIVED_HEADERS: Final[Mapping[str, Schema]] = {
    "ce_id": {"type": "string", "minLength": 1, "description": "Unique within the source; the same after a repeat"},
    "ce_source": {"type": "string", "format": "uri-reference", "description": "Who sends it"},
    "ce_subject": {"type": "string", "description": "Not looked at"},
    "ce_sequence": {"type": "string", "description": "Not looked at: senders count what they like"},
    "ce_partitionkey": {"type": "string", "description": "The key of the record"},
}
_REMARKS: Final[Mapping[Topic | ReceivedTopic, str]] = {
    Topic.NOTIFICATIONS: " It is written where USERSERVICE_MAIL_URL is bus:, for another service to send the mails;"
    " elsewhere they go from the outbox to the mail server.",
}
_OPTIONAL_HEADERS: Final = frozenset({"ce_sequence", "ce_traceparent"})


def asyncapi_document() -> dict[str, Any]:
    """Return the document, with topics under the prefix that is the default."""
    topics = dict.fromkeys(kind.topic for kind in DESCRIBED)
    return {
        "asyncapi": _SPEC,
        "info": {
            "title": "User Service events",
            "version": version("userservice"),
            "description": (
                "CloudEvents 1.0 in the binary binding of Kafka: the envelope is in the headers, the value is JSON. "
                "An event is published if and only if its transaction was committed, at least once; the first "
                "occurrences of the events of a key are in order within their topic. What others send is read in a "
                "group, and takes effect once. Topics are named here with the default prefix."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {str(topic): _channel(topic) for topic in topics},
        "operations": dict(map(_operation, topics)),
        "components": {
            "messages": {name: _message(name) for name in _names(DESCRIBED)},
            "schemas": {
                "cloudEventHeaders": {
                    "type": "object",
                    "properties": dict(_HEADERS),
                    "required": [name for name in _HEADERS if name not in _OPTIONAL_HEADERS],
                },
                "receivedHeaders": {
                    "type": "object",
                    "properties": {**_HEADERS, **_RECEIVED_HEADERS},
                    "required": ["ce_specversion", "ce_id", "ce_type", "ce_source", "content-type"],
                },
            },
        },
    }


def written_asyncapi() -> str:
    """Return the document as its file holds it, a member a line, so that its changes can be read."""
    return f"{json.dumps(asyncapi_document(), indent=1, ensure_ascii=False)}\n"


def example_of(kind: type[Event]) -> Event:
    """Return an event of a class, the same at every time."""
    hints = get_type_hints(kind)
    return kind(**{field.name: _sample(kind, field.name, hints[field.name]) for field in attrs.fields(kind)})


def _names(kinds: Iterable[type[Event]]) -> Iterable[str]:
    return dict.fromkeys(wire_name(kind) for kind in kinds)


def _operation(topic: Topic | ReceivedTopic) -> tuple[str, dict[str, Any]]:
    channel = {"$ref": f"#/channels/{topic}"}
    if isinstance(topic, ReceivedTopic):
        return f"take-{topic}", {"action": "receive", "channel": channel}
    return f"publish-{topic}", {"action": "send", "channel": channel}


def _channel(topic: Topic | ReceivedTopic) -> dict[str, Any]:
    kinds = [kind for kind in DESCRIBED if kind.topic is topic]
    keys = " or ".join(dict.fromkeys(key_of(kind) for kind in kinds))
    return {
        "address": f"{PREFIX}{topic}",
        "description": f"Records are keyed by {keys}.{_REMARKS.get(topic, '')}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(kinds)},
        "bindings": {"kafka": {"topic": f"{PREFIX}{topic}", "bindingVersion": _KAFKA_BINDING}},
    }


def _message(name: str) -> dict[str, Any]:
    kinds = [kind for kind in DESCRIBED if wire_name(kind) == name]
    is_numbered = all(kind.sequenced_by is not SequencedBy.NOTHING for kind in kinds)
    headers = "receivedHeaders" if isinstance(kinds[0].topic, ReceivedTopic) else "cloudEventHeaders"
    envelope = {"$ref": f"#/components/schemas/{headers}"}
    return {
        "name": name,
        "title": kinds[0].__name__,
        "summary": (inspect.getdoc(kinds[0]) or "").partition("\n")[0],
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "allOf": [envelope],
            "properties": {"ce_type": {"type": "string", "const": name}},
            "required": ["ce_type", "ce_sequence"] if is_numbered else ["ce_type"],
        },
        # What tells a file apart has no meaning within this one; the rest means the same in the dialect of AsyncAPI.
        "payload": {word: value for word, value in schemas_by_type()[name].items() if word not in {"$schema", "$id"}},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _KAFKA_BINDING}},
        "examples": [_example(kind) for kind in kinds],
    }


def _example(kind: type[Event]) -> dict[str, Any]:
    event = example_of(kind)
    topic = f"{PREFIX}{kind.topic}"
    record = OutboxRecord(
        position=1,
        id=event.id,
        lane=lane_of(topic, event.key),
        topic=topic,
        key=event.key,
        type=wire_type(event),
        source="https://privacy.example.com"
        if isinstance(kind.topic, ReceivedTopic)
        else "https://accounts.example.com",
        subject=event.subject,
        occurred_at=event.occurred_at,
        sequence=None if kind.sequenced_by is SequencedBy.NOTHING else 3,
        traceparent=_TRACE,
        payload=msgspec.json.encode(event_data(event)),
    )
    headers = {name: value.decode() for name, value in headers_of(record)}
    return {"name": kind.__name__, "headers": headers, "payload": json.loads(record.payload)}


def _sample(kind: type[Event], name: str, annotation: Any) -> Any:  # noqa: ANN401 - whatever a class is annotated with
    for known in (f"{kind.__name__}.{name}", name):
        if known in _SAMPLES:
            return _SAMPLES[known]
    return _sample_of(annotation)


def _sample_of(annotation: Any) -> Any:  # noqa: ANN401 - as above
    """Return a value of a type that needs no meaning; a text has one, so it is named among the samples."""
    if hasattr(annotation, "__supertype__"):
        return _sample_of(annotation.__supertype__)
    if get_origin(annotation) in {Union, types.UnionType}:
        return _sample_of(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return (_sample_of(get_args(annotation)[0]),)
    if issubclass(annotation, enum.Enum):
        return next(iter(annotation))
    return {UUID: _ID, datetime: _AT, bool: False, int: 3}[annotation]
