"""Nobody misses what they wrote, whatever the replicas lag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.integration.replicas.pairs import write_and_read
from tests.servers.postgres import chosen_major_version
from tests.servers.versions import NEWEST_POSTGRES

if TYPE_CHECKING:
    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import ReplicatedPostgres

# Of the newest version; an older one is not run for its speed.
_PAIRS: Final = 10_000 if chosen_major_version() == NEWEST_POSTGRES else 2_000


def test_no_read_with_the_token_misses_the_write_before_it(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """
    Thousands of pairs, each read on another instance than its write, while replicas stop replaying for 1 and 5 s.

    Every read that may use a replica is tried on every host, and replicas do serve.
    """
    tally = write_and_read(replicated, replicated_postgres.replicas, pairs=_PAIRS, pauses=(1, 1, 5, 5), seed=0)

    tally.require_clean()
    assert (tally.trials or 0) >= _PAIRS
