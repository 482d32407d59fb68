"""Telling the devices of a user from those of strangers, so that strangers' failures shut nobody out of their own."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from userservice_core.domain.ids import UserId
from userservice_core.errors import SealBrokenError

if TYPE_CHECKING:
    from userservice_core.domain.credentials import SignIn
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.security import SecretSealer

DEVICE_TOKEN_LIFETIME: Final = timedelta(days=90)
"""From the last sign-in with it."""

_CLOCKS_DIFFER_BY: Final = timedelta(seconds=30)
"""Those of two processes, of which one saw the new password and the other the sign-in with it."""

_CONTEXT: Final = "device-token"
_CONTENT: Final = struct.Struct(">16s16sQ")
"""User id, device id, Unix time of the end."""


@attrs.frozen
class Device:
    """
    A device on which a user has signed in by their password.

    Attributes:
        seen_at: When they did so last, in whole seconds.
    """

    user_id: UserId
    device_id: UUID
    seen_at: datetime

    def is_of(self, sign_in: SignIn) -> bool:
        """Tell whether it is known to this user: one on which the password of now was never given is not."""
        credential = sign_in.credential
        is_newer = credential is not None and self.seen_at + _CLOCKS_DIFFER_BY >= credential.changed_at
        return is_newer and sign_in.user.id == self.user_id


class KnownDevices:
    """
    Gives out device tokens and reads them; nothing is stored.

    A token is no credential: it only chooses by which counter the sign-ins with it are counted. It ends by time, and
    when the password is replaced after it was given.
    """

    def __init__(self, *, sealer: SecretSealer, clock: Clock, ids: IdGenerator) -> None:
        self._sealer = sealer
        self._clock = clock
        self._ids = ids

    def find(self, token: str | None) -> Device | None:
        """Return the device that *token* was given to; None for anything that is no token in force."""
        if token is None:
            return None
        try:
            content = self._sealer.unseal(token, context=_CONTEXT)
        except SealBrokenError:
            return None
        user_id, device_id, ends_at = _CONTENT.unpack(content)
        if ends_at <= self._clock.now().timestamp():
            return None
        seen_at = datetime.fromtimestamp(ends_at, UTC) - DEVICE_TOKEN_LIFETIME
        return Device(UserId(UUID(bytes=user_id)), UUID(bytes=device_id), seen_at)

    def token_for(self, user_id: UserId, device: Device | None) -> str:
        """Return a token of a sign-in at this moment: for *device* again, or for a new one."""
        device_id = self._ids.new() if device is None else device.device_id
        ends_at = int((self._clock.now() + DEVICE_TOKEN_LIFETIME).timestamp())
        return self._sealer.seal(_CONTENT.pack(user_id.bytes, device_id.bytes, ends_at), context=_CONTEXT)
