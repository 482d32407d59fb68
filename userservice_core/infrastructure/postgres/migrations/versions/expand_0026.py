"""
Keep the outbox cheap to read while somebody holds an old snapshot open.

Relays remember from where on it has something, and see here when that does not hold any more; and that a holder of
lanes is alive is one row, not one for each lane.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0026"
down_revision: Final = "expand_0025"
branch_labels: Final = None
depends_on: Final = None

_MEMBERS: Final = ("outbox_relay", "bus_member")
_CREATE: Final = (
    """
    CREATE UNLOGGED TABLE outbox_epoch (
        singleton boolean NOT NULL DEFAULT true,
        token uuid NOT NULL,
        CONSTRAINT pk_outbox_epoch PRIMARY KEY (singleton),
        CONSTRAINT ck_outbox_epoch_singleton CHECK (singleton)
    )
    """,
    # Also for those who put a record back without knowing of it: an older release, or an operator by hand.
    """
    CREATE FUNCTION renew_outbox_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO outbox_epoch (token) VALUES (gen_random_uuid())
        ON CONFLICT (singleton) DO UPDATE SET token = excluded.token;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER renew_outbox_epoch AFTER DELETE ON outbox_parked
    FOR EACH STATEMENT EXECUTE FUNCTION renew_outbox_epoch()
    """,
)


def upgrade() -> None:
    """Add what is new; members of an earlier release leave it empty, and hold each lane by itself as before."""
    for table in _MEMBERS:
        op.execute(
            f"ALTER TABLE {table} ADD COLUMN owner text, ADD COLUMN expires_at timestamptz NOT NULL DEFAULT '-infinity'"
        )
    for statement in _CREATE:
        op.execute(statement)


def downgrade() -> None:
    """Remove it; a relay of this release does not work without it."""
    for table in _MEMBERS:
        op.execute(f"ALTER TABLE {table} DROP COLUMN owner, DROP COLUMN expires_at")
    op.execute("DROP TRIGGER renew_outbox_epoch ON outbox_parked")
    op.execute("DROP FUNCTION renew_outbox_epoch")
    op.execute("DROP TABLE outbox_epoch")
