"""Roles and permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.domain.events import SequencedBy
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.domain.roles import Permission, Role, RoleMap, role_name_key
from userservice_core.domain.users import UserStatus
from userservice_core.errors import PermissionNotFoundError, RoleNotFoundError
from userservice_core.infrastructure.postgres.access_epoch import LOCK_EPOCH, RAISE_EPOCH
from userservice_core.infrastructure.postgres.errors import PERMISSIONS_VERSION, ROLES_UNUSED, ROLES_VERSION
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.transactions import WriteOrder

if TYPE_CHECKING:
    from collections.abc import Collection

    from userservice_core.domain.ids import PermissionId, RoleId, UserId
    from userservice_core.infrastructure.postgres.database import Cursor, Reads
    from userservice_core.infrastructure.postgres.event_recorder import EventRecorder
    from userservice_core.infrastructure.postgres.statements import Step
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

# The limit tells a planner without statistics that there is one epoch. With its guess of thousands it believes in
# millions of rows, and compiles the statement, which takes a hundred times as long as running it.
_ROLE_MAP: Final = Statement(
    text(
        """
        SELECT access_epoch.epoch, roles.role_id,
            array_agg(resource || ':' || action) FILTER (WHERE resource IS NOT NULL)
        FROM (SELECT epoch FROM access_epoch LIMIT 1) AS access_epoch
            LEFT JOIN roles ON true
            LEFT JOIN role_permissions USING (role_id)
            LEFT JOIN permissions USING (permission_id)
        GROUP BY access_epoch.epoch, roles.role_id
        """
    )
)
_SELECT_ROLES: Final = """
    SELECT role_id, name, description, is_system_role, version,
        ARRAY(
            SELECT resource || ':' || action
            FROM role_permissions JOIN permissions USING (permission_id)
            WHERE role_permissions.role_id = roles.role_id
        )
    FROM roles
"""
_FIND_BY_NAME: Final = Statement(text(f"{_SELECT_ROLES} WHERE name_key = :name_key"))
_GET: Final = Statement(text(f"{_SELECT_ROLES} WHERE role_id = :role_id"))
_GET_ALL: Final = Statement(text(f"{_SELECT_ROLES} WHERE role_id = ANY (CAST(:role_ids AS uuid[])) ORDER BY name_key"))
_LIST: Final = Statement(text(f"{_SELECT_ROLES} ORDER BY name_key"))
_LIST_GRANTING: Final = Statement(
    text(
        f"""
        {_SELECT_ROLES}
        WHERE role_id IN (SELECT role_id FROM role_permissions WHERE permission_id = :permission_id)
        ORDER BY name_key
        """  # noqa: S608 - constants of ours
    )
)
_COUNT: Final = Statement(text("SELECT count(*) FROM roles"))
_PERMISSIONS_OF_USER: Final = Statement(
    text(
        f"""
        SELECT DISTINCT resource || ':' || action
        FROM users
            JOIN user_roles USING (user_id)
            JOIN role_permissions USING (role_id)
            JOIN permissions USING (permission_id)
        WHERE user_id = :user_id AND status = '{UserStatus.ACTIVE}' AND deleted_at IS NULL
        """  # noqa: S608 - a constant of ours
    )
)
# By role, in the order of the index, up to the first one who counts: never through all that users hold.
_HAS_ADMINISTRATOR: Final = Statement(
    text(
        f"""
        SELECT EXISTS (
            SELECT FROM permissions JOIN role_permissions AS granting USING (permission_id) CROSS JOIN LATERAL (
                SELECT FROM user_roles JOIN users USING (user_id)
                WHERE role_id = granting.role_id AND status = '{UserStatus.ACTIVE}' AND deleted_at IS NULL
                    AND NOT (
                        role_id = ANY (CAST(:without AS uuid[]))
                        AND (user_id = :of OR CAST(:of AS uuid) IS NULL)
                    )
                ORDER BY user_created_at, user_id LIMIT 1
            ) AS holder
            WHERE resource || ':' || action = '{EVERYTHING}'
        )
        """  # noqa: S608 - constants of ours
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
_SELECT_PERMISSIONS: Final = """
    SELECT permission_id, resource, action, description, group_name, is_system_permission, version FROM permissions
