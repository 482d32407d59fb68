"""Sending mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import attrs

from userservice_core.domain.events import NotificationKind
from userservice_core.domain.ids import EventId

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK_PATHS: Final[Mapping[NotificationKind, str]] = {
    NotificationKind.VERIFY_EMAIL: "verify-email",
    NotificationKind.RESET_PASSWORD: "reset-password",
    NotificationKind.INVITE: "reset-password",
    NotificationKind.CHANGE_EMAIL: "verify-email",
    NotificationKind.EMAIL_CHANGED: "verify-email",
    NotificationKind.RESTORE_ACCOUNT: "restore-account",
    NotificationKind.ALREADY_REGISTERED: "reset-password",
    NotificationKind.REACTIVATE_ACCOUNT: "restore-account",
}
"""Below the base of links, for the kinds that carry a token."""


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
