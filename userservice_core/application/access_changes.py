"""One change of who may do what: under the one lock, and judged by what its actor may do at that moment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.access import access_changed, role_map_changed
from userservice_core.domain.audit import SYSTEM, Actor, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.clients import ClientActor, Operator, Requester
from userservice_core.domain.events import RolePermissionRemoved, UserRoleRemoved
from userservice_core.domain.ids import AuditEntryId, EventId, UserId
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.errors import (
    GrantNotHeldError,
    LastAdministratorError,
    StaleVersionError,
    TargetOutranksActorError,
)
from userservice_core.ports.clock import IdGenerator
from userservice_core.ports.unit_of_work import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from userservice_core.domain.ids import RoleId
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock


_NOTHING: Final[Mapping[str, object]] = {}

Agent = UserId | ClientActor | Operator | Requester
"""Who changes something: a user by their id, a service client, an operator at the machine, or an event's sender."""


@attrs.frozen(kw_only=True)
class AccessChange:
    """
    A transaction that holds the lock.

    Attributes:
        actor: Who changes something.
        epoch: Which it found.
        held: What the actor may do.
    """

    transaction: Transaction
    actor: Agent
    epoch: int
    held: PermissionSet
    now: datetime
    ids: IdGenerator

    @classmethod
    def begin(cls, transaction: Transaction, *, actor: Agent, clock: Clock, ids: IdGenerator) -> AccessChange:
        """Take the lock, before anything else is read."""
        epoch = transaction.roles.lock()
        return cls(
            transaction=transaction,
            actor=actor,
            epoch=epoch,
            held=_held_by(transaction, actor),
            now=clock.now(),
            ids=ids,
        )

    def event_id(self) -> EventId:
        """Return the id of a new event."""
        return EventId(self.ids.new())

    def audit(
        self,
        action: AuditAction,
        subject: Subject,
        *,
        before: Mapping[str, object] = _NOTHING,
        after: Mapping[str, object] = _NOTHING,
        refusal: str | None = None,
    ) -> None:
        """Write into the audit log that the actor did this, or what *refusal* kept them from it."""
        self.transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self.ids.new()),
                at=self.now,
                action=action,
                actor=as_audited(self.actor),
                subject=subject,
                outcome=Outcome.SUCCEEDED if refusal is None else Outcome.REFUSED,
                reason=refusal,
                before=before,
                after=after,
            )
        )

    def require_rank_over(self, permissions: Iterable[str]) -> None:
        """
        Check that the actor holds all that is held by what they change.

        Raises:
            TargetOutranksActorError: If they do not.
        """
        if not self.held.covers(permissions):
            raise TargetOutranksActorError

    def require_held(self, permissions: Iterable[str]) -> None:
        """
        Check that the actor holds all that they are about to give.

        Raises:
            GrantNotHeldError: If they do not.
        """
        if not self.held.covers(permissions):
            raise GrantNotHeldError

    def require_administrator_left(self, *, without: Iterable[Role], of: UserId | None = None) -> None:
        """
        Check that somebody can still do everything once these roles are taken away.

        Raises:
            LastAdministratorError: If not.
        """
        lost = [role.id for role in without if EVERYTHING in role.permissions]
        if lost and not self.transaction.roles.has_administrator(without=lost, of=of):
            raise LastAdministratorError

    def tell_of_roles(self) -> None:
        """Tell every process that roles grant, or clients hold, something else now."""
        self.transaction.revocations.add(role_map_changed(self.epoch + 1, now=self.now))

    def take_permission(self, role: Role, permissions: Collection[Permission]) -> Role:
        """Write that *role* does not grant *permissions* any more, which it did, and return it so."""
        left = role.granting(role.permissions - {permission.name for permission in permissions})
        self.transaction.roles.save(left)
        self.audit(
            AuditAction.ROLE_PERMISSIONS_REMOVED,
            Subject.role(role.id),
            before={"permissions": role.permissions},
            after={"permissions": left.permissions},
        )
        for permission in permissions:
            self.transaction.record(
                RolePermissionRemoved(
                    id=self.event_id(),
                    occurred_at=self.now,
                    role_id=role.id,
                    permission_id=permission.id,
                    permission=permission.name,
                )
            )
        return left

    def take_roles(self, user: User, role_ids: Collection[RoleId]) -> User:
        """Write that *user* does not hold these roles any more, of which they held some, and return them so."""
        left = user.with_roles((role for role in user.roles if role.id not in role_ids), now=self.now)
        self.save_roles(left)
        self.audit(
            AuditAction.USER_ROLES_REMOVED,
            Subject.user(user.id),
            before={"roles": user.role_names},
            after={"roles": left.role_names},
        )
        for role in user.roles:
            if role.id in role_ids:
                self.transaction.record(
                    UserRoleRemoved(
                        id=self.event_id(), occurred_at=self.now, user_id=user.id, role_id=role.id, role=role.name
                    )
                )
        return left

    def save_roles(self, user: User) -> None:
        """Write which roles *user* holds, and tell every process."""
        self.transaction.users.save(user)
        self.transaction.users.save_roles(user)
        self.transaction.revocations.add(access_changed(user, now=self.now))


def as_audited(actor: Agent) -> Actor:
    """Return *actor* as the audit log and histories name them."""
    match actor:
        case Operator() | Requester():
            return SYSTEM
        case ClientActor(client_id=client_id):
            return Actor.client(client_id)
        case _:
            return Actor.user(actor)


def _held_by(transaction: Transaction, actor: Agent) -> PermissionSet:
    match actor:
        case Operator():
            return PermissionSet(frozenset({EVERYTHING}))
        case Requester():
            return PermissionSet(frozenset())
        case ClientActor(client_id=client_id, scope=scope):
            client = transaction.clients.find_held(client_id)
            if client is None or client.is_disabled:
                return PermissionSet(frozenset())
            return client.held.within(scope)
        case _:
            return transaction.roles.permissions_of(actor)


def require_version(version: int, expected: Collection[int] | None) -> None:
    """
    Check a version against those that the client takes; None takes any.

    Raises:
        StaleVersionError: If it is none of them.
    """
    if expected is not None and version not in expected:
        raise StaleVersionError
