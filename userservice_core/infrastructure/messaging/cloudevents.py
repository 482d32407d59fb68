"""CloudEvents 1.0 in Kafka's binary binding: the data is the value, everything about it is in headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from userservice_core.ports.consuming import ConsumedEvent, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.ports.publishing import OutboxRecord

SPEC_VERSION: Final = "1.0"

Headers = list[tuple[str, bytes]]


def headers_of(record: OutboxRecord) -> Headers:
    """
    Return the headers of *record* (CloudEvents Kafka Protocol Binding 1.0 §3.2).

    Beside the required attributes there are the extensions partitionkey, sequence and traceparent.
    """
    headers = [
        _SPEC_VERSION_HEADER,
        ("ce_id", str(record.id).encode()),
        ("ce_type", record.type.encode()),
        ("ce_source", record.source.encode()),
        ("ce_time", _rfc_3339(record.occurred_at)),
        ("ce_subject", record.subject.encode()),
        ("ce_partitionkey", record.key.encode()),
    ]
    if record.sequence is not None:
        headers.append(("ce_sequence", b"%d" % record.sequence))
    if record.traceparent is not None:
        headers.append(("ce_traceparent", record.traceparent.encode()))
    headers.append(_JSON_HEADER)
    return headers


_SPEC_VERSION_HEADER: Final = ("ce_specversion", SPEC_VERSION.encode())
_JSON_HEADER: Final = ("content-type", b"application/json")


def _rfc_3339(at: datetime) -> bytes:
    text = at.isoformat()
    if not text.endswith(_UTC_OFFSET):
        text = at.astimezone(UTC).isoformat()
    return text.replace(_UTC_OFFSET, "Z").encode()


_UTC_OFFSET: Final = "+00:00"


def event_of(
    headers: Mapping[str, bytes | None], *, topic: str, key: str | None, value: bytes | None, is_sequenced: bool = True
) -> tuple[ConsumedEvent | None, str | None]:
    """
    Return the event that a record carries, and what is wrong with it; never raises, whatever is given.

    A record without a value is a tombstone: no event, and no fault. Where only the data cannot be read, the event is
    returned with the fault, since its key and number are known.

    Args:
        headers: By their name.
        key: Of the record.
        is_sequenced: Whether its sequence counts the events of the key (extension `sequence`, 1, 2, 3 …).
    """
    if value is None:
        return None, None
    attributes, fault = _attributes(headers)
    missing = [name for name in _REQUIRED if not attributes.get(name)]
    if fault is not None or missing:
        return None, fault or f"no CloudEvent in binary mode: {', '.join(f'ce_{name}' for name in missing)} missing"
    if attributes["specversion"] != SPEC_VERSION:
        return None, f"a CloudEvent of version {attributes['specversion']!r}"
    sequence, sequence_fault = _sequence(attributes.get("sequence") if is_sequenced and key is not None else None)
    occurred_at, time_fault = _time(attributes.get("time"))
    data, data_fault = decoded(value)
    event = ConsumedEvent(
        id=attributes["id"],
        type=attributes["type"],
        source=attributes["source"],
        topic=topic,
        key=key or "",
        subject=attributes.get("subject"),
        occurred_at=occurred_at,
        sequence=sequence,
        traceparent=attributes.get("traceparent"),
        data=data,
    )
    return event, sequence_fault or time_fault or data_fault


_PREFIX: Final = "ce_"
_REQUIRED: Final = ("specversion", "id", "type", "source")


def _attributes(headers: Mapping[str, bytes | None]) -> tuple[dict[str, str], str | None]:
    try:
        return {
            name[len(_PREFIX) :]: value.decode()
            for name, value in headers.items()
            if name.startswith(_PREFIX) and value is not None
        }, None
    except UnicodeDecodeError:
        return {}, "its headers are not text in UTF-8"


def _sequence(text: str | None) -> tuple[int | None, str | None]:
    if text is None:
        return None, None
    if text.isascii() and text.isdigit() and int(text[:_MOST_DIGITS]) >= 1 and len(text) <= _MOST_DIGITS:
        return int(text), None
    return None, "its ce_sequence is no positive number"


# As many as a column of type bigint takes in any case.
_MOST_DIGITS: Final = 18


def _time(text: str | None) -> tuple[datetime | None, str | None]:
    if text is None:
        return None, None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC), None
    except (ValueError, OverflowError):
        return None, "its ce_time is no time of RFC 3339"
