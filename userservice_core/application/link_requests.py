"""Asking for a mailed link: one answer, and about the same work, for every address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.mailed_tokens import MAILED_TO_ANYONE, may_mail
from userservice_core.domain.audit import ANONYMOUS, AuditEntry, Outcome, Subject
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import AuditEntryId, UserId
from userservice_core.errors import TooManyRequestsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from userservice_core.domain.audit import AuditAction
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.pacing import Pacer
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

    Send = Callable[[Transaction, User, datetime], str | None]

_UNKNOWN_EMAIL = "unknown-email"


class LinkRequests:
    """
    Looks up whom an address belongs to, lets the caller mail them a link, and writes down what became of it.

    Each request reads twice and commits, also where there is nobody to mail, or nothing; what still differs, the rows
    of a token and a mail, is a fraction of a commit, and the pacer covers it.
    """

    def __init__(self, *, uow: UnitOfWork, pacer: Pacer, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._pacer = pacer
        self._clock = clock
        self._ids = ids

    def serve(self, *, email: str, action: AuditAction, send: Send) -> None:
        """
        Have *send* mail a link to whoever holds the address, up to three an hour; it tells nobody whether it did.

        Args:
            email: As typed.
            action: What is asked for.
            send: Writes token and mail, or returns a code for why it does not, and then has written nothing. It may
                run more than once.

        Raises:
            InvalidInputError: If *email* is not an address.
        """
        key = EmailAddress.parse(email).key
        nobody = UserId(self._ids.new())
        began = self._pacer.start()

        def work(transaction: Transaction) -> None:
            user = transaction.users.find_by_email(key)
            now = self._clock.now()
            may = may_mail(transaction, nobody if user is None else user.id, MAILED_TO_ANYONE, now=now)
            if user is None:
                reason: str | None = _UNKNOWN_EMAIL
            elif not may:
                reason = TooManyRequestsError.code
            else:
                reason = send(transaction, user, now)
            transaction.audit.add(
                AuditEntry(
                    id=AuditEntryId(self._ids.new()),
                    at=now,
                    action=action,
                    actor=ANONYMOUS,
                    subject=None if user is None else Subject.user(user.id),
                    outcome=Outcome.SUCCEEDED if reason is None else Outcome.REFUSED,
                    reason=reason,
                )
            )

        self._uow.run(work)
        self._pacer.hold("mailed link", since=began)
