"""Nobody misses what they wrote, whatever the replicas lag."""

from __future__ import annotations

import contextlib
import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.integration.replicas.freshness import Tally, Writer
from tests.integration.replicas.instances import counted, run_all, served_by_replicas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import PostgresReplica, ReplicatedPostgres

_PAIRS: Final = 10_000
_WRITERS: Final = 4


def test_no_read_with_the_token_misses_the_write_before_it(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """
    Ten thousand pairs, each read on another instance than its write, while replicas stop replaying for 1 and 5 s.

    Every read that may use a replica is tried on every host, and replicas do serve.
    """
    tally = Tally()
    with contextlib.ExitStack() as opened:
        instances = [opened.enter_context(replicated.instance()) for _ in range(2)]
        writers = [Writer(replicated.add_administrator(), instances, seed=number) for number in range(_WRITERS)]
        enough = partial(_have, writers, _PAIRS)
        ended = threading.Event()

        def write() -> None:
            try:
                run_all(*(partial(writer.rounds, until=enough) for writer in writers))
            finally:
                ended.set()

        run_all(write, partial(_pause_in_turn, replicated_postgres.replicas, ended))
        for writer in writers:
            tally.add(writer.tally)
        served = [served_by_replicas(service) for service in instances]
        causes = {cause for service in instances for _, cause in counted(service)}

    assert tally.total >= _PAIRS
    assert tally.missing() == set()
    assert sum(served) > _PAIRS / 4
    assert "behind" in causes


def _have(writers: Sequence[Writer], pairs: int) -> bool:
    return sum(writer.tally.total for writer in writers) >= pairs


def _pause_in_turn(replicas: Sequence[PostgresReplica], ended: threading.Event) -> None:
    """Have one of them, or all, replay nothing for 1 or 5 s, and all replay for a moment in between."""
    choices = ((1, replicas[:1]), (1, replicas), (5, replicas[1:]), (5, replicas))
    for seconds, chosen in itertools.cycle(choices):
        with contextlib.ExitStack() as paused:
            for replica in chosen:
                paused.enter_context(replica.replay_paused())
            if ended.wait(seconds):
                return
        if ended.wait(1):
            return
