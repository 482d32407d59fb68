"""Whoever operates the service sees what its processes do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

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


def test_a_relay_shows_what_waits_if_it_is_told_where(database: str, tmp_path: Path) -> None:
    """What tells that events do not get out has to be seen."""
    port = free_port()
    with Process("relay", "--metrics-port", str(port), environment=settings_for(database, tmp_path)) as relay:
        eventually(
            lambda: 'what="outbox_oldest_age_seconds"' in _page(f"http://127.0.0.1:{port}/metrics"),
            what="the relay to show the age of what waits",
        )

        assert relay.stop() == 0
