"""Keep hashes of former passwords beside the present one."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0015"
down_revision: Final = "expand_0014"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the column; no row is written."""
    op.execute("ALTER TABLE credentials ADD COLUMN former_hashes text[] DEFAULT '{}'::text[] NOT NULL")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE credentials DROP COLUMN former_hashes")
