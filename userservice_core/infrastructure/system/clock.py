"""The machine's clock, entropy, and ids made of both."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from uuid import UUID

import uuid_utils


class SystemClock:
    """Implements :class:`~userservice_core.ports.clock.Clock` by the machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class Uuid7Generator:
    """Implements :class:`~userservice_core.ports.clock.IdGenerator`; the library counts within a millisecond."""

    def new(self) -> UUID:
        return UUID(int=uuid_utils.uuid7().int)


class SystemEntropy:
    """Implements :class:`~userservice_core.ports.clock.Entropy` by the operating system's generator."""

    def token_bytes(self, length: int) -> bytes:
        return secrets.token_bytes(length)
