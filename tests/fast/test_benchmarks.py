"""What the benchmarks count and how they sum it up; not what they find."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from benchmarks.capacity.__main__ import Row, write_results
from benchmarks.load import Load, Outcome, PythonClient
from benchmarks.report import figure_of, table_of, write_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    """Answers 200 to those who send the right token and body, 400 to others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        is_right = (self.headers["authorization"], self.path, body) == ("Bearer a", "/a", b"{}")
        self.send_response(200 if is_right else 400)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def _server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_client_of_our_own_sends_what_it_is_told_and_counts_what_is_refused() -> None:
    """Requests take turns, and one that is not answered with 2xx is a fault."""
    with _server() as port:
        load = Load(method="POST", port=port, paths=("/a", "/b"), bodies=("{}", "{}"), tokens=("a", "a"))
        outcome = PythonClient().run(load, clients=2, seconds=0.2)

    assert outcome.answers > 2
    assert abs(outcome.faults - outcome.answers / 2) <= 2
    assert 0 < outcome.p50 <= outcome.p95 <= outcome.p99


def test_a_server_that_is_gone_gives_faults_only() -> None:
    """A load on nothing is no figure."""
    with _server() as port:
        pass
    outcome = PythonClient().run(Load(method="GET", port=port, paths=("/",)), clients=1, seconds=0.05)

    assert outcome.per_second == 0


def _outcome(answers: int, *, faults: int = 0) -> Outcome:
    return Outcome(answers=answers, seconds=2.0, faults=faults, p50=1.0, p95=2.0, p99=3.0)


def test_a_figure_is_a_median_and_its_ratio_that_of_the_rounds(tmp_path: Path) -> None:
    """A round in which the machine was busy slows figure and limit alike, and so does not change the ratio."""
    outcomes = [_outcome(200), _outcome(20), _outcome(210, faults=10)]
    figure = figure_of("a read", outcomes, limit="the least", limit_rounds=(200.0, 20.0, 200.0), goal=0.75)

    assert figure.median == 100.0
    assert figure.limit_median == 200.0
    assert figure.ratio == pytest.approx(0.5)
    assert figure.faults == 10
    assert "a read" in table_of([figure])

    write_document(tmp_path / "results" / "run.json", [figure], machine={"processors": 2}, run={"rounds": 3})
    document = json.loads((tmp_path / "results" / "run.json").read_text())

    assert document["figures"][0]["ratio"] == 0.5
    assert document["machine"] == {"processors": 2}


def test_a_figure_for_planning_is_the_median_of_its_rounds_and_says_whether_its_goal_is_met() -> None:
    """The spread is what its rounds lie apart, as a share of it."""
    row = Row(name="sign-ins", unit="1/s", rounds=(18.0, 20.0, 22.0), limit=25.0, goal=0.9)

    assert row.document() == {
        "figure": "sign-ins",
        "value": 20.0,
        "unit": "1/s",
        "limit": 25.0,
        "ratio": 0.8,
        "goal": 0.9,
        "met": False,
        "spread": 0.2,
    }


def test_figures_that_were_not_measured_again_are_kept_with_their_machine(tmp_path: Path) -> None:
    """So that parts can be measured apart, and each figure says where it is from."""
    file = tmp_path / "results" / "capacity.json"
    first = [{"figure": "one", "value": 1.0, "unit": "s"}, {"figure": "two", "value": 2.0, "unit": "s"}]
    write_results(file, first, {"at": "yesterday", "processor": "old"})
    write_results(file, [{"figure": "two", "value": 3.0, "unit": "s"}], {"at": "today", "processor": "new"})
    document = json.loads(file.read_text())

    assert {at: machine["processor"] for at, machine in document["machines"].items()} == {
        "today": "new",
        "yesterday": "old",
    }
    assert document["figures"] == [
        {"figure": "two", "value": 3.0, "unit": "s", "at": "today"},
        {"figure": "one", "value": 1.0, "unit": "s", "at": "yesterday"},
    ]
