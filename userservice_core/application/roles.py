"""Roles: what they are called and what they grant."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from userservice_core.application.access_changes import AccessChange, Agent, require_version
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.events import RoleCreated, RoleDeleted, RolePermissionAssigned, RoleUpdated
from userservice_core.domain.ids import RoleId
from userservice_core.domain.lists import page_of
from userservice_core.domain.roles import MAX_ROLES, Role, permission_position, role_position
from userservice_core.errors import LimitReachedError, RoleInUseError, SystemObjectError, WildcardGrantError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from userservice_core.domain.ids import PermissionId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.roles import Permission
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

HOLDERS_PER_TRANSACTION: Final = 200
"""From whom a role that is deleted is taken at once, so that no transaction grows with the number of users."""


class Roles:
    """Reading and changing roles; nobody grants what they do not hold, or changes a role that grants it."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        roles: RoleReader,
        clock: Clock,
        ids: IdGenerator,
        wildcards_in_any_role: bool = False,
    ) -> None:
        """Grant wildcards through system roles only, unless *wildcards_in_any_role* allows more."""
        self._uow = uow
        self._roles = roles
        self._clock = clock
        self._ids = ids
        self._wildcards_in_any_role = wildcards_in_any_role

    def list_page(self, *, request: PageRequest) -> Page[Role]:
        """Return some of the roles, of which there are at most :data:`MAX_ROLES`, by name regardless of case."""
        return page_of(self._roles.list_roles(), request, position_of=role_position)

    def get(self, *, role_id: RoleId) -> Role:
        """
        Return a role.

        Raises:
            RoleNotFoundError: If there is none with this id.
        """
        return self._roles.get(role_id)

    def create(self, *, actor: Agent, name: str, description: str | None) -> Role:
        """
        Make a role that grants nothing yet.

        Raises:
            InvalidInputError: If name or description is not valid.
            AlreadyExistsError: If a role has this name, regardless of case.
            LimitReachedError: If there are as many roles as there may be.
        """
        role = Role.create(role_id=RoleId(self._ids.new()), name=name, description=description)

        def work(transaction: Transaction) -> Role:
            change = self._begin(transaction, actor)
            if transaction.roles.count() >= MAX_ROLES:
                raise LimitReachedError(limit=MAX_ROLES)
            transaction.roles.add(role)
            change.tell_of_roles()
            change.audit(AuditAction.ROLE_CREATED, Subject.role(role.id), after=_values_of(role))
            transaction.record(
                RoleCreated(
                    id=change.event_id(),
                    occurred_at=change.now,
                    role_id=role.id,
                    name=role.name,
                    description=role.description,
                )
            )
            return role

        return self._uow.run(work)

    def change(
        self,
        *,
        actor: Agent,
        role_id: RoleId,
        revise: Callable[[Role], Role],
        expected: Collection[int] | None = None,
    ) -> Role:
        """
        Give a role another name or description.

        Args:
            actor: Who does it.
            role_id: Of the role.
            revise: Returns the next version of the role it is given, by :meth:`Role.revised`; may be called again.
            expected: Versions that the client takes the role to have; None for any.

        Raises:
            RoleNotFoundError: If there is none with this id.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it grants what the actor does not hold.
            AlreadyExistsError: If another role has this name, regardless of case.
        """

        def work(transaction: Transaction) -> Role:
            change = self._begin(transaction, actor)
            role = self._changeable(change, role_id, expected)
            revised = revise(role)
            if revised is role:
                return role
            transaction.roles.save(revised)
            change.tell_of_roles()
            change.audit(
                AuditAction.ROLE_UPDATED,
                Subject.role(role_id),
                before=_values_of(role),
                after=_values_of(revised),
            )
            transaction.record(
                RoleUpdated(
                    id=change.event_id(),
                    occurred_at=change.now,
                    role_id=role.id,
                    name=revised.name,
                    description=revised.description,
                )
            )
            return revised

        return self._uow.run(work)

    def delete(
        self, *, actor: Agent, role_id: RoleId, force: bool = False, expected: Collection[int] | None = None
    ) -> None:
        """
        Delete a role.

        A role that many hold is taken from them in batches. If the call ends before the last of them, the role is
        still there, and deleting it again goes on with those who are left.

        Args:
            actor: Who does it.
            role_id: Of the role.
            force: Whether to take the role from those who hold it.
            expected: Versions that the client takes the role to have; None for any.

        Raises:
            RoleNotFoundError: If there is none with this id.
            SystemObjectError: If it is a system role.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it grants what the actor does not hold.
            RoleInUseError: Without *force*, if somebody holds it.
            LastAdministratorError: If nobody could do everything any more.
        """
        work = partial(self._delete, actor=actor, role_id=role_id, force=force, expected=expected)
        while not self._uow.run(work):
            pass

    def _delete(
        self,
        transaction: Transaction,
        *,
        actor: Agent,
        role_id: RoleId,
        force: bool,
        expected: Collection[int] | None,
    ) -> bool:
        """Take the role from some of its holders; once there are no others, delete it and return True."""
        change = self._begin(transaction, actor)
        role = self._changeable(change, role_id, expected)
        if role.is_system_role:
            raise SystemObjectError
        holders = transaction.users.list_holders(role_id, limit=HOLDERS_PER_TRANSACTION + 1)
        if holders and not force:
            raise RoleInUseError
        change.require_administrator_left(without=(role,))
        for user in holders[:HOLDERS_PER_TRANSACTION]:
            change.take_roles(user, {role_id})
        if len(holders) > HOLDERS_PER_TRANSACTION:
            return False
        transaction.roles.remove(role_id)
        change.tell_of_roles()
        before = {**_values_of(role), "permissions": role.permissions}
        change.audit(AuditAction.ROLE_DELETED, Subject.role(role_id), before=before)
        transaction.record(RoleDeleted(id=change.event_id(), occurred_at=change.now, role_id=role_id, name=role.name))
        return True

    # --- what it grants -----------------------------------------------------------------------------------------------

    def list_permissions(self, *, role_id: RoleId, request: PageRequest) -> Page[Permission]:
        """
        Return some of what a role grants, by name.

        Raises:
            RoleNotFoundError: If there is none with this id.
        """
        return page_of(self._roles.list_permissions_of(role_id), request, position_of=permission_position)

    def assign_permissions(
        self, *, actor: Agent, role_id: RoleId, permission_ids: Collection[PermissionId]
    ) -> tuple[Permission, ...]:
        """
        Let a role grant permissions; those that it grants already change nothing.

        Returns:
            All that it grants then, by name.

        Raises:
            RoleNotFoundError: If there is none with this id.
            PermissionNotFoundError: If one of the permissions is not there.
            GrantNotHeldError: If the actor does not hold one of them.
            TargetOutranksActorError: If the role grants already what the actor does not hold.
            WildcardGrantError: If one of them is a wildcard, and the role none that may grant any.
        """

        def work(transaction: Transaction) -> None:
            change = self._begin(transaction, actor)
            role = self._changeable(change, role_id, None)
            wanted = transaction.permissions.get_all(permission_ids)
            added = [permission for permission in wanted if permission.name not in role.permissions]
            change.require_held(permission.name for permission in added)
            if any(permission.is_wildcard for permission in added) and not self._may_grant_wildcards(role):
                raise WildcardGrantError
            if added:
                granting = role.granting(role.permissions | {permission.name for permission in added})
                transaction.roles.save(granting)
                change.tell_of_roles()
                change.audit(
                    AuditAction.ROLE_PERMISSIONS_ASSIGNED,
                    Subject.role(role_id),
                    before={"permissions": role.permissions},
                    after={"permissions": granting.permissions},
                )
            for permission in added:
                transaction.record(
                    RolePermissionAssigned(
                        id=change.event_id(),
                        occurred_at=change.now,
                        role_id=role_id,
                        permission_id=permission.id,
                        permission=permission.name,
                    )
                )

        self._uow.run(work)
        return self._roles.list_permissions_of(role_id)

    def remove_permissions(
        self, *, actor: Agent, role_id: RoleId, permission_ids: Collection[PermissionId]
    ) -> tuple[Permission, ...]:
        """
        Let a role grant permissions no longer; those that it does not grant change nothing.

        Returns:
            All that it grants then, by name.

        Raises:
            RoleNotFoundError: If there is none with this id.
            PermissionNotFoundError: If one of the permissions is not there.
            TargetOutranksActorError: If the role grants what the actor does not hold.
            LastAdministratorError: If nobody could do everything any more.
        """

        def work(transaction: Transaction) -> None:
            change = self._begin(transaction, actor)
            role = self._changeable(change, role_id, None)
            named = transaction.permissions.get_all(permission_ids)
            removed = [permission for permission in named if permission.name in role.permissions]
            if any(permission.is_everything for permission in removed):
                change.require_administrator_left(without=(role,))
            if removed:
                change.take_permission(role, removed)
                change.tell_of_roles()

        self._uow.run(work)
        return self._roles.list_permissions_of(role_id)

    def _may_grant_wildcards(self, role: Role) -> bool:
        return role.is_system_role or self._wildcards_in_any_role

    def _begin(self, transaction: Transaction, actor: Agent) -> AccessChange:
        return AccessChange.begin(transaction, actor=actor, clock=self._clock, ids=self._ids)

    @staticmethod
    def _changeable(change: AccessChange, role_id: RoleId, expected: Collection[int] | None) -> Role:
        role = change.transaction.roles.get(role_id)
        require_version(role.version, expected)
        change.require_rank_over(role.permissions)
        return role


def _values_of(role: Role) -> dict[str, object]:
    return {"name": role.name, "description": role.description}
