"""Many pairs of a write and a read, while replicas stop replaying."""

from __future__ import annotations

import contextlib
import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.integration.replicas.freshness import Compared, StaleReadError, Writer
from tests.integration.replicas.instances import counted, run_all, served_by_replicas
from tests.soak.outcomes import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import PostgresReplica

_WRITERS: Final = 4
_INSTANCES: Final = 2


def write_and_read(
    installation: Installation, replicas: Sequence[PostgresReplica], *, pairs: int, pauses: Sequence[float], seed: int
) -> Tally:
    """
    Write and read on different instances; a read that misses its write is a ghost.

    Args:
        installation: Over the servers of *replicas*.
        replicas: Of which now one and now all replay nothing.
        pairs: How many reads are compared with the write before them, at least.
        pauses: For how many seconds, in turn.
        seed: Of what the writers choose.
    """
    compared = Compared()
    stale: list[StaleReadError] = []
    with contextlib.ExitStack() as opened:
        instances = [opened.enter_context(installation.instance()) for _ in range(_INSTANCES)]
        writers = [
            Writer(installation.add_administrator(), instances, seed=seed * _WRITERS + number)
            for number in range(_WRITERS)
        ]
        ended = threading.Event()

        def is_enough() -> bool:
            return bool(stale) or sum(writer.compared.total for writer in writers) >= pairs

        def write() -> None:
            try:
                run_all(*(partial(writer.rounds, until=is_enough) for writer in writers))
            except StaleReadError as error:
                stale.append(error)
            finally:
                ended.set()

        run_all(write, partial(_pause_in_turn, replicas, pauses, ended))
        for writer in writers:
            compared.add(writer.compared)
        served = sum(map(served_by_replicas, instances))
        causes = {cause for service in instances for _, cause in counted(service)}
    return Tally(
        trials=compared.total,
        ghosts=len(stale),
        # A figure of a run in which replicas hardly served, or never lagged, would say nothing.
        failed=bool(compared.missing()) or served < compared.total / 4 or "behind" not in causes,
        figures={
            "reads on replicas": served,
            "slowest read seconds": round(compared.seconds, 3),
            **{f"stale {number}": str(error) for number, error in enumerate(stale)},
        },
    )


def _pause_in_turn(replicas: Sequence[PostgresReplica], pauses: Sequence[float], ended: threading.Event) -> None:
    """Have now one of them and now all replay nothing, and all replay for a moment in between."""
    for number, seconds in enumerate(itertools.cycle(pauses)):
        chosen = replicas if number % 2 else (replicas[number // 2 % len(replicas)],)
        with contextlib.ExitStack() as paused:
            for replica in chosen:
                paused.enter_context(replica.replay_paused())
            if ended.wait(seconds):
                return
        if ended.wait(1):
            return
