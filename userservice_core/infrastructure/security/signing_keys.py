"""Signing keys that the database holds, sealed by the secret keys of the ring, as a process knows them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from userservice_core.domain.signing_keys import (
    PUBLISHED_FOR,
    VERIFYING_STATES,
    SigningAlgorithm,
    SigningKeyState,
    StoredSigningKey,
    states_at,
)
from userservice_core.errors import SealBrokenError, SigningKeysUnavailableError
from userservice_core.infrastructure.following import Follower
from userservice_core.infrastructure.security.jwk import VerificationKey, private_members, read_private_key
from userservice_core.infrastructure.security.keys import KeyRing, KeyState, SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.clock import Clock, Entropy
    from userservice_core.ports.security import SecretSealer

POLL_SECONDS: Final = 5.0
"""Between two reads; far less than a key is published before it signs."""

_UNKNOWN_SECONDS: Final = 1.0
"""Between two reads that unknown key ids cause: whoever invents some does not make us ask more often."""

SIGNING_SECONDS: Final = 1.0
"""How old the keys may be that a process without a thread signs with: nobody tells it that one was revoked."""

_SNAPSHOT: Final = timedelta(seconds=1)

_log = structlog.get_logger("userservice.keys")


class SealingKeyMaker:
    """Makes keys of one algorithm; a `ports.signing_keys.SigningKeyMaker`."""

    def __init__(self, sealer: SecretSealer, entropy: Entropy, algorithm: SigningAlgorithm) -> None:
        self._sealer = sealer
        self._entropy = entropy
        self._algorithm = algorithm

    def make(self, *, now: datetime, signs_from: datetime) -> StoredSigningKey:
        ring = KeyRing.generate(now, self._entropy, algorithm=self._algorithm)
        return seal_key(ring.current_signing_key, self._sealer, signs_from=signs_from)


def seal_key(key: SigningKey, sealer: SecretSealer, *, signs_from: datetime) -> StoredSigningKey:
    """Return *key* as the database holds it."""
    jwk = json.dumps({**key.verification.to_jwk(), **private_members(key.private)})
    return StoredSigningKey(
        id=key.id,
        algorithm=key.verification.algorithm,
        sealed=sealer.seal(jwk.encode(), context=_context(key.id)),
        created_at=key.created_at,
        signs_from=signs_from,
    )


def keys_of_ring(ring: KeyRing, sealer: SecretSealer, *, now: datetime) -> tuple[StoredSigningKey, ...]:
    """Return the signing keys of *ring* as the database would hold them, each in the state that it has there."""
    begins = {KeyState.NEXT: now + PUBLISHED_FOR, KeyState.CURRENT: now}
    # Any time before now makes a key a retired one.
    before = now - timedelta(seconds=1)
    return tuple(seal_key(key, sealer, signs_from=begins.get(key.state, before)) for key in ring.signing_keys)


def _context(key_id: str) -> str:
    return f"signing-key/{key_id}"


@attrs.frozen
class _Read:
    """What was read: keys that verify or sign, opened."""

    stored: tuple[StoredSigningKey, ...]
    opened: Mapping[str, SigningKey]

    def by_seal(self) -> dict[tuple[str, str | None], SigningKey]:
        """Return the opened keys by their id and what they were sealed as; the seal is good for that id alone."""
        return {(key.id, key.sealed): self.opened[key.id] for key in self.stored if key.id in self.opened}


@attrs.frozen
class _Snapshot:
    """What counts for a moment."""

    read: _Read
    at: datetime
    current: SigningKey | None
    verification: Mapping[str, VerificationKey]


class HeldSigningKeys:
    """
    The keys of the database in this process; a `SigningKeySource`. Safe for many threads.

    With a thread of its own it reads them every few seconds, and at once when it is told that one was revoked. Without,
    it reads them before use when the last read is some seconds old, and before it signs when it is one second old.
    While the database is away, what was read last stays in use, and keys change their states by time.
    """

    def __init__(
        self,
        load: Callable[[], tuple[StoredSigningKey, ...]],
        sealer: SecretSealer,
        clock: Clock,
        *,
        background: bool,
        poll_seconds: float = POLL_SECONDS,
        signing_seconds: float = SIGNING_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Prepare; nothing is read yet.

        Args:
            load: Reads all keys.
            sealer: Opens them.
            clock: By which keys begin and cease to sign.
            background: Whether :meth:`start` begins a thread that reads.
            poll_seconds: Between two reads.
            signing_seconds: How old the keys may be to sign with, where there is no thread.
            monotonic: The clock that ages are measured with.
        """
        self._sealer = sealer
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._signing_seconds = signing_seconds
        self._read: _Read | None = None
        self._snapshot: _Snapshot | None = None
        self._follower = Follower(
            load,
            self._take,
            what="signing keys",
            log=_log,
            thread_name="userservice-signing-keys",
            background=background,
            poll_seconds=poll_seconds,
            monotonic=monotonic,
        )

    @property
    def is_loaded(self) -> bool:
        """Whether the keys were read at least once."""
        return self._follower.is_loaded

    @property
    def current_signing_key(self) -> SigningKey:
        """
        The key that signs now.

        Raises:
            SigningKeysUnavailableError: If the keys could not be read yet.
        """
        current = self._now(max_age_seconds=self._signing_seconds).current
        if current is None:
            raise SigningKeysUnavailableError
        return current

    @property
    def verification_keys(self) -> Mapping[str, VerificationKey]:
        """
        The public halves of the keys that are next, current or retired now, by their id.

        Raises:
            SigningKeysUnavailableError: If the keys could not be read yet.
        """
        return self._now(max_age_seconds=self._poll_seconds).verification

    def look_again(self) -> bool:
        """Read the keys because a token names one that is not known, unless that was just done; tell if it was."""
        return not self._follower.was_tried_within(_UNKNOWN_SECONDS) and self._follower.read(wait=False)

    def refresh_soon(self) -> None:
        """Have the thread read at once; without one, the next use reads."""
        self._follower.refresh_soon()

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._follower.start()

    def close(self) -> None:
        """Stop reading."""
        self._follower.close()

    def _now(self, *, max_age_seconds: float) -> _Snapshot:
        self._follower.read_if_older(max_age_seconds)
        read, snapshot, now = self._read, self._snapshot, self._clock.now()
        if read is None:
            raise SigningKeysUnavailableError
        if snapshot is None or snapshot.read is not read or abs(now - snapshot.at) >= _SNAPSHOT:
            snapshot = _snapshot(read, now)
            self._snapshot = snapshot
        return snapshot

    def _take(self, stored: tuple[StoredSigningKey, ...]) -> None:
        if self._read is None or self._read.stored != stored:
            self._read = self._opened(stored)

    def _opened(self, stored: tuple[StoredSigningKey, ...]) -> _Read:
        known = {} if self._read is None else self._read.by_seal()
        opened = {}
        for key in stored:
            if key.sealed is None:
                continue
            try:
                # Sealed as before: to open an RSA key costs as much as to sign with it a hundred times.
                opened[key.id] = known.get((key.id, key.sealed)) or _open(key, key.sealed, self._sealer)
            except (SealBrokenError, ValueError):
                _log.error("a signing key cannot be opened", kid=key.id)
        if stored and not opened:
            raise SigningKeysUnavailableError
        return _Read(stored, opened)


def _open(key: StoredSigningKey, sealed: str, sealer: SecretSealer) -> SigningKey:
    jwk = json.loads(sealer.unseal(sealed, context=_context(key.id)))
    verification, private = read_private_key(jwk)
    if verification.id != key.id:
        raise ValueError("another key")
    return SigningKey(state=KeyState.CURRENT, created_at=key.created_at, verification=verification, private=private)


def _snapshot(read: _Read, now: datetime) -> _Snapshot:
    # A key that cannot be opened counts as none, so that another one signs in its place.
    usable = [key for key in read.stored if key.id in read.opened or key.sealed is None]
    states = states_at(usable, now)
    current = next((key_id for key_id, state in states.items() if state is SigningKeyState.CURRENT), None)
    return _Snapshot(
        read=read,
        at=now,
        current=None if current is None else read.opened[current],
        verification={
            key_id: read.opened[key_id].verification for key_id, state in states.items() if state in VERIFYING_STATES
        },
    )
