"""Making and reading the tokens that are mailed: the recipient holds the text, the database its SHA-256."""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from userservice_core.domain.events import NotificationKind, NotificationRequested
from userservice_core.domain.ids import EventId, UserId
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.errors import OneTimeTokenInvalidError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Entropy, IdGenerator
    from userservice_core.ports.security import SecretSealer
    from userservice_core.ports.unit_of_work import Transaction

MAX_MAILS: Final = 3
MAIL_WINDOW: Final = timedelta(hours=1)
"""So many mails, in so long, may be had by asking for them."""

MAILED_TO_ANYONE: Final = (
    TokenPurpose.VERIFY_EMAIL,
    TokenPurpose.RESET_PASSWORD,
    TokenPurpose.RESTORE_ACCOUNT,
    TokenPurpose.REACTIVATE_ACCOUNT,
)
"""What strangers may have mailed to an owner; counted together, since it is one mailbox that they fill."""

_ID_BYTES = 16
_SECRET_BYTES = 32
_TEXT_LENGTH = 64  # of 48 bytes in base64, which therefore needs no padding


@attrs.frozen
class TokenReference:
    """Where a token is found: tables of a user are keyed by the user, so the text carries the id."""

    user_id: UserId
    digest: bytes = attrs.field(repr=False)


@attrs.frozen
class MailedToken:
    """The stored half of a new token, and the request for the mail that carries the other half, sealed."""

    stored: OneTimeToken
    request: NotificationRequested

    def write_into(self, transaction: Transaction) -> None:
        """Store the one half and have the other one mailed; unused tokens of the same purpose end."""
        transaction.one_time_tokens.add(self.stored)
        transaction.record(self.request)


def read_mailed_token(text: str) -> TokenReference:
    """
    Take apart what the recipient sent back.

    Raises:
        OneTimeTokenInvalidError: If it cannot be one of ours.
    """
    if len(text) != _TEXT_LENGTH or not text.isascii():
        raise OneTimeTokenInvalidError
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise OneTimeTokenInvalidError from error
    return TokenReference(UserId(UUID(bytes=raw[:_ID_BYTES])), hashlib.sha256(raw).digest())


def may_mail(transaction: Transaction, user_id: UserId, purposes: Collection[TokenPurpose], *, now: datetime) -> bool:
    """Tell whether the user may be mailed another token of these purposes; the caller holds the user's lock."""
    return transaction.one_time_tokens.count_since(user_id, purposes, since=now - MAIL_WINDOW) < MAX_MAILS


class MailedTokens:
    """Issues tokens of 256 random bits."""

    def __init__(self, *, entropy: Entropy, sealer: SecretSealer, ids: IdGenerator) -> None:
        self._entropy = entropy
        self._sealer = sealer
        self._ids = ids

    def issue(
        self,
        user: User,
        *,
        purpose: TokenPurpose,
        kind: NotificationKind,
        now: datetime,
        to: EmailAddress | None = None,
    ) -> MailedToken:
        """Make a token for the address of *user*, or the one in *to*; nothing is stored or sent."""
        email = user.email if to is None else to
        raw = self._raw(user)
        text = base64.urlsafe_b64encode(raw)
        event_id = EventId(self._ids.new())
        stored = OneTimeToken.issue(
            digest=hashlib.sha256(raw).digest(),
            user_id=user.id,
            email_key=email.key,
            address=email.address,
            purpose=purpose,
            now=now,
        )
        request = NotificationRequested(
            id=event_id,
            occurred_at=now,
            user_id=user.id,
            kind=kind,
            to=email.address,
            sealed_token=self._sealer.seal(text, context=f"notification:{event_id}"),
        )
        return MailedToken(stored, request)

    def challenge(self, user: User, *, now: datetime) -> tuple[OneTimeToken, str]:
        """Make the token of a sign-in that waits for its second factor; it is mailed to nobody."""
        raw = self._raw(user)
        stored = OneTimeToken.issue(
            digest=hashlib.sha256(raw).digest(),
            user_id=user.id,
            email_key=user.email.key,
            address=user.email.address,
            purpose=TokenPurpose.MFA_CHALLENGE,
            now=now,
        )
        return stored, base64.urlsafe_b64encode(raw).decode()

    def _raw(self, user: User) -> bytes:
        return user.id.bytes + self._entropy.token_bytes(_SECRET_BYTES)

    def restore_link(self, user: User, *, now: datetime) -> MailedToken:
        """Make what the owner of a deleted account gets in place of whatever they ask for."""
        return self.issue(user, purpose=TokenPurpose.RESTORE_ACCOUNT, kind=NotificationKind.RESTORE_ACCOUNT, now=now)
