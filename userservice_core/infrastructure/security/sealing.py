"""Sealed values and keyed digests."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from userservice_core.errors import SealBrokenError
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.keys import KeyPurpose

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyRing
    from userservice_core.ports.clock import Entropy

_FORMAT: Final = "s1"
_NONCE_BYTES: Final = 12


class AesGcmSecretSealer:
    """
    AES-256-GCM under the ring's current secret key; a sealed value is `s1.<key id>.<nonce and ciphertext>`.

    Random nonces of 96 bits are safe for 2^32 values a key (NIST SP 800-38D §8.3).
    """

    def __init__(self, ring: KeyRing, entropy: Entropy) -> None:
        self._current_id = ring.current_secret_key.id
        self._ciphers = {key.id: AESGCM(key.derive(KeyPurpose.SEAL)) for key in ring.secret_keys}
        self._digest_key = ring.current_secret_key.derive(KeyPurpose.DIGEST)
        self._entropy = entropy

    @property
    def current_prefix(self) -> str:
        return f"{_FORMAT}.{self._current_id}."

    def seal(self, plaintext: bytes, *, context: str) -> str:
        key_id = self._current_id
        nonce = self._entropy.token_bytes(_NONCE_BYTES)
        ciphertext = self._ciphers[key_id].encrypt(nonce, plaintext, _bound_to(key_id, context))
        return f"{_FORMAT}.{key_id}.{encode_base64url(nonce + ciphertext)}"

    def unseal(self, sealed: str, *, context: str) -> bytes:
        parts = sealed.split(".")
        cipher = self._ciphers.get(parts[1]) if len(parts) == 3 and parts[0] == _FORMAT else None  # noqa: PLR2004
        if cipher is None:
            raise SealBrokenError
        try:
            body = decode_base64url(parts[2])
            return cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], _bound_to(parts[1], context))
        except (ValueError, InvalidTag) as error:
            raise SealBrokenError from error

    def digest(self, value: str, *, context: str) -> str:
        key = hmac.digest(self._digest_key, context.encode(), "sha256")
        return hmac.digest(key, value.encode(), "sha256").hex()


def _bound_to(key_id: str, context: str) -> bytes:
    """Return the associated data; a key id holds no NUL, so no two pairs give the same."""
    return f"{_FORMAT}\0{key_id}\0{context}".encode()
