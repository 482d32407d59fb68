"""Keep who purges, and when that was last done."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0024"
down_revision: Final = "expand_0023"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE job_leases (
            job text COLLATE "C" NOT NULL,
            holder text,
            held_until timestamp with time zone NOT NULL,
            done_at timestamp with time zone,
            CONSTRAINT pk_job_leases PRIMARY KEY (job)
        )
        """
    )


def downgrade() -> None:
    """Drop it; whoever purges then shares the work with whoever else does."""
    op.execute("DROP TABLE job_leases")
