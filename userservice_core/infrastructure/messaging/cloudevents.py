"""CloudEvents 1.0 in Kafka's binary binding: the data is the value, everything about it is in headers."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.ports.publishing import OutboxRecord

SPEC_VERSION: Final = "1.0"

Headers = list[tuple[str, bytes]]


def headers_of(record: OutboxRecord) -> Headers:
    """
    Return the headers of *record* (CloudEvents Kafka Protocol Binding 1.0 §3.2).

    Beside the required attributes there are the extensions partitionkey, sequence and traceparent.
    """
    attributes = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": str(record.id),
        "ce_type": record.type,
        "ce_source": record.source,
        "ce_time": _rfc_3339(record.occurred_at),
        "ce_subject": record.subject,
        "ce_partitionkey": record.key,
        "ce_sequence": None if record.sequence is None else str(record.sequence),
        "ce_traceparent": record.traceparent,
        "content-type": "application/json",
    }
    return [(name, value.encode()) for name, value in attributes.items() if value is not None]


def _rfc_3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
