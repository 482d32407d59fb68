"""Count how often something is tried."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0014"
down_revision: Final = "expand_0013"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create a table without a log: after a crash of the server everybody begins anew."""
    op.execute(
        """
        CREATE UNLOGGED TABLE rate_counters (
            counter_key text NOT NULL,
            times integer NOT NULL,
            span interval NOT NULL,
            asked_at timestamp with time zone NOT NULL,
            hits timestamp with time zone[] NOT NULL,
            free_at timestamp with time zone,
            expires_at timestamp with time zone NOT NULL,
            CONSTRAINT pk_rate_counters PRIMARY KEY (counter_key)
        ) WITH (fillfactor = 80)
        """
    )
    op.execute("CREATE INDEX ix_rate_counters_expires_at ON rate_counters (expires_at)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE rate_counters")
