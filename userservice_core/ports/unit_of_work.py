"""One transaction: read first, then write, and what happened is recorded with the change or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.events import Event
    from userservice_core.ports.addresses import AddressRepository
    from userservice_core.ports.audit import AuditLog
    from userservice_core.ports.clients import ClientRepository
    from userservice_core.ports.consuming import InboxRepository
    from userservice_core.ports.credentials import SignInRepository
    from userservice_core.ports.mfa import MfaRepository
    from userservice_core.ports.one_time_tokens import OneTimeTokenRepository
    from userservice_core.ports.profiles import ProfileRepository
    from userservice_core.ports.publishing import ParkedEventRepository
    from userservice_core.ports.revocations import RevocationWriter
    from userservice_core.ports.roles import PermissionRepository, RoleRepository
    from userservice_core.ports.sessions import SessionRepository
    from userservice_core.ports.settings import SettingRepository
    from userservice_core.ports.signing_keys import SigningKeyRepository
    from userservice_core.ports.users import UserRepository

T = TypeVar("T")


class Transaction(Protocol):
    """
    The repositories of one transaction, and the record of what happened in it.

    Reads lock what they return. Writes are collected and sent together at commit, so they cost one round trip; that
    is why a transaction reads before it writes: a read after a write raises ProgrammingError.
    """

    @property
    def users(self) -> UserRepository:
        """Users."""
        ...

    @property
    def sign_ins(self) -> SignInRepository:
        """Credentials and login states."""
        ...

    @property
    def sessions(self) -> SessionRepository:
        """Sessions."""
        ...

    @property
    def one_time_tokens(self) -> OneTimeTokenRepository:
        """Mailed tokens."""
        ...

    @property
    def mfa(self) -> MfaRepository:
        """Second factors."""
        ...

    @property
    def profiles(self) -> ProfileRepository:
        """Profiles."""
        ...

    @property
    def addresses(self) -> AddressRepository:
        """Addresses."""
        ...

    @property
    def roles(self) -> RoleRepository:
        """Roles and what they grant."""
        ...

    @property
    def permissions(self) -> PermissionRepository:
        """Permissions that roles may grant."""
        ...

    @property
    def clients(self) -> ClientRepository:
        """Service clients."""
        ...

    @property
    def settings(self) -> SettingRepository:
        """Settings that change at run time."""
        ...

    @property
    def signing_keys(self) -> SigningKeyRepository:
        """Keys that sign access tokens."""
        ...

    @property
    def revocations(self) -> RevocationWriter:
        """What every process must forget."""
        ...

    @property
    def audit(self) -> AuditLog:
        """Who did what to whom."""
        ...

    @property
    def parked_events(self) -> ParkedEventRepository:
        """Records of the outbox that could not be published."""
        ...

    @property
    def inbox(self) -> InboxRepository:
        """Which events of others the service has applied."""
        ...

    def record(self, event: Event) -> None:
        """
        Put *event* into the outbox of this transaction: it is published if and only if the transaction commits.

        Raises:
            ProgrammingError: At commit, if the event's data is larger than the bus takes (256 KiB of JSON).
        """
        ...


class UnitOfWork(Protocol):
    """Runs transactions. Safe to use from many threads."""

    def run(self, work: Callable[[Transaction], T]) -> T:
        """
        Run *work* in one transaction and commit it.

        *work* may run more than once (after a deadlock, a serialization failure, or a connection that died before
        COMMIT was sent), so it must have no effect but through its transaction. If it raises, nothing is changed.

        Returns:
            What *work* returned, after the commit.

        Raises:
            ConflictError: One of its kinds, if a uniqueness or version rule failed at commit.
            DeadlineExceededError: If the call's deadline passed before COMMIT was sent.
            DatabaseUnavailableError: If the database could not be reached.
            OutcomeUnknownError: If the connection was lost, or the deadline passed, during COMMIT.
        """
        ...
