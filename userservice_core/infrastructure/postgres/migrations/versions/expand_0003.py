"""Number the events of roles and permissions, and the versions of permissions."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0003"
down_revision: Final = "expand_0002"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Add the counters; a constant default is no rewrite of the table."""
    op.execute("ALTER TABLE roles ADD COLUMN event_version bigint NOT NULL DEFAULT 0")
    op.execute(
        "ALTER TABLE permissions ADD COLUMN version bigint NOT NULL DEFAULT 1,"
        " ADD COLUMN event_version bigint NOT NULL DEFAULT 0"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE permissions DROP COLUMN event_version, DROP COLUMN version")
    op.execute("ALTER TABLE roles DROP COLUMN event_version")
