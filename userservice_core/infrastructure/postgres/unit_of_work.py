"""The unit of work over PostgreSQL."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

import attrs

from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.postgres.addresses import PostgresAddressRepository
from userservice_core.infrastructure.postgres.audit import PostgresAuditLog
from userservice_core.infrastructure.postgres.clients import PostgresClientRepository
from userservice_core.infrastructure.postgres.database import DEFAULT_DEADLINE_SECONDS
from userservice_core.infrastructure.postgres.event_recorder import EventRecorder
from userservice_core.infrastructure.postgres.idempotency import PostgresJoinedTransaction
from userservice_core.infrastructure.postgres.mfa import PostgresMfaRepository
from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenRepository
from userservice_core.infrastructure.postgres.own_inbox import PostgresInboxRepository
from userservice_core.infrastructure.postgres.parked_events import PostgresParkedEventRepository
from userservice_core.infrastructure.postgres.profiles import PostgresProfileRepository
from userservice_core.infrastructure.postgres.revocations import PostgresRevocationWriter
from userservice_core.infrastructure.postgres.roles import PostgresPermissionRepository, PostgresRoleRepository
from userservice_core.infrastructure.postgres.sessions import PostgresSessionRepository
from userservice_core.infrastructure.postgres.settings import PostgresSettingRepository
from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInRepository
from userservice_core.infrastructure.postgres.signing_keys import PostgresSigningKeyRepository
from userservice_core.infrastructure.postgres.transactions import OpenTransaction
from userservice_core.infrastructure.postgres.users import PostgresUserRepository
from userservice_core.ports.context import current_call, deadline_after
from userservice_core.ports.idempotency import UndoneError
from userservice_core.ports.revocations import OUTBOX_CHANNEL, REVOCATIONS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.domain.events import Event
    from userservice_core.domain.revocations import Revocation
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.idempotency import Claim
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
        self.mfa = PostgresMfaRepository(transaction)
        self.profiles = PostgresProfileRepository(transaction)
        self.addresses = PostgresAddressRepository(transaction)
        self.roles = PostgresRoleRepository(transaction, recorder)
        self.permissions = PostgresPermissionRepository(transaction, recorder)
        self.clients = PostgresClientRepository(transaction)
        self.signing_keys = PostgresSigningKeyRepository(transaction)
        self.settings = PostgresSettingRepository(transaction)
        self.revocations = PostgresRevocationWriter(transaction)
        self.audit = PostgresAuditLog(transaction)
        self.parked_events = PostgresParkedEventRepository(transaction)
        self.inbox = PostgresInboxRepository(transaction)

    def record(self, event: Event) -> None:
        self._recorder.record(event)

    @property
    def channels(self) -> tuple[str, ...]:
        """Whom to wake after the commit."""
        has_work = bool(self._recorder) or self.parked_events.wakes_relays
        told = ((OUTBOX_CHANNEL, has_work), (REVOCATIONS_CHANNEL, bool(self.revocations.added)))
        return tuple(channel for channel, is_told in told if is_told)


@attrs.frozen
class _Call:
    """A call whose transactions are joined, and those that it has run."""

    transaction: PostgresJoinedTransaction
    done: list[PostgresTransaction] = attrs.field(factory=list)


class PostgresUnitOfWork:
    """
    Runs transactions on the primary; a `ports.unit_of_work.UnitOfWork` and a `ports.idempotency.JoiningUnitOfWork`.

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
        self._call: ContextVar[_Call | None] = ContextVar("userservice_joined_call", default=None)

    def run(self, work: Callable[[Transaction], T]) -> T:
        call = self._call.get()
        if call is not None:
            return self._run_joined(call, work)
        result, transaction = self._database.retrying(lambda: self._attempt(work))
        self._tell_of(transaction)
        return result

    @contextlib.contextmanager
    def joined(self, claim: Claim) -> Iterator[PostgresJoinedTransaction]:
        """Make one transaction of all that is run within the block; see `ports.idempotency.JoiningUnitOfWork`."""
        calls: list[_Call] = []
        try:
            with self._joined(claim, calls) as joined:
                yield joined
        except DatabaseUnavailableError as error:
            if not calls[0].transaction.was_undone_by(error) or not self._database.pause_before_retry(error):
                raise
            raise UndoneError from error
        (call,) = calls
        for transaction in call.done:
            self._tell_of(transaction)

    @contextlib.contextmanager
    def _joined(self, claim: Claim, calls: list[_Call]) -> Iterator[PostgresJoinedTransaction]:
        with contextlib.ExitStack() as resources:
            if current_call().deadline is None:
                resources.enter_context(deadline_after(DEFAULT_DEADLINE_SECONDS))
            call = _Call(PostgresJoinedTransaction(self._database, claim, resources))
            calls.append(call)
            token = self._call.set(call)
            try:
                yield call.transaction
                call.transaction.commit()
            finally:
                self._call.reset(token)

    def _attempt(self, work: Callable[[Transaction], T]) -> tuple[T, PostgresTransaction]:
        with OpenTransaction(self._database) as open_transaction:
            result, transaction = self._done(work, open_transaction)
            open_transaction.commit()
        return result, transaction

    def _run_joined(self, call: _Call, work: Callable[[Transaction], T]) -> T:
        results: list[tuple[T, PostgresTransaction]] = []

        def joined_work(open_transaction: OpenTransaction) -> None:
            results[:] = [self._done(work, open_transaction)]

        call.transaction.run(joined_work)
        ((result, transaction),) = results
        call.done.append(transaction)
        return result

    def _done(
        self, work: Callable[[Transaction], T], open_transaction: OpenTransaction
    ) -> tuple[T, PostgresTransaction]:
        """Do *work*, and put aside what it writes and records."""
        recorder = EventRecorder(topic_prefix=self._topic_prefix, source=self._source)
        transaction = PostgresTransaction(open_transaction, recorder=recorder)
        result = work(transaction)
        recorder.write_into(open_transaction)
        return result, transaction

    def _tell_of(self, transaction: PostgresTransaction) -> None:
        for revocation in transaction.revocations.added:
            self._on_revocation(revocation)
        if self._signal is not None:
            for channel in transaction.channels:
                self._signal.notify(channel)
