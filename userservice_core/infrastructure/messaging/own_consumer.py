"""What the service itself consumes: the events of others that change something here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.event_schemas import wire_name
from userservice_core.domain.events import ErasureRequested, NotificationBounced, ReceivedTopic
from userservice_core.domain.ids import UserId
from userservice_core.errors import EventRejectedError, InvalidInputError

if TYPE_CHECKING:
    from userservice_core.application.bounces import Bounces
    from userservice_core.application.erasure_requests import ErasureRequests
    from userservice_core.infrastructure.messaging.consumer import EventConsumer
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.unit_of_work import Transaction

_LONGEST_REFERENCE: Final = 2_048
"""Characters of a request's id and source that a receipt repeats."""


def own_group(topic_prefix: str) -> str:
    """Return the name of the group that all processes of an installation share."""
    return f"{topic_prefix}service"


def own_topics(topic_prefix: str) -> tuple[str, ...]:
    """Return the topics that it reads; their events count nothing in `sequence`, since their senders are many."""
    return tuple(f"{topic_prefix}{topic}" for topic in ReceivedTopic)


def handle_own(consumer: EventConsumer, *, bounces: Bounces, erasure_requests: ErasureRequests) -> None:
    """Have *consumer*, whose inbox is in the transactions of the use cases, handle whatever the service consumes."""

    @consumer.on(wire_name(NotificationBounced))
    def note_bounce(event: ConsumedEvent, transaction: Transaction) -> None:
        try:
            email = EmailAddress.parse(event.data["email"])
        except InvalidInputError as error:
            raise EventRejectedError("The event names no e-mail address.") from error
        bounces.note(transaction, email=email, kind=event.data["kind"])

    @consumer.on(wire_name(ErasureRequested))
    def answer_erasure_request(event: ConsumedEvent, transaction: Transaction) -> None:
        if max(len(event.id), len(event.source)) > _LONGEST_REFERENCE:
            raise EventRejectedError("The event's id or source is too long to be told in a receipt.")
        erasure_requests.answer(
            transaction,
            user_id=UserId(UUID(event.data["userId"])),
            request_id=event.id,
            request_source=event.source,
        )
