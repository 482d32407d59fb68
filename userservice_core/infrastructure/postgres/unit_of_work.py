"""The unit of work over PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from userservice_core.infrastructure.postgres.addresses import PostgresAddressRepository
from userservice_core.infrastructure.postgres.audit import PostgresAuditLog
from userservice_core.infrastructure.postgres.clients import PostgresClientRepository
from userservice_core.infrastructure.postgres.event_recorder import EventRecorder
from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenRepository
from userservice_core.infrastructure.postgres.profiles import PostgresProfileRepository
from userservice_core.infrastructure.postgres.revocations import PostgresRevocationWriter
from userservice_core.infrastructure.postgres.roles import PostgresPermissionRepository, PostgresRoleRepository
from userservice_core.infrastructure.postgres.sessions import PostgresSessionRepository
from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInRepository
from userservice_core.infrastructure.postgres.transactions import OpenTransaction
from userservice_core.infrastructure.postgres.users import PostgresUserRepository
from userservice_core.ports.revocations import OUTBOX_CHANNEL, REVOCATIONS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.domain.events import Event
    from userservice_core.domain.revocations import Revocation
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.revocations import Signal
    from userservice_core.ports.unit_of_work import Transaction

T = TypeVar("T")


class PostgresTransaction:
    """The repositories of one attempt; a `ports.unit_of_work.Transaction`."""

    def __init__(self, transaction: OpenTransaction, *, recorder: EventRecorder) -> None:
        self._recorder = recorder
        self.users = PostgresUserRepository(transaction, recorder)
        self.sign_ins = PostgresSignInRepository(transaction, recorder)
        self.sessions = PostgresSessionRepository(transaction)
        self.one_time_tokens = PostgresOneTimeTokenRepository(transaction)
        self.profiles = PostgresProfileRepository(transaction)
        self.addresses = PostgresAddressRepository(transaction)
        self.roles = PostgresRoleRepository(transaction, recorder)
        self.permissions = PostgresPermissionRepository(transaction, recorder)
        self.clients = PostgresClientRepository(transaction)
        self.revocations = PostgresRevocationWriter(transaction)
        self.audit = PostgresAuditLog(transaction)

    def record(self, event: Event) -> None:
        self._recorder.record(event)

    @property
    def channels(self) -> tuple[str, ...]:
        """Whom to wake after the commit."""
        told = ((OUTBOX_CHANNEL, bool(self._recorder)), (REVOCATIONS_CHANNEL, bool(self.revocations.added)))
        return tuple(channel for channel, is_told in told if is_told)


class PostgresUnitOfWork:
    """
    Runs transactions on the primary; a `ports.unit_of_work.UnitOfWork`.

    After a commit it wakes the relay and the readers of revocations. It does so from outside the transaction, since
    NOTIFY within one takes a lock of the whole cluster through the flush of the commit.
    """

    def __init__(
        self,
        database: Database,
        *,
        topic_prefix: str = "userservice.",
        source: str = "/userservice",
        signal: Signal | None = None,
        on_revocation: Callable[[Revocation], None] = lambda _: None,
    ) -> None:
        """
        Work on *database*.

        Args:
            on_revocation: Called after a commit with each revocation it wrote: this process need not wait to hear it.
        """
        self._database = database
        self._on_revocation = on_revocation
        self._topic_prefix = topic_prefix
        self._source = source
        self._signal = signal

    def run(self, work: Callable[[Transaction], T]) -> T:
        result, transaction = self._database.retrying(lambda: self._attempt(work))
        for revocation in transaction.revocations.added:
            self._on_revocation(revocation)
        if self._signal is not None:
            for channel in transaction.channels:
                self._signal.notify(channel)
        return result

    def _attempt(self, work: Callable[[Transaction], T]) -> tuple[T, PostgresTransaction]:
        recorder = EventRecorder(topic_prefix=self._topic_prefix, source=self._source)
        with OpenTransaction(self._database) as open_transaction:
            transaction = PostgresTransaction(open_transaction, recorder=recorder)
            result = work(transaction)
            recorder.write_into(open_transaction)
            open_transaction.commit()
        return result, transaction
