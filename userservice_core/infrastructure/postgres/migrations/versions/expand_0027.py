"""Have the server count the few rows of roles and permissions whenever they change, so that it reads them by index."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0027"
down_revision: Final = "expand_0026"
branch_labels: Final = None
depends_on: Final = None

_TABLES: Final = ("roles", "permissions", "role_permissions")


def upgrade() -> None:
    """Set it, and count once."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} SET (autovacuum_analyze_threshold = 0)")
        op.execute(f"ANALYZE {table}")


def downgrade() -> None:
    """Take the setting back."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} RESET (autovacuum_analyze_threshold)")
