"""Effects of the service's own consumers, for tests that ask only whether there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from userservice_core.domain.events import UnknownLoginFailed
from userservice_core.domain.ids import EventId
from userservice_core.testing.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.unit_of_work import Transaction


def record_effects(events: Sequence[ConsumedEvent], transaction: Transaction) -> None:
    """Read, as use cases do first, and then record an event of the same id for each."""
    transaction.roles.count()
    for event in events:
        transaction.record(
            UnknownLoginFailed(
                id=EventId(UUID(event.id)), occurred_at=NOW, email_hmac="-", reason="-", ip=None, user_agent=None
            )
        )
