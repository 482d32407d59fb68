"""What the benchmarks count and how they sum it up; not what they find."""

from __future__ import annotations

import itertools
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from benchmarks.baseline import compared_with
from benchmarks.figure import Bench, CannotMeasureError, Figure, Goal, Result, Round, at_least, at_most
from benchmarks.figures import Area, all_figures, chosen, figures_of
from benchmarks.goals import NOT_HERE, ROWS
from benchmarks.peers.environments import environment, requirements_of, versions_of
from benchmarks.peers.figures import AREA
from benchmarks.peers.parties import PEERS, Account, Party
from benchmarks.report import entry_of, page_of, read_document, result_of, table_of, write_document
from benchmarks.running import Measured, measure
from benchmarks.saturation import Load, PythonClient
from benchmarks.scene import Effort, Scene, scene_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.peers.parties import Peer


class _Handler(BaseHTTPRequestHandler):
    """Answers 200 to those who send the right token and body, 400 to others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        token = self.headers["authorization"] or f"Bearer {self.headers['token']}"
        is_right = (token, self.path, body) == ("Bearer a", "/a", b"{}")
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


def test_a_token_can_go_into_a_header_of_its_own() -> None:
    """As it is, without a scheme before it."""
    with _server() as port:
        load = Load(method="POST", port=port, paths=("/a",), bodies=("{}",), tokens=("a",), token_header="Token")
        outcome = PythonClient().run(load, clients=1, seconds=0.1)

    assert outcome.answers > 0
    assert outcome.faults == 0


def test_a_server_that_is_gone_gives_faults_only() -> None:
    """A load on nothing is no figure."""
    with _server() as port:
        pass
    outcome = PythonClient().run(Load(method="GET", port=port, paths=("/",)), clients=1, seconds=0.05)

    assert outcome.per_second == 0


_READ = Figure(name="a-read", title="a read", unit="1/s", limit="the least", goal=at_least(0.75), row="read")
_WAIT = Figure(name="a-wait", title="a wait", unit="ms", limit="when idle", goal=at_most(3), row="fairness")


def _result(figure: Figure, *rounds: tuple[float, float]) -> Result:
    return Result(figure=figure, rounds=tuple(Round(value=value, limit=limit) for value, limit in rounds), others=0.5)


def test_a_ratio_is_that_of_the_rounds() -> None:
    """A round in which the machine was busy slows figure and limit alike, and so does not change the ratio."""
    result = _result(_READ, (100.0, 200.0), (10.0, 20.0), (110.0, 200.0))

    assert result.value == 100.0
    assert result.limit == 200.0
    assert result.ratio == pytest.approx(0.5)
    assert result.spread == pytest.approx(0.1)


def test_a_figure_without_a_limit_is_only_told() -> None:
    """Its spread is that of its values."""
    figure = Figure(name="a-size", title="a size", unit="B")
    result = Result(figure=figure, rounds=(Round(value=90.0), Round(value=100.0), Round(value=110.0)))

    assert result.value == 100.0
    assert [result.limit, result.ratio, result.is_met, result.missed_by] == [None] * 4
    assert result.spread == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("goal", "ratio", "is_met", "missed_by"),
    [
        (at_least(0.8), 0.8, True, 0.0),
        (at_least(0.8), 0.9, True, 0.0),
        (at_least(0.8), 0.6, False, 0.25),
        (at_most(2), 2.0, True, 0.0),
        (at_most(2), 1.0, True, 0.0),
        (at_most(2), 3.0, False, 0.5),
    ],
)
def test_a_goal_has_a_direction(goal: Goal, ratio: float, is_met: object, missed_by: float) -> None:
    """Of speed, more is better, and of time and memory less; the distance is a part of the goal."""
    assert goal.is_met(ratio) is is_met
    assert goal.missed_by(ratio) == pytest.approx(missed_by)


def test_a_document_has_what_was_measured_and_gives_it_back(tmp_path: Path) -> None:
    """Results of other figures stay as they were, with the versions they were measured with, in the usual order."""
    read, wait = _result(_READ, (100.0, 200.0), (110.0, 200.0)), _result(_WAIT, (2.0, 1.0))
    file = tmp_path / "results" / "latest.json"
    gone = {**entry_of(read, versions={}), "figure": "that-is-gone"}
    write_document(file, [gone, entry_of(wait, versions={"at": "yesterday"})], order=["that-is-gone", "a-wait"])

    write_document(file, [entry_of(read, versions={"at": "today"})], order=["a-read", "a-wait"])
    first, second = read_document(file)

    assert (result_of(first), result_of(second)) == (read, wait)
    assert (first["versions"], second["versions"]) == ({"at": "today"}, {"at": "yesterday"})
    assert {name: first[name] for name in ("figure", "value", "unit", "limit", "ratio", "goal", "met", "spread")} == {
        "figure": "a-read",
        "value": 105.0,
        "unit": "1/s",
        "limit": 200.0,
        "ratio": 0.525,
        "goal": 0.75,
        "met": False,
        "spread": 0.0952,
    }
    assert (second["goal"], second["goalIs"], second["met"]) == (3, "at most", True)


def test_the_table_and_the_page_tell_every_figure_and_how_far_its_goal_is() -> None:
    """The page needs nothing beside it."""
    results = [_result(_READ, (60.0, 100.0)), _result(_WAIT, (2.0, 1.0))]
    table, page = table_of(results), page_of(results, versions={"processors": 2})

    assert ["missed by 20%" in line for line in table.splitlines()] == [False, True, False]
    assert table.splitlines()[2].endswith("met")
    assert all(text in page for text in ("<svg", "a read", "a wait", "missed by 20%", "when idle"))
    assert "src=" not in page


def test_a_baseline_is_compared_where_the_rounds_do_not_overlap() -> None:
    """By the direction of the goal, and silent about less than a tenth."""
    before = [entry_of(_result(_READ, (50.0, 100.0), (52.0, 100.0)), versions={})]
    before.append(entry_of(_result(_WAIT, (2.0, 1.0), (2.1, 1.0)), versions={}))

    def told(*results: Result) -> list[str]:
        return list(compared_with(before, [entry_of(each, versions={}) for each in results]))[:-1]

    assert told(_result(_READ, (40.0, 100.0), (41.0, 100.0))) == ["a-read: worse than the baseline, 0.405 after 0.510"]
    assert told(_result(_WAIT, (1.0, 1.0), (1.2, 1.0))) == ["a-wait: better than the baseline, 1.100 after 2.050"]
    assert told(_result(_READ, (49.0, 100.0), (48.0, 100.0))) == []
    assert told(_result(_READ, (20.0, 100.0), (51.0, 100.0))) == []


def test_a_baseline_in_which_nothing_was_done_is_compared_too() -> None:
    """As on a machine that was too busy to do anything of it in time."""
    nothing = [entry_of(_result(_READ, (0.0, 100.0), (0.0, 100.0)), versions={})]
    something = [entry_of(_result(_READ, (50.0, 100.0), (51.0, 100.0)), versions={})]

    assert next(compared_with(nothing, something)) == "a-read: better than the baseline, 0.505 after 0.000"
    assert list(compared_with(nothing, nothing))[:-1] == []


def _bench(measure: Callable[[Scene], Iterator[dict[str, Round]]], *, most_rounds: int | None = None) -> Bench:
    return Bench(figures=(_READ, _WAIT), measure=measure, most_rounds=most_rounds)


def _measured(bench: Bench, *, rounds: int = 3, wanted: frozenset[str] = frozenset({"a-read", "a-wait"})) -> Measured:
    with scene_for(Effort(rounds=rounds)) as scene:
        (measured,) = measure([Area("of-a-test", (bench,))], wanted, scene)
    return measured


def test_a_bench_is_asked_for_as_many_rounds_as_are_wanted_and_then_closed() -> None:
    """It may say that fewer are enough; only the figures that were asked for are told."""
    ended = []

    def rounds(_: Scene) -> Iterator[dict[str, Round]]:
        try:
            for number in itertools.count(1):
                yield {"a-read": Round(value=number, limit=1.0), "a-wait": Round(value=number, limit=2.0)}
        finally:
            ended.append("yes")

    both = _measured(_bench(rounds)).results
    (read,) = _measured(_bench(rounds, most_rounds=2), wanted=frozenset({"a-read"})).results

    assert {result.figure.name: result.ratios for result in both} == {"a-read": (1, 2, 3), "a-wait": (0.5, 1, 1.5)}
    assert list(read.ratios) == [1, 2]
    assert ended == ["yes", "yes"]


def test_what_cannot_be_measured_or_fails_says_so_and_ends_no_other() -> None:
    """A figure is left out, not made up."""

    def cannot(_: Scene) -> Iterator[dict[str, Round]]:
        yield {}
        raise CannotMeasureError("there is no quota")

    def fails(_: Scene) -> Iterator[dict[str, Round]]:
        yield {}
        raise ValueError("of a bench")

    one, other = _measured(_bench(cannot)), _measured(_bench(fails))

    assert (one.cannot, one.failed, one.results) == ("there is no quota", None, ())
    assert other.results == ()
    assert "of a bench" in str(other.failed)


def test_what_an_area_has_started_is_shared_in_it_and_ends_with_it() -> None:
    """Databases stay to the end of the run."""
    told: list[str] = []

    @contextmanager
    def started(name: str) -> Iterator[str]:
        told.append(f"{name} begins")
        yield name
        told.append(f"{name} ends")

    with scene_for(Effort()) as scene:
        for _ in range(2):
            with scene.area():
                assert scene.in_area("server", lambda: started("server")) == "server"
                assert scene.in_area("server", lambda: started("another")) == "server"
                scene.in_run("database", lambda: started("database"))

    assert told == [
        *("server begins", "database begins", "server ends"),
        *("server begins", "server ends", "database ends"),
    ]


def test_figures_are_chosen_by_name_or_what_it_begins_with() -> None:
    """Without any, those that belong to the goals; a name that is that of none is told."""
    area = Area("of-a-test", (_bench(lambda _: iter(())),))

    size = Figure(name="a-size", title="a size", unit="B")
    told = Area("that-is-told", (Bench(figures=(size,), measure=lambda _: iter(())),))

    assert chosen([area, told], []) == ((area,), frozenset({"a-read", "a-wait"}))
    assert chosen([area, told], ["a-s"]) == ((told,), frozenset({"a-size"}))
    assert chosen([area], ["a-r"]) == ((area,), frozenset({"a-read"}))
    with pytest.raises(ValueError, match="no figure begins with 'b'"):
        chosen([area], ["a-r", "b"])


def test_names_of_figures_are_unique_and_can_be_typed() -> None:
    """They are chosen by them on a command line, in a list with commas."""
    names = [figure.name for figure in (*all_figures(), *figures_of([AREA]))]

    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


def test_every_row_of_the_goals_has_a_figure_or_a_reason_why_not() -> None:
    """Never both, and no figure belongs to a row that is not there; what has a goal has a limit and a row."""
    figures = all_figures()
    rows = {figure.row for figure in figures if figure.row is not None}

    assert rows | NOT_HERE.keys() == ROWS.keys()
    assert rows & NOT_HERE.keys() == set()
    assert [figure.name for figure in figures if figure.goal and not (figure.limit and figure.row)] == []


def test_peers_are_compared_by_a_command_of_their_own() -> None:
    """Their row of the goals has no figure among the others, and every figure of theirs belongs to it."""
    figures = figures_of([AREA])

    assert {figure.row for figure in figures} == {"peers"}
    assert "peers" in NOT_HERE
    assert {figure.name.split("-16-")[0] for figure in figures if figure.goal and "-16-" in figure.name} == {
        "users-me",
        "admin-user",
    }


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_what_a_peer_needs_is_pinned(peer: Peer) -> None:
    """At exact versions, without an address to fetch it from."""
    lines = [line for line in requirements_of(peer.package).read_text().splitlines() if not line.startswith("#")]

    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(versions_of(peer.package)) == len(lines) > 5


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_asked_with_the_tokens_that_it_gave(peer: Peer) -> None:
    """Each account reads itself by its own, and an administrator all; nobody is registered twice."""
    accounts = tuple(Account(id=str(number), email=f"{number}@example.com", token=f"of {number}") for number in (1, 2))
    party = Party(port=1, routes=peer.routes, administrator="all", accounts=accounts, deep=peer.routes.page(100))

    assert party.me().tokens == ("of 1", "of 2")
    assert party.user().tokens == ("all", "all")
    assert [path.rpartition("/")[2] for path in party.user().paths] == ["1", "2"]
    assert party.first_page().paths != party.deep_page().paths
    assert ["1%40example.com" in body or "1@example.com" in body for body in party.login().bodies] == [True, False]
    assert set(party.register().bodies) & set(party.register().bodies) == set()


def test_an_environment_is_made_when_it_is_needed_and_when_other_versions_are_wanted(tmp_path: Path) -> None:
    """What cannot be installed says so, and leaves nothing that looks complete."""
    folder, requirements = tmp_path / "environment", tmp_path / "requirements.txt"
    requirements.write_text(f"{tmp_path}/that-is-not-there.whl\n")
    with pytest.raises(CannotMeasureError, match="that-is-not-there"):
        environment(folder, requirements)
    requirements.write_text("# nothing\n")
    python = environment(folder, requirements)
    python.with_name("kept").touch()

    assert environment(folder, requirements) == python
    assert python.with_name("kept").exists()
    assert python.exists()
