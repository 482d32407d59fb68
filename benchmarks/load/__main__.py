"""
Send a load as people make it, and tell whether it was borne and what was at its limit: ``python -m benchmarks.load``.

``make load`` runs it. Without a URL, it starts a service, its database and a relay on this machine. The exit status is
1 where something that was asked of the load is not met.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import psutil

from benchmarks.load.bottleneck import Capacity, find_bottleneck
from benchmarks.load.outcome import CRITERIA, checks_of, criteria_for, read_outcome
from benchmarks.load.page import Report, document_of, lines_of, page_of
from benchmarks.load.sampling import Sampler
from benchmarks.load.scenarios import SCENARIOS
from benchmarks.load.target import Target, foreign_target, kinds_of, own_target
from benchmarks.machine import describe_machine
from userservice_core.bootstrap import effective_cpus

if TYPE_CHECKING:
    from benchmarks.load.bottleneck import Interval
    from benchmarks.load.scenarios import Scenario

_ROOT: Final = Path(__file__).parents[2]
_RESULTS: Final = _ROOT / "benchmarks" / "results"
_LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
_STOP_SECONDS: Final = "10"
_ENDED: Final = 143
"""The exit status of what was ended by SIGTERM, as shells have it."""
_WITHOUT_ACCOUNT: Final = ("Newcomer", "Asker")
"""People who need none, and those who are left out where none of the accounts may ask."""


def main() -> int:
    """Load, look, tell, write."""
    # Whatever ends this has to end what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED))
    parser = _parser()
    given = parser.parse_args()
    scenario = SCENARIOS[given.scenario]
    given.users = given.users or scenario.users
    try:
        criteria = criteria_for(scenario.name, file=given.criteria)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    versions = {**describe_machine(), "locust": version("locust")}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="userservice-load-")))
        target = running.enter_context(_target(given, folder))
        accounts = kinds_of(target.accounts)
        if "person" not in accounts and any(kind not in _WITHOUT_ACCOUNT for kind, _ in scenario.kinds):
            parser.error("people who sign in have to have accounts: ACCOUNTS=file.csv, or DSN= of a test's database")
        if "asker" not in accounts:
            scenario = attrs.evolve(scenario, kinds=tuple(each for each in scenario.kinds if each[0] != "Asker"))
        intervals = _run(given, scenario, target, folder)
        outcome = read_outcome(folder / "results.json", folder / "locust_stats_history.csv")
    capacity = Capacity(processors=effective_cpus(), workers=target.workers, generators=given.processes)
    report = Report(
        scenario=scenario,
        users=given.users,
        seconds=given.seconds,
        url=target.url,
        outcome=outcome,
        checks=checks_of(outcome, criteria),
        verdict=find_bottleneck(intervals, capacity),
        intervals=intervals,
        versions=versions,
    )
    for line in lines_of(report):
        print(line)
    file = given.results / f"load-{scenario.name}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page_of(report), encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(document_of(report), indent=1) + "\n", encoding="utf-8")
    print(f"Written to {file} and {file.with_suffix('.json').name}")
    return int(not report.passed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="Load a service as people do.")
    parser.add_argument("scenario", nargs="?", default="steady", choices=tuple(SCENARIOS))
    parser.add_argument("--url", default="", help="of the service; one is started if this is left out")
    parser.add_argument("--users", type=_whole, help="at the height; the scenario's own number if left out")
    parser.add_argument("--seconds", type=_whole, default=60, help="of the whole (60)")
    parser.add_argument("--think", type=float, default=1.0, help="how long people think, times what is usual (1)")
    parser.add_argument("--web", type=int, metavar="PORT", help="serve Locust's page there, until Ctrl-C")
    parser.add_argument("--processes", type=_whole, default=1, help="that make the load (1)")
    parser.add_argument("--metrics", default="", metavar="URLS", help="pages of metrics, with commas (URL/metrics)")
    parser.add_argument("--dsn", default="", help="of the service's database, to look at and to make accounts in")
    parser.add_argument("--accounts", default="", metavar="FILE", help="lines of e-mail address and password (CSV)")
    parser.add_argument("--workers", type=_whole, default=effective_cpus(), help="of the service that is started")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="NAME=VALUE", help="of the service that is started"
    )
    parser.add_argument("--criteria", type=Path, default=CRITERIA, help="what each scenario is held to")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder of the report")
    return parser


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _target(given: argparse.Namespace, folder: Path) -> contextlib.AbstractContextManager[Target]:
    if given.url:
        target = foreign_target(
            given.url,
            metrics=tuple(page for page in given.metrics.split(",") if page),
            dsn=given.dsn or None,
            accounts=Path(given.accounts) if given.accounts else None,
            number=given.users,
            folder=folder,
        )
        return contextlib.nullcontext(target)
    settings = dict(setting.split("=", 1) for setting in given.setting)
    variables = {f"USERSERVICE_{name.removeprefix('USERSERVICE_')}": value for name, value in settings.items()}
    return own_target(variables, accounts=given.users + 1, workers=given.workers, folder=folder)


def _run(given: argparse.Namespace, scenario: Scenario, target: Target, folder: Path) -> tuple[Interval, ...]:
    weights = [{"user_class_name": kind, "weight": weight} for kind, weight in scenario.kinds]
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--host", target.url),
        *("--scenario", scenario.name, "--users", str(given.users), "--run-time", f"{given.seconds}s"),
        *("--think", str(given.think), "--stop-timeout", _STOP_SECONDS, "--exit-code-on-error", "0"),
        *("--csv", str(folder / "locust"), "--csv-full-history", "--results", str(folder / "results.json")),
        *("--accounts", str(target.accounts or ""), "--loglevel", "WARNING", "--only-summary"),
        *(["--web-host", "127.0.0.1", "--web-port", str(given.web)] if given.web else ["--headless"]),
        *(["--processes", str(given.processes)] if given.processes > 1 else []),
        f"--config-users={json.dumps(weights)}",
        *(kind for kind, _ in scenario.kinds),
    ]
    if given.web:
        print(f"Locust's page: http://127.0.0.1:{given.web}; Ctrl-C ends it, and then the report is made", flush=True)
    with (folder / "locust.log").open("wb") as log:
        locust = subprocess.Popen(command, cwd=_ROOT, stdout=log, stderr=log, start_new_session=True)
        parties = {**target.parties, "generator": (psutil.Process(locust.pid),)}
        with Sampler(metrics=target.metrics, dsn=target.dsn, parties=parties) as sampler:
            try:
                locust.wait()
            except KeyboardInterrupt:
                print("Ended by Ctrl-C", flush=True)
            finally:
                if locust.poll() is None:
                    locust.terminate()
                    locust.wait()
    if not (folder / "results.json").exists():
        raise RuntimeError(f"Locust ended with {locust.returncode}:\n{(folder / 'locust.log').read_text()[-4000:]}")
    return sampler.intervals


if __name__ == "__main__":
    sys.exit(main())
