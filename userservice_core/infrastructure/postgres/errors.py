"""From the driver's errors to those of the service: by SQLSTATE, and by the name of the constraint, in one place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import psycopg

from userservice_core.errors import (
    AlreadyExistsError,
    ClientNotFoundError,
    ConflictError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    EmailTakenError,
    Fault,
    InvalidInputError,
    PermissionNotFoundError,
    ProgrammingError,
    RoleInUseError,
    RoleNotFoundError,
    SchemaMismatchError,
    StaleVersionError,
    UserNotFoundError,
    UserServiceError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class RetriableError(DatabaseUnavailableError):
    """The transaction was rolled back through no fault of its own; the same work may succeed at once."""


class ConnectionLostError(RetriableError):
    """The connection is of no use any more: it broke, or the server is going away or has become a standby."""


USERS_VERSION: Final = "users_version"
ROLES_VERSION: Final = "roles_version"
PROFILES_VERSION: Final = "user_profiles_version"
ADDRESSES_VERSION: Final = "addresses_version"
ROLES_UNUSED: Final = "roles_unused"
PERMISSIONS_VERSION: Final = "permissions_version"
CLIENTS_VERSION: Final = "clients_version"
"""Rules that statements check through the database's function `require_row`."""

BY_CONSTRAINT: Final[Mapping[str, type[UserServiceError]]] = {
    "pk_users": AlreadyExistsError,
    "pk_user_emails": EmailTakenError,
    "pk_credentials": AlreadyExistsError,
    "fk_credentials_user_id_users": UserNotFoundError,
    "pk_login_states": AlreadyExistsError,
    "fk_login_states_user_id_users": UserNotFoundError,
    "pk_sessions": AlreadyExistsError,
    "fk_sessions_user_id_users": UserNotFoundError,
    "pk_one_time_tokens": AlreadyExistsError,
    "fk_one_time_tokens_user_id_users": UserNotFoundError,
    # Two tokens of one purpose at the same time: the second try sees the first one and ends it.
    "uq_one_time_tokens_unused": RetriableError,
    "fk_mfa_factors_user_id_users": UserNotFoundError,
    "fk_recovery_codes_user_id_users": UserNotFoundError,
    # The first version of a profile is inserted: somebody else wrote one meanwhile.
    "pk_user_profiles": StaleVersionError,
    "fk_user_profiles_user_id_users": UserNotFoundError,
    "pk_addresses": AlreadyExistsError,
    "fk_addresses_user_id_users": UserNotFoundError,
    "uq_addresses_default_shipping": AlreadyExistsError,
    "uq_addresses_default_billing": AlreadyExistsError,
    "pk_user_roles": AlreadyExistsError,
    "fk_user_roles_user_id_users": UserNotFoundError,
    "fk_user_roles_role_id_roles": RoleNotFoundError,
    "pk_audit_entries": AlreadyExistsError,
    "pk_audit_details": AlreadyExistsError,
    "pk_roles": AlreadyExistsError,
    "uq_roles_name_key": AlreadyExistsError,
    "pk_permissions": AlreadyExistsError,
    "uq_permissions_resource_action": AlreadyExistsError,
    "pk_role_permissions": AlreadyExistsError,
    "fk_role_permissions_role_id_roles": RoleNotFoundError,
    "fk_role_permissions_permission_id_permissions": PermissionNotFoundError,
    "pk_service_clients": AlreadyExistsError,
    "fk_client_secrets_client_id_service_clients": ClientNotFoundError,
    "fk_client_permissions_client_id_service_clients": ClientNotFoundError,
    "fk_client_permissions_permission_id_permissions": PermissionNotFoundError,
    USERS_VERSION: StaleVersionError,
    ROLES_VERSION: StaleVersionError,
    PROFILES_VERSION: StaleVersionError,
    ADDRESSES_VERSION: StaleVersionError,
    ROLES_UNUSED: RoleInUseError,
    PERMISSIONS_VERSION: StaleVersionError,
    CLIENTS_VERSION: StaleVersionError,
}
"""What a violated constraint means to the caller; one that is not listed can be violated by a fault of ours only."""

_BY_SQLSTATE: Final[Mapping[str, type[UserServiceError]]] = {
    "40001": RetriableError,  # serialization failure
    "40P01": RetriableError,  # deadlock
    "57014": DeadlineExceededError,  # cancelled, by the watchdog or by statement_timeout
    "55P03": DeadlineExceededError,  # a lock was not had within lock_timeout
    "25P03": DeadlineExceededError,  # idle in transaction for too long: this process was frozen
    "25006": ConnectionLostError,  # read-only: what was the primary is a standby now
    "57P01": ConnectionLostError,  # terminated
    "57P02": ConnectionLostError,  # crash of another backend
    "57P03": ConnectionLostError,  # starting up or shutting down
    "57P05": ConnectionLostError,  # idle for too long
    "26000": ConnectionLostError,  # a pooler lent another backend, which has not prepared the statement
    "0A000": ConnectionLostError,  # a prepared statement's result type was changed by a migration
    "42P01": SchemaMismatchError,
    "42703": SchemaMismatchError,
    "42883": SchemaMismatchError,
    "42501": SchemaMismatchError,
}

_BY_CLASS: Final[Mapping[str, type[UserServiceError]]] = {
    "08": ConnectionLostError,
    "53": DatabaseUnavailableError,  # out of disk, memory or connections
    "58": DatabaseUnavailableError,  # fault of the system
    "XX": DatabaseUnavailableError,  # fault within the server
}

_NOT_STORABLE: Final = Fault((), "invalid-value", "The input holds a value that cannot be stored, such as a NUL.")


def translated(error: psycopg.Error | UnicodeEncodeError) -> UserServiceError:
    """Return what *error* means in the terms of the service; the caller raises it from *error*."""
    if isinstance(error, UnicodeEncodeError):
        return InvalidInputError((_NOT_STORABLE,))
    state = error.sqlstate
    if state is None:
        return _without_sqlstate(error)
    if state.startswith("23"):
        return _of_constraint(error.diag.constraint_name)
    if state.startswith("22"):
        return InvalidInputError((_NOT_STORABLE,))
    found = _BY_SQLSTATE.get(state) or _BY_CLASS.get(state[:2])
    return ProgrammingError(f"The database refused a statement with SQLSTATE {state}.") if found is None else found()


def _without_sqlstate(error: psycopg.Error) -> UserServiceError:
    """Judge what the driver found out by itself: a broken connection, or a value that it cannot send."""
    if isinstance(error, psycopg.DataError):
        return InvalidInputError((_NOT_STORABLE,))
    if isinstance(error, psycopg.OperationalError):
        return ConnectionLostError()
    return ProgrammingError(f"The driver refused a statement: {type(error).__name__}")


_OF_PARTITION: Final = re.compile(r"^(?:pk_)?(audit_(?:entries|details))_(?:before|(?:\d{4}_\d\d|rest)_pkey)$")


def _of_constraint(name: str | None) -> UserServiceError:
    if name is None or name.startswith("ck_"):
        return ProgrammingError(f"A rule of the database is broken: {name or 'NOT NULL'}")
    # A partition has the rules of its table under names of its own.
    of_table = _OF_PARTITION.sub(r"pk_\1", name)
    return BY_CONSTRAINT.get(of_table, ConflictError)()
