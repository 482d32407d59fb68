"""Where the signing keys live that the database holds, and what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.signing_keys import StoredSigningKey


class SigningKeyReader(Protocol):
    """Reads signing keys from the primary, outside a transaction."""

    def list_keys(self) -> tuple[StoredSigningKey, ...]:
        """Return all keys in the order in which they begin to sign."""
        ...


class SigningKeyRepository(Protocol):
    """The signing keys of one transaction."""

    def list_locked(self) -> tuple[StoredSigningKey, ...]:
        """Return all keys in the order in which they begin to sign; nobody else changes any until the end."""
        ...

    def put(self, key: StoredSigningKey) -> None:
        """Write *key*: a new one, or when one that is there signs and whether it was revoked."""
        ...

    def remove(self, key_id: str) -> None:
        """Remove a key, if it is there."""
        ...


class SigningKeyMaker(Protocol):
    """Makes signing keys. Safe for many threads."""

    def make(self, *, now: datetime, signs_from: datetime) -> StoredSigningKey:
        """Return a new key, its private half sealed."""
        ...
