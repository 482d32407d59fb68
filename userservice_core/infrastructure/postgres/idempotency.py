"""Kept answers, and calls of one transaction."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from sqlalchemy import DateTime, Integer, bindparam, delete, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from userservice_core.errors import DeadlineExceededError, IdempotencyKeyInUseError
from userservice_core.infrastructure.postgres.errors import RetriableError
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import idempotency_keys
from userservice_core.infrastructure.postgres.transactions import OpenTransaction
from userservice_core.ports.context import provisional_reads
from userservice_core.ports.idempotency import AnsweredBeforeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from userservice_core.errors import DatabaseUnavailableError
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.ports.idempotency import CallId, Claim

CLAIM_PATIENCE_SECONDS: Final = 2.0
"""How long a call waits for a rival with the same key; it holds a connection meanwhile."""

_KEY: Final = (
    idempotency_keys.c.owner_id == bindparam("of_owner_id", type_=idempotency_keys.c.owner_id.type),
    idempotency_keys.c.digest == bindparam("of_digest", type_=idempotency_keys.c.digest.type),
)
_AT: Final = bindparam("at", type_=DateTime(timezone=True))

_INSERTION: Final = insert(idempotency_keys).values(
    owner_id=bindparam("new_owner_id", type_=idempotency_keys.c.owner_id.type),
    digest=bindparam("new_digest", type_=idempotency_keys.c.digest.type),
    answer=literal_column("''"),
    expires_at=bindparam("new_expires_at", type_=idempotency_keys.c.expires_at.type),
)
# Waits for whoever inserted the same key and has not committed. A row that has expired is as good as none.
_CLAIM: Final = Statement(
    _INSERTION.on_conflict_do_update(
        index_elements=[idempotency_keys.c.owner_id, idempotency_keys.c.digest],
        set_={"answer": _INSERTION.excluded.answer, "expires_at": _INSERTION.excluded.expires_at},
        where=idempotency_keys.c.expires_at <= _AT,
    ).returning(literal_column("1"))
)
_FIND: Final = Statement(select(idempotency_keys.c.answer).where(*_KEY, idempotency_keys.c.expires_at > _AT))
_KEEP: Final = Statement(update(idempotency_keys).where(*_KEY), columns=["answer"])
_DROP: Final = Statement(delete(idempotency_keys).where(*_KEY))
_OLDEST: Final = (
    select(idempotency_keys.c.owner_id, idempotency_keys.c.digest)
    .where(idempotency_keys.c.expires_at <= _AT)
    .order_by(idempotency_keys.c.expires_at)
    .limit(bindparam("at_most", type_=Integer))
    .with_for_update(skip_locked=True)
    .cte("oldest")
)
_REMOVE_EXPIRED: Final = Statement(
    delete(idempotency_keys).where(
        idempotency_keys.c.owner_id == _OLDEST.c.owner_id, idempotency_keys.c.digest == _OLDEST.c.digest
    )
)
_REMOVE_OF_OWNER: Final = Statement(delete(idempotency_keys).where(_KEY[0]))


def removal_of_answers_to(owner_id: object) -> Step:
    """Return what erases every answer that was kept for *owner_id*."""
    return _REMOVE_OF_OWNER(of_owner_id=owner_id)


class PostgresAnswerStore:
    """Kept answers in autocommit; a `ports.idempotency.AnswerStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, call_id: CallId, *, now: datetime) -> str | None:
        row = self._database.fetch_one(_FIND, **_named(call_id), at=now)
        return None if row is None else str(row[0])

    def remove_expired(self, *, now: datetime, limit: int) -> int:
        return self._database.execute(_REMOVE_EXPIRED, at=now, at_most=limit)


class PostgresJoinedTransaction:
    """
    The one transaction of a call; a `ports.idempotency.JoinedTransaction`.

    It is open from the first transaction that the call runs until the answer is made, with a connection of its own.
    """

    def __init__(self, database: Database, claim: Claim, resources: contextlib.ExitStack) -> None:
        """
        Begin nothing yet.

        Args:
            database: The primary.
            claim: What the first transaction takes.
            resources: What is undone at the end of the call.
        """
        self._database = database
        self._claim = claim
        self._resources = resources
        self._open: OpenTransaction | None = None
        self._answer: str | None = None

    def keep(self, answer: str) -> None:
        self._answer = answer

    def run(self, work: Callable[[OpenTransaction], None]) -> None:
        """Do *work* and send what it writes."""
        if self._open is None:
            self._database.retrying(lambda: self._begin(work))
        else:
            with self._open.savepoint():
                work(self._open)
                self._open.flush()

    def commit(self) -> None:
        """Commit everything, with the answer if one is kept and without the claim if none is."""
        if self._open is None and self._answer is not None:
            self.run(lambda _: None)
        if self._open is None:
            return
        if self._answer is None:
            self._open.write(_DROP(**_named(self._claim.call_id)))
        else:
            self._open.write(_KEEP(**_named(self._claim.call_id), answer=self._answer))
        self._open.commit()

    def was_undone_by(self, error: DatabaseUnavailableError) -> bool:
        """Whether *error* says that nothing remains of what was open, and that it may succeed another time."""
        return self._open is not None and (isinstance(error, RetriableError) or self._open.is_lost)

    def _begin(self, work: Callable[[OpenTransaction], None]) -> None:
        with contextlib.ExitStack() as resources:
            transaction = resources.enter_context(OpenTransaction(self._database))
            self._take_claim(transaction)
            work(transaction)
            link = transaction.flush()
            resources.enter_context(self._database.lending_only(link))
            resources.enter_context(provisional_reads())
            self._resources.push(resources.pop_all())
        self._open = transaction

    def _take_claim(self, transaction: OpenTransaction) -> None:
        named, claim = _named(self._claim.call_id), self._claim
        step = _CLAIM(
            new_owner_id=claim.call_id.owner_id,
            new_digest=claim.call_id.digest,
            new_expires_at=claim.expires_at,
            at=claim.now,
        )
        try:
            is_ours = transaction.run_patiently(step, seconds=CLAIM_PATIENCE_SECONDS).fetchone() is not None
        except DeadlineExceededError as error:
            raise IdempotencyKeyInUseError from error
        if is_ours:
            return
        found = transaction.run(_FIND(**named, at=claim.now)).fetchone()
        if found is None:
            # Erased since: the key is free again.
            raise RetriableError
        raise AnsweredBeforeError(str(found[0]))


def _named(call_id: CallId) -> dict[str, object]:
    return {"of_owner_id": call_id.owner_id, "of_digest": call_id.digest}
