"""Keep the answers of calls that carry a key."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0005"
down_revision: Final = "expand_0004"
branch_labels: Final = None
depends_on: Final = None

_KEYS: Final = """
    CREATE TABLE idempotency_keys (
        owner_id uuid NOT NULL,
        digest bytea NOT NULL,
        answer text NOT NULL,
        expires_at timestamp with time zone NOT NULL,
        CONSTRAINT pk_idempotency_keys PRIMARY KEY (owner_id, digest),
        CONSTRAINT ck_idempotency_keys_digest CHECK (octet_length(digest) = 32)
    ) WITH (fillfactor = 80)
    """


def upgrade() -> None:
    """Create the table; an index on a new table blocks nobody."""
    op.execute(sa.text(_KEYS))
    op.execute("CREATE INDEX ix_idempotency_keys_expires_at ON idempotency_keys (expires_at)")


def downgrade() -> None:
    """Drop it; calls repeated then take effect again."""
    op.execute("DROP TABLE idempotency_keys")
