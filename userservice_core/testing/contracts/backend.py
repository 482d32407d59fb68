"""One database through all of its ports, and what their contracts do with it again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import attrs
import pytest

from userservice_core.ports.addresses import AddressReader
from userservice_core.ports.audit import AuditReader
from userservice_core.ports.clients import ClientReader
from userservice_core.ports.credentials import SignInReader
from userservice_core.ports.idempotency import AnswerStore, JoiningUnitOfWork
from userservice_core.ports.mfa import FactorSecrets
from userservice_core.ports.one_time_tokens import OneTimeTokenReader
from userservice_core.ports.personal_data import PersonalDataReader
from userservice_core.ports.profiles import ProfileReader
from userservice_core.ports.publishing import OutboxStore, ParkedEventReader
from userservice_core.ports.retention import ExpiredRows, PurgeLease
from userservice_core.ports.revocations import RevocationLog
from userservice_core.ports.roles import RoleReader
from userservice_core.ports.sessions import SessionStore
from userservice_core.ports.settings import SettingReader
from userservice_core.ports.signing_keys import SigningKeyReader
from userservice_core.ports.unit_of_work import UnitOfWork
from userservice_core.ports.user_dumps import UserDumpReader
from userservice_core.ports.users import UserReader
from userservice_core.testing.samples import registered, sample_credential, sample_user

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.events import Event
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock
    from userservice_core.ports.publishing import OutboxRecord
    from userservice_core.ports.unit_of_work import Transaction


@attrs.frozen(kw_only=True)
class Backend:
    """
    All ports of one database.

    Attributes:
        outbox: Makes a run of a relay, as each relay's process has one.
        topic_prefix: As the unit of work was given it.
        source: As the unit of work was given it.
    """

    uow: UnitOfWork
    joining: JoiningUnitOfWork
    answers: AnswerStore
    users: UserReader
    sign_ins: SignInReader
    sessions: SessionStore
    one_time_tokens: OneTimeTokenReader
    factor_secrets: FactorSecrets
    profiles: ProfileReader
    addresses: AddressReader
    roles: RoleReader
    clients: ClientReader
    signing_keys: SigningKeyReader
    settings: SettingReader
    revocations: RevocationLog
    audit: AuditReader
    personal_data: PersonalDataReader
    user_dumps: UserDumpReader
    expired_rows: ExpiredRows
    purge_lease: PurgeLease
    outbox: Callable[[], OutboxStore]
    parked_events: ParkedEventReader
    topic_prefix: str = "userservice."
    source: str = "/userservice"

    @classmethod
    def in_memory(cls, *, clock: Clock) -> Self:
        """Return a database in memory with nothing in it: the model of all others."""
        from userservice_core.infrastructure import memory

        store = memory.InMemoryStore()
        uow = memory.InMemoryUnitOfWork(store, clock=clock)
        return cls(
            uow=uow,
            joining=uow,
            answers=memory.InMemoryAnswerStore(store),
            users=memory.InMemoryUserReader(store),
            sign_ins=memory.InMemorySignInReader(store),
            sessions=memory.InMemorySessionStore(store),
            one_time_tokens=memory.InMemoryOneTimeTokenReader(store),
            factor_secrets=memory.InMemoryFactorSecrets(store),
            profiles=memory.InMemoryProfileReader(store),
            addresses=memory.InMemoryAddressReader(store),
            roles=memory.InMemoryRoleReader(store),
            clients=memory.InMemoryClientReader(store),
            signing_keys=memory.InMemorySigningKeyReader(store),
            settings=memory.InMemorySettingReader(store),
            revocations=memory.InMemoryRevocationLog(store, clock=clock),
            audit=memory.InMemoryAuditReader(store),
            personal_data=memory.InMemoryPersonalDataReader(store),
            user_dumps=memory.InMemoryUserDumpReader(store),
            expired_rows=memory.InMemoryExpiredRows(store),
            purge_lease=memory.InMemoryPurgeLease(store),
            outbox=lambda: memory.InMemoryOutboxStore(store),
            parked_events=memory.InMemoryParkedEventReader(store),
        )

    def add_user(self, user: User | None = None) -> User:
        """Store a user with a credential; without an event."""
        stored = user or sample_user()

        def work(transaction: Transaction) -> User:
            transaction.users.add(stored)
            transaction.sign_ins.add(sample_credential(stored))
            return stored

        return self.uow.run(work)

    def register(self, user: User | None = None) -> User:
        """Store a user with a credential and the event of it."""
        stored = user or sample_user()

        def work(transaction: Transaction) -> User:
            transaction.users.add(stored)
            transaction.sign_ins.add(sample_credential(stored))
            transaction.record(registered(stored))
            return stored

        return self.uow.run(work)

    def save_user(self, user: User) -> User:
        """Store a changed user."""
        self.uow.run(lambda transaction: transaction.users.save(user))
        return user

    def add_session(self, session: Session) -> Session:
        """Store a session."""
        self.uow.run(lambda transaction: transaction.sessions.add(session))
        return session

    def add_one_time_token(self, token: OneTimeToken) -> OneTimeToken:
        """Store a mailed token."""
        self.uow.run(lambda transaction: transaction.one_time_tokens.add(token))
        return token

    def save_profile(self, profile: UserProfile) -> UserProfile:
        """Store a profile."""
        self.uow.run(lambda transaction: transaction.profiles.save(profile))
        return profile

    def add_address(self, address: Address) -> Address:
        """Store a new address."""
        self.uow.run(lambda transaction: transaction.addresses.add(address))
        return address

    def save_address(self, address: Address) -> Address:
        """Store a changed address."""
        self.uow.run(lambda transaction: transaction.addresses.save(address))
        return address

    def record(self, *events: Event) -> None:
        """Commit a transaction that does nothing but record *events*."""

        def work(transaction: Transaction) -> None:
            for event in events:
                transaction.record(event)

        self.uow.run(work)

    def waiting(self, key: str) -> tuple[OutboxRecord, ...]:
        """Return what waits in the outbox under *key*, in order."""
        run = self.outbox()
        leases = run.claim("contract", lease_seconds=60)
        found = [record for record in run.read(leases, limit=1_000_000) if record.key == key]
        run.release("contract")
        return tuple(sorted(found, key=lambda record: record.position))


class StoredContract:
    """A contract of ports that share one database."""

    @pytest.fixture
    def backend(self) -> Backend:
        """The database; other data may be in it, but nobody else may use it meanwhile."""
        raise NotImplementedError("override this fixture")
