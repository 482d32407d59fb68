"""The life of a signing key that the database holds: known before it signs, and good for what it signed afterwards."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

PUBLISHED_FOR = timedelta(minutes=10)
"""How long a key is published before it signs: twice as long as a key set may be kept, once by a proxy as well."""

VERIFIES_FOR = timedelta(hours=1, minutes=5)
"""How long a key verifies after its last signature: longer than any access token can live by its setting."""

REVOKED_KEPT = timedelta(days=30)
"""How long it is remembered that a key was revoked."""


class SigningAlgorithm(enum.StrEnum):
    """The signatures that are made and taken (RFC 7518 §3.1, RFC 8037 §3.1)."""

    EDDSA = "EdDSA"
    ES256 = "ES256"
    RS256 = "RS256"


class SigningKeyState(enum.StrEnum):
    """Where a key is in its life; it follows from its times, so that no step has to be taken at the right moment."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"
    EXPIRED = "expired"
    REVOKED = "revoked"


VERIFYING_STATES = frozenset({SigningKeyState.NEXT, SigningKeyState.CURRENT, SigningKeyState.RETIRED})


@attrs.frozen(kw_only=True)
class StoredSigningKey:
    """
    A signing key as the database holds it.

    Attributes:
        id: The `kid` of the tokens it signs.
        sealed: The private half, sealed; the public one is made of it, so that a row that we did not seal verifies
            nothing. None once the key was revoked.
        signs_from: From then on it signs, until the next key does.
        revoked_at: When it was given up; None for most.
    """

    id: str
    algorithm: SigningAlgorithm
    sealed: str | None = attrs.field(repr=False)
    created_at: datetime
    signs_from: datetime
    revoked_at: datetime | None = None

    def revoked(self, *, now: datetime) -> StoredSigningKey:
        """Return the key without its private half, good for nothing."""
        return attrs.evolve(self, sealed=None, revoked_at=now)


def states_at(keys: Iterable[StoredSigningKey], now: datetime) -> dict[str, SigningKeyState]:
    """
    Return the state of each key by its id; one is current unless all are revoked.

    The current one is the last that has begun to sign. Where none has, as by a clock that is behind, it is the first.
    """
    by_time = sorted(keys, key=lambda key: (key.signs_from, key.created_at, key.id))
    usable = [key for key in by_time if key.revoked_at is None]
    current = next((key for key in reversed(usable) if key.signs_from <= now), usable[0] if usable else None)
    states = {}
    for key in by_time:
        if key.revoked_at is not None:
            states[key.id] = SigningKeyState.REVOKED
        elif key is current:
            states[key.id] = SigningKeyState.CURRENT
        elif key.signs_from > now:
            states[key.id] = SigningKeyState.NEXT
        else:
            signed_until = _end_of_signing(key, by_time, now)
            is_over = signed_until + VERIFIES_FOR <= now
            states[key.id] = SigningKeyState.EXPIRED if is_over else SigningKeyState.RETIRED
    return states


def _end_of_signing(key: StoredSigningKey, by_time: list[StoredSigningKey], now: datetime) -> datetime:
    """Return when the next key took over, also if that one was revoked since; not one that was revoked before."""
    position = by_time.index(key)
    return next(
        (
            later.signs_from
            for later in by_time[position + 1 :]
            if later.revoked_at is None or later.signs_from < later.revoked_at
        ),
        now,
    )
