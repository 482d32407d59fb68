"""Every rule that the database holds, broken on purpose, and what the caller is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import text

from tests.integration.postgres.building import new_session, new_user, register
from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.errors import (
    AlreadyExistsError,
    ClientNotFoundError,
    ConflictError,
    EmailTakenError,
    PermissionNotFoundError,
    ProgrammingError,
    RoleNotFoundError,
    StaleVersionError,
    UserNotFoundError,
    UserServiceError,
)
from userservice_core.infrastructure.postgres.errors import (
    ADDRESSES_VERSION,
    BY_CONSTRAINT,
    CLIENTS_VERSION,
    PERMISSIONS_VERSION,
    PROFILES_VERSION,
    ROLES_UNUSED,
    ROLES_VERSION,
    USERS_VERSION,
    RetriableError,
)
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.testing.samples import sample_address, sample_client

if TYPE_CHECKING:
    import psycopg

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

_COPY: Final = "INSERT INTO {0} SELECT * FROM {0}"
_OF_NOBODY: Final = "INSERT INTO {} VALUES (gen_random_uuid(), {})"

# For each constraint a statement that breaks it and no other, where there is one user with one row of each kind.
_BREAKING: Final = {
    "pk_users": _COPY.format("users"),
    "ck_users_status": "UPDATE users SET status = 'asleep'",
    "pk_user_emails": _COPY.format("user_emails"),
    "pk_credentials": _COPY.format("credentials"),
    "fk_credentials_user_id_users": _OF_NOBODY.format("credentials", "'hash', now(), false, '{}'"),
    "pk_login_states": _COPY.format("login_states"),
    "fk_login_states_user_id_users": _OF_NOBODY.format("login_states", "NULL, 0, NULL, 0"),
    "pk_sessions": _COPY.format("sessions"),
    "fk_sessions_user_id_users": "UPDATE sessions SET user_id = gen_random_uuid()",
    "ck_sessions_current_hash": "UPDATE sessions SET current_hash = '\\x00'",
    "ck_sessions_previous_hash": "UPDATE sessions SET previous_hash = '\\x00'",
    "pk_one_time_tokens": "INSERT INTO one_time_tokens SELECT user_id, digest, email_key, purpose, created_at,"
    " expires_at, now() FROM one_time_tokens",
    "fk_one_time_tokens_user_id_users": "UPDATE one_time_tokens SET user_id = gen_random_uuid()",
    "ck_one_time_tokens_digest": "UPDATE one_time_tokens SET digest = '\\x00'",
    "uq_one_time_tokens_unused": "INSERT INTO one_time_tokens SELECT user_id, decode(repeat('ab', 32), 'hex'),"
    " email_key, purpose, created_at, expires_at FROM one_time_tokens",
    "pk_mfa_factors": _COPY.format("mfa_factors"),
    "fk_mfa_factors_user_id_users": _OF_NOBODY.format("mfa_factors", "'secret', now(), NULL, NULL, '{}'"),
    "pk_recovery_codes": _COPY.format("recovery_codes"),
    "fk_recovery_codes_user_id_users": "UPDATE recovery_codes SET user_id = gen_random_uuid()",
    "ck_recovery_codes_digest": "UPDATE recovery_codes SET digest = '\\x00'",
    "pk_user_profiles": _COPY.format("user_profiles"),
    "fk_user_profiles_user_id_users": "UPDATE user_profiles SET user_id = gen_random_uuid()",
    # A row that is no default breaks no other rule, and one that is breaks that of defaults only with another id.
    "pk_addresses": "INSERT INTO addresses SELECT * FROM addresses WHERE NOT is_default_shipping",
    "fk_addresses_user_id_users": "UPDATE addresses SET user_id = gen_random_uuid()",
    "ck_addresses_address_type": "UPDATE addresses SET address_type = 'castle'",
    "uq_addresses_default_shipping": "UPDATE addresses SET is_default_shipping = true",
    "uq_addresses_default_billing": "UPDATE addresses SET is_default_billing = true",
    "pk_user_roles": _COPY.format("user_roles"),
    "fk_user_roles_user_id_users": "UPDATE user_roles SET user_id = gen_random_uuid()",
    "fk_user_roles_role_id_roles": "UPDATE user_roles SET role_id = gen_random_uuid()",
    "pk_roles": "INSERT INTO roles SELECT role_id, 'x', 'x', NULL, false, 1 FROM roles",
    "uq_roles_name_key": "INSERT INTO roles SELECT gen_random_uuid(), name, name_key, NULL, false, 1 FROM roles",
    "pk_permissions": "INSERT INTO permissions SELECT permission_id, 'x', action, NULL, NULL, false FROM permissions",
    "uq_permissions_resource_action": "INSERT INTO permissions"
    " SELECT gen_random_uuid(), resource, action, NULL, NULL, false FROM permissions",
    "pk_role_permissions": _COPY.format("role_permissions"),
    "fk_role_permissions_role_id_roles": "UPDATE role_permissions SET role_id = gen_random_uuid()",
    "fk_role_permissions_permission_id_permissions": "UPDATE role_permissions SET permission_id = gen_random_uuid()",
    "pk_service_clients": _COPY.format("service_clients"),
    "pk_client_secrets": _COPY.format("client_secrets"),
    "fk_client_secrets_client_id_service_clients": "UPDATE client_secrets SET client_id = gen_random_uuid()",
    "ck_client_secrets_digest": "UPDATE client_secrets SET digest = '\\x00'",
    "pk_client_permissions": _COPY.format("client_permissions"),
    "fk_client_permissions_client_id_service_clients": "UPDATE client_permissions SET client_id = gen_random_uuid()",
    "fk_client_permissions_permission_id_permissions": "UPDATE client_permissions"
    " SET permission_id = gen_random_uuid()",
    "pk_signing_keys": _COPY.format("signing_keys"),
    "ck_signing_keys_sealed": "UPDATE signing_keys SET sealed = NULL",
    "pk_job_leases": _COPY.format("job_leases"),
    "pk_setting_changes": _COPY.format("setting_changes"),
    "ck_setting_changes_version": "UPDATE setting_changes SET version = 0",
    "pk_access_epoch": _COPY.format("access_epoch"),
    "ck_access_epoch_singleton": "INSERT INTO access_epoch VALUES (false, 1)",
    "pk_audit_entries": _COPY.format("audit_entries"),
    "ck_audit_entries_subject": "INSERT INTO audit_entries"
    " SELECT now(), gen_random_uuid(), action, actor_kind, actor_id, 'user', NULL, outcome, reason, changed, request_id"
    " FROM audit_entries",
    "ck_audit_entries_outcome": "INSERT INTO audit_entries"
    " SELECT now(), gen_random_uuid(), action, actor_kind, actor_id, NULL, NULL, 'open', reason, changed, request_id"
    " FROM audit_entries",
    "pk_audit_details": _COPY.format("audit_details"),
    "pk_idempotency_keys": _COPY.format("idempotency_keys"),
    "ck_idempotency_keys_digest": "UPDATE idempotency_keys SET digest = '\\x00'",
    "pk_revocations": "INSERT INTO revocations OVERRIDING SYSTEM VALUE SELECT n.* FROM revocations"
    " AS n UNION ALL SELECT n.* FROM revocations AS n",
    "pk_rate_counters": _COPY.format("rate_counters"),
    "pk_userservice_inbox": _COPY.format("userservice_inbox"),
    "pk_userservice_inbox_event": _COPY.format("userservice_inbox_event"),
}

_MEANING: Final[dict[str, type[UserServiceError]]] = {
    "pk_user_emails": EmailTakenError,
    "pk_access_epoch": ConflictError,
    "pk_client_secrets": ConflictError,
    "pk_signing_keys": ConflictError,
    "pk_job_leases": ConflictError,
    "pk_setting_changes": ConflictError,
    "pk_client_permissions": ConflictError,
    "pk_mfa_factors": ConflictError,
    "pk_recovery_codes": ConflictError,
    "pk_idempotency_keys": ConflictError,
    "pk_revocations": ConflictError,
    "pk_rate_counters": ConflictError,
    "pk_userservice_inbox": ConflictError,
    "pk_userservice_inbox_event": ConflictError,
    "uq_one_time_tokens_unused": RetriableError,
    "pk_user_profiles": StaleVersionError,
    "fk_user_roles_role_id_roles": RoleNotFoundError,
    "fk_role_permissions_role_id_roles": RoleNotFoundError,
    "fk_role_permissions_permission_id_permissions": PermissionNotFoundError,
    "fk_client_secrets_client_id_service_clients": ClientNotFoundError,
    "fk_client_permissions_client_id_service_clients": ClientNotFoundError,
    "fk_client_permissions_permission_id_permissions": PermissionNotFoundError,
}


def _expected(constraint: str) -> type[UserServiceError]:
    if constraint in _MEANING:
        return _MEANING[constraint]
    kinds = {"pk": AlreadyExistsError, "uq": AlreadyExistsError, "fk": UserNotFoundError, "ck": ProgrammingError}
    return kinds[constraint.partition("_")[0]]


@pytest.fixture
def filled(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """One user with one row of each kind."""
    user = uow.run(lambda transaction: register(transaction, new_user()))
    uow.run(lambda transaction: transaction.sessions.add(new_session(user)))
    observer.execute(
        "INSERT INTO one_time_tokens SELECT user_id, decode(repeat('00', 32), 'hex'), email_key, 'verify_email',"
        " now(), now() FROM users"
    )
    observer.execute("INSERT INTO mfa_factors SELECT user_id, 'secret', now(), NULL, NULL, '{}' FROM users")
    observer.execute("INSERT INTO recovery_codes SELECT user_id, decode(repeat('00', 32), 'hex'), now() FROM users")
    observer.execute(
        "INSERT INTO user_profiles (user_id, phone_verified, preferences, communication_preferences, version)"
        " SELECT user_id, false, '{}', '{}', 1 FROM users"
    )
    uow.run(lambda transaction: transaction.addresses.add(sample_address(user).as_default(DefaultKind)))
    uow.run(lambda transaction: transaction.addresses.add(sample_address(user)))
    uow.run(lambda transaction: transaction.clients.add(sample_client()))
    observer.execute(
        "INSERT INTO audit_entries (at, entry_id, action, actor_kind, outcome, changed, request_id)"
        " VALUES (now(), gen_random_uuid(), 'user.registered', 'anonymous', 'succeeded', '{}', 'x')"
    )
    observer.execute(
        "INSERT INTO audit_details (at, entry_id, before, after) SELECT at, entry_id, '{}', '{}' FROM audit_entries"
    )
    observer.execute("INSERT INTO job_leases VALUES ('purge', NULL, now(), NULL)")
    observer.execute("INSERT INTO setting_changes VALUES ('x', 1, NULL, '1', now(), 'system', NULL, 'x')")
    observer.execute("INSERT INTO signing_keys VALUES ('x', 'EdDSA', 's1', now(), now(), NULL)")
    observer.execute(
        "INSERT INTO idempotency_keys VALUES (gen_random_uuid(), decode(repeat('00', 32), 'hex'), 'x', now())"
    )
    observer.execute(
        "INSERT INTO revocations (kind, subject, not_before, version, expires_at) VALUES ('sid', 'x', now(), 0, now())"
    )
    observer.execute("INSERT INTO rate_counters VALUES ('x', 1, '1 s', now(), ARRAY[now()], NULL, now())")
    observer.execute("INSERT INTO userservice_inbox VALUES ('g', 't', 'k', 1)")
    observer.execute("INSERT INTO userservice_inbox_event VALUES ('g', 't', 'i')")


@pytest.mark.usefixtures("filled")
def test_each_constraint_is_translated_by_its_name(pool: Database) -> None:
    """The caller learns what is wrong in the terms of the domain, and the connection stays usable."""
    outcomes = {}
    for constraint, breaking in _BREAKING.items():
        try:
            pool.execute(Statement(text(breaking.replace("\\", "\\\\"))))
        except UserServiceError as error:
            outcomes[constraint] = type(error)

    assert outcomes == {constraint: _expected(constraint) for constraint in _BREAKING}


def test_no_constraint_is_forgotten(observer: psycopg.Connection) -> None:
    """A new one is broken by the test above too; those of the outbox and the bus are no business of a caller."""
    names = observer.execute(
        """
        SELECT conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
        WHERE connamespace = 'public'::regnamespace AND contype <> 'n' AND relname !~ '^(outbox|bus|alembic)_?'
            AND NOT relispartition
        UNION
        SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisunique AND relnamespace = 'public'::regnamespace AND relname !~ '(^|_)(outbox|bus|alembic)_?'
            AND NOT relispartition
        """
    ).fetchall()
    ours = {name for (name,) in names}

    assert ours == set(_BREAKING)
    assert (
        set(BY_CONSTRAINT)
        - {
            USERS_VERSION,
            ROLES_VERSION,
            ROLES_UNUSED,
            PERMISSIONS_VERSION,
            PROFILES_VERSION,
            ADDRESSES_VERSION,
            CLIENTS_VERSION,
        }
        <= ours
    )
