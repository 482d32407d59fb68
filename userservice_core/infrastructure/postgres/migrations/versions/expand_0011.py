"""Keep what a group of the bus put aside."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0011"
down_revision: Final = "expand_0010"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    """Create the table."""
    op.execute(
        """
        CREATE TABLE bus_dead_letter (
            number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
            group_name text NOT NULL,
            seq bigint NOT NULL,
            id uuid NOT NULL,
            lane smallint NOT NULL,
            topic text NOT NULL,
            key text NOT NULL,
            type text NOT NULL,
            payload json NOT NULL,
            source text NOT NULL,
            subject text NOT NULL,
            occurred_at timestamp with time zone NOT NULL,
            sequence bigint,
            traceparent text,
            cause text NOT NULL,
            attempts integer NOT NULL,
            put_aside_at timestamp with time zone NOT NULL DEFAULT now(),
            CONSTRAINT pk_bus_dead_letter PRIMARY KEY (group_name, number)
        )
        """
    )


def downgrade() -> None:
    """Drop it, and what was put aside with it."""
    op.execute("DROP TABLE bus_dead_letter")
