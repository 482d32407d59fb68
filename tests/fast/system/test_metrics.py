"""Metrics: what was counted is shown, labels stay few, and one process answers for all."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from userservice_core.errors import ConfigurationError
from userservice_core.infrastructure.system.metrics import (
    FOLDER_VARIABLE,
    MAX_LABELS,
    PrometheusMetrics,
    serve_metrics,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


def _samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the value of each sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_happened_is_shown() -> None:
    """Requests by operation and status, times, occurrences and levels, in Prometheus' format."""
    metrics = PrometheusMetrics()
    for status in (200, 200, 503):
        metrics.request_began("getMe")(status)
    with metrics.timing("password_hash"):
        pass
    metrics.count("mail", outcome="sent", times=3)
    metrics.gauge("waiting", 7)
    metrics.gauge("waiting", 5)
    content, content_type = metrics.render()
    samples = _samples(content.decode())

    assert content_type.startswith("text/plain")
    assert samples["userservice_http_requests_total", ("getMe", "200")] == 2
    assert samples["userservice_http_requests_total", ("getMe", "503")] == 1
    assert samples["userservice_http_request_seconds_count", ("getMe",)] == 3
    assert samples["userservice_seconds_count", ("password_hash",)] == 1
    assert samples["userservice_occurrences_total", ("sent", "mail")] == 3
    assert samples["userservice_level", ("waiting",)] == 5


def test_what_fails_is_timed_too() -> None:
    """And the failure passes through."""
    metrics = PrometheusMetrics()

    with pytest.raises(LookupError), metrics.timing("uow_commit"):
        raise LookupError
    assert _samples(metrics.render()[0].decode())["userservice_seconds_count", ("uow_commit",)] == 1


def test_labels_stay_few() -> None:
    """Whatever somebody counts by, past the bound it is counted as `other`."""
    metrics = PrometheusMetrics()
    for number in range(3 * MAX_LABELS):
        metrics.count(f"what-{number}")
        metrics.request_began(f"operation-{number}")(number)
    samples = _samples(metrics.render()[0].decode())

    assert samples["userservice_occurrences_total", ("ok", "other")] > MAX_LABELS
    assert len({labels for name, labels in samples if name == "userservice_occurrences_total"}) <= MAX_LABELS


def test_two_of_a_kind_do_not_share_anything() -> None:
    """Each has a registry of its own, so that a process may hold two services."""
    first, second = PrometheusMetrics(), PrometheusMetrics()
    first.count("mail")

    assert b"mail" not in second.render()[0]


_WORKER = """
from userservice_core.infrastructure.system.metrics import PrometheusMetrics
metrics = PrometheusMetrics()
metrics.request_began("getMe")(200)
metrics.gauge("waiting", 5)
print(metrics.render()[0].decode())
"""


_SERVES: Final = """
import pathlib
import sys
import time
from userservice_core.infrastructure.system.metrics import PrometheusMetrics, serve_metrics
with serve_metrics(pathlib.Path(sys.argv[1]), host="127.0.0.1", port=0):
    PrometheusMetrics().count("starts")
    print("serves", flush=True)
    time.sleep(600)
"""


def test_one_port_answers_for_all_processes(tmp_path: Path) -> None:
    """
    Processes started within the block are counted together, also those that have ended; earlier runs are not.

    How much there is of something in a process that has ended is not told: there is none of it any more.
    """
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"left by an earlier run")
    with serve_metrics(folder, host="127.0.0.1", port=0) as port:
        shown_by_worker = [
            subprocess.run([sys.executable, "-c", _WORKER], check=True, capture_output=True, text=True).stdout
            for _ in range(2)
        ]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            samples = _samples(answer.read().decode())

    assert samples["userservice_http_requests_total", ("getMe", "200")] == 2
    assert ("userservice_level", ("waiting",)) not in samples
    assert not list(folder.glob("gauge_*.db"))
    assert _samples(shown_by_worker[1])["userservice_http_requests_total", ("getMe", "200")] == 2
    assert _samples(shown_by_worker[1])["userservice_level", ("waiting",)] == 5
    assert FOLDER_VARIABLE not in os.environ


def _work() -> None:
    PrometheusMetrics().request_began("getMe")(200)


def test_processes_that_are_forked_are_counted_too(tmp_path: Path) -> None:
    """A server forks its workers from the process that serves the metrics, with everything it has imported."""
    with serve_metrics(tmp_path, host="127.0.0.1", port=0) as port:
        worker = multiprocessing.get_context("fork").Process(target=_work)
        worker.start()
        worker.join()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            samples = _samples(answer.read().decode())

    assert samples["userservice_http_requests_total", ("getMe", "200")] == 1


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    """As a fault of the settings, since they name it."""
    with (
        serve_metrics(tmp_path, host="127.0.0.1", port=0) as port,
        pytest.raises(ConfigurationError, match=f"127.0.0.1 port {port}"),
        serve_metrics(tmp_path, host="127.0.0.1", port=port),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Before anything is started."""
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ConfigurationError, match="metrics cannot be kept"),
        serve_metrics(tmp_path / "file" / "metrics", host="127.0.0.1", port=0),
    ):
        pass


def test_a_folder_that_another_process_uses_is_told(tmp_path: Path) -> None:
    """What the other has counted stays; once it has ended, whichever way, the folder is free."""
    command = [sys.executable, "-c", _SERVES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        kept = list(tmp_path.glob("*.db"))
        with (
            pytest.raises(ConfigurationError, match="another process keeps its metrics in"),
            serve_metrics(tmp_path, host="127.0.0.1", port=0),
        ):
            pass
        still_kept = list(tmp_path.glob("*.db"))
        other.kill()
    with serve_metrics(tmp_path, host="127.0.0.1", port=0):
        after = list(tmp_path.glob("*.db"))

    assert len(kept) > 0
    assert still_kept == kept
    assert after == []
