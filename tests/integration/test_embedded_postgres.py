"""The server of our own that a developer's machine gets: it keeps its data, whatever becomes of its owner."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from userservice_core.errors import ConfigurationError, DatabaseUnavailableError
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres, PostgresBinaries
from userservice_core.testing.contracts.embedded_database import EmbeddedDatabaseContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


_START_AND_HANG = """
import sys, time
from pathlib import Path
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
time.sleep(600)
"""

_START_AND_STOP = """
import sys
from pathlib import Path
from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
server.stop()
print("done")
"""


@contextlib.contextmanager
def _server_in(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    yield server
    if server.process_id is not None:
        server.start()
        server.stop()


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of a new folder, stopped at the end whoever started it."""
    with _server_in(folder) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of :func:`server`."""
    return tmp_path / "postgres"


def _write(dsn: str, value: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value integer)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def _read(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("SELECT value FROM kept ORDER BY value")]


def _wait_until(condition: Callable[[], bool], *, timeout_seconds: float = 20) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout_seconds} s"
        time.sleep(0.02)


def _start_in_other_process(folder: Path) -> tuple[subprocess.Popen[str], str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", _START_AND_HANG, str(folder)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def _kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


class TestEmbeddedPostgres(EmbeddedDatabaseContract):
    """The contract of the port."""

    @pytest.fixture
    def server(self, folder: Path) -> Iterator[EmbeddedPostgres]:
        """A server of a new folder."""
        with _server_in(folder) as server:
            yield server

    @pytest.fixture
    def execute(self) -> Callable[[str, str], list[int]]:
        """By the driver."""

        def execute(dsn: str, statement: str) -> list[int]:
            with psycopg.connect(dsn, autocommit=True) as connection:
                cursor = connection.execute(statement.encode())
                return [row[0] for row in cursor] if cursor.description is not None else []

        return execute


def test_a_second_start_starts_nothing(server: EmbeddedPostgres) -> None:
    """A second start leaves the running server as it is."""
    server.start()
    process_id = server.process_id

    server.start()

    assert server.process_id == process_id
    server.stop()
    assert server.process_id is None


@pytest.mark.asvs("13.2.1")
def test_the_password_is_the_only_way_in(server: EmbeddedPostgres, folder: Path) -> None:
    """A wrong password is refused on loopback too, only the owner reads the right one, and no socket goes around it."""
    dsn = urlsplit(server.start())

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn._replace(netloc=f"{dsn.username}:guess@127.0.0.1:{dsn.port}").geturl())
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    with psycopg.connect(dsn.geturl()) as connection:
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_a_crashed_server_is_started_again_with_its_data(server: EmbeddedPostgres) -> None:
    """After kill -9 of the database its stale pid file does not keep it from starting."""
    dsn = server.start()
    _write(dsn, 1)
    process_id = server.process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)

    assert server.start() == dsn
    assert _read(dsn) == [1]


def test_a_server_left_by_a_killed_owner_is_taken_over_and_stopped(server: EmbeddedPostgres, folder: Path) -> None:
    """After kill -9 of its owner the server is used as it runs, and ends with its new owner."""
    owner, dsn = _start_in_other_process(folder)
    _write(dsn, 1)
    process_id = server.process_id
    _kill(owner)

    assert server.start() == dsn
    assert server.process_id == process_id
    assert _read(dsn) == [1]
    server.stop()
    assert process_id is not None
    _wait_until(lambda: not psutil.pid_exists(process_id))


def test_a_server_that_another_process_owns_is_used_and_left_running(server: EmbeddedPostgres, folder: Path) -> None:
    """The stop of a guest does not take the database from its owner."""
    owner, dsn = _start_in_other_process(folder)
    try:
        assert server.start() == dsn
        server.stop()
        _write(dsn, 1)
        assert _read(dsn) == [1]
    finally:
        _kill(owner)


def test_a_pid_file_that_names_another_program_is_no_obstacle(server: EmbeddedPostgres, folder: Path) -> None:
    """After a restart of the machine the number in the pid file may be anyone's; that program is left alone."""
    dsn = server.start()
    _write(dsn, 1)
    process_id = server.process_id
    assert process_id is not None
    os.kill(process_id, signal.SIGKILL)
    _wait_until(lambda: server.process_id is None)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True)
    try:
        pid_file = folder / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(bystander.pid), *lines[1:], ""]))

        assert server.start() == dsn
        assert _read(dsn) == [1]
        server.stop()
        assert bystander.poll() is None
    finally:
        _kill(bystander)


def test_half_a_cluster_of_a_killed_first_start_is_made_anew(server: EmbeddedPostgres, folder: Path) -> None:
    """What a killed initdb left behind is not taken for a database."""
    unfinished = folder / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    _write(server.start(), 1)

    assert not unfinished.exists()


def test_a_port_that_is_taken_meanwhile_is_replaced(server: EmbeddedPostgres, folder: Path) -> None:
    """Another program on the port of the last start does not keep the database from starting."""
    dsn = server.start()
    _write(dsn, 1)
    server.stop()
    squatter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import socket, sys, time\n"
                "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
                "print('ready', flush=True); time.sleep(600)"
            ),
            (folder / "port").read_text(),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert squatter.stdout is not None
        squatter.stdout.readline()
        other = server.start()
        assert other != dsn
        assert _read(other) == [1]
    finally:
        _kill(squatter)


def test_a_cluster_of_another_version_is_refused_and_not_touched(server: EmbeddedPostgres, folder: Path) -> None:
    """Data of another major version ends the start with one line that names both, before anything is written."""
    server.start()
    server.stop()
    (folder / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 9, but .* is PostgreSQL \d+"):
        server.start()
    server.stop()
    assert (folder / "data" / "PG_VERSION").read_text() == "9\n"
    (folder / "data" / "PG_VERSION").write_text(f"{PostgresBinaries.from_wheel().major_version()}\n")


def test_a_start_that_fails_ends_with_the_words_of_the_server(tmp_path: Path) -> None:
    """What the server says of a wrong setting is in the error, at once and not at the end of the time."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"shared_buffers": "much"})

    with pytest.raises(DatabaseUnavailableError, match=r'invalid value for parameter "shared_buffers"'):
        server.start()
    server.stop()


def test_an_ordinary_user_needs_no_help_of_root(tmp_path: Path) -> None:
    """The server runs as whoever starts it when that is not root."""
    command = [sys.executable, "-c", _START_AND_STOP, str(tmp_path / "postgres")]
    if os.geteuid() == 0:
        assert shutil.which("unshare") is not None
        command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]

    finished = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (finished.stdout.strip(), finished.stderr) == ("done", "")
    assert (tmp_path / "postgres" / "data").stat().st_uid == os.geteuid()
