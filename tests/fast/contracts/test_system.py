"""The contracts of the machine's clock and entropy, of metrics, of revocations in memory, and of the local cache."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory import (
    InMemoryMetrics,
    InMemoryRevocationLog,
    InMemorySignal,
    InMemoryStore,
    InMemoryUnitOfWork,
)
from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator
from userservice_core.infrastructure.system.metrics import PrometheusMetrics
from userservice_core.infrastructure.system.revocation_mirror import PrimaryRevocationChecker, RevocationMirror
from userservice_core.testing.contracts.cache import CacheContract
from userservice_core.testing.contracts.clock import ClockContract, EntropyContract, IdGeneratorContract
from userservice_core.testing.contracts.metrics import MetricsContract
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.contracts.revocations import RevocationCheckerContract
from userservice_core.testing.samples import NOW, sample_session_id, sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TestSystemClock(ClockContract):
    """The machine's."""

    @pytest.fixture
    def clock(self) -> SystemClock:
        """The machine's."""
        return SystemClock()


class TestUuid7(IdGeneratorContract):
    """Of the machine's clock and entropy."""

    @pytest.fixture
    def ids(self) -> Uuid7Generator:
        """The generator."""
        return Uuid7Generator()


class TestSystemEntropy(EntropyContract):
    """The operating system's."""

    @pytest.fixture
    def entropy(self) -> SystemEntropy:
        """The operating system's."""
        return SystemEntropy()


class TestPrometheusMetrics(MetricsContract):
    """With a registry of its own."""

    @pytest.fixture
    def metrics(self) -> PrometheusMetrics:
        """Empty ones."""
        return PrometheusMetrics()


class TestDogpileCache(CacheContract):
    """Memory alone, without a shared layer."""

    @pytest.fixture
    def cache(self) -> Iterator[DogpileCache]:
        """An empty one."""
        with contextlib.closing(DogpileCache(max_entries=100, redis_url=None, metrics=InMemoryMetrics())) as cache:
            yield cache


class _Revoking:
    """A log in memory, and a way to write into it."""

    @pytest.fixture
    def signal(self) -> InMemorySignal:
        """Wakes who reads."""
        return InMemorySignal()

    @pytest.fixture
    def store(self) -> InMemoryStore:
        """Where revocations are."""
        return InMemoryStore()

    @pytest.fixture
    def log(self, store: InMemoryStore) -> InMemoryRevocationLog:
        """How they are read."""
        return InMemoryRevocationLog(store, clock=SystemClock())

    @pytest.fixture
    def write(self, store: InMemoryStore, signal: InMemorySignal) -> Callable[[RevocationKind, str], None]:
        """Write a revocation."""
        uow = InMemoryUnitOfWork(store, clock=SystemClock(), signal=signal)

        def write(kind: RevocationKind, subject: str) -> None:
            revocation = Revocation(
                kind=kind, subject=subject, not_before=NOW, expires_at=SystemClock().now() + timedelta(hours=1)
            )
            uow.run(lambda transaction: transaction.revocations.add(revocation))

        return write


class TestPrimaryRevocationChecker(_Revoking, RevocationCheckerContract):
    """Asks the log each time."""

    @pytest.fixture
    def checker(self, log: InMemoryRevocationLog) -> PrimaryRevocationChecker:
        """One over the log."""
        return PrimaryRevocationChecker(log)

    @pytest.fixture
    def revoke(self, write: Callable[[RevocationKind, str], None]) -> Callable[[RevocationKind, str], None]:
        """Write it: there is nothing to wait for."""
        return write


class TestRevocationMirror(_Revoking, RevocationCheckerContract):
    """Reads the log in the background."""

    @pytest.fixture
    def checker(self, log: InMemoryRevocationLog, signal: InMemorySignal) -> Iterator[RevocationMirror]:
        """One that has read the log."""
        with contextlib.closing(
            RevocationMirror(log, signal, SystemClock(), on_revocation=lambda _: None, on_gap=lambda: None)
        ) as mirror:
            mirror.start()
            eventually(lambda: mirror.is_loaded)
            yield mirror

    @pytest.fixture
    def revoke(
        self, write: Callable[[RevocationKind, str], None], checker: RevocationMirror
    ) -> Callable[[RevocationKind, str], None]:
        """Write it and something after it, and wait until the mirror knows that."""

        def revoke(kind: RevocationKind, subject: str) -> None:
            last = sample_session_id()
            write(kind, subject)
            write(RevocationKind.SESSION, str(last))
            eventually(lambda: checker.peek(user_id=sample_user_id(), session_id=last, key_id="other", issued_at=NOW))

        return revoke
