"""All users, to be taken elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry
from userservice_core.domain.ids import AuditEntryId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.domain.ids import UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import UnitOfWork
    from userservice_core.ports.user_dumps import UserDump, UserDumpReader

USERS_PER_READ: Final = 200


class UserExports:
    """Reads everybody who is not deleted; that it was done stands in the audit log."""

    def __init__(self, *, uow: UnitOfWork, dumps: UserDumpReader, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._dumps = dumps
        self._clock = clock
        self._ids = ids

    def read_all(self, *, with_hashes: bool) -> Iterator[UserDump]:
        """
        Yield all users in the order of their ids; each is as they are at one moment, and all are not of the same one.

        Args:
            with_hashes: Whether whoever asks will hand on hashes of passwords, for the audit log.

        Raises:
            UnavailableError: If the database cannot be read, at any time; what came before is right.
        """
        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=self._clock.now(),
            action=AuditAction.USERS_EXPORTED,
            actor=SYSTEM,
            subject=None,
            after={"withCredentials": with_hashes},
        )
        self._uow.run(lambda transaction: transaction.audit.add(entry))
        after: UserId | None = None
        while dumps := self._dumps.read(after=after, limit=USERS_PER_READ):
            yield from dumps
            after = dumps[-1].sign_in.user.id
            if len(dumps) < USERS_PER_READ:
                return
