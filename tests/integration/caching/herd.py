"""A process that reads one key with many threads at once, told what to do through a pipe."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.ports.cache import Codec, Namespace, Versioned

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

KEY: Final = "hot"
LOCK_SECONDS: Final = 2.0
_LOAD_SECONDS: Final = 0.1


_TTL_SECONDS: Final = 1_000.0
READERS: Final = 250

NAMES: Final = Namespace[str](name="herd", ttl_seconds=_TTL_SECONDS, codec=Codec(str.encode, bytes.decode))


def serve(pipe: Connection, folder: str, url: str) -> None:
    """
    Answer ``read``, ``end`` and ``hold`` for one of two caches, ``alone`` or ``shared``.

    ``read`` is answered with what all readers got, ``end`` when what memory holds has ended, and ``hold`` when the key
    is being loaded, which does not end.

    Args:
        pipe: Where commands come from, and what answers go to.
        folder: Where each load adds a line to the file with the name of the cache.
        url: Of the shared layer.
    """
    passed = 0.0

    def monotonic() -> float:
        return time.monotonic() + passed

    caches = {
        name: DogpileCache(
            max_entries=100,
            redis_url=shared,
            metrics=InMemoryMetrics(),
            timeout_seconds=5,
            lock_seconds=LOCK_SECONDS,
            monotonic=monotonic,
        )
        for name, shared in (("alone", None), ("shared", url))
    }
    began = threading.Barrier(READERS)

    def hold() -> Versioned[str]:
        pipe.send("loading")
        threading.Event().wait()
        raise AssertionError

    with ThreadPoolExecutor(READERS) as threads:
        pipe.send("ready")
        while True:
            command, name = pipe.recv()
            cache = caches[name]
            match command:
                case "read":
                    pipe.send(list(threads.map(partial(_read, cache, Path(folder, name), began), range(READERS))))
                case "end":
                    passed += _TTL_SECONDS
                    pipe.send("ended")
                case _:
                    cache.get(NAMES, KEY, hold)


def _read(cache: DogpileCache, loads: Path, began: threading.Barrier, _: int) -> str:
    def load() -> Versioned[str]:
        with loads.open("a") as file:
            file.write("load\n")
        time.sleep(_LOAD_SECONDS)  # what loading takes, in which the others have to wait
        return Versioned(1, "value")

    began.wait(60)
    return cache.get(NAMES, KEY, load)
