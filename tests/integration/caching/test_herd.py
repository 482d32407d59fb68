"""A thousand readers of one key in four processes, when it ends: one of them loads it, and none is held up for long."""

from __future__ import annotations

import multiprocessing
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
import redis

from tests.integration.caching import herd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_SERVER: Final = multiprocessing.get_context("forkserver")
_PATIENCE_SECONDS: Final = 60
_PROCESSES: Final = 4
_SHARED_KEY: Final = f"userservice:cache:{{herd:{herd.KEY}}}"


class _Herd:
    """One process of readers."""

    def __init__(self, process: ForkServerProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    def tell(self, command: str, cache: str) -> None:
        """Send a command, and do not wait."""
        self._pipe.send((command, cache))

    def answer(self) -> object:
        """Return what it answers."""
        assert self._pipe.poll(_PATIENCE_SECONDS)
        return self._pipe.recv()

    def kill9(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.join(_PATIENCE_SECONDS)
        self._pipe.close()


@pytest.fixture
def herds(redis_url: str, tmp_path: Path) -> Iterator[list[_Herd]]:
    """Four processes."""
    # One process imports what all of them need.
    _SERVER.set_forkserver_preload([herd.__name__])
    with ExitStack() as ended:
        started = []
        for _ in range(_PROCESSES):
            ours, theirs = _SERVER.Pipe()
            process = _SERVER.Process(target=herd.serve, args=(theirs, str(tmp_path), redis_url))
            process.start()
            theirs.close()
            started.append(_Herd(process, ours))
            ended.callback(started[-1].kill9)
        assert [each.answer() for each in started] == ["ready"] * _PROCESSES
        yield started


@pytest.fixture
def loads(tmp_path: Path) -> Callable[[str], int]:
    """Count the loads for the cache of a name."""

    def count(cache: str) -> int:
        file = tmp_path / cache
        return len(file.read_text().splitlines()) if file.exists() else 0

    return count


def _tell(herds: list[_Herd], command: str, cache: str) -> list[object]:
    for each in herds:
        each.tell(command, cache)
    return [each.answer() for each in herds]


def _end_everywhere(herds: list[_Herd], redis_url: str) -> None:
    """Let the value of the key end, in memory as in Redis."""
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        client.delete(_SHARED_KEY)
    assert _tell(herds, "end", "shared") == ["ended"] * _PROCESSES


def test_a_hot_key_is_loaded_once_and_whoever_dies_doing_it_holds_nobody_for_long(
    herds: list[_Herd], loads: Callable[[str], int], redis_url: str
) -> None:
    """
    By one of all processes where they share, and by one reader of each where they do not.

    Then the value ends, and one process is killed while it loads: the others go on when its lock has run out.
    """
    everybody = [["value"] * herd.READERS] * _PROCESSES
    assert _tell(herds, "read", "shared") == everybody
    assert _tell(herds, "read", "alone") == everybody
    at_first = (loads("shared"), loads("alone"))
    _end_everywhere(herds, redis_url)
    assert _tell(herds, "read", "shared") == everybody
    assert _tell(herds, "read", "alone") == everybody

    assert at_first == (1, _PROCESSES)
    assert (loads("shared"), loads("alone")) == (2, 2 * _PROCESSES)

    _end_everywhere(herds, redis_url)
    holder, *others = herds
    with redis.Redis.from_url(redis_url, socket_timeout=5) as client:
        holder.tell("hold", "shared")
        assert holder.answer() == "loading"
        for each in others:
            each.tell("read", "shared")
        holder.kill9()
        # Nobody prolongs it, so this is all the time that anybody has to wait for the dead.
        assert client.pttl(f"{_SHARED_KEY}:lock") <= herd.LOCK_SECONDS * 1_000
    assert [each.answer() for each in others] == everybody[1:]
    # Those who have waited as long as a lock lasts go on without it, one of each process.
    assert 1 <= loads("shared") - 2 <= len(others)
