"""Sends a load from threads of this process: ``python -m benchmarks.python_client CLIENTS SECONDS < load.json``."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from benchmarks.load import Load, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT_SECONDS: Final = 10.0
_LEAST_FAULT: Final = 300


def send(load: Load, *, clients: int, seconds: float) -> Outcome:
    """Keep *clients* requests under way for *seconds*."""
    latencies: list[float] = []
    faults: list[int] = []
    began = time.perf_counter()

    def send_from(index: int) -> None:
        lines = load.lines()
        turns = itertools.cycle(lines[index % len(lines) :] + lines[: index % len(lines)])
        connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=_TIMEOUT_SECONDS)
        while time.perf_counter() < began + seconds:
            latency, status = _exchange(connection, load.method, turns)
            latencies.append(latency)
            if status >= _LEAST_FAULT:
                faults.append(status)
        connection.close()

    threads = [threading.Thread(target=send_from, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hundredths = [1_000 * cut for cut in statistics.quantiles(latencies, n=100)] if len(latencies) > 1 else [0.0] * 99
    return Outcome(
        answers=len(latencies),
        seconds=time.perf_counter() - began,
        faults=len(faults),
        p50=hundredths[49],
        p95=hundredths[94],
        p99=hundredths[98],
    )


def _exchange(
    connection: http.client.HTTPConnection, method: str, turns: Iterator[tuple[str, str, str]]
) -> tuple[float, int]:
    path, body, authorization = next(turns)
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    began = time.perf_counter()
    try:
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return time.perf_counter() - began, _LEAST_FAULT
    return time.perf_counter() - began, response.status


def main() -> None:
    """Read the load, send it, write what came of it."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    outcome = send(load, clients=int(sys.argv[1]), seconds=float(sys.argv[2]))
    json.dump(attrs.asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
