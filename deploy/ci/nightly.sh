#!/bin/sh
# What is worth a night: everything that takes longer than a change may wait, on a machine that does nothing else.
# Any service of continuous integration can run it; beside it are the few lines that two of them want.
set -eu
cd "$(dirname "$0")/../.."
export CI=1

make check
make test
make audit
make soak MINUTES="${SOAK_MINUTES:-5}"
# Every figure, and which of them are better or worse than the baseline that is kept with the code.
make bench
make bench-capacity
make bench-peers
# The routes that matter most under a load that lasts, of which no request may fail.
make bench ONLY=users-me-16,check-permissions,login-right-16,register,refresh-token \
    ARGS="--rounds 1 --seconds ${LOAD_SECONDS:-60} --no-faults --name load"
# People as they come, each scenario held to its criteria.
for scenario in steady promotion login-storm registration-storm profile-updates mixed; do
    make load SCENARIO="$scenario" SECONDS="${LOAD_SECONDS:-60}"
done
# What got slower since what is released, or since yesterday's last commit.
before="${COMPARED_WITH:-$(git rev-list --max-count=1 --before='1 day ago' HEAD)}"
if [ -n "$before" ] && [ "$before" != "$(git rev-parse HEAD)" ]; then
    make bench-compare REF="$before"
fi
