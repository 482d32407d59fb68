#!/bin/bash
# Copies the primary at the first start, and follows it.
set -euo pipefail
export PGDATA=/var/lib/postgresql/18/replica
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA"
    pg_basebackup --host=postgres --username=userservice --pgdata="$PGDATA" --wal-method=stream --write-recovery-conf
    chmod 0700 "$PGDATA"
fi
exec postgres -c hot_standby=on -c max_connections=200
