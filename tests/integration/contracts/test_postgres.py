"""Every contract of what is stored over PostgreSQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenReader
from userservice_core.infrastructure.postgres.outbox_store import PostgresOutboxStore
from userservice_core.infrastructure.postgres.revocations import PostgresRevocationLog
from userservice_core.infrastructure.postgres.roles import PostgresRoleReader
from userservice_core.infrastructure.postgres.sessions import PostgresSessionStore
from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInReader
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.testing.contracts.backend import Backend
from userservice_core.testing.contracts.one_time_tokens import OneTimeTokensContract
from userservice_core.testing.contracts.outbox_store import OutboxStoreContract
from userservice_core.testing.contracts.revocations import RevocationsContract
from userservice_core.testing.contracts.roles import RolesContract
from userservice_core.testing.contracts.sessions import SessionsContract
from userservice_core.testing.contracts.sign_ins import SignInsContract
from userservice_core.testing.contracts.unit_of_work import UnitOfWorkContract
from userservice_core.testing.contracts.users import UsersContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer
    from tests.servers.run import ServersOfRun


def _backend_of(database: Database) -> Backend:
    return Backend(
        uow=PostgresUnitOfWork(database),
        users=PostgresUserReader(database),
        sign_ins=PostgresSignInReader(database),
        sessions=PostgresSessionStore(database),
        one_time_tokens=PostgresOneTimeTokenReader(database),
        roles=PostgresRoleReader(database),
        revocations=PostgresRevocationLog(database),
        outbox=lambda: PostgresOutboxStore(database),
    )


@pytest.fixture(scope="module")
def shared_backend(postgres_server: PostgresServer, servers_of_run: ServersOfRun) -> Iterator[Backend]:
    """A database for all tests of the module that do not mind what others left there."""
    name = postgres_server.create_database(template=servers_of_run.migrated_template())
    with contextlib.closing(Database(postgres_server.dsn(name))) as opened:
        yield _backend_of(opened)
    postgres_server.drop_database(name)


class _InPostgres:
    """One database for all tests."""

    @pytest.fixture
    def backend(self, shared_backend: Backend) -> Backend:
        """Its ports."""
        return shared_backend


class TestUsers(_InPostgres, UsersContract):
    """Users."""


class TestSignIns(_InPostgres, SignInsContract):
    """Credentials and login states."""


class TestSessions(_InPostgres, SessionsContract):
    """Sessions."""


class TestOneTimeTokens(_InPostgres, OneTimeTokensContract):
    """Mailed tokens."""


class TestRoles(_InPostgres, RolesContract):
    """Roles."""


class TestRevocations(_InPostgres, RevocationsContract):
    """The log of revocations and its writer."""


class TestUnitOfWork(_InPostgres, UnitOfWorkContract):
    """Transactions and their events."""


class TestOutboxStore(OutboxStoreContract):
    """The outbox as relays see it, each test with one of its own."""

    @pytest.fixture
    def backend(self, database: str) -> Iterator[Backend]:
        """A database with nothing in it."""
        with contextlib.closing(Database(database)) as opened:
            yield _backend_of(opened)
