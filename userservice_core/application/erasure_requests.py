"""Requests to erase a user that come as events, and their receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.application.account_changes import AccountChange
from userservice_core.domain.audit import AuditAction
from userservice_core.domain.clients import REQUESTER, ClientActor
from userservice_core.domain.events import ErasureAnswered, ErasureOutcome
from userservice_core.domain.ids import EventId
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.domain.users import Mover
from userservice_core.errors import (
    LastAdministratorError,
    PermissionDeniedError,
    TargetOutranksActorError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from userservice_core.application.access_changes import Agent
    from userservice_core.domain.ids import ClientId, UserId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction

_NEEDED: Final = ("user:delete",)


class ErasureRequests:
    """
    Erases whom an event names, and says in the same transaction what became of it.

    Who may ask is for the broker to know. By default whoever does is nobody here, and changes no user who holds a
    permission: they could otherwise remove every administrator. Where the requests are made in the name of a service
    client, it is what that holds which counts, and it has to hold the permission to delete users.
    """

    def __init__(
        self, *, clock: Clock, ids: IdGenerator, access_lifetime: timedelta, client_id: ClientId | None = None
    ) -> None:
        """
        Wire the use case.

        Args:
            client_id: Of the service client in whose name users are erased.
        """
        self._actor: Agent = REQUESTER
        if client_id is not None:
            self._actor = ClientActor(client_id=client_id, scope=PermissionSet(frozenset({EVERYTHING})))
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def answer(self, transaction: Transaction, *, user_id: UserId, request_id: str, request_source: str) -> None:
        """Erase the user, deleted or not, unless there is none or it is refused; record the receipt in any case."""
        outcome, reason = self._erased(transaction, user_id)
        transaction.record(
            ErasureAnswered(
                id=EventId(self._ids.new()),
                occurred_at=self._clock.now(),
                user_id=user_id,
                request_id=request_id,
                request_source=request_source,
                outcome=outcome,
                reason=reason,
            )
        )

    def _erased(self, transaction: Transaction, user_id: UserId) -> tuple[ErasureOutcome, str | None]:
        try:
            account = AccountChange.begin(
                transaction,
                actor=self._actor,
                user_id=user_id,
                clock=self._clock,
                ids=self._ids,
                access_lifetime=self._access_lifetime,
            )
        except UserNotFoundError:
            return ErasureOutcome.NOTHING_HELD, None
        try:
            self._require_permission(account)
            account.require_administrator_left()
            account.require_outranked()
        except (PermissionDeniedError, LastAdministratorError, TargetOutranksActorError) as error:
            account.audit(AuditAction.USER_ERASED, refusal=error.code)
            return ErasureOutcome.REFUSED, error.code
        account.erase(by=Mover.PRIVACY_REQUEST)
        return ErasureOutcome.ERASED, None

    def _require_permission(self, account: AccountChange) -> None:
        """
        Check that the client, where there is one, may delete users.

        Raises:
            PermissionDeniedError: If not.
        """
        if self._actor is not REQUESTER and not account.access.held.covers(_NEEDED):
            raise PermissionDeniedError
