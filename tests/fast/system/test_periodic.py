"""Work that is done again and again."""

from __future__ import annotations

import threading

from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.system.periodic import run_periodically


def test_work_is_done_again_also_after_it_failed() -> None:
    """Until it is to stop; a failure costs a turn, and nothing else."""
    stop, turns = threading.Event(), iter([None, DatabaseUnavailableError(), ValueError(), None])
    done = []

    def work() -> None:
        turn = next(turns, stop)
        if turn is stop:
            stop.set()
            return
        done.append(turn)
        if isinstance(turn, Exception):
            raise turn

    run_periodically(work, name="test", stop=stop, first_seconds=0, interval_seconds=0.001)

    assert len(done) == 4


def test_nothing_is_done_once_it_is_to_stop() -> None:
    """Also while it waits for its first turn."""
    stop = threading.Event()
    stop.set()

    run_periodically(lambda: 1 / 0, name="test", stop=stop, first_seconds=60, interval_seconds=60)
