"""Add the audit log: entries that nobody changes, and details that one function alone erases."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0004"
down_revision: Final = "expand_0003"
branch_labels: Final = None
depends_on: Final = None

_TABLES: Final = (
    """
    CREATE TABLE audit_entries (
        at timestamptz NOT NULL,
        entry_id uuid NOT NULL,
        action text COLLATE "C" NOT NULL,
        actor_kind text COLLATE "C" NOT NULL,
        actor_id uuid,
        subject_kind text COLLATE "C",
        subject_id uuid,
        outcome text COLLATE "C" NOT NULL,
        reason text,
        changed text[] NOT NULL,
        request_id text NOT NULL,
        CONSTRAINT pk_audit_entries PRIMARY KEY (at, entry_id),
        CONSTRAINT ck_audit_entries_subject CHECK ((subject_kind IS NULL) = (subject_id IS NULL)),
        CONSTRAINT ck_audit_entries_outcome CHECK (outcome IN ('succeeded', 'refused'))
    )
    """,
    "CREATE INDEX ix_audit_entries_subject_id_at ON audit_entries (subject_id, at, entry_id)",
    "CREATE INDEX ix_audit_entries_action_at ON audit_entries (action, at, entry_id)",
    "CREATE INDEX ix_audit_entries_actor_id_at ON audit_entries (actor_id, at, entry_id) WHERE actor_id IS NOT NULL",
    "CREATE INDEX ix_audit_entries_refused ON audit_entries (at, entry_id) WHERE outcome = 'refused'",
    """
    CREATE TABLE audit_details (
        at timestamptz NOT NULL,
        entry_id uuid NOT NULL,
        subject_id uuid,
        actor_id uuid,
        before json NOT NULL,
        after json NOT NULL,
        ip text,
        user_agent text,
        CONSTRAINT pk_audit_details PRIMARY KEY (at, entry_id)
    )
    """,
    "CREATE INDEX ix_audit_details_subject_id ON audit_details (subject_id) WHERE subject_id IS NOT NULL",
    "CREATE INDEX ix_audit_details_actor_id ON audit_details (actor_id) WHERE actor_id IS NOT NULL",
)

# Rights keep the service's role from changing the log. The triggers stop those whom rights do not: the owner, which is
# the service itself where one role does everything. They stop mistakes, and not who means to do it.
_GUARDS: Final = (
    """
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_TABLE_NAME = 'audit_details' AND TG_OP IN ('DELETE', 'UPDATE')
            AND current_setting('userservice.erasing', true) = 'on'
        THEN
            RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        END IF;
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """,
    *(
        f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH {unit} EXECUTE FUNCTION refuse_audit_change()"
        for table in ("audit_entries", "audit_details")
        for name, change, unit in (
            ("refuse_change", "UPDATE OR DELETE", "ROW"),
            ("refuse_truncation", "TRUNCATE", "STATEMENT"),
        )
    ),
)
# It runs with the rights of its owner, so it looks for tables in our schema only.
_ERASURE: Final = """
    DO $do$
    BEGIN
        EXECUTE format($create$
            CREATE FUNCTION erase_audit_details(erased_id uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
            SET search_path TO %I, pg_temp SET userservice.erasing TO 'on' AS $$
            BEGIN
                DELETE FROM audit_details WHERE subject_id = erased_id;
                UPDATE audit_details SET ip = NULL, user_agent = NULL WHERE actor_id = erased_id;
            END
            $$
        $create$, current_schema());
    END
    $do$
    """
_CLOSE_ERASURE: Final = "REVOKE EXECUTE ON FUNCTION erase_audit_details(uuid) FROM PUBLIC"


def upgrade() -> None:
    """Create the tables, their guards, and the way around these."""
    for statement in (*_TABLES, *_GUARDS, _ERASURE, _CLOSE_ERASURE):
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Drop them, with the whole log."""
    op.execute("DROP FUNCTION erase_audit_details")
    op.execute("DROP TABLE audit_details")
    op.execute("DROP TABLE audit_entries")
    op.execute("DROP FUNCTION refuse_audit_change")
