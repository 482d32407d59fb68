"""The inbox of the consumers that belong to the service: its transactions are those of the use cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.errors import UnavailableError
from userservice_core.ports.consuming import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.ports.consuming import AfterDeadLetter, ConsumedEvent
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


class UnitOfWorkInbox:
    """
    Implements :class:`~userservice_core.ports.consuming.Inbox`.

    Handlers get the transaction, of which nothing was read yet but the inbox. As anything that runs in one, a handler
    may be called more than once, and has no effect but through it.
    """

    def __init__(self, uow: UnitOfWork) -> None:
        self._uow = uow

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        return self._uow.run(lambda transaction: transaction.inbox.judge(group, event, rule=rule, is_replay=is_replay))

    def apply(
        self,
        group: str,
        events: Sequence[ConsumedEvent],
        effect: Callable[[Sequence[ConsumedEvent], Transaction], None],
        *,
        rule: AfterDeadLetter,
        is_replay: bool = False,
    ) -> tuple[Verdict, ...]:
        def work(transaction: Transaction) -> tuple[Verdict, ...]:
            verdicts = transaction.inbox.take(group, events, rule=rule, is_replay=is_replay)
            fresh = [event for event, verdict in zip(events, verdicts, strict=True) if verdict is Verdict.FRESH]
            if fresh:
                effect(fresh, transaction)
            return verdicts

        return self._uow.run(work)

    def park(self, group: str, event: ConsumedEvent) -> None:
        self._uow.run(lambda transaction: transaction.inbox.park(group, event))

    def forget(self, *, older_than_seconds: float) -> None:
        self._uow.run(lambda transaction: transaction.inbox.forget(older_than_seconds=older_than_seconds))

    def is_outage(self, error: BaseException) -> bool:
        return isinstance(error, UnavailableError)
