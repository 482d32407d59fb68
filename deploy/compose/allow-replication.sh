#!/bin/sh
# Run once by the primary's image, when its data is made.
set -eu
echo "host replication userservice samenet scram-sha-256" >> "$PGDATA/pg_hba.conf"
