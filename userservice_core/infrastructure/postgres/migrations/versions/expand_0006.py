"""Index what lists of users are sorted and filtered by; built beside those who read and write meanwhile."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "expand_0006"
down_revision: Final = "expand_0005"
branch_labels: Final = None
depends_on: Final = None

_INDEXES: Final = {
    "ix_users_created_at": "users (created_at, user_id)",
    "ix_users_email_key": "users (email_key, user_id)",
    "ix_users_status": "users (status, created_at, user_id)",
    "ix_users_deleted": "users (created_at, user_id) WHERE deleted_at IS NOT NULL",
    # Rows that were never touched by a sign-in are last in both directions.
    "ix_login_states_last_login_at_asc": "login_states (coalesce(last_login_at, 'infinity'::timestamptz), user_id)",
    "ix_login_states_last_login_at_desc": "login_states (coalesce(last_login_at, '-infinity'::timestamptz), user_id)",
    "ix_user_roles_role_id_user_id": "user_roles (role_id, user_id)",
}
_TRIGRAMS: Final = "ix_users_email_key_trigrams"
# Whoever owns the database may create it since PostgreSQL 13, if the server has its files. Without it a search for a
# part of an address reads all addresses, and everything else is as it is.
_CREATE_EXTENSION: Final = """
    DO $$
    BEGIN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_file THEN
        RAISE WARNING 'pg_trgm cannot be created here: searches for a part of an e-mail address will be slow.';
    END
    $$
"""
_DROP_EXTENSION: Final = """
    DO $$
    BEGIN
        DROP EXTENSION IF EXISTS pg_trgm;
    EXCEPTION WHEN insufficient_privilege OR dependent_objects_still_exist THEN
        RAISE NOTICE 'pg_trgm stays: it is not ours, or others use it.';
    END
    $$
"""
_HAS_EXTENSION: Final = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')"


def upgrade() -> None:
    """Build them, one at a time; one that an earlier attempt left unfinished is built anew."""
    op.execute(_CREATE_EXTENSION)
    has_trigrams = op.get_bind().exec_driver_sql(_HAS_EXTENSION).scalar_one()
    with op.get_context().autocommit_block():
        for name, definition in _INDEXES.items():
            _build(name, definition)
        if has_trigrams:
            _build(_TRIGRAMS, "users USING gin (email_key gin_trgm_ops)")
        # Another one begins with the same column.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_user_roles_role_id")


def downgrade() -> None:
    """Drop them."""
    op.execute("CREATE INDEX ix_user_roles_role_id ON user_roles (role_id)")
    for name in (_TRIGRAMS, *_INDEXES):
        op.execute(f"DROP INDEX IF EXISTS {name}")
    op.execute(_DROP_EXTENSION)


def _build(name: str, definition: str) -> None:
    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {definition}")
