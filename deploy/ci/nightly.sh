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
make bench
make bench-capacity
# Against what is released, or last night's commit.
if [ -n "${COMPARED_WITH:-}" ]; then
    make bench-compare REF="$COMPARED_WITH"
fi

# The alerts, by what Prometheus has for it: go install github.com/prometheus/prometheus/cmd/promtool@latest
if command -v promtool > /dev/null; then
    promtool check rules deploy/prometheus/rules.yaml
    promtool test rules deploy/prometheus/rules.test.yaml
fi
