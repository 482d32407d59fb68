"""Let several tokens that undo a change of address be good at once; of every other purpose there is one at most."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0009"
down_revision: Final = "expand_0008"
branch_labels: Final = None
depends_on: Final = None

_NAME: Final = "uq_one_time_tokens_unused"
_NEW: Final = "uq_one_time_tokens_unused_new"


def _replace(condition: str) -> None:
    """Make the index anew under another name first: the processes at work know the rule by the name it has."""
    with op.get_context().autocommit_block():
        # One that was left unfinished by an attempt before is of no use.
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_NEW}")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {_NEW} ON one_time_tokens (user_id, purpose) WHERE {condition}")
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_NAME}")
        op.execute(f"ALTER INDEX {_NEW} RENAME TO {_NAME}")


def upgrade() -> None:
    """Leave that purpose out of the rule."""
    _replace("used_at IS NULL AND purpose <> 'undo_email_change'")


def downgrade() -> None:
    """Take it in again; those tokens are of no use to the versions before."""
    op.execute("DELETE FROM one_time_tokens WHERE purpose = 'undo_email_change'")
    _replace("used_at IS NULL")
