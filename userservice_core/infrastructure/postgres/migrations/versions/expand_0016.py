"""Find the accounts with hashes of former passwords."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0016"
down_revision: Final = "expand_0015"
branch_labels: Final = None
depends_on: Final = None


_NAME: Final = "ix_credentials_former_hashes"


def upgrade() -> None:
    """Make the index without keeping writers out."""
    with op.get_context().autocommit_block():
        # One that was left unfinished by an attempt before is of no use.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_NAME}")
        op.execute(
            f"CREATE INDEX CONCURRENTLY {_NAME} ON credentials (cardinality(former_hashes))"
            " WHERE cardinality(former_hashes) > 0"
        )


def downgrade() -> None:
    """Drop it."""
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_NAME}")