"""
_BY_NAME: Final = """ORDER BY (resource || ':' || action) COLLATE "C\""""
_GET_PERMISSION: Final = Statement(text(f"{_SELECT_PERMISSIONS} WHERE permission_id = :permission_id"))
_GET_ALL_PERMISSIONS: Final = Statement(
    text(f"{_SELECT_PERMISSIONS} WHERE permission_id = ANY (CAST(:permission_ids AS uuid[])) {_BY_NAME}")
)
_LIST_NAMED_PERMISSIONS: Final = Statement(
    text(f"{_SELECT_PERMISSIONS} WHERE resource || ':' || action = ANY (:names) {_BY_NAME}")
)
_LIST_PERMISSIONS: Final = Statement(text(f"{_SELECT_PERMISSIONS} {_BY_NAME}"))
# One row with nothing in it for a role that grants nothing, and none for a role that is not there.
_LIST_PERMISSIONS_OF: Final = Statement(
    text(
        f"""
        SELECT permission_id, resource, action, permissions.description, group_name, is_system_permission,
            permissions.version
        FROM roles
            LEFT JOIN role_permissions USING (role_id)
            LEFT JOIN permissions USING (permission_id)
        WHERE role_id = :role_id
        {_BY_NAME}
        """  # noqa: S608 - a constant of ours
    )
)
_COUNT_PERMISSIONS: Final = Statement(text("SELECT count(*) FROM permissions"))
_EPOCH: Final = Statement(text("SELECT epoch FROM access_epoch"))
_INSERT: Final = Statement(
    text(
        """
        INSERT INTO roles (role_id, name, name_key, description, is_system_role, version, event_version)
        VALUES (:role_id, :name, :name_key, :description, :is_system_role, :version, :event_version)
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
_DELETE: Final = Statement(
    text(
        f"""
        WITH removed AS (
            DELETE FROM roles
            WHERE role_id = :role_id AND NOT EXISTS (SELECT FROM user_roles WHERE role_id = :role_id)
            RETURNING role_id
        )
        SELECT require_row((SELECT count(*) FROM removed), '{ROLES_UNUSED}')
        """  # noqa: S608 - a constant of ours
    )
)
_INSERT_PERMISSION: Final = Statement(
    text(
        """
        INSERT INTO permissions (
            permission_id, resource, action, description, group_name, is_system_permission, version, event_version
        )
        VALUES (
            :permission_id, :resource, :action, :description, :group_name, :is_system_permission, :version,
            :event_version
        )
        """
    )
)
_SAVE_PERMISSION: Final = Statement(
    text(
        f"""
        WITH saved AS (
            UPDATE permissions
            SET resource = :resource, action = :action, description = :description, group_name = :group_name,
                is_system_permission = :is_system_permission, version = :version
            WHERE permission_id = :permission_id AND version = CAST(:version AS bigint) - 1
            RETURNING permission_id
        )
        SELECT require_row((SELECT count(*) FROM saved), '{PERMISSIONS_VERSION}')
        """  # noqa: S608 - a constant of ours
    )
)
_DELETE_PERMISSION: Final = Statement(text("DELETE FROM permissions WHERE permission_id = :permission_id"))


class PostgresRoleReader:
    """Reads roles in autocommit; a `ports.roles.RoleReader`."""

    def __init__(self, database: Reads) -> None:
        self._database = database

    def role_map(self) -> RoleMap:
        rows = self._database.fetch_all(_ROLE_MAP)
        granted = {role_id: frozenset(names or ()) for _, role_id, names in rows if role_id is not None}
        return RoleMap(epoch=rows[0][0], permissions=granted)

    def find_by_name(self, name: str) -> Role | None:
        row = self._database.fetch_one(_FIND_BY_NAME, name_key=role_name_key(name))
        return None if row is None else _role_of(row)

    def is_held(self, role_id: RoleId) -> bool:
        return self._database.fetch_one(_IS_HELD, role_id=role_id) == (True,)

    def list_permissions(self) -> tuple[Permission, ...]:
        return tuple(_permission_of(row) for row in self._database.fetch_all(_LIST_PERMISSIONS))

    def get(self, role_id: RoleId) -> Role:
        row = self._database.fetch_one(_GET, role_id=role_id)
        if row is None:
            raise RoleNotFoundError
        return _role_of(row)

    def list_roles(self) -> tuple[Role, ...]:
        return tuple(_role_of(row) for row in self._database.fetch_all(_LIST))

    def get_permission(self, permission_id: PermissionId) -> Permission:
        row = self._database.fetch_one(_GET_PERMISSION, permission_id=permission_id)
        if row is None:
            raise PermissionNotFoundError
        return _permission_of(row)

    def list_permissions_of(self, role_id: RoleId) -> tuple[Permission, ...]:
        rows = self._database.fetch_all(_LIST_PERMISSIONS_OF, role_id=role_id)
        if not rows:
            raise RoleNotFoundError
        return tuple(_permission_of(row) for row in rows if row[0] is not None)

    def list_roles_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        return tuple(_role_of(row) for row in self._database.fetch_all(_LIST_GRANTING, permission_id=permission_id))


class PostgresRoleRepository:
    """The roles of one transaction; a `ports.roles.RoleRepository`."""

    def __init__(self, transaction: OpenTransaction, recorder: EventRecorder) -> None:
        self._transaction = transaction
        self._recorder = recorder

    def lock(self) -> int:
        _, found = self._transaction.read_locked(LOCK_EPOCH(), _EPOCH())
        (epoch,) = found.fetchall()[0]
        return int(epoch)

    def get(self, role_id: RoleId) -> Role:
        row = self._read(_GET(role_id=role_id)).fetchone()
        if row is None:
            raise RoleNotFoundError
        return _role_of(row)

    def get_all(self, role_ids: Collection[RoleId]) -> tuple[Role, ...]:
        wanted = set(role_ids)
        found = tuple(_role_of(row) for row in self._read(_GET_ALL(role_ids=list(wanted))))
        if len(found) < len(wanted):
            raise RoleNotFoundError
        return found

    def list_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        return tuple(_role_of(row) for row in self._read(_LIST_GRANTING(permission_id=permission_id)))

    def count(self) -> int:
        return _number(self._read(_COUNT()))

    def permissions_of(self, user_id: UserId) -> PermissionSet:
        return PermissionSet(frozenset(name for (name,) in self._read(_PERMISSIONS_OF_USER(user_id=user_id))))

    def has_administrator(self, *, without: Collection[RoleId], of: UserId | None = None) -> bool:
        return self._read(_HAS_ADMINISTRATOR(without=list(without), of=of)).fetchone() == (True,)

    def add(self, role: Role) -> None:
        insertion = _INSERT(**_values_of(role), event_version=0)
        self._recorder.starts_with(SequencedBy.ROLE, role.id, insertion)
        self._transaction.write(insertion)
        self._grant(role)

    def save(self, role: Role) -> None:
        self._transaction.write(_SAVE(**_values_of(role)))
        self._transaction.write(_WITHDRAW(role_id=role.id, names=sorted(role.permissions)))
        self._grant(role)

    def remove(self, role_id: RoleId) -> None:
        self._transaction.write(_DELETE(role_id=role_id), order=WriteOrder.REMOVAL)
        self._transaction.write(RAISE_EPOCH())

    def _read(self, step: Step) -> Cursor:
        _, found = self._transaction.read_locked(LOCK_EPOCH(), step)
        return found

    def _grant(self, role: Role) -> None:
        self._transaction.write(_GRANT(role_id=role.id, names=sorted(role.permissions)))
        self._transaction.write(RAISE_EPOCH())


class PostgresPermissionRepository:
    """The permissions of one transaction; a `ports.roles.PermissionRepository`."""

    def __init__(self, transaction: OpenTransaction, recorder: EventRecorder) -> None:
        self._transaction = transaction
        self._recorder = recorder

    def get(self, permission_id: PermissionId) -> Permission:
        row = self._read(_GET_PERMISSION(permission_id=permission_id)).fetchone()
        if row is None:
            raise PermissionNotFoundError
        return _permission_of(row)

    def get_all(self, permission_ids: Collection[PermissionId]) -> tuple[Permission, ...]:
        wanted = set(permission_ids)
        rows = self._read(_GET_ALL_PERMISSIONS(permission_ids=list(wanted)))
        found = tuple(_permission_of(row) for row in rows)
        if len(found) < len(wanted):
            raise PermissionNotFoundError
        return found

    def list_named(self, names: Collection[str]) -> tuple[Permission, ...]:
        return tuple(_permission_of(row) for row in self._read(_LIST_NAMED_PERMISSIONS(names=list(names))))

    def count(self) -> int:
        return _number(self._read(_COUNT_PERMISSIONS()))

    def add(self, permission: Permission) -> None:
        insertion = _INSERT_PERMISSION(**_permission_values_of(permission), event_version=0)
        self._recorder.starts_with(SequencedBy.PERMISSION, permission.id, insertion)
        self._write(insertion)

    def save(self, permission: Permission) -> None:
        self._write(_SAVE_PERMISSION(**_permission_values_of(permission)))

    def remove(self, permission_id: PermissionId) -> None:
        self._write(_DELETE_PERMISSION(permission_id=permission_id), order=WriteOrder.REMOVAL)

    def _read(self, step: Step) -> Cursor:
        _, found = self._transaction.read_locked(LOCK_EPOCH(), step)
        return found

    def _write(self, step: Step, *, order: WriteOrder = WriteOrder.OTHER) -> None:
        self._transaction.write(step, order=order)
        self._transaction.write(RAISE_EPOCH())


def _number(cursor: Cursor) -> int:
    ((number,),) = cursor.fetchall()
    return int(number)


def _role_of(row: tuple[Any, ...]) -> Role:
    role_id, name, description, is_system_role, version, permissions = row
    return Role(
        id=role_id,
        name=name,
        description=description,
        is_system_role=is_system_role,
        permissions=frozenset(permissions),
        version=version,
    )


def _permission_of(row: tuple[Any, ...]) -> Permission:
    permission_id, resource, action, description, group_name, is_system_permission, version = row
    return Permission(
        id=permission_id,
        resource=resource,
        action=action,
        description=description,
        group_name=group_name,
        is_system_permission=is_system_permission,
        version=version,
    )


def _permission_values_of(permission: Permission) -> dict[str, object]:
    return {
        "permission_id": permission.id,
        "resource": permission.resource,
        "action": permission.action,
        "description": permission.description,
        "group_name": permission.group_name,
        "is_system_permission": permission.is_system_permission,
        "version": permission.version,
    }


def _values_of(role: Role) -> dict[str, object]:
    return {
        "role_id": role.id,
        "name": role.name,
        "name_key": role.name_key,
        "description": role.description,
        "is_system_role": role.is_system_role,
        "version": role.version,
    }
