"""Keep second factors and recovery codes, and how many wrong codes were given with a token."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0012"
down_revision: Final = "expand_0011"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the tables and the column."""
    op.execute(
        """
        CREATE TABLE mfa_factors (
            user_id uuid NOT NULL,
            secret text NOT NULL,
            created_at timestamp with time zone NOT NULL,
            confirmed_at timestamp with time zone,
            last_step bigint,
            failed_at timestamp with time zone[] NOT NULL,
            CONSTRAINT pk_mfa_factors PRIMARY KEY (user_id),
            CONSTRAINT fk_mfa_factors_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE
        ) WITH (fillfactor = 80)
        """
    )
    op.execute(
        """
        CREATE TABLE recovery_codes (
            user_id uuid NOT NULL,
            digest bytea NOT NULL,
            created_at timestamp with time zone NOT NULL,
            used_at timestamp with time zone,
            CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, digest),
            CONSTRAINT fk_recovery_codes_user_id_users FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE,
            CONSTRAINT ck_recovery_codes_digest CHECK (octet_length(digest) = 32)
        )
        """
    )
    op.execute("ALTER TABLE one_time_tokens ADD COLUMN failures smallint NOT NULL DEFAULT 0")


def downgrade() -> None:
    """Drop them, and with them everybody's second factor."""
    op.execute("ALTER TABLE one_time_tokens DROP COLUMN failures")
    op.execute("DROP TABLE recovery_codes")
    op.execute("DROP TABLE mfa_factors")
