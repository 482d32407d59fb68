"""Find what has been kept long enough, without reading the rest."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0007"
down_revision: Final = "expand_0006"
branch_labels: Final = None
depends_on: Final = None

_INDEXES: Final = {
    "ix_users_deleted_at": "users (deleted_at) WHERE deleted_at IS NOT NULL",
    "ix_sessions_absolute_expires_at": "sessions (absolute_expires_at)",
    "ix_one_time_tokens_expires_at": "one_time_tokens (expires_at)",
}


def upgrade() -> None:
    """Create the indexes while others read and write; what an earlier attempt left unfinished is made anew."""
    with op.get_context().autocommit_block():
        for name, what in _INDEXES.items():
            op.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
            op.execute(sa.text(f"CREATE INDEX CONCURRENTLY {name} ON {what}"))


def downgrade() -> None:
    """Drop them."""
    with op.get_context().autocommit_block():
        for name in _INDEXES:
            op.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
