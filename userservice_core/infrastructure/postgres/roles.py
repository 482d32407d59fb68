"""Roles and permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from userservice_core.domain.roles import Permission, Role, RoleMap
from userservice_core.infrastructure.postgres.errors import ROLES_VERSION
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from userservice_core.domain.ids import RoleId
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_ROLE_MAP: Final = Statement(
    text(
        """
        SELECT access_epoch.epoch, roles.role_id,
            array_agg(resource || ':' || action) FILTER (WHERE resource IS NOT NULL)
        FROM access_epoch
            LEFT JOIN roles ON true
            LEFT JOIN role_permissions USING (role_id)
            LEFT JOIN permissions USING (permission_id)
        GROUP BY access_epoch.epoch, roles.role_id
        """
    )
)
_FIND_BY_NAME: Final = Statement(
    text(
        """
        SELECT role_id, name, description, is_system_role, version,
            ARRAY(
                SELECT resource || ':' || action
                FROM role_permissions JOIN permissions USING (permission_id)
                WHERE role_permissions.role_id = roles.role_id
            )
        FROM roles
        WHERE name_key = :name_key
        """
    )
)
_IS_HELD: Final = Statement(
    text(
        """
        SELECT EXISTS (
            SELECT FROM user_roles JOIN users USING (user_id) WHERE role_id = :role_id AND deleted_at IS NULL
        )
        """
    )
)
_LIST_PERMISSIONS: Final = Statement(
    text(
        """
        SELECT permission_id, resource, action, description, group_name, is_system_permission
        FROM permissions
        ORDER BY (resource || ':' || action) COLLATE "C"
        """
    )
)
_INSERT: Final = Statement(
    text(
        """
        INSERT INTO roles (role_id, name, name_key, description, is_system_role, version)
        VALUES (:role_id, :name, :name_key, :description, :is_system_role, :version)
        """
    )
)
_SAVE: Final = Statement(
    text(
        f"""
        WITH saved AS (
            UPDATE roles
            SET name = :name, name_key = :name_key, description = :description,
                is_system_role = :is_system_role, version = :version
            WHERE role_id = :role_id AND version = CAST(:version AS bigint) - 1
            RETURNING role_id
        )
        SELECT require_row((SELECT count(*) FROM saved), '{ROLES_VERSION}')
        """  # noqa: S608 - a constant of ours
    )
)
_GRANT: Final = Statement(
    text(
        """
        INSERT INTO role_permissions (role_id, permission_id)
        SELECT :role_id, permission_id FROM permissions WHERE resource || ':' || action = ANY (:names)
        ON CONFLICT DO NOTHING
        """
    )
)
_WITHDRAW: Final = Statement(
    text(
        """
        DELETE FROM role_permissions USING permissions
        WHERE role_id = :role_id AND permissions.permission_id = role_permissions.permission_id
            AND resource || ':' || action <> ALL (:names)
        """
    )
)
_RAISE_EPOCH: Final = Statement(text("UPDATE access_epoch SET epoch = epoch + 1"))


class PostgresRoleReader:
    """Reads roles in autocommit; a `ports.roles.RoleReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def role_map(self) -> RoleMap:
        rows = self._database.fetch_all(_ROLE_MAP)
        granted = {role_id: frozenset(names or ()) for _, role_id, names in rows if role_id is not None}
        return RoleMap(epoch=rows[0][0], permissions=granted)

    def find_by_name(self, name: str) -> Role | None:
        row = self._database.fetch_one(_FIND_BY_NAME, name_key=name.casefold())
        if row is None:
            return None
        role_id, stored_name, description, is_system_role, version, permissions = row
        return Role(
            id=role_id,
            name=stored_name,
            description=description,
            is_system_role=is_system_role,
            permissions=frozenset(permissions),
            version=version,
        )

    def is_held(self, role_id: RoleId) -> bool:
        return self._database.fetch_one(_IS_HELD, role_id=role_id) == (True,)

    def list_permissions(self) -> tuple[Permission, ...]:
        return tuple(
            Permission(
                id=permission_id,
                resource=resource,
                action=action,
                description=description,
                group_name=group_name,
                is_system_permission=is_system_permission,
            )
            for permission_id, resource, action, description, group_name, is_system_permission in (
                self._database.fetch_all(_LIST_PERMISSIONS)
            )
        )


class PostgresRoleRepository:
    """The roles of one transaction; a `ports.roles.RoleRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def add(self, role: Role) -> None:
        self._transaction.write(_INSERT(**_values_of(role)))
        self._grant(role)

    def save(self, role: Role) -> None:
        self._transaction.write(_SAVE(**_values_of(role)))
        self._transaction.write(_WITHDRAW(role_id=role.id, names=sorted(role.permissions)))
        self._grant(role)

    def _grant(self, role: Role) -> None:
        self._transaction.write(_GRANT(role_id=role.id, names=sorted(role.permissions)))
        self._transaction.write(_RAISE_EPOCH())


def _values_of(role: Role) -> dict[str, object]:
    return {
        "role_id": role.id,
        "name": role.name,
        "name_key": role.name_key,
        "description": role.description,
        "is_system_role": role.is_system_role,
        "version": role.version,
    }
