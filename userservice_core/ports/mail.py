"""Sending mail."""

from __future__ import annotations

from typing import Protocol

import attrs

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId


@attrs.frozen(kw_only=True)
class Mail:
    """
    One mail to one recipient.

    Attributes:
        id: Of the event that asked for it; the same after a repeat, so it makes the Message-ID.
        link: Where the recipient is to go, None where there is nowhere.
        token: The secret in the link, for the recipient alone.
        language: BCP 47.
    """

    id: EventId
    kind: NotificationKind
    to: str
    language: str
    link: str | None = attrs.field(default=None, repr=False)
    token: str | None = attrs.field(default=None, repr=False)


class MailSender(Protocol):
    """Hands mails over. A mail may be handed over more than once; its id stays."""

    def send(self, mail: Mail) -> None:
        """
        Hand *mail* over and return once it was accepted.

        Raises:
            MailDeliveryError: If it was not accepted; `permanent` tells whether trying again can help.
        """
        ...
