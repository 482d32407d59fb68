"""Have the index by e-mail key hold what lists filter by, so that no table is read for those whom a walk passes by."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0025"
down_revision: Final = "expand_0024"
branch_labels: Final = None
depends_on: Final = None

_NEW: Final = "ix_users_email_key_covering"
_OLD: Final = "ix_users_email_key"


def upgrade() -> None:
    """Build the new one beside the old one, which goes then; one that an earlier attempt left is built anew."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_NEW}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {_NEW} ON users (email_key, user_id) INCLUDE (status, created_at, deleted_at)"
        )
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_OLD}")


def downgrade() -> None:
    """Build the old one again."""
    op.execute(f"CREATE INDEX {_OLD} ON users (email_key, user_id)")
    op.execute(f"DROP INDEX {_NEW}")
