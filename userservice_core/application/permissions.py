"""Permissions that roles may grant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.access_changes import AccessChange, Agent, require_version
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.events import PermissionCreated, PermissionDeleted, PermissionUpdated
from userservice_core.domain.ids import PermissionId
from userservice_core.domain.lists import page_of
from userservice_core.domain.roles import MAX_PERMISSIONS, Permission, permission_position, role_position
from userservice_core.errors import LimitReachedError, PermissionInUseError, SystemObjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.roles import Role
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


class Permissions:
    """Reading and changing permissions; their names are what other services check."""

    def __init__(self, *, uow: UnitOfWork, roles: RoleReader, clock: Clock, ids: IdGenerator) -> None:
        self._uow = uow
        self._roles = roles
        self._clock = clock
        self._ids = ids

    def list_page(self, *, request: PageRequest) -> Page[Permission]:
        """Return some of the permissions, of which there are at most :data:`MAX_PERMISSIONS`, by name."""
        return page_of(self._roles.list_permissions(), request, position_of=permission_position)

    def get(self, *, permission_id: PermissionId) -> Permission:
        """
        Return a permission.

        Raises:
            PermissionNotFoundError: If there is none with this id.
        """
        return self._roles.get_permission(permission_id)

    def list_roles(self, *, permission_id: PermissionId, request: PageRequest) -> Page[Role]:
        """
        Return some of the roles that grant a permission by its name, not through a wildcard, by their names.

        Raises:
            PermissionNotFoundError: If there is none with this id.
        """
        granting = self._roles.list_roles_granting(permission_id)
        if not granting:
            self._roles.get_permission(permission_id)
        return page_of(granting, request, position_of=role_position)

    def create(
        self, *, actor: Agent, resource: str, action: str, description: str | None, group_name: str | None
    ) -> Permission:
        """
        Make a permission that no role grants yet.

        Raises:
            InvalidInputError: If the name or one of the texts is not valid.
            AlreadyExistsError: If a permission has this name.
            LimitReachedError: If there are as many permissions as there may be.
        """
        permission = Permission.create(
            permission_id=PermissionId(self._ids.new()),
            resource=resource,
            action=action,
            description=description,
            group_name=group_name,
        )

        def work(transaction: Transaction) -> Permission:
            change = self._begin(transaction, actor)
            if transaction.permissions.count() >= MAX_PERMISSIONS:
                raise LimitReachedError(limit=MAX_PERMISSIONS)
            transaction.permissions.add(permission)
            change.tell_of_roles()
            change.audit(
                AuditAction.PERMISSION_CREATED, Subject.permission(permission.id), after=_values_of(permission)
            )
            transaction.record(
                PermissionCreated(
                    id=change.event_id(),
                    occurred_at=change.now,
                    permission_id=permission.id,
                    name=permission.name,
                    description=permission.description,
                    group_name=permission.group_name,
                )
            )
            return permission

        return self._uow.run(work)

    def change(
        self,
        *,
        actor: Agent,
        permission_id: PermissionId,
        revise: Callable[[Permission], Permission],
        expected: Collection[int] | None = None,
    ) -> Permission:
        """
        Give a permission another name, description or group.

        Whoever holds it holds it under its new name; so nobody gives it a name that they do not hold themselves.

        Args:
            actor: Who does it.
            permission_id: Of the permission.
            revise: Returns the next version of the permission it is given, by :meth:`Permission.revised`; may be called
                again.
            expected: Versions that the client takes the permission to have; None for any.

        Raises:
            PermissionNotFoundError: If there is none with this id.
            StaleVersionError: If it has none of the versions expected.
            TargetOutranksActorError: If it is renamed by somebody who does not hold it.
            GrantNotHeldError: If they do not hold the new name.
            AlreadyExistsError: If another permission has this name.
        """

        def work(transaction: Transaction) -> Permission:
            change = self._begin(transaction, actor)
            permission = transaction.permissions.get(permission_id)
            require_version(permission.version, expected)
            revised = revise(permission)
            if revised is permission:
                return permission
            if revised.name != permission.name:
                change.require_rank_over((permission.name,))
                change.require_held((revised.name,))
            transaction.permissions.save(revised)
            change.tell_of_roles()
            change.audit(
                AuditAction.PERMISSION_UPDATED,
                Subject.permission(permission_id),
                before=_values_of(permission),
                after=_values_of(revised),
            )
            transaction.record(
                PermissionUpdated(
                    id=change.event_id(),
                    occurred_at=change.now,
                    permission_id=permission.id,
                    name=revised.name,
                    description=revised.description,
                    group_name=revised.group_name,
                )
            )
            return revised

        return self._uow.run(work)

    def delete(
        self,
        *,
        actor: Agent,
        permission_id: PermissionId,
        force: bool = False,
        expected: Collection[int] | None = None,
    ) -> None:
        """
        Delete a permission.

        Args:
            actor: Who does it.
            permission_id: Of the permission.
            force: Whether to withdraw it from the roles that grant it and the clients that hold it.
            expected: Versions that the client takes the permission to have; None for any.

        Raises:
            PermissionNotFoundError: If there is none with this id.
            SystemObjectError: If it is one of the system.
            StaleVersionError: If it has none of the versions expected.
            PermissionInUseError: Without *force*, if a role grants it or a client holds it.
            TargetOutranksActorError: If one of them has what the actor does not hold.
        """

        def work(transaction: Transaction) -> None:
            change = self._begin(transaction, actor)
            permission = transaction.permissions.get(permission_id)
            require_version(permission.version, expected)
            if permission.is_system_permission:
                raise SystemObjectError
            granting = transaction.roles.list_granting(permission_id)
            holding = transaction.clients.list_holding(permission_id)
            if (granting or holding) and not force:
                raise PermissionInUseError
            for permissions in (*(role.permissions for role in granting), *(client.permissions for client in holding)):
                change.require_rank_over(permissions)
            for role in granting:
                change.take_permission(role, (permission,))
            for client in holding:
                transaction.clients.save(client.holding(client.permissions - {permission.name}))
            transaction.permissions.remove(permission_id)
            change.tell_of_roles()
            change.audit(
                AuditAction.PERMISSION_DELETED, Subject.permission(permission_id), before=_values_of(permission)
            )
            transaction.record(
                PermissionDeleted(
                    id=change.event_id(),
                    occurred_at=change.now,
                    permission_id=permission_id,
                    name=permission.name,
                )
            )

        self._uow.run(work)

    def _begin(self, transaction: Transaction, actor: Agent) -> AccessChange:
        return AccessChange.begin(transaction, actor=actor, clock=self._clock, ids=self._ids)


def _values_of(permission: Permission) -> dict[str, object]:
    return {"name": permission.name, "description": permission.description, "groupName": permission.group_name}
