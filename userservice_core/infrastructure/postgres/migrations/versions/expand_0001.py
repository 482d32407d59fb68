"""
Create the first schema: users, sign-ins, sessions, roles, revocations, the outbox and the bus.

Written out, not derived from the present tables, so that it stays what it was when it was released.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from userservice_core.domain.roles import SYSTEM_PERMISSIONS, SYSTEM_ROLES

revision: Final = "expand_0001"
down_revision: Final = None
branch_labels: Final = ("expand",)
depends_on: Final = None

_USERS: Final = (
    """
    CREATE TABLE users (
        user_id uuid NOT NULL,
        email text NOT NULL,
        email_key text COLLATE "C" NOT NULL,
        email_verified boolean NOT NULL,
        pending_email text,
        status text NOT NULL,
        attributes jsonb NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        mfa_enabled boolean NOT NULL,
        deleted_at timestamptz,
        version bigint NOT NULL,
        access_version bigint NOT NULL,
        event_version bigint NOT NULL,
        CONSTRAINT pk_users PRIMARY KEY (user_id),
        CONSTRAINT ck_users_status CHECK (status IN ('pending_verification', 'active', 'suspended', 'deactivated'))
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE user_emails (
        email_key text COLLATE "C" NOT NULL,
        user_id uuid NOT NULL,
        CONSTRAINT pk_user_emails PRIMARY KEY (email_key)
    )
    """,
    """
    CREATE TABLE credentials (
        user_id uuid NOT NULL,
        password_hash text NOT NULL,
        changed_at timestamptz NOT NULL,
        must_change boolean NOT NULL,
        CONSTRAINT pk_credentials PRIMARY KEY (user_id),
        CONSTRAINT fk_credentials_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE login_states (
        user_id uuid NOT NULL,
        last_login_at timestamptz,
        failed_attempts integer NOT NULL,
        locked_until timestamptz,
        event_version bigint NOT NULL,
        CONSTRAINT pk_login_states PRIMARY KEY (user_id),
        CONSTRAINT fk_login_states_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE sessions (
        user_id uuid NOT NULL,
        session_id uuid NOT NULL,
        created_at timestamptz NOT NULL,
        last_used_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        absolute_expires_at timestamptz NOT NULL,
        ip text,
        user_agent text,
        auth_time timestamptz NOT NULL,
        amr text[] NOT NULL,
        generation integer NOT NULL,
        current_hash bytea NOT NULL,
        previous_hash bytea,
        rotated_at timestamptz,
        revoked_at timestamptz,
        CONSTRAINT pk_sessions PRIMARY KEY (user_id, session_id),
        CONSTRAINT fk_sessions_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
        CONSTRAINT ck_sessions_current_hash CHECK (octet_length(current_hash) = 32),
        CONSTRAINT ck_sessions_previous_hash CHECK (octet_length(previous_hash) = 32)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE one_time_tokens (
        user_id uuid NOT NULL,
        digest bytea NOT NULL,
        email_key text COLLATE "C" NOT NULL,
        purpose text NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        used_at timestamptz,
        CONSTRAINT pk_one_time_tokens PRIMARY KEY (user_id, digest),
        CONSTRAINT fk_one_time_tokens_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
        CONSTRAINT ck_one_time_tokens_digest CHECK (octet_length(digest) = 32)
    )
    """,
    "CREATE UNIQUE INDEX uq_one_time_tokens_unused ON one_time_tokens (user_id, purpose) WHERE used_at IS NULL",
)

_ROLES: Final = (
    """
    CREATE TABLE roles (
        role_id uuid NOT NULL,
        name text NOT NULL,
        name_key text COLLATE "C" NOT NULL,
        description text,
        is_system_role boolean NOT NULL,
        version bigint NOT NULL,
        CONSTRAINT pk_roles PRIMARY KEY (role_id),
        CONSTRAINT uq_roles_name_key UNIQUE (name_key)
    )
    """,
    """
    CREATE TABLE permissions (
        permission_id uuid NOT NULL,
        resource text COLLATE "C" NOT NULL,
        action text COLLATE "C" NOT NULL,
        description text,
        group_name text,
        is_system_permission boolean NOT NULL,
        CONSTRAINT pk_permissions PRIMARY KEY (permission_id),
        CONSTRAINT uq_permissions_resource_action UNIQUE (resource, action)
    )
    """,
    """
    CREATE TABLE role_permissions (
        role_id uuid NOT NULL,
        permission_id uuid NOT NULL,
        CONSTRAINT pk_role_permissions PRIMARY KEY (role_id, permission_id),
        CONSTRAINT fk_role_permissions_role_id_roles
            FOREIGN KEY (role_id) REFERENCES roles ON DELETE CASCADE,
        CONSTRAINT fk_role_permissions_permission_id_permissions
            FOREIGN KEY (permission_id) REFERENCES permissions ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_role_permissions_permission_id ON role_permissions (permission_id)",
    """
    CREATE TABLE user_roles (
        user_id uuid NOT NULL,
        role_id uuid NOT NULL,
        CONSTRAINT pk_user_roles PRIMARY KEY (user_id, role_id),
        CONSTRAINT fk_user_roles_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
        CONSTRAINT fk_user_roles_role_id_roles FOREIGN KEY (role_id) REFERENCES roles
    )
    """,
    "CREATE INDEX ix_user_roles_role_id ON user_roles (role_id)",
    """
    CREATE TABLE access_epoch (
        singleton boolean NOT NULL,
        epoch bigint NOT NULL,
        CONSTRAINT pk_access_epoch PRIMARY KEY (singleton),
        CONSTRAINT ck_access_epoch_singleton CHECK (singleton)
    )
    """,
    """
    CREATE TABLE revocations (
        seq bigint GENERATED ALWAYS AS IDENTITY,
        kind text NOT NULL,
        subject text NOT NULL,
        not_before timestamptz NOT NULL,
        version bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        CONSTRAINT pk_revocations PRIMARY KEY (seq)
    )
    """,
    "CREATE INDEX ix_revocations_at ON revocations (at)",
    "CREATE INDEX ix_revocations_kind_subject ON revocations (kind, subject)",
)

_OUTBOX: Final = (
    """
    CREATE TABLE outbox (
        seq bigint GENERATED ALWAYS AS IDENTITY,
        slot smallint NOT NULL DEFAULT ((extract(epoch FROM now()))::bigint / 600) % 3::bigint,
        lane smallint NOT NULL,
        id uuid NOT NULL,
        aggregatetype text NOT NULL,
        aggregateid text NOT NULL,
        type text NOT NULL,
        payload json NOT NULL,
        source text NOT NULL,
        subject text NOT NULL,
        occurred_at timestamptz NOT NULL,
        sequence bigint,
        traceparent text,
        created_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_outbox PRIMARY KEY (aggregatetype, lane, seq, slot)
    ) PARTITION BY LIST (slot)
    """,
    "CREATE TABLE outbox_slot_0 PARTITION OF outbox FOR VALUES IN (0)",
    "CREATE TABLE outbox_slot_1 PARTITION OF outbox FOR VALUES IN (1)",
    "CREATE TABLE outbox_slot_2 PARTITION OF outbox FOR VALUES IN (2)",
    """
    CREATE TABLE outbox_lane (
        lane smallint NOT NULL,
        owner text,
        fence bigint NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT pk_outbox_lane PRIMARY KEY (lane)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE outbox_relay (
        relay_id text NOT NULL,
        seen_at timestamptz NOT NULL,
        CONSTRAINT pk_outbox_relay PRIMARY KEY (relay_id)
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE outbox_parked (
        seq bigint NOT NULL,
        lane smallint NOT NULL,
        id uuid NOT NULL,
        aggregatetype text NOT NULL,
        aggregateid text NOT NULL,
        type text NOT NULL,
        payload json NOT NULL,
        source text NOT NULL,
        subject text NOT NULL,
        occurred_at timestamptz NOT NULL,
        sequence bigint,
        traceparent text,
        created_at timestamptz NOT NULL,
        cause text NOT NULL,
        parked_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_outbox_parked PRIMARY KEY (seq)
    )
    """,
    "CREATE INDEX ix_outbox_parked_aggregatetype_aggregateid ON outbox_parked (aggregatetype, aggregateid)",
)

_BUS: Final = (
    """
    CREATE TABLE bus_group (
        name text NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_bus_group PRIMARY KEY (name)
    )
    """,
    """
    CREATE TABLE bus_event (
        seq bigint GENERATED ALWAYS AS IDENTITY,
        lane smallint NOT NULL,
        id uuid NOT NULL,
        topic text NOT NULL,
        key text NOT NULL,
        type text NOT NULL,
        payload json NOT NULL,
        source text NOT NULL,
        subject text NOT NULL,
        occurred_at timestamptz NOT NULL,
        sequence bigint,
        traceparent text,
        published_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_bus_event PRIMARY KEY (seq)
    )
    """,
    "CREATE INDEX ix_bus_event_published_at ON bus_event (published_at)",
    """
    CREATE TABLE bus_delivery (
        group_name text NOT NULL,
        lane smallint NOT NULL,
        seq bigint NOT NULL,
        CONSTRAINT pk_bus_delivery PRIMARY KEY (group_name, lane, seq),
        CONSTRAINT fk_bus_delivery_group_name_bus_group
            FOREIGN KEY (group_name) REFERENCES bus_group ON DELETE CASCADE,
        CONSTRAINT fk_bus_delivery_seq_bus_event FOREIGN KEY (seq) REFERENCES bus_event ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_bus_delivery_seq ON bus_delivery (seq)",
    """
    CREATE TABLE bus_member (
        group_name text NOT NULL,
        member_id text NOT NULL,
        seen_at timestamptz NOT NULL,
        CONSTRAINT pk_bus_member PRIMARY KEY (group_name, member_id),
        CONSTRAINT fk_bus_member_group_name_bus_group
            FOREIGN KEY (group_name) REFERENCES bus_group ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE bus_lane (
        group_name text NOT NULL,
        lane smallint NOT NULL,
        owner text,
        fence bigint NOT NULL,
        expires_at timestamptz NOT NULL,
        CONSTRAINT pk_bus_lane PRIMARY KEY (group_name, lane),
        CONSTRAINT fk_bus_lane_group_name_bus_group
            FOREIGN KEY (group_name) REFERENCES bus_group ON DELETE CASCADE
    ) WITH (fillfactor = 80)
    """,
)

# An UPDATE that finds no row is no error to the server. Writes are sent together with their COMMIT, so a statement that
# must have found its row passes the number through this function, which fails the transaction under the rule's name.
_FUNCTIONS: Final = (
    """
    CREATE FUNCTION require_row(row_count bigint, rule text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF row_count = 0 THEN
            RAISE EXCEPTION 'no row satisfies %', rule
                USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = rule;
        END IF;
    END
    $$
    """,
)

_SEED: Final = (
    "INSERT INTO access_epoch (singleton, epoch) VALUES (true, 1)",
    "INSERT INTO outbox_lane (lane, fence, expires_at) SELECT lane, 0, '-infinity' FROM generate_series(0, 63) AS lane",
)

_TABLES: Final = (
    *("bus_lane", "bus_member", "bus_delivery", "bus_event", "bus_group"),
    *("outbox_parked", "outbox_relay", "outbox_lane", "outbox", "revocations", "access_epoch"),
    *("user_roles", "role_permissions", "permissions", "roles"),
    *("one_time_tokens", "sessions", "login_states", "credentials", "user_emails", "users"),
)


def upgrade() -> None:
    """Create everything, with the roles and permissions of the system."""
    for statement in (*_USERS, *_ROLES, *_OUTBOX, *_BUS, *_FUNCTIONS, *_SEED):
        op.execute(sa.text(statement))
    _seed_permissions()
    _seed_roles()


def downgrade() -> None:
    """Drop everything, rows included."""
    op.execute("DROP FUNCTION require_row")
    for table in _TABLES:
        op.execute(f"DROP TABLE {table}")


def _seed_permissions() -> None:
    statement = sa.text(
        """
        INSERT INTO permissions (permission_id, resource, action, description, group_name, is_system_permission)
        VALUES (:id, :resource, :action, :description, :group_name, true)
        """
    )
    for permission in SYSTEM_PERMISSIONS:
        op.get_bind().execute(
            statement,
            {
                "id": permission.id,
                "resource": permission.resource,
                "action": permission.action,
                "description": permission.description,
                "group_name": permission.group_name,
            },
        )


def _seed_roles() -> None:
    role_statement = sa.text(
        """
        INSERT INTO roles (role_id, name, name_key, description, is_system_role, version)
        VALUES (:id, :name, :name_key, :description, true, :version)
        """
    )
    grant_statement = sa.text(
        """
        INSERT INTO role_permissions (role_id, permission_id)
        SELECT :id, permission_id FROM permissions WHERE resource || ':' || action = ANY (:names)
        """
    )
    for role in SYSTEM_ROLES:
        op.get_bind().execute(
            role_statement,
            {
                "id": role.id,
                "name": role.name,
                "name_key": role.name_key,
                "description": role.description,
                "version": role.version,
            },
        )
        op.get_bind().execute(grant_statement, {"id": role.id, "names": sorted(role.permissions)})
