"""Texts that clients carry: what they hold can be read by anybody, made by the ring alone."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyPurpose, KeyRing

_TAG_BYTES: Final = 32


class SignedTexts:
    """`<format>.<key id>.<tag and content>`; a text is good as long as its key is in the ring."""

    def __init__(self, ring: KeyRing, *, text_format: str, purpose: KeyPurpose) -> None:
        """Sign with the ring's current secret key, derived for *purpose*."""
        self._format = text_format
        self._current_id = ring.current_secret_key.id
        self._keys = {key.id: key.derive(purpose) for key in ring.secret_keys}

    def sign(self, content: bytes) -> str:
        """Return a text that holds *content*."""
        key_id = self._current_id
        return f"{self._format}.{key_id}.{encode_base64url(self._tag(key_id, content) + content)}"

    def verify(self, text: str) -> bytes | None:
        """Return what *text* holds, None unless it was signed with a key of the ring."""
        parts = text.split(".")
        if len(parts) != 3 or parts[0] != self._format or parts[1] not in self._keys:  # noqa: PLR2004 - see the format
            return None
        try:
            data = decode_base64url(parts[2])
        except ValueError:
            return None
        tag, content = data[:_TAG_BYTES], data[_TAG_BYTES:]
        return content if hmac.compare_digest(tag, self._tag(parts[1], content)) else None

    def _tag(self, key_id: str, content: bytes) -> bytes:
        return hmac.digest(self._keys[key_id], f"{self._format}\0{key_id}\0".encode() + content, "sha256")
