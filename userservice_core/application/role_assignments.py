"""Which roles users hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.access_changes import AccessChange
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.events import UserRoleAssigned
from userservice_core.domain.roles import AssignedRole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from userservice_core.application.access_changes import Agent
    from userservice_core.domain.ids import RoleId, UserId
    from userservice_core.domain.roles import Role
    from userservice_core.domain.users import User
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork
    from userservice_core.ports.users import UserReader


class RoleAssignments:
    """Giving roles to users and taking them away; nobody gives what they do not hold, or touches who holds it."""

    def __init__(self, *, uow: UnitOfWork, users: UserReader, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._users = users
        self._clock = clock
        self._ids = ids

    def list_roles(self, *, user_id: UserId) -> tuple[AssignedRole, ...]:
        """
        Return the roles of a user, by name.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        return self._users.get(user_id).roles

    def assign(self, *, actor: Agent, user_id: UserId, role_ids: Collection[RoleId]) -> tuple[AssignedRole, ...]:
        """
        Give roles to a user; those that they hold already change nothing.

        Returns:
            All roles that they hold then, by name.

        Raises:
            UserNotFoundError: If there is no such user.
            RoleNotFoundError: If one of the roles is not there.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            GrantNotHeldError: If one of the roles grants such a permission.
        """

        def work(transaction: Transaction) -> tuple[AssignedRole, ...]:
            change = self._begin(transaction, actor)
            user, held, named = _read(transaction, user_id, role_ids)
            change.require_rank_over(_permissions_of(held))
            added = [role for role in named if role not in held]
            change.require_held(_permissions_of(added))
            if not added:
                return user.roles
            given = [AssignedRole(role.id, role.name) for role in added]
            changed = user.with_roles((*user.roles, *given), now=change.now)
            change.save_roles(changed)
            change.audit(
                AuditAction.USER_ROLES_ASSIGNED,
                Subject.user(user_id),
                before={"roles": user.role_names},
                after={"roles": changed.role_names},
            )
            for role in given:
                transaction.record(
                    UserRoleAssigned(
                        id=change.event_id(),
                        occurred_at=change.now,
                        user_id=user_id,
                        role_id=role.id,
                        role=role.name,
                    )
                )
            return changed.roles

        return self._uow.run(work)

    def remove(self, *, actor: Agent, user_id: UserId, role_ids: Collection[RoleId]) -> tuple[AssignedRole, ...]:
        """
        Take roles from a user; those that they do not hold change nothing.

        Returns:
            All roles that they hold then, by name.

        Raises:
            UserNotFoundError: If there is no such user.
            RoleNotFoundError: If one of the roles is not there.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            LastAdministratorError: If nobody could do everything any more.
        """

        def work(transaction: Transaction) -> tuple[AssignedRole, ...]:
            change = self._begin(transaction, actor)
            user, held, named = _read(transaction, user_id, role_ids)
            change.require_rank_over(_permissions_of(held))
            removed = [role for role in named if role in held]
            change.require_administrator_left(without=removed, of=user_id)
            return change.take_roles(user, {role.id for role in removed}).roles if removed else user.roles

        return self._uow.run(work)

    def _begin(self, transaction: Transaction, actor: Agent) -> AccessChange:
        return AccessChange.begin(transaction, actor=actor, clock=self._clock, ids=self._ids)


def _read(
    transaction: Transaction, user_id: UserId, role_ids: Collection[RoleId]
) -> tuple[User, list[Role], list[Role]]:
    """Return the user, the roles they hold, and those that are named."""
    user = transaction.users.get(user_id)
    held_ids = {role.id for role in user.roles}
    roles = transaction.roles.get_all({*held_ids, *role_ids})
    return user, [role for role in roles if role.id in held_ids], [role for role in roles if role.id in role_ids]


def _permissions_of(roles: Iterable[Role]) -> Iterator[str]:
    return (permission for role in roles for permission in role.permissions)
