"""Every contract of what is stored over PostgreSQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.integration.contracts.postgres_backend import backend_of
from userservice_core.infrastructure.postgres.bus import PostgresEventGroup, PostgresEventPublisher
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.ping import PostgresPing
from userservice_core.infrastructure.postgres.signal import PostgresSignal
from userservice_core.testing.contracts.addresses import AddressesContract
from userservice_core.testing.contracts.audit import AuditContract
from userservice_core.testing.contracts.clients import ClientsContract
from userservice_core.testing.contracts.event_publisher import EventPublisherContract
from userservice_core.testing.contracts.health import PingContract
from userservice_core.testing.contracts.idempotency import IdempotencyContract
from userservice_core.testing.contracts.mfa import MfaContract
from userservice_core.testing.contracts.one_time_tokens import OneTimeTokensContract
from userservice_core.testing.contracts.outbox_store import OutboxStoreContract
from userservice_core.testing.contracts.personal_data import PersonalDataContract
from userservice_core.testing.contracts.profiles import ProfilesContract
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
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.testing.contracts.backend import Backend


@pytest.fixture(scope="module")
def shared_dsn(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[str]:
    """A database for all tests of the module that do not mind what others left there."""
    name = postgres_server.create_database(template=servers_of_run.migrated_template())
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="module")
def shared_database(shared_dsn: str) -> Iterator[Database]:
    """The service's connections to it."""
    with contextlib.closing(Database(shared_dsn)) as opened:
        yield opened


class _InPostgres:
    """One database for all tests."""

    @pytest.fixture
    def backend(self, shared_database: Database) -> Backend:
        """Its ports."""
        return backend_of(shared_database)


class TestUsers(_InPostgres, UsersContract):
    """Users."""


class TestSignIns(_InPostgres, SignInsContract):
    """Credentials and login states."""


class TestSessions(_InPostgres, SessionsContract):
    """Sessions."""


class TestOneTimeTokens(_InPostgres, OneTimeTokensContract):
    """Mailed tokens."""


class TestMfa(_InPostgres, MfaContract):
    """Second factors."""


class TestProfiles(_InPostgres, ProfilesContract):
    """Profiles."""


class TestAddresses(_InPostgres, AddressesContract):
    """Addresses."""


class TestRoles(_InPostgres, RolesContract):
    """Roles."""


class TestClients(_InPostgres, ClientsContract):
    """Service clients."""


class TestSigningKeys(_InPostgres, SigningKeysContract):
    """Signing keys."""


class TestSettings(_InPostgres, SettingsContract):
    """Settings that change at run time."""


class TestPurgeLease(_InPostgres, PurgeLeaseContract):
    """Who purges."""


class TestRevocations(_InPostgres, RevocationsContract):
    """The log of revocations and its writer."""


class TestExpiredRows(_InPostgres, ExpiredRowsContract):
    """Rows that are of no use any more."""


class TestAudit(_InPostgres, AuditContract):
    """The audit log."""


class TestPersonalData(_InPostgres, PersonalDataContract):
    """Everything about a user."""


class TestUserDumps(_InPostgres, UserDumpsContract):
    """All users."""


class TestUnitOfWork(_InPostgres, UnitOfWorkContract):
    """Transactions and their events."""


class TestIdempotency(_InPostgres, IdempotencyContract):
    """Calls that take effect once."""


class TestOutboxStore(OutboxStoreContract):
    """The outbox as relays see it, each test with one of its own."""

    @pytest.fixture
    def backend(self, database: str) -> Iterator[Backend]:
        """A database with nothing in it."""
        with contextlib.closing(Database(database)) as opened:
            yield backend_of(opened)


class TestEventPublisher(EventPublisherContract):
    """PostgreSQL as the bus."""

    @pytest.fixture
    def topic(self) -> str:
        """The bus takes any."""
        return f"userservice.{sample_event_id()}"

    @pytest.fixture
    def publisher(self, shared_database: Database) -> PostgresEventPublisher:
        """One over the shared database."""
        return PostgresEventPublisher(shared_database)

    @pytest.fixture(autouse=True)
    def group(self, shared_database: Database) -> PostgresEventGroup:
        """A group that is there before anything is published."""
        group = PostgresEventGroup(shared_database, group=f"group-{sample_event_id()}")
        group.register()
        return group

    @pytest.fixture
    def received(self, group: PostgresEventGroup) -> Callable[[Sequence[OutboxRecord]], list[UUID]]:
        """Read what waits for the group."""

        def received(_: Sequence[OutboxRecord]) -> list[UUID]:
            return [record.id for record in group.read(group.claim("member", lease_seconds=60), limit=1000)]

        return received

    @pytest.fixture
    def refused(self) -> Callable[[OutboxRecord], OutboxRecord]:
        """Break its JSON."""
        return lambda record: attrs.evolve(record, payload=b"{")


class TestSignal(SignalContract):
    """NOTIFY and LISTEN."""

    @pytest.fixture
    def signal(self, shared_dsn: str) -> Iterator[PostgresSignal]:
        """Over the shared database."""
        with contextlib.closing(PostgresSignal(shared_dsn)) as signal:
            yield signal


class TestPostgresPing(PingContract):
    """Of the primary."""

    @pytest.fixture
    def ping(self, shared_database: Database) -> PostgresPing:
        """That answers."""
        return PostgresPing(shared_database)

    @pytest.fixture
    def lost(self) -> Iterator[PostgresPing]:
        """At an address where nobody listens."""
        with contextlib.closing(Database("postgresql://127.0.0.1:1/none")) as away:
            yield PostgresPing(away)
