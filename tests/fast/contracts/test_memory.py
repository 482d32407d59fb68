"""Every contract over memory."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import MailDeliveryError
from userservice_core.infrastructure.memory import (
    InMemoryCache,
    InMemoryEventPublisher,
    InMemoryMailSender,
    InMemoryMetrics,
    InMemoryPositions,
    InMemoryPositionSource,
    InMemoryRateLimiter,
    InMemorySignal,
    NullMetrics,
)
from userservice_core.infrastructure.system.clock import SystemClock
from userservice_core.ports.publishing import Delivery
from userservice_core.ports.revocations import RevocationBatch
from userservice_core.testing.clocks import NOON, FakeClock
from userservice_core.testing.contracts.addresses import AddressesContract
from userservice_core.testing.contracts.audit import AuditContract
from userservice_core.testing.contracts.backend import Backend
from userservice_core.testing.contracts.cache import CacheContract
from userservice_core.testing.contracts.clients import ClientsContract
from userservice_core.testing.contracts.consistency import PositionMemoryContract, PositionSourceContract
from userservice_core.testing.contracts.event_publisher import EventPublisherContract
from userservice_core.testing.contracts.idempotency import IdempotencyContract
from userservice_core.testing.contracts.mail_sender import MailSenderContract
from userservice_core.testing.contracts.metrics import MetricsContract
from userservice_core.testing.contracts.mfa import MfaContract
from userservice_core.testing.contracts.one_time_tokens import OneTimeTokensContract
from userservice_core.testing.contracts.outbox_store import OutboxStoreContract
from userservice_core.testing.contracts.personal_data import PersonalDataContract
from userservice_core.testing.contracts.profiles import ProfilesContract
from userservice_core.testing.contracts.rate_limiter import RateLimiterContract
from userservice_core.testing.contracts.retention import ExpiredRowsContract, PurgeLeaseContract
from userservice_core.testing.contracts.revocations import RevocationsContract
from userservice_core.testing.contracts.roles import RolesContract
from userservice_core.testing.contracts.sessions import SessionsContract
from userservice_core.testing.contracts.settings import SettingsContract
from userservice_core.testing.contracts.sign_ins import SignInsContract
from userservice_core.testing.contracts.signal import SignalContract
from userservice_core.testing.contracts.signing_keys import SigningKeysContract
from userservice_core.testing.contracts.unit_of_work import UnitOfWorkContract
from userservice_core.testing.contracts.user_dumps import UserDumpsContract
from userservice_core.testing.contracts.users import UsersContract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from userservice_core.domain.ids import EventId
    from userservice_core.ports.publishing import OutboxRecord


class _InMemory:
    """A store of each test."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Its ports."""
        return Backend.in_memory(clock=SystemClock())


class TestUsers(_InMemory, UsersContract):
    """Users."""


class TestSignIns(_InMemory, SignInsContract):
    """Credentials and login states."""


class TestSessions(_InMemory, SessionsContract):
    """Sessions."""


class TestOneTimeTokens(_InMemory, OneTimeTokensContract):
    """Mailed tokens."""


class TestMfa(_InMemory, MfaContract):
    """Second factors."""


class TestProfiles(_InMemory, ProfilesContract):
    """Profiles."""


class TestAddresses(_InMemory, AddressesContract):
    """Addresses."""


class TestRoles(_InMemory, RolesContract):
    """Roles."""


class TestClients(_InMemory, ClientsContract):
    """Service clients."""


class TestSigningKeys(_InMemory, SigningKeysContract):
    """Signing keys."""


class TestSettings(_InMemory, SettingsContract):
    """Settings that change at run time."""


class TestPurgeLease(_InMemory, PurgeLeaseContract):
    """Who purges."""


class TestRevocations(_InMemory, RevocationsContract):
    """The log of revocations and its writer."""


class TestExpiredRows(_InMemory, ExpiredRowsContract):
    """Rows that are of no use any more."""


class TestAudit(_InMemory, AuditContract):
    """The audit log."""


class TestPersonalData(_InMemory, PersonalDataContract):
    """Everything about a user."""


class TestUserDumps(_InMemory, UserDumpsContract):
    """All users."""


class TestUnitOfWork(_InMemory, UnitOfWorkContract):
    """Transactions and their events."""


class TestIdempotency(_InMemory, IdempotencyContract):
    """Calls that take effect once."""


class TestOutboxStore(_InMemory, OutboxStoreContract):
    """The outbox as relays see it."""


