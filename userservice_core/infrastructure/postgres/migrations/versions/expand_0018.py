"""
Keep the time a user came with each role that they hold, so that the holders of a role are found in that order.

Versions from before do not write it, so a trigger does, until there are none of them.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0018"
down_revision: Final = "expand_0017"
branch_labels: Final = None
depends_on: Final = None

_FUNCTION: Final = """
    CREATE OR REPLACE FUNCTION fill_user_created_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.user_created_at := (SELECT created_at FROM users WHERE user_id = NEW.user_id);
        RETURN NEW;
    END
    $$
"""
_TRIGGER: Final = """
    CREATE TRIGGER fill_user_created_at BEFORE INSERT ON user_roles FOR EACH ROW
    WHEN (NEW.user_created_at IS NULL) EXECUTE FUNCTION fill_user_created_at()
"""
# In the order of the key; each batch is committed by itself.
_FILL: Final = sa.text(
    """
    WITH batch AS (
        SELECT user_id, role_id FROM user_roles
        WHERE (user_id, role_id) > (CAST(:user_id AS uuid), CAST(:role_id AS uuid))
        ORDER BY user_id, role_id LIMIT :rows
    ), filled AS (
        UPDATE user_roles SET user_created_at = users.created_at FROM batch JOIN users USING (user_id)
        WHERE user_roles.user_id = batch.user_id AND user_roles.role_id = batch.role_id
            AND user_roles.user_created_at IS NULL
    )
    SELECT user_id, role_id FROM batch ORDER BY user_id DESC, role_id DESC LIMIT 1
    """
)
_ROWS_AT_ONCE: Final = 5_000
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"


def upgrade() -> None:
    """Add the column and the trigger, fill in batches what is there, and build the index; can be begun anew."""
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE user_roles ADD COLUMN IF NOT EXISTS user_created_at timestamptz")
        op.execute(_FUNCTION)
        op.execute("DROP TRIGGER IF EXISTS fill_user_created_at ON user_roles")
        op.execute(_TRIGGER)
        _fill()
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_user_roles_role_id_user_created_at")
        op.execute(
            "CREATE INDEX CONCURRENTLY ix_user_roles_role_id_user_created_at"
            " ON user_roles (role_id, user_created_at, user_id)"
        )
        # Another one begins with the same column.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_user_roles_role_id_user_id")


def downgrade() -> None:
    """Drop them, and build the earlier index again."""
    op.execute("CREATE INDEX ix_user_roles_role_id_user_id ON user_roles (role_id, user_id)")
    op.execute("DROP INDEX ix_user_roles_role_id_user_created_at")
    op.execute("DROP TRIGGER fill_user_created_at ON user_roles")
    op.execute("DROP FUNCTION fill_user_created_at")
    op.execute("ALTER TABLE user_roles DROP COLUMN user_created_at")


def _fill() -> None:
    """Give each row that has none its time."""
    last: tuple[object, object] | None = (_NOBODY, _NOBODY)
    while last is not None:
        user_id, role_id = last
        batch = op.get_bind().execute(_FILL, {"user_id": user_id, "role_id": role_id, "rows": _ROWS_AT_ONCE})
        row = batch.one_or_none()
        last = None if row is None else (row[0], row[1])
