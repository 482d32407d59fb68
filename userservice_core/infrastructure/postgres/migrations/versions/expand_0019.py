"""Have the indexes by status and of deleted users hold the e-mail key, so that no table is read for what they find."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0019"
down_revision: Final = "expand_0018"
branch_labels: Final = None
depends_on: Final = None

_NEW: Final = {
    "ix_users_status_covering": "users (status, created_at, user_id) INCLUDE (email_key, deleted_at)",
    "ix_users_deleted_covering": "users (created_at, user_id) INCLUDE (email_key) WHERE deleted_at IS NOT NULL",
}
_OLD: Final = {
    "ix_users_status": "users (status, created_at, user_id)",
    "ix_users_deleted": "users (created_at, user_id) WHERE deleted_at IS NOT NULL",
}


def upgrade() -> None:
    """Build the new ones beside the old ones, which go then; one that an earlier attempt left is built anew."""
    with op.get_context().autocommit_block():
        for name, definition in _NEW.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
        for name in _OLD:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def downgrade() -> None:
    """Build the old ones again."""
    for name, definition in _OLD.items():
        op.execute(f"CREATE INDEX {name} ON {definition}")
    for name in _NEW:
        op.execute(f"DROP INDEX {name}")
