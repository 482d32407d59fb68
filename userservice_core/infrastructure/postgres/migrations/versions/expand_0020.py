"""
Cut the audit log into partitions by month, and give each table the room and the cleaning that its use asks for.

The tables that were there become the first partition, as they are: a check that is validated beside those who read and
write tells the server that all of their rows are of before, so that nothing is read or copied while others wait.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "expand_0020"
down_revision: Final = "expand_0019"
branch_labels: Final = None
depends_on: Final = None

_TABLES: Final = ("audit_entries", "audit_details")
_INDEXES: Final = {
    "audit_entries": (
        "ix_audit_entries_subject_id_at",
        "ix_audit_entries_action_at",
        "ix_audit_entries_actor_id_at",
        "ix_audit_entries_refused",
    ),
    "audit_details": ("ix_audit_details_subject_id", "ix_audit_details_actor_id"),
}
_GUARDS: Final = (("refuse_change", "UPDATE OR DELETE", "ROW"), ("refuse_truncation", "TRUNCATE", "STATEMENT"))
_DEFINITION: Final = sa.text("SELECT pg_get_indexdef(CAST(:name AS regclass))")
# The first month that is not in the partition of all that was before, in UTC.
_CUT: Final = "SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month'"

# Run by whoever serves, with the rights of the owner: what it can do is to add months. A month that has rows in the
# partition of the rest stays there. Two at once wait for each other.
_ADD_MONTHS: Final = """
    DO $do$
    BEGIN
        EXECUTE format($create$
            CREATE OR REPLACE FUNCTION add_audit_months(months integer) RETURNS integer LANGUAGE plpgsql
            SECURITY DEFINER SET search_path TO %1$I, pg_temp SET lock_timeout TO '200ms' SET timezone TO 'UTC' AS $$
            DECLARE
                parent text;
                partition text;
                month timestamptz;
                has_rows boolean;
                added integer := 0;
            BEGIN
                IF NOT pg_try_advisory_xact_lock(1970496883) THEN
                    RETURN 0;
                END IF;
                FOREACH parent IN ARRAY ARRAY['audit_entries', 'audit_details'] LOOP
                    FOR ahead IN 0 .. least(months, 24) LOOP
                        month := date_trunc('month', now()) + make_interval(months => ahead);
                        partition := parent || to_char(month, '"_"YYYY"_"MM');
                        CONTINUE WHEN to_regclass(partition) IS NOT NULL OR month < (
                            SELECT coalesce(max(
                                substring(pg_get_expr(relpartbound, oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz
                            ), '-infinity')
                            FROM pg_class WHERE oid = to_regclass(parent || '_before')
                        );
                        EXECUTE format('SELECT EXISTS (SELECT FROM %%I WHERE at >= %%L AND at < %%L)',
                            parent || '_rest', month, month + interval '1 month') INTO has_rows;
                        CONTINUE WHEN has_rows;
                        EXECUTE format('CREATE TABLE %%I PARTITION OF %%I FOR VALUES FROM (%%L) TO (%%L)',
                            partition, parent, month, month + interval '1 month');
                        EXECUTE format('CREATE TRIGGER refuse_truncation BEFORE TRUNCATE ON %%I FOR EACH STATEMENT'
                            ' EXECUTE FUNCTION refuse_audit_change()', partition);
                        added := added + 1;
                    END LOOP;
                END LOOP;
                RETURN added;
            END
            $$
        $create$, current_schema());
    END
    $do$
"""
# The name of a partition begins with that of its table.
_REFUSE: Final = """
    CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF starts_with(TG_TABLE_NAME, 'audit_details') AND TG_OP IN ('DELETE', 'UPDATE')
            AND current_setting('userservice.erasing', true) = 'on'
        THEN
            RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
        END IF;
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END
    $$
"""
_SETTINGS: Final = {
    # Each row is written and deleted within seconds or days: the dead are taken away before they are many.
    **dict.fromkeys(
        ("sessions", "one_time_tokens", "idempotency_keys", "revocations", "bus_event", "bus_delivery"),
        "autovacuum_vacuum_scale_factor = 0.05",
    ),
    # A row or a few, updated without end.
    **dict.fromkeys(
        ("outbox_lane", "outbox_relay", "bus_lane", "bus_member", "access_epoch"),
        "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000",
    ),
    # A million users are a fifth of five million; statistics of a tenth are old enough.
    **dict.fromkeys(
        ("users", "login_states", "user_roles"),
        "autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,"
        " autovacuum_vacuum_insert_scale_factor = 0.05",
    ),
}


def upgrade() -> None:
    """Validate first, then exchange each table in a moment."""
    cut = op.get_bind().exec_driver_sql(_CUT).scalar_one()
    with op.get_context().autocommit_block():
        for table in _TABLES:
            op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_before")
            op.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_before"
                f" CHECK (at IS NOT NULL AND at < '{cut}+00') NOT VALID"
            )
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT ck_{table}_before")
    op.execute(_REFUSE)
    for table in _TABLES:
        _cut_into_partitions(table, f"{cut}+00")
    op.execute(_ADD_MONTHS)
    op.execute("REVOKE EXECUTE ON FUNCTION add_audit_months(integer) FROM PUBLIC")
    op.execute("SELECT add_audit_months(12)")
    for table, settings in _SETTINGS.items():
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    """Put the partitions together again, and take the settings back."""
    for table, settings in _SETTINGS.items():
        names = ", ".join(setting.split(" = ")[0].strip() for setting in settings.split(","))
        op.execute(f"ALTER TABLE {table} RESET ({names})")
    op.execute("DROP FUNCTION add_audit_months")
    for table in _TABLES:
        _put_together(table)


def _cut_into_partitions(table: str, cut: str) -> None:
    before = f"{table}_before"
    op.execute(f"ALTER TABLE {table} RENAME TO {before}")
    definitions = {name: op.get_bind().execute(_DEFINITION, {"name": name}).scalar_one() for name in _INDEXES[table]}
    op.execute(f"ALTER TABLE {before} RENAME CONSTRAINT pk_{table} TO pk_{before}")
    for name in _INDEXES[table]:
        op.execute(f"ALTER INDEX {name} RENAME TO {name}_before")
    op.execute(f"DROP TRIGGER refuse_change ON {before}")
    op.execute(f"CREATE TABLE {table} (LIKE {before} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (at)")
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_before")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (at, entry_id)")
    for definition in definitions.values():
        op.execute(definition.replace(f".{before} ", f".{table} "))
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {before} FOR VALUES FROM (MINVALUE) TO ('{cut}')")
    op.execute(f"ALTER TABLE {before} DROP CONSTRAINT ck_{table}_before")
    op.execute(f"CREATE TABLE {table}_rest PARTITION OF {table} DEFAULT")
    for name, change, unit in _GUARDS:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH {unit} EXECUTE FUNCTION refuse_audit_change()"
        )
    op.execute(
        f"CREATE TRIGGER refuse_truncation BEFORE TRUNCATE ON {table}_rest"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"
    )
    # Whoever had rights to the table has the same to the one that takes its place.
    op.execute(
        f"""
        DO $$
        DECLARE
            granted record;
        BEGIN
            FOR granted IN
                SELECT pg_get_userbyid(grantee) AS grantee, privilege_type
                FROM pg_class, aclexplode(relacl) WHERE oid = '{before}'::regclass AND grantee NOT IN (0, relowner)
            LOOP
                EXECUTE format('GRANT %s ON {table} TO %I', granted.privilege_type, granted.grantee);
            END LOOP;
        END
        $$
        """  # noqa: S608 - names of ours
    )


def _put_together(table: str) -> None:
    before = f"{table}_before"
    op.execute(f"ALTER TABLE {table} DETACH PARTITION {before}")
    op.execute(f"INSERT INTO {before} SELECT * FROM {table}")  # noqa: S608 - names of ours
    op.execute(f"DROP TABLE {table}")
    op.execute(f"ALTER TABLE {before} RENAME TO {table}")
    op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT pk_{before} TO pk_{table}")
    for name in _INDEXES[table]:
        op.execute(f"ALTER INDEX {name}_before RENAME TO {name}")
    op.execute(
        f"CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()"
    )
