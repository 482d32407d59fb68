"""Whoever operates the service sees what its processes do."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import Process, Server, eventually, free_port, settings_for

if TYPE_CHECKING:
    from pathlib import Path


def _page(url: str) -> str:
    try:
        return httpx.get(url, timeout=5).text
    except httpx.TransportError:
        return ""


def test_one_port_shows_the_requests_of_all_workers(database: str, tmp_path: Path) -> None:
    """Workers are forked by the process that serves the metrics, and each counts for all."""
    environment = settings_for(database, tmp_path, WORKERS="2")
    with Server("starlette", environment=environment) as server:
        for _ in range(20):
            httpx.get(f"{server.url}/health/live", timeout=5)
        page = _page(server.metrics_url)

    assert 'userservice_http_requests_total{operation="get_liveness",status="200"} 20.0' in page
    assert 'userservice_level{what="resource_up_database"} 1.0' in page


_CALLS: Final = (
    ("GET", "/health/live", "get_liveness"),
    ("GET", "/users/me", "get_current_user"),
    ("POST", "/auth/login", "login"),
    ("GET", "/nowhere", "unmatched"),
)
"""What is sent, and as what it is counted."""

_ROUNDS: Final = 12
_CLIENTS: Final = 4


def _answers(url: str) -> Counter[tuple[str, str]]:
    """Send every call some times by several clients, each over connections of its own; count the answers they got."""

    def client(_: int) -> Counter[tuple[str, str]]:
        answers: Counter[tuple[str, str]] = Counter()
        for _ in range(_ROUNDS):
            with httpx.Client(base_url=url, timeout=30) as connection:
                for method, path, operation in _CALLS:
                    answers[operation, str(connection.request(method, path).status_code)] += 1
        return answers

    with ThreadPoolExecutor(_CLIENTS) as clients:
        return sum(clients.map(client, range(_CLIENTS)), Counter())


def _counted(page: str) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Return the requests by operation and status, and the times taken by operation, without those for readiness."""
    requests: Counter[tuple[str, str]] = Counter()
    times: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            operation = sample.labels.get("operation")
            if operation is None or operation == "get_readiness":
                continue
            if sample.name == "userservice_http_requests_total":
                requests[operation, sample.labels["status"]] += int(sample.value)
            elif sample.name == "userservice_http_request_seconds_count":
                times[operation] += int(sample.value)
    return requests, times


def _workers(server: Server) -> set[int]:
    return {child.pid for child in psutil.Process(server.pid).children()}


def test_what_is_counted_is_what_was_answered(database: str, tmp_path: Path) -> None:
    """By route and status, over all workers and one that is killed and replaced; a new start begins at nothing."""
    with Server("starlette", environment=settings_for(database, tmp_path, WORKERS="2")) as server:
        folder = server.metrics_folder

        def are_at_work() -> bool:
            """Tell whether there are two workers, and both have begun to count."""
            workers = _workers(server)
            return len(workers) == 2 and all(list(folder.glob(f"gauge_*_{worker}.db")) for worker in workers)

        eventually(are_at_work, what="both workers to count", seconds=60)
        answers = _answers(server.url)
        assert _counted(_page(server.metrics_url))[0] == answers

        # Nothing is at work: a request in a worker that dies is answered to nobody, and counted or not.
        killed, _ = _workers(server)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in _workers(server) and are_at_work(), what="another worker", seconds=60)
        answers += _answers(server.url)
        page = _page(server.metrics_url)

        requests, times = _counted(page)
        assert requests == answers
        assert requests.total() == 2 * _CLIENTS * _ROUNDS * len(_CALLS)
        assert times == sum((Counter({operation: n}) for (operation, _), n in answers.items()), Counter())
        assert not list(folder.glob(f"gauge_*_{killed}.db"))
        assert list(folder.glob(f"counter_{killed}.db"))
        assert 'userservice_level{what="resource_up_database"} 1.0' in page

        assert server.stop() == 0
        server.start_again()

        assert _counted(_page(server.metrics_url)) == (Counter(), Counter())


def test_a_relay_shows_what_waits_if_it_is_told_where(database: str, tmp_path: Path) -> None:
    """What tells that events do not get out has to be seen."""
    port = free_port()
    with Process("relay", "--metrics-port", str(port), environment=settings_for(database, tmp_path)) as relay:
        eventually(
            lambda: 'what="outbox_oldest_age_seconds"' in _page(f"http://127.0.0.1:{port}/metrics"),
            what="the relay to show the age of what waits",
        )

        assert relay.stop() == 0
