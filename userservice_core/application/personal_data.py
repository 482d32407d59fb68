"""What is held about a user, for that user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Subject
from userservice_core.domain.ids import AuditEntryId
from userservice_core.errors import InvalidAccessTokenError, UserNotFoundError

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.personal_data import PersonalData, PersonalDataReader
    from userservice_core.ports.unit_of_work import UnitOfWork

MAX_EXPORTED_ENTRIES: Final = 10_000
"""Entries of the audit log in each of the two parts of an export."""


class PersonalDataExports:
    """Handing users everything about them (GDPR articles 15 and 20)."""

    def __init__(self, *, uow: UnitOfWork, data: PersonalDataReader, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._data = data
        self._clock = clock
        self._ids = ids

    def export(self, *, user_id: UserId) -> PersonalData:
        """
        Return what is held about a user, as of one moment; that it was handed out is in the audit log from then on.

        Raises:
            InvalidAccessTokenError: If the account was erased, or cannot be used any more.
        """
        try:
            data = self._data.read(user_id, max_entries=MAX_EXPORTED_ENTRIES)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error
        if not data.sign_in.user.is_live:
            raise InvalidAccessTokenError
        entry = AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=self._clock.now(),
            action=AuditAction.USER_EXPORTED,
            actor=Actor.user(user_id),
            subject=Subject.user(user_id),
        )
        self._uow.run(lambda transaction: transaction.audit.add(entry))
        return data
