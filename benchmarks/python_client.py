"""Sends a load from threads of this process: ``python -m benchmarks.python_client CLIENTS SECONDS < load.json``."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import sys
import threading
import time
from typing import Final

import attrs
import msgspec

from benchmarks.saturation import Load, Outcome

_TIMEOUT_SECONDS: Final = 10.0
_NO_ANSWER: Final = 0


def send(load: Load, *, clients: int, seconds: float) -> Outcome:
    """Keep *clients* requests under way for *seconds*."""
    latencies: list[float] = []
    faults: list[int] = []
    began = time.perf_counter()

    def send_from(index: int) -> None:
        lines = load.lines()
        # In a chain, each client has a line of its own, and the answers to it.
        turns = [lines[index]] if load.chained else lines[index % len(lines) :] + lines[: index % len(lines)]
        connection = http.client.HTTPConnection("127.0.0.1", load.port, timeout=_TIMEOUT_SECONDS)
        for turn in itertools.count():
            if time.perf_counter() >= began + seconds:
                break
            latency, status, answer = _exchange(connection, load, turns[turn % len(turns)])
            latencies.append(latency)
            if not load.is_right(status):
                faults.append(status)
            elif load.chained:
                member = {load.chained: json.loads(answer)[load.chained]}
                turns = [(turns[0][0], json.dumps(member), turns[0][2])]
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
    connection: http.client.HTTPConnection, load: Load, line: tuple[str, str, str]
) -> tuple[float, int, bytes]:
    path, body, authorization = line
    headers = {"Content-Type": load.content_type}
    if authorization:
        headers[load.token_header] = authorization
    began = time.perf_counter()
    try:
        connection.request(load.method, path, body or None, headers)
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return time.perf_counter() - began, _NO_ANSWER, b""
    return time.perf_counter() - began, response.status, answer


def main() -> None:
    """Read the load, send it, write what came of it."""
    load = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    outcome = send(load, clients=int(sys.argv[1]), seconds=float(sys.argv[2]))
    json.dump(attrs.asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main()
