"""One change of who may do what: under the one lock, and judged by what its actor may do at that moment."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from userservice_core.application.access import access_changed, role_map_changed
from userservice_core.domain.clients import ClientActor, Operator
from userservice_core.domain.events import RolePermissionRemoved, UserRoleRemoved
from userservice_core.domain.ids import EventId, UserId
from userservice_core.domain.roles import EVERYTHING, PermissionSet
from userservice_core.errors import (
    GrantNotHeldError,
    LastAdministratorError,
    StaleVersionError,
    TargetOutranksActorError,
)
from userservice_core.ports.clock import IdGenerator
from userservice_core.ports.unit_of_work import Transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from userservice_core.domain.ids import RoleId
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock


Actor = UserId | ClientActor | Operator
"""Who changes something: a user by their id, a service client, or an operator at the machine."""


@attrs.frozen(kw_only=True)
class AccessChange:
    """
    A transaction that holds the lock.

    Attributes:
        epoch: Which it found.
        held: What the actor may do.
    """

    transaction: Transaction
    epoch: int
    held: PermissionSet
    now: datetime
    ids: IdGenerator

    @classmethod
    def begin(cls, transaction: Transaction, *, actor: Actor, clock: Clock, ids: IdGenerator) -> AccessChange:
        """Take the lock, before anything else is read."""
        epoch = transaction.roles.lock()
        return cls(
            transaction=transaction,
            epoch=epoch,
            held=_held_by(transaction, actor),
            now=clock.now(),
            ids=ids,
        )

    def event_id(self) -> EventId:
        """Return the id of a new event."""
        return EventId(self.ids.new())

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


def _held_by(transaction: Transaction, actor: Actor) -> PermissionSet:
    match actor:
        case Operator():
            return PermissionSet(frozenset({EVERYTHING}))
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
