"""What a wave came to, where the client refuses all it holds together with one record that is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.ports.publishing import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from userservice_core.ports.publishing import OutboxRecord

WAITS: Final = "an earlier event of this key was not acknowledged"
TOO_LARGE: Final = "the event is larger than the broker takes"


def judged(
    deliveries: Sequence[Delivery], doubtful: frozenset[UUID], send: Callable[[OutboxRecord], Delivery]
) -> tuple[Delivery, ...]:
    """
    Send each record alone that was refused as too large: maybe only another one of its batch was.

    After a failed record of a key no later one of it is sent; the first bus failure ends the search.

    Args:
        deliveries: What became of the wave.
        doubtful: The ids of what the broker may have refused in error.
        send: Sends one record and waits for it.
    """
    told_again: list[Delivery] = []
    failed_keys: set[tuple[str, str]] = set()
    is_cut_off = False
    for told in deliveries:
        delivery, key = told, (told.record.topic, told.record.key)
        if told.record.id in doubtful:
            if is_cut_off or key in failed_keys:
                delivery = Delivery(told.record, WAITS)
            else:
                delivery = send(told.record)
                is_cut_off = delivery.error is not None and delivery.retriable
        if delivery.error is not None:
            failed_keys.add(key)
        told_again.append(delivery)
    return tuple(told_again)
