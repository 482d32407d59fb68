"""Mails that tell the owner of an account what became of it, so that nobody takes it over unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from userservice_core.domain.events import NotificationKind, NotificationRequested

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.ids import EventId
    from userservice_core.domain.users import User

NoticeKind = Literal[
    NotificationKind.PASSWORD_CHANGED,
    NotificationKind.REFRESH_REUSED,
    NotificationKind.NEW_DEVICE,
    NotificationKind.ACCOUNT_LOCKED,
    NotificationKind.EMAIL_CHANGE_REQUESTED,
    NotificationKind.EMAIL_CHANGE_UNDONE,
    NotificationKind.ACCOUNT_SUSPENDED,
    NotificationKind.ACCOUNT_REACTIVATED,
    NotificationKind.ACCOUNT_DEACTIVATED,
    NotificationKind.ACCOUNT_DELETED,
    NotificationKind.ACCOUNT_RESTORED,
    NotificationKind.MFA_ENABLED,
    NotificationKind.MFA_DISABLED,
    NotificationKind.MFA_RESET,
    NotificationKind.RECOVERY_CODES_REPLACED,
    NotificationKind.RECOVERY_CODE_USED,
]
"""The mails that carry no token; those that carry one come from :class:`.mailed_tokens.MailedTokens`."""


def security_notice(
    user: User, kind: NoticeKind, *, event_id: EventId, now: datetime, to: EmailAddress | None = None
) -> NotificationRequested:
    """
    Return the request for a mail, to be recorded in the transaction of what it tells.

    Args:
        user: Whose account it is about.
        kind: What it tells.
        event_id: Of the request.
        now: When it happened.
        to: Another address than the one *user* has.
    """
    address = user.email if to is None else to
    return NotificationRequested(id=event_id, occurred_at=now, user_id=user.id, kind=kind, to=address.address)
