"""Refresh tokens: what they hold can be read by anybody, made by the ring alone."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import TYPE_CHECKING, Final
from uuid import UUID

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.errors import InvalidRefreshTokenError
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.keys import KeyPurpose
from userservice_core.ports.security import RefreshToken

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyRing
    from userservice_core.ports.clock import Entropy

_FORMAT: Final = "rt1"
_BODY: Final = struct.Struct(">16s16sI32s")
"""User id, session id, generation, secret."""

_TAG_BYTES: Final = 32
_SECRET_BYTES: Final = 32
_LAST_GENERATION: Final = 2**32 - 1
_MAX_CHARACTERS: Final = 256


class HmacRefreshTokens:
    """
    `rt1.<key id>.<user, session, generation, secret, tag>`; each secret is an HMAC of the one before it.

    A session keeps the key it began with, so that a token has the same successor whichever key is current; that key has
    to stay in the ring as long as the session may last.
    """

    def __init__(self, ring: KeyRing, entropy: Entropy) -> None:
        self._current_id = ring.current_secret_key.id
        self._tag_keys = {key.id: key.derive(KeyPurpose.REFRESH_TAG) for key in ring.secret_keys}
        self._chain_keys = {key.id: key.derive(KeyPurpose.REFRESH_CHAIN) for key in ring.secret_keys}
        self._entropy = entropy

    def first(self, *, user_id: UserId, session_id: SessionId) -> RefreshToken:
        secret = self._entropy.token_bytes(_SECRET_BYTES)
        return self._make(self._current_id, user_id, session_id, generation=0, secret=secret)

    def parse(self, text: str) -> RefreshToken:
        _, body = self._verified_body(text)
        user, session, generation, secret = _BODY.unpack(body)
        return RefreshToken(
            text=text,
            user_id=UserId(UUID(bytes=user)),
            session_id=SessionId(UUID(bytes=session)),
            generation=generation,
            secret_hash=hashlib.sha256(secret).digest(),
        )

    def successor(self, token: RefreshToken) -> RefreshToken:
        key_id, body = self._verified_body(token.text)
        _, session, generation, secret = _BODY.unpack(body)
        if generation == _LAST_GENERATION:
            raise InvalidRefreshTokenError
        link = struct.pack(">16sI32s", session, generation + 1, secret)
        following = hmac.digest(self._chain_keys[key_id], link, "sha256")
        return self._make(key_id, token.user_id, token.session_id, generation=generation + 1, secret=following)

    def _make(
        self, key_id: str, user_id: UserId, session_id: SessionId, *, generation: int, secret: bytes
    ) -> RefreshToken:
        body = _BODY.pack(user_id.bytes, session_id.bytes, generation, secret)
        return RefreshToken(
            text=f"{_FORMAT}.{key_id}.{encode_base64url(body + self._tag(key_id, body))}",
            user_id=user_id,
            session_id=session_id,
            generation=generation,
            secret_hash=hashlib.sha256(secret).digest(),
        )

    def _verified_body(self, text: str) -> tuple[str, bytes]:
        parts = text.split(".") if len(text) <= _MAX_CHARACTERS else []
        if len(parts) != 3 or parts[0] != _FORMAT or parts[1] not in self._tag_keys:  # noqa: PLR2004 - see the format
            raise InvalidRefreshTokenError
        try:
            data = decode_base64url(parts[2])
        except ValueError as error:
            raise InvalidRefreshTokenError from error
        body, tag = data[: _BODY.size], data[_BODY.size :]
        if len(data) != _BODY.size + _TAG_BYTES or not hmac.compare_digest(tag, self._tag(parts[1], body)):
            raise InvalidRefreshTokenError
        return parts[1], body

    def _tag(self, key_id: str, body: bytes) -> bytes:
        return hmac.digest(self._tag_keys[key_id], f"{_FORMAT}\0{key_id}\0".encode() + body, "sha256")
