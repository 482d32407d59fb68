"""Add service clients, their secrets and what they may do."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0010"
down_revision: Final = "expand_0009"
branch_labels: Final = None
depends_on: Final = None

_TABLES: Final = (
    """
    CREATE TABLE service_clients (
        client_id uuid NOT NULL,
        name text NOT NULL,
        created_at timestamptz NOT NULL,
        tokens_not_before timestamptz,
        disabled_at timestamptz,
        version bigint NOT NULL,
        CONSTRAINT pk_service_clients PRIMARY KEY (client_id)
    )
    """,
    """
    CREATE TABLE client_secrets (
        client_id uuid NOT NULL,
        secret_id uuid NOT NULL,
        digest bytea NOT NULL,
        created_at timestamptz NOT NULL,
        last_used_at timestamptz,
        CONSTRAINT pk_client_secrets PRIMARY KEY (client_id, secret_id),
        CONSTRAINT fk_client_secrets_client_id_service_clients
            FOREIGN KEY (client_id) REFERENCES service_clients (client_id) ON DELETE CASCADE,
        CONSTRAINT ck_client_secrets_digest CHECK (octet_length(digest) = 32)
    )
    """,
    """
    CREATE TABLE client_permissions (
        client_id uuid NOT NULL,
        permission_id uuid NOT NULL,
        CONSTRAINT pk_client_permissions PRIMARY KEY (client_id, permission_id),
        CONSTRAINT fk_client_permissions_client_id_service_clients
            FOREIGN KEY (client_id) REFERENCES service_clients (client_id) ON DELETE CASCADE,
        CONSTRAINT fk_client_permissions_permission_id_permissions
            FOREIGN KEY (permission_id) REFERENCES permissions (permission_id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_client_permissions_permission_id ON client_permissions (permission_id)",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in _TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop them; every client is lost."""
    for table in ("client_permissions", "client_secrets", "service_clients"):
        op.execute(f"DROP TABLE {table}")
