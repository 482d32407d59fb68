"""Clock, ids, entropy, metrics and the mirror keep what their ports promise."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.fast.system.doubles import wait_until
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.infrastructure.memory import InMemoryRevocationLog, InMemoryStore, InMemoryUnitOfWork
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator
from userservice_core.infrastructure.system.health import AssumedHealth, HealthProbe
from userservice_core.infrastructure.system.metrics import PrometheusMetrics
from userservice_core.infrastructure.system.pacer import RecentPacer
from userservice_core.infrastructure.system.revocation_mirror import PrimaryRevocationChecker, RevocationMirror
from userservice_core.ports.health import HealthStatus
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.contracts.clock import ClockContract, EntropyContract, IdGeneratorContract
from userservice_core.testing.contracts.health import HealthContract
from userservice_core.testing.contracts.metrics import MetricsContract
from userservice_core.testing.contracts.pacing import PacerContract
from userservice_core.testing.contracts.revocations import RevocationCheckerContract
from userservice_core.testing.samples import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from userservice_core.domain.ids import ClientId, SessionId, UserId
    from userservice_core.ports.revocations import RevocationBatch


class TestSystemClock(ClockContract):
    """The machine's."""

    @pytest.fixture
    def clock(self) -> SystemClock:
        """The clock."""
        return SystemClock()


class TestUuid7Generator(IdGeneratorContract):
    """The library's."""

    @pytest.fixture
    def ids(self) -> Uuid7Generator:
        """The generator."""
        return Uuid7Generator()


class TestSystemEntropy(EntropyContract):
    """The operating system's."""

    @pytest.fixture
    def entropy(self) -> SystemEntropy:
        """The source."""
        return SystemEntropy()


class TestRecentPacer(PacerContract):
    """The past of one process."""

    @pytest.fixture
    def pacer(self) -> RecentPacer:
        """Without a past."""
        return RecentPacer()


class TestHealthProbe(HealthContract):
    """That asks one resource."""

    @pytest.fixture
    def health(self) -> Iterator[HealthProbe]:
        """After the first answer."""
        probe = HealthProbe([_AnsweringPing()], is_loaded=lambda: True, metrics=InMemoryMetrics())
        probe.start()
        wait_until(lambda: probe.report().status is HealthStatus.READY)
        yield probe
        probe.close()


class TestAssumedHealth(HealthContract):
    """That asks nobody."""

    @pytest.fixture
    def health(self) -> AssumedHealth:
        """For platforms without a probe."""
        return AssumedHealth()


class _AnsweringPing:
    name = "sample"

    def ping(self) -> None:
        """Answer."""


class TestPrometheusMetrics(MetricsContract):
    """Of one process."""

    @pytest.fixture
    def metrics(self) -> PrometheusMetrics:
        """Where nothing was counted yet."""
        return PrometheusMetrics()


class _CountingLog:
    """Passes on what a log in memory says, and counts how often it was read."""

    def __init__(self, log: InMemoryRevocationLog) -> None:
        self._log = log
        self.reads = 0

    def read_since(self, since: datetime | None) -> RevocationBatch:
        self.reads += 1
        return self._log.read_since(since)

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        return self._log.is_revoked(
            user_id=user_id, session_id=session_id, key_id=key_id, issued_at=issued_at, client_id=client_id
        )


class _OverMemory(RevocationCheckerContract):
    """A checker over a log in memory."""

    @pytest.fixture
    def store(self) -> InMemoryStore:
        """Where revocations are written."""
        return InMemoryStore()

    @pytest.fixture
    def log(self, store: InMemoryStore) -> _CountingLog:
        """The log over it."""
        return _CountingLog(InMemoryRevocationLog(store, clock=FakeClock(NOW)))

    @pytest.fixture
    def known(self) -> Callable[[], None]:
        """Returns once the checker knows what was written."""
        return lambda: None

    @pytest.fixture
    def revoke(self, store: InMemoryStore, known: Callable[[], None]) -> Callable[[RevocationKind, str], None]:
        """Commit a revocation."""
        uow = InMemoryUnitOfWork(store, clock=FakeClock(NOW))

        def revoke(kind: RevocationKind, subject: str) -> None:
            row = Revocation(kind=kind, subject=subject, not_before=NOW, expires_at=NOW + timedelta(hours=1))
            uow.run(lambda transaction: transaction.revocations.add(row))
            known()

        return revoke


class TestPrimaryRevocationChecker(_OverMemory):
    """It asks the log each time."""

    @pytest.fixture
    def checker(self, log: _CountingLog) -> PrimaryRevocationChecker:
        """One that can ask."""
        return PrimaryRevocationChecker(log)


class TestRevocationMirror(_OverMemory):
    """It has read the log."""

    @pytest.fixture
    def known(self, log: _CountingLog) -> Callable[[], None]:
        """Returns once the mirror has read anew: when it reads once more, it is done with the read before."""

        def read_twice() -> None:
            reads = log.reads
            wait_until(lambda: log.reads >= reads + 2)

        return read_twice

    @pytest.fixture
    def checker(self, log: _CountingLog) -> Iterator[RevocationMirror]:
        """One that is loaded and reads every few milliseconds."""
        mirror = RevocationMirror(
            log, None, FakeClock(NOW), on_revocation=lambda _: None, on_gap=lambda: None, poll_seconds=0.001
        )
        mirror.start()
        wait_until(lambda: mirror.is_loaded)
        yield mirror
        mirror.close()
