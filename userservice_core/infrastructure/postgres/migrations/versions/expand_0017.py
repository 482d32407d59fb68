"""Remember which events of others were applied, and which addresses no mail reaches."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0017"
down_revision: Final = "expand_0016"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the tables and the column; a consumer that shares the database may have made the tables already."""
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS userservice_inbox (
            group_name text NOT NULL,
            topic text NOT NULL,
            key text NOT NULL,
            last_sequence bigint NOT NULL,
            previous_sequence bigint NOT NULL DEFAULT 0,
            parked text[] NOT NULL DEFAULT '{}',
            CONSTRAINT pk_userservice_inbox PRIMARY KEY (group_name, topic, key)
        ) WITH (fillfactor = 80)
        """
    )
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS userservice_inbox_event (
            group_name text NOT NULL,
            topic text NOT NULL,
            identity text NOT NULL,
            seen_at timestamp with time zone NOT NULL DEFAULT now(),
            CONSTRAINT pk_userservice_inbox_event PRIMARY KEY (group_name, topic, identity)
        )
        """
    )
    op.execute("CREATE INDEX IF NOT EXISTS ix_userservice_inbox_event_seen_at ON userservice_inbox_event (seen_at)")
    op.execute("ALTER TABLE users ADD COLUMN email_undeliverable_since timestamp with time zone")


def downgrade() -> None:
    """Drop them; events that come again are applied again."""
    op.execute("ALTER TABLE users DROP COLUMN email_undeliverable_since")
    op.execute("DROP TABLE userservice_inbox_event")
    op.execute("DROP TABLE userservice_inbox")
