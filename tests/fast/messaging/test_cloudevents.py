"""What consumers see of an event in Kafka: names and spellings that they rely on."""

from __future__ import annotations

from datetime import timedelta, timezone
from uuid import UUID

import attrs

from tests.outbox_records import OCCURRED_AT, outbox_record
from userservice_core.infrastructure.messaging.cloudevents import headers_of

_ID = UUID("019b7d3a-1c2d-7e3f-8a4b-5c6d7e8f9a0b")
_TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_headers_are_those_of_the_binary_binding() -> None:
    """The golden list: each attribute under its prefixed name, in UTF-8."""
    record = outbox_record("schlüssel", 7, event_id=_ID, traceparent=_TRACEPARENT)

    expected = [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"019b7d3a-1c2d-7e3f-8a4b-5c6d7e8f9a0b"),
        ("ce_type", b"userservice.user.registered.v1"),
        ("ce_source", b"/userservice"),
        ("ce_time", b"2026-01-02T03:04:05.678901Z"),
        ("ce_subject", "schlüssel".encode()),
        ("ce_partitionkey", "schlüssel".encode()),
        ("ce_sequence", b"7"),
        ("ce_traceparent", _TRACEPARENT.encode()),
        ("content-type", b"application/json"),
    ]
    assert expected == headers_of(record)


def test_an_attribute_without_a_value_has_no_header() -> None:
    """A key that promises no order has no sequence; an event outside a trace no traceparent."""
    names = {name for name, _ in headers_of(outbox_record(sequence=None))}

    assert names.isdisjoint({"ce_sequence", "ce_traceparent"})


def test_time_is_written_in_utc() -> None:
    """Whatever zone the driver gave it in."""
    elsewhere = OCCURRED_AT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    headers = dict(headers_of(attrs.evolve(outbox_record(), occurred_at=elsewhere)))

    assert headers["ce_time"] == b"2026-01-02T03:04:05.678901Z"
