"""Keep the keys that sign access tokens, sealed."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0013"
down_revision: Final = "expand_0012"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE signing_keys (
            kid text COLLATE "C" NOT NULL,
            algorithm text COLLATE "C" NOT NULL,
            sealed text,
            created_at timestamp with time zone NOT NULL,
            signs_from timestamp with time zone NOT NULL,
            revoked_at timestamp with time zone,
            CONSTRAINT pk_signing_keys PRIMARY KEY (kid),
            CONSTRAINT ck_signing_keys_sealed CHECK ((sealed IS NULL) = (revoked_at IS NOT NULL))
        )
        """
    )


def downgrade() -> None:
    """Drop it, and the keys with it."""
    op.execute("DROP TABLE signing_keys")