class TestEventPublisher(EventPublisherContract):
    """A bus that is a list."""

    @pytest.fixture
    def topic(self) -> str:
        """Any name."""
        return "userservice.users"

    @pytest.fixture
    def publisher(self) -> InMemoryEventPublisher:
        """An empty one."""
        return InMemoryEventPublisher()

    @pytest.fixture
    def received(self, publisher: InMemoryEventPublisher) -> Callable[[Sequence[OutboxRecord]], list[UUID]]:
        """Look at the list."""
        return lambda _: [record.id for record in publisher.published]

    @pytest.fixture
    def refused(self, publisher: InMemoryEventPublisher) -> Callable[[OutboxRecord], OutboxRecord]:
        """Tell the bus."""

        def refuse(record: OutboxRecord) -> OutboxRecord:
            publisher.failing = lambda each: Delivery(each, "refused") if each.id == record.id else None
            return record

        return refuse


class TestCache(CacheContract):
    """A cache in a dict."""

    @pytest.fixture
    def cache(self) -> InMemoryCache:
        """An empty one."""
        return InMemoryCache()


class TestSignal(SignalContract):
    """Between the objects of a process."""

    @pytest.fixture
    def signal(self) -> InMemorySignal:
        """One without listeners."""
        return InMemorySignal()


class TestMailSender(MailSenderContract):
    """An outbox tray."""

    @pytest.fixture
    def sender(self) -> InMemoryMailSender:
        """An empty one."""
        return InMemoryMailSender()

    @pytest.fixture
    def delivered(self, sender: InMemoryMailSender) -> Callable[[], Sequence[tuple[EventId, str]]]:
        """Look at the list."""
        return lambda: [(mail.id, mail.to) for mail in sender.sent]

    @pytest.fixture
    def refuse(self, sender: InMemoryMailSender) -> Callable[[bool | None], None]:
        """Set what it raises."""

        def refuse(permanent: bool | None) -> None:  # noqa: FBT001 - as the contract says
            sender.failure = None if permanent is None else MailDeliveryError(permanent=permanent)

        return refuse


class TestMetrics(MetricsContract):
    """In dicts."""

    @pytest.fixture
    def metrics(self) -> InMemoryMetrics:
        """Empty ones."""
        return InMemoryMetrics()


class TestNullMetrics(MetricsContract):
    """Nowhere."""

    @pytest.fixture
    def metrics(self) -> NullMetrics:
        """There are no others."""
        return NullMetrics()


def test_a_revocation_of_the_very_moment_is_read() -> None:
    """Written at the time that the last read ended, as by a clock that stands still."""
    backend = Backend.in_memory(clock=FakeClock(NOON))
    revocation = Revocation(
        kind=RevocationKind.KEY, subject="key", not_before=NOON, expires_at=NOON + timedelta(hours=1)
    )

    backend.uow.run(lambda transaction: transaction.revocations.add(revocation))

    assert backend.revocations.read_since(NOON) == RevocationBatch(revocations=(revocation,), read_at=NOON)
    assert backend.revocations.read_since(NOON + timedelta(microseconds=1)).revocations == ()


class TestPositionSource(PositionSourceContract):
    """A history that moves when it is told to."""

    @pytest.fixture
    def source(self) -> InMemoryPositionSource:
        """At its beginning."""
        return InMemoryPositionSource()

    @pytest.fixture
    def write(self, source: InMemoryPositionSource) -> Callable[[], object]:
        """Move it on."""
        return source.advance


class TestPositionMemory(PositionMemoryContract):
    """Positions, with a clock that the tests move."""

    @pytest.fixture
    def clock(self) -> list[float]:
        """The seconds that have passed."""
        return [0.0]

    @pytest.fixture
    def memory(self, clock: list[float]) -> InMemoryPositions:
        """That of the process."""
        return InMemoryPositions(life_seconds=0.5, monotonic=lambda: clock[0])

    @pytest.fixture
    def wait(self, clock: list[float]) -> Callable[[float], None]:
        """Move the clock."""

        def advance(seconds: float) -> None:
            clock[0] += seconds

        return advance


class TestRateLimiter(RateLimiterContract):
    """Counters, with a clock that the tests move."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The limiter's."""
        return FakeClock(NOON)

    @pytest.fixture
    def limiter(self, clock: FakeClock) -> InMemoryRateLimiter:
        """That of the process."""
        return InMemoryRateLimiter(clock)

    @pytest.fixture
    def wait(self, clock: FakeClock) -> Callable[[float], None]:
        """Move the clock."""

        def advance(seconds: float) -> None:
            clock.advance(timedelta(seconds=seconds))

        return advance
