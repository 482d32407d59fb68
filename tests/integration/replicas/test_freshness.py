"""Nobody misses what they wrote, whatever the replicas lag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.integration.replicas.pairs import write_and_read

if TYPE_CHECKING:
    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import ReplicatedPostgres

_PAIRS: Final = 10_000


def test_no_read_with_the_token_misses_the_write_before_it(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """
    Ten thousand pairs, each read on another instance than its write, while replicas stop replaying for 1 and 5 s.

    Every read that may use a replica is tried on every host, and replicas do serve.
    """
    tally = write_and_read(replicated, replicated_postgres.replicas, pairs=_PAIRS, pauses=(1, 1, 5, 5), seed=0)

    tally.require_clean()
    assert (tally.trials or 0) >= _PAIRS
