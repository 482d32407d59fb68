"""
Measure the hottest routes, each beside its limit: ``python -m benchmarks``, which ``make bench`` runs.

Everything is on this machine: load, server, database. So a figure by itself says little; its ratio to a limit that was
measured in the same rounds says what the service costs. Rounds alternate between limit and hosts, and medians are
reported. Nothing fails by being slow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import psycopg

from benchmarks import processes
from benchmarks.accounts import PASSWORD, Account, create_accounts
from benchmarks.hashing import verifications_per_second
from benchmarks.load import Load, LoadClient, Outcome, find_client
from benchmarks.machine import describe_machine
from benchmarks.report import Figure, figure_of, table_of, write_document
from userservice_core.bootstrap import configure_logging, effective_cpus, new_key_ring
from userservice_core.config import Settings
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOSTS: Final = ("starlette", "flask")
_RESULTS: Final = Path(__file__).parent / "results"
_READ_LIMIT: Final = "one SELECT by psycopg in threads behind bare Starlette"
_SIGN_IN_LIMIT: Final = "verifications of Argon2 by as many threads as processors"
_GOALS: Final = {"read": 0.75, "sign-in": 0.90}
_WARM_UP_SECONDS: Final = 1.0


@attrs.frozen(kw_only=True)
class Plan:
    """
    What a run measures.

    Attributes:
        seconds: Of each measurement.
        clients: Numbers of clients, one after the other.
    """

    rounds: int
    seconds: float
    clients: tuple[int, ...]
    workers: int
    accounts: int


@attrs.frozen(kw_only=True)
class Scene:
    """The servers at work, and the accounts they know."""

    limit_port: int
    ports: dict[str, int]
    accounts: tuple[Account, ...]
    settings: Settings


def main() -> None:
    """Measure, print, write."""
    plan, name = _arguments()
    machine = describe_machine()
    client = find_client()
    print(json.dumps(machine, indent=2))
    print(f"client: {client.name}; {plan.rounds} rounds of {plan.seconds:g} s, {plan.workers} workers\n")
    with _scene(plan) as scene:
        figures = [*_reads(plan, scene, client), *_sign_ins(plan, scene, client)]
        settings = {key: value for key, value in scene.settings.masked() if value}
        with psycopg.connect(scene.settings.database_url) as connection:
            machine["postgresql"] = connection.info.parameter_status("server_version")
    print(table_of(figures))
    print(f"\nThe limit of a read is {_READ_LIMIT}; of a sign-in, {_SIGN_IN_LIMIT}.")
    file = _RESULTS / f"{name}.json"
    write_document(
        file, figures, machine=machine, run={**attrs.asdict(plan), "client": client.name, "settings": settings}
    )
    print(f"Written to {file}")


def _arguments() -> tuple[Plan, str]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the hottest routes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--workers", type=int, default=effective_cpus())
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--name", default=f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}", help="of the result")
    given = parser.parse_args()
    plan = Plan(
        rounds=given.rounds,
        seconds=given.seconds,
        clients=tuple(given.clients),
        workers=given.workers,
        accounts=given.accounts,
    )
    return plan, given.name


@contextlib.contextmanager
def _scene(plan: Plan) -> Iterator[Scene]:
    """Start everything on a database of its own."""
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="userservice-bench-")))
        folder.chmod(0o755)
        database = EmbeddedPostgres(folder / "postgres")
        running.callback(database.stop)
        variables = _variables(database.start(), folder, workers=plan.workers)
        settings = Settings.from_environment(variables)
        configure_logging(settings)
        migrate.upgrade(settings.database_url)
        accounts = create_accounts(settings, plan.accounts)
        ports = {
            host: running.enter_context(processes.service(variables, host, log=folder / f"{host}.log"))
            for host in _HOSTS
        }
        limit_port = running.enter_context(
            processes.limit(
                settings.database_url,
                workers=plan.workers,
                threads=settings.database_pool_size,
                log=folder / "limit.log",
                user_id=accounts[0].user_id,
            )
        )
        yield Scene(limit_port=limit_port, ports=ports, accounts=accounts, settings=settings)


def _variables(dsn: str, folder: Path, *, workers: int) -> dict[str, str]:
    """Return the settings: the defaults, without a log line for each request and with room for many."""
    return {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_DATABASE_URL": dsn,
        "USERSERVICE_DATABASE_DIRECT_URL": dsn,
        "USERSERVICE_DATA_DIR": str(folder),
        "USERSERVICE_KEYRING": new_key_ring(),
        "USERSERVICE_RATE_LIMITS_FILE": str(Path(__file__).with_name("rate_limits.toml")),
        "USERSERVICE_WORKERS": str(workers),
        "USERSERVICE_ACCESS_TOKEN_SECONDS": "3600",
        "USERSERVICE_LOG_LEVEL": "WARNING",
    }


def _reads(plan: Plan, scene: Scene, client: LoadClient) -> Iterator[Figure]:
    """Measure GET /users/me on each host, at each number of clients."""
    bare = Load(
        method="GET",
        port=scene.limit_port,
        paths=tuple(f"/{account.user_id}" for account in scene.accounts),
        tokens=tuple(account.access_token for account in scene.accounts),
    )
    loads = {
        host: Load(method="GET", port=port, paths=("/users/me",) * len(scene.accounts), tokens=bare.tokens)
        for host, port in scene.ports.items()
    }
    for clients in plan.clients:
        limits, outcomes = _alternate(plan, {"limit": bare, **loads}, client, clients=clients)
        for host, of_host in outcomes.items():
            yield figure_of(
                f"GET /users/me, {host}, {clients} clients",
                of_host,
                limit=_READ_LIMIT,
                limit_rounds=limits,
                goal=_GOALS["read"],
            )


def _alternate(
    plan: Plan, loads: dict[str, Load], client: LoadClient, *, clients: int
) -> tuple[list[float], dict[str, list[Outcome]]]:
    outcomes: dict[str, list[Outcome]] = {name: [] for name in loads}
    for _ in range(plan.rounds):
        for name, load in loads.items():
            client.run(load, clients=clients, seconds=_WARM_UP_SECONDS)
            outcomes[name].append(client.run(load, clients=clients, seconds=plan.seconds))
    return [outcome.per_second for outcome in outcomes.pop("limit")], outcomes


def _sign_ins(plan: Plan, scene: Scene, client: LoadClient) -> Iterator[Figure]:
    """Measure POST /auth/login with the right password on each host, at each number of clients."""
    bodies = tuple(json.dumps({"email": account.email, "password": PASSWORD}) for account in scene.accounts)
    loads = {
        host: Load(method="POST", port=port, paths=("/auth/login",) * len(bodies), bodies=bodies)
        for host, port in scene.ports.items()
    }
    for clients in plan.clients:
        limits: list[float] = []
        outcomes: dict[str, list[Outcome]] = {host: [] for host in loads}
        for _ in range(plan.rounds):
            limits.append(verifications_per_second(scene.settings, threads=effective_cpus(), seconds=plan.seconds))
            for host, load in loads.items():
                outcomes[host].append(client.run(load, clients=clients, seconds=plan.seconds))
        for host, of_host in outcomes.items():
            yield figure_of(
                f"POST /auth/login, {host}, {clients} clients",
                of_host,
                limit=_SIGN_IN_LIMIT,
                limit_rounds=limits,
                goal=_GOALS["sign-in"],
            )


if __name__ == "__main__":
    main()
