"""What a load goes to: a service that is there, or one that is started for it, and the accounts that people use."""

from __future__ import annotations

import contextlib
import csv
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
import psutil
import psycopg

from benchmarks import processes
from benchmarks.accounts import PASSWORD, create_accounts
from benchmarks.load.sampling import listening_on, port_here
from benchmarks.scene import Effort, scene_for
from userservice_core.bootstrap import effective_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANSWER_SECONDS: Final = 60.0


@attrs.frozen(kw_only=True)
class Target:
    """
    Where a load goes.

    Attributes:
        metrics: The pages of metrics to look at.
        dsn: Of the database, None if it is not known.
        accounts: A file of lines with e-mail address, password and, of those who may ask what others may do, anything
            more; None if there are none.
        parties: The processes of service, database and relay that are on this machine.
        workers: Processes that serve, None if they are elsewhere.
    """

    url: str
    metrics: tuple[str, ...]
    dsn: str | None
    accounts: Path | None
    parties: Mapping[str, tuple[psutil.Process, ...]]
    workers: int | None


@contextlib.contextmanager
def own_target(settings: Mapping[str, str], *, accounts: int, workers: int, folder: Path) -> Iterator[Target]:
    """
    Start PostgreSQL, a service and a relay within the block, with so many accounts.

    Args:
        settings: Settings that are to be otherwise than they are for benchmarks, by their variables.
    """
    with scene_for(Effort(workers=workers, accounts=accounts)) as scene, scene.area():
        installation = scene.installation
        found = create_accounts(installation.settings, accounts)
        metrics, of_relay = processes.free_port(), processes.free_port()
        variables = {
            **installation.variables,
            "USERSERVICE_MAIL_URL": "console:",
            **settings,
            "USERSERVICE_METRICS_PORT": str(metrics),
        }
        relay = (sys.executable, "-m", "userservice_core.cli", "relay", "--metrics-port", str(of_relay))
        with (
            processes.service(variables, "starlette", log=scene.folder / "service.log") as port,
            processes.running(relay, variables, log=scene.folder / "relay.log") as relaying,
        ):
            yield Target(
                url=f"http://127.0.0.1:{port}",
                metrics=tuple(f"http://127.0.0.1:{each}/metrics" for each in (metrics, of_relay)),
                dsn=installation.dsn,
                accounts=write_accounts(
                    folder / "accounts.csv", [account.email for account in found[1:]], asking=found[0].email
                ),
                parties={**_parties(port, installation.dsn), "relay": (psutil.Process(relaying.pid),)},
                workers=workers,
            )


def foreign_target(
    url: str, *, metrics: tuple[str, ...], dsn: str | None, accounts: Path | None, number: int, folder: Path
) -> Target:
    """
    Tell what there is to know of a service that runs.

    Without a file of accounts, but with the DSN of its database, *number* of them are registered and confirmed there.
    """
    url = url.rstrip("/")
    if accounts is None and dsn is not None:
        accounts = write_accounts(folder / "accounts.csv", _register(url, dsn, number))
    port = port_here(url, usual=443 if url.startswith("https:") else 80)
    parties = {} if port is None else _parties(port, dsn)
    workers = sum(len(process.children()) for process in parties.get("service", ()))
    return Target(
        url=url,
        metrics=metrics or (f"{url}/metrics",),
        dsn=dsn,
        accounts=accounts,
        parties=parties,
        workers=workers or None,
    )


def _parties(port: int, dsn: str | None) -> dict[str, tuple[psutil.Process, ...]]:
    database = None if dsn is None else port_here(dsn, usual=5432)
    return {
        "service": tuple(listening_on(port)),
        "database": () if database is None else tuple(listening_on(database)),
    }


def write_accounts(file: Path, emails: list[str], *, asking: str | None = None) -> Path:
    """Write the accounts as the locustfile reads them, and the one that may ask what others may do."""
    rows = [(email, PASSWORD) for email in emails]
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([*rows, (asking, PASSWORD, "asks")] if asking else rows)
    return file


def kinds_of(accounts: Path | None) -> set[str]:
    """Return which of "person" and "asker" a file has accounts of."""
    if accounts is None:
        return set()
    with accounts.open(encoding="utf-8", newline="") as lines:
        return {"asker" if len(row) > 2 else "person" for row in csv.reader(lines) if row}


def _register(url: str, dsn: str, number: int) -> list[str]:
    run = uuid.uuid4().hex[:12]
    emails = [f"load-{run}-{index}@example.com" for index in range(number)]
    with ThreadPoolExecutor(effective_cpus()) as threads:
        list(threads.map(lambda email: _post(f"{url}/auth/register", {"email": email, "password": PASSWORD}), emails))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE users SET status = 'active', email_verified = true WHERE email_key = ANY(%s)", (emails,)
        )
    return emails


def _post(url: str, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, msgspec.json.encode(body), headers)  # noqa: S310 - the operator says where
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):  # noqa: S310 - as above
            pass
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} was answered with {error.code}: {error.read().decode()}") from error
