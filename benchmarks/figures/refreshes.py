"""New pairs of tokens, beside the smallest commit there is."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import psycopg

from benchmarks.accounts import PASSWORD
from benchmarks.figure import Bench, Figure, Round, at_least
from benchmarks.figures.reads import round_of
from benchmarks.saturation import Load
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap, effective_cpus
from userservice_core.domain.sessions import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.scene import Scene
    from userservice_core.config import Settings

_CLIENTS: Final = 16
_SPARE: Final = 4
_TABLE: Final = "CREATE TABLE IF NOT EXISTS benchmark_row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at text)"
_INSERT: Final = "INSERT INTO benchmark_row (at) VALUES (%s)"


def commits_per_second(dsn: str, *, connections: int, seconds: float) -> float:
    """Insert one row a transaction on each of *connections*, each in a thread, and count."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLE)
    counts = [0] * connections
    ready = threading.Barrier(connections + 1)

    def insert_on(index: int) -> None:
        with contextlib.closing(psycopg.connect(dsn, autocommit=True, prepare_threshold=0)) as connection:
            ready.wait()
            until = time.perf_counter() + seconds
            while time.perf_counter() < until:
                connection.execute(_INSERT, ("a row",))
                counts[index] += 1

    threads = [threading.Thread(target=insert_on, args=(index,)) for index in range(connections)]
    for thread in threads:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def _tokens(settings: Settings, emails: list[str]) -> list[str]:
    """Sign in to each account, and return its refresh token."""
    with bootstrap(settings, background=False) as service, ThreadPoolExecutor(effective_cpus()) as threads:

        def sign_in(email: str) -> str:
            signed_in = service.use_cases.authentication.sign_in(email=email, password=PASSWORD, origin=Origin())
            assert isinstance(signed_in, SignedIn)
            return signed_in.refresh_token

        return list(threads.map(sign_in, emails))


def _refreshes(scene: Scene) -> Iterator[dict[str, Round]]:
    port, installation = scene.service(), scene.installation
    emails = list(itertools.islice(itertools.cycle(each.email for each in scene.signing_in), _CLIENTS + _SPARE))
    while True:
        limit = commits_per_second(installation.dsn, connections=_CLIENTS, seconds=scene.effort.seconds)
        # What was under way when a load ended has used its token up, so each load begins with new ones.
        tokens = _tokens(installation.settings, emails)
        load = Load(
            method="POST",
            port=port,
            paths=("/auth/refresh-token",) * len(tokens),
            bodies=tuple(json.dumps({"refreshToken": token}) for token in tokens),
            chained="refreshToken",
        )
        outcome = scene.client.run(load, clients=_CLIENTS, seconds=scene.effort.seconds)
        yield {"refresh-token-16": round_of(outcome, limit)}


BENCHES: Final = (
    Bench(
        figures=(
            Figure(
                name="refresh-token-16",
                title="POST /auth/refresh-token, 16 clients",
                unit="1/s",
                limit="INSERT and COMMIT of one row from Python, 16 connections",
                goal=at_least(0.5),
                row="refresh",
            ),
        ),
        measure=_refreshes,
    ),
)
