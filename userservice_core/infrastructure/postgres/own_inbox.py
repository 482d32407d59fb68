"""The inbox of the service's own groups: within the transactions in which their events take effect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.infrastructure.postgres import inbox
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.infrastructure.postgres.database import Cursor
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction
    from userservice_core.ports.consuming import AfterDeadLetter, ConsumedEvent, Verdict

_PARAMETER: Final = re.compile(r"%\((\w+)\)s")
_STATEMENTS: Final = {statement: Statement(text(_PARAMETER.sub(r":\1", statement))) for statement in inbox.STATEMENTS}


class PostgresInboxRepository:
    """A `ports.consuming.InboxRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        return inbox.judge(self, group, event, rule=rule, is_replay=is_replay)

    def take(
        self, group: str, events: Sequence[ConsumedEvent], *, rule: AfterDeadLetter, is_replay: bool = False
    ) -> tuple[Verdict, ...]:
        return inbox.take(self, group, events, rule=rule, is_replay=is_replay)

    def park(self, group: str, event: ConsumedEvent) -> None:
        if event.sequence is not None:
            self._transaction.write(_STATEMENTS[inbox.PARK](**inbox.of_event(group, event)))

    def forget(self, *, older_than_seconds: float) -> None:
        self._transaction.write(_STATEMENTS[inbox.FORGET](seconds=older_than_seconds))

    def execute(self, statement: str, given: Mapping[str, Any]) -> Cursor:
        """Run one of the inbox's statements at once, as a connection would."""
        return self._transaction.run(_STATEMENTS[statement](**given))
