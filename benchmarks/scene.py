"""What figures are measured in: servers and databases, each started when the first figure needs it, and then shared."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import attrs
import psutil
import psycopg
from psycopg import sql

from benchmarks import processes
from benchmarks.accounts import create_accounts
from benchmarks.saturation import find_client
from benchmarks.usage import seconds_of
from userservice_core.bootstrap import configure_logging, effective_cpus, new_key_ring
from userservice_core.config import Settings
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.accounts import Account
    from benchmarks.saturation import Load, Outcome

T = TypeVar("T")

_RATE_LIMITS: Final = Path(__file__).with_name("rate_limits.toml")
_WARM_UP_SECONDS: Final = 1.0
_LONG_WAIT_SECONDS: Final = "5"
_SETTLE_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2
_IDLE: Final = 0.25
"""Of a processor: what a run's servers use while nobody asks them."""


@attrs.frozen(kw_only=True)
class Effort:
    """
    How much is done for a figure.

    Attributes:
        rounds: At most; a bench may want fewer.
        seconds: Of each measurement of a load.
        workers: Processes that serve.
        accounts: Of the installation that most figures share.
        users: In the database that lists are measured with.
        flood: Sign-ins before the memory is read.
    """

    rounds: int = 5
    seconds: float = 3.0
    workers: int = attrs.field(factory=effective_cpus)
    accounts: int = 200
    users: int = 100_000
    flood: int = 2_000


@attrs.frozen
class Installation:
    """
    A migrated database, and the settings of a service on it.

    Attributes:
        variables: The settings as variables: the defaults, without a line of log for each request, with limits that no
            measurement reaches, and without a delay before a server ends.
    """

    dsn: str
    variables: dict[str, str]
    settings: Settings

    @classmethod
    def make(cls, dsn: str, folder: Path, *, workers: int) -> Installation:
        """Migrate the database at *dsn*, which is empty; what the service keeps in files goes to *folder*."""
        variables = {
            "USERSERVICE_PROFILE": "test",
            "USERSERVICE_ISSUER": "https://accounts.example.com",
            "USERSERVICE_DATABASE_URL": dsn,
            "USERSERVICE_DATABASE_DIRECT_URL": dsn,
            "USERSERVICE_DATA_DIR": str(folder),
            "USERSERVICE_KEYRING": new_key_ring(),
            "USERSERVICE_RATE_LIMITS_FILE": str(_RATE_LIMITS),
            # Whoever is refused comes again at once, and would take the processors of those who are served.
            "USERSERVICE_HASHING_WAIT_SECONDS": _LONG_WAIT_SECONDS,
            "USERSERVICE_DATABASE_WAIT_SECONDS": _LONG_WAIT_SECONDS,
            "USERSERVICE_WORKERS": str(workers),
            "USERSERVICE_ACCESS_TOKEN_SECONDS": "3600",
            "USERSERVICE_DRAIN_DELAY_SECONDS": "0",
            "USERSERVICE_LOG_LEVEL": "WARNING",
        }
        settings = Settings.from_environment(variables)
        configure_logging(settings)
        migrate.upgrade(settings.database_url)
        return cls(dsn, variables, settings)


