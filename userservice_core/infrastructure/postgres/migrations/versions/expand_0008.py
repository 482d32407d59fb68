"""Keep the address that a mailed token was sent to as it was written, for a token that gives it to the account."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0008"
down_revision: Final = "expand_0007"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the column; tokens made before it was there need none."""
    op.execute("ALTER TABLE one_time_tokens ADD COLUMN address text")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE one_time_tokens DROP COLUMN address")
