"""Every contract over memory."""

from __future__ import annotations

import pytest

from userservice_core.infrastructure.memory import (
    InMemoryOneTimeTokenReader,
    InMemoryOutboxStore,
    InMemoryRevocationLog,
    InMemoryRoleReader,
    InMemorySessionStore,
    InMemorySignInReader,
    InMemoryStore,
    InMemoryUnitOfWork,
    InMemoryUserReader,
)
from userservice_core.infrastructure.system.clock import SystemClock
from userservice_core.testing.contracts.backend import Backend
from userservice_core.testing.contracts.one_time_tokens import OneTimeTokensContract
from userservice_core.testing.contracts.outbox_store import OutboxStoreContract
from userservice_core.testing.contracts.revocations import RevocationsContract
from userservice_core.testing.contracts.roles import RolesContract
from userservice_core.testing.contracts.sessions import SessionsContract
from userservice_core.testing.contracts.sign_ins import SignInsContract
from userservice_core.testing.contracts.unit_of_work import UnitOfWorkContract
from userservice_core.testing.contracts.users import UsersContract


class _InMemory:
    """A store of each test."""

    @pytest.fixture
    def backend(self) -> Backend:
        """Its ports."""
        store, clock = InMemoryStore(), SystemClock()
        return Backend(
            uow=InMemoryUnitOfWork(store, clock=clock),
            users=InMemoryUserReader(store),
            sign_ins=InMemorySignInReader(store),
            sessions=InMemorySessionStore(store),
            one_time_tokens=InMemoryOneTimeTokenReader(store),
            roles=InMemoryRoleReader(store),
            revocations=InMemoryRevocationLog(store, clock=clock),
            outbox=lambda: InMemoryOutboxStore(store),
        )


class TestUsers(_InMemory, UsersContract):
    """Users."""


class TestSignIns(_InMemory, SignInsContract):
    """Credentials and login states."""


class TestSessions(_InMemory, SessionsContract):
    """Sessions."""


class TestOneTimeTokens(_InMemory, OneTimeTokensContract):
    """Mailed tokens."""


class TestRoles(_InMemory, RolesContract):
    """Roles."""


class TestRevocations(_InMemory, RevocationsContract):
    """The log of revocations and its writer."""


class TestUnitOfWork(_InMemory, UnitOfWorkContract):
    """Transactions and their events."""


class TestOutboxStore(_InMemory, OutboxStoreContract):
    """The outbox as relays see it."""
