"""
What the rows of each table take, with their indexes: `python -m benchmarks.sizes DSN`.

DSN is of a database that `benchmarks.dataset` has filled. Printed is a table of bytes a row and bytes a user.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Final

import psycopg

# A table in partitions is the sum of them.
_SIZES: Final = """
    SELECT coalesce(parent.relname, class.relname) AS name, sum(pg_table_size(class.oid))::bigint AS of_table,
        sum(pg_indexes_size(class.oid))::bigint AS of_indexes
    FROM pg_class AS class
        LEFT JOIN pg_inherits ON inhrelid = class.oid LEFT JOIN pg_class AS parent ON parent.oid = inhparent
    WHERE class.relkind = 'r' AND class.relnamespace = current_schema()::regnamespace
        AND class.relname <> 'alembic_version'
    GROUP BY 1 ORDER BY 1
"""


def main() -> None:
    """Print the table."""
    with contextlib.closing(psycopg.connect(sys.argv[1], autocommit=True)) as connection:
        sizes = connection.execute(_SIZES).fetchall()
        counts = {name: _count(connection, name) for name, _, _ in sizes}
    print("| table | rows | bytes a row | of them indexes | bytes a user |")
    print("| --- | --- | --- | --- | --- |")
    users = counts["users"]
    total = 0
    for name, of_table, of_indexes in sizes:
        if rows := counts[name]:
            size = of_table + of_indexes
            total += size
            print(f"| {name} | {rows:,} | {size / rows:,.0f} | {of_indexes / rows:,.0f} | {size / users:,.0f} |")
    print(f"| all | | | | {total / users:,.0f} |")


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()  # noqa: S608 - of the catalogue
    return row[0] if row else 0


if __name__ == "__main__":
    main()