class Scene:
    """
    Starts what figures ask for, and stops it: servers at the end of an area, databases at the end of the run.

    Attributes:
        folder: For files; every user of this machine may enter it.
    """

    def __init__(self, effort: Effort, folder: Path, *, for_run: contextlib.ExitStack) -> None:
        self.effort = effort
        self.folder = folder
        self.client = find_client()
        self._for_run, self._for_area = for_run, contextlib.ExitStack()
        self._of_run: dict[str, Any] = {}
        self._of_area: dict[str, Any] = {}
        self._warm: set[tuple[int, int]] = set()

    @contextlib.contextmanager
    def area(self) -> Iterator[None]:
        """Stop at the end of the block what was started in it by :meth:`in_area`."""
        with contextlib.ExitStack() as stack:
            self._for_area, self._of_area = stack, {}
            yield

    def in_area(self, name: str, open_it: Callable[[], contextlib.AbstractContextManager[T]]) -> T:
        """Return what *open_it* gives, entered by the first of an area that asks for it by that name."""
        if name not in self._of_area:
            self._of_area[name] = self._for_area.enter_context(open_it())
        found: T = self._of_area[name]
        return found

    def in_run(self, name: str, open_it: Callable[[], contextlib.AbstractContextManager[T]]) -> T:
        """Return the same, kept to the end of the run: for what takes no processor while nobody uses it."""
        if name not in self._of_run:
            self._of_run[name] = self._for_run.enter_context(open_it())
        found: T = self._of_run[name]
        return found

    # --- databases ----------------------------------------------------------------------------------------------------

    @property
    def server(self) -> str:
        """The DSN of a PostgreSQL of the run, fsync on."""
        return self.in_run("postgres", self._postgres)

    @property
    def installation(self) -> Installation:
        """The installation that most figures share."""
        return self.in_run("installation", lambda: contextlib.nullcontext(self.installation_in("shared")))

    @property
    def administrator(self) -> Account:
        """Whoever may do everything in :attr:`installation`."""
        return self._accounts[0]

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Accounts of :attr:`installation` whose tokens stay good."""
        return self._accounts[1 : len(self._accounts) // 2]

    @property
    def signing_in(self) -> tuple[Account, ...]:
        """Other accounts, to sign in to: of many sessions the oldest is ended, and with it the token."""
        return self._accounts[len(self._accounts) // 2 :]

    @property
    def _accounts(self) -> tuple[Account, ...]:
        return self.in_run(
            "accounts",
            lambda: contextlib.nullcontext(create_accounts(self.installation.settings, self.effort.accounts)),
        )

    def installation_in(self, database: str) -> Installation:
        """Make an installation in a new database of that name."""
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            row = connection.execute("SELECT current_setting('server_version')").fetchone()
            self._of_run["postgres version"] = row[0] if row else ""
        folder = self.folder / database
        folder.mkdir()
        dsn = urlunsplit(urlsplit(self.server)._replace(path=f"/{database}"))
        return Installation.make(dsn, folder, workers=self.effort.workers)

    @property
    def postgres_version(self) -> str | None:
        """Of the server of the run; None if no figure has asked for it."""
        return self._of_run.get("postgres version")

    @contextlib.contextmanager
    def _postgres(self) -> Iterator[str]:
        database = EmbeddedPostgres(self.folder / "postgres")
        try:
            yield database.start()
        finally:
            database.stop()

    # --- servers ------------------------------------------------------------------------------------------------------

    def service(self, host: str = "starlette", *, installation: Installation | None = None) -> int:
        """Serve an installation, :attr:`installation` without any other, by *host*, and return the port."""
        served = installation or self.installation
        name = f"service-{host}-{urlsplit(served.dsn).path[1:]}"
        return self.in_area(name, lambda: processes.service(served.variables, host, log=self.folder / f"{name}.log"))

    def limit(self) -> int:
        """Serve the limits by bare Starlette (:mod:`benchmarks.limit_app`), and return the port."""
        return self.in_area("limit", self._limit)

    def _limit(self) -> contextlib.AbstractContextManager[int]:
        return processes.limit(
            self.installation.settings.database_url,
            workers=self.effort.workers,
            threads=self.installation.settings.database_pool_size,
            log=self.folder / "limit.log",
            folder=self.answers,
        )

    @property
    def answers(self) -> Path:
        """Where the limits find what they answer, a file each."""
        folder = self.folder / "answers"
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def bytecode(self) -> dict[str, str]:
        """Variables with which Python keeps the bytecode of what it loads for the next time, wherever it is loaded."""
        return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}

    # --- loads --------------------------------------------------------------------------------------------------------

    def send(self, load: Load, *, clients: int) -> Outcome:
        """
        Keep *clients* requests under way for as long as this run wants it; the first time after a while of them.

        Returns when what the load has left under way is done as well, so that it is not in the way of what comes next.
        """
        if (hash(load), clients) not in self._warm:
            self._warm.add((hash(load), clients))
            self.client.run(load, clients=clients, seconds=_WARM_UP_SECONDS)
            settle()
        outcome = self.client.run(load, clients=clients, seconds=self.effort.seconds)
        settle()
        return outcome


def settle() -> None:
    """Wait until all processes of this run have next to nothing to do, for a time."""
    run = psutil.Process()
    deadline, before = time.monotonic() + _SETTLE_SECONDS, seconds_of(run)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        now = seconds_of(run)
        if now - before < _IDLE * _LOOK_SECONDS:
            return
        before = now


@contextlib.contextmanager
def scene_for(effort: Effort) -> Iterator[Scene]:
    """Set the scene of a run."""
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="userservice-bench-")))
        folder.chmod(0o755)
        yield Scene(effort, folder, for_run=running)
