"""The wheel of this tree in environments of their own, where its source cannot be seen."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[2]


@attrs.frozen
class Installation:
    """A virtual environment with the wheel and nothing else than what some extras ask for."""

    folder: Path

    def run(self, *command: str) -> str:
        """Run a command of the environment away from the source, and return all that it prints."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "USERSERVICE"))
        }
        finished = subprocess.run(
            [self.folder / "bin" / command[0], *command[1:]],
            cwd=self.folder,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout + finished.stderr

    def evaluate(self, statements: str) -> str:
        """Run Python statements, and return what they print."""
        return self.run("python", "-c", statements).strip()


def built_wheel(source: Path, target: Path) -> Path:
    """Build the wheel from a copy of this tree in *source*, in which no earlier build has left anything."""
    for package in ("userservice_core", "adapters"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    _pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source))
    [built] = target.glob("*.whl")
    return built


def _pip(*arguments: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], check=False, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def install(wheel: Path, folder: Path, *, extras: Iterable[str], beside: Iterable[str] = ()) -> Installation:
    """
    Install *wheel* with *extras* into a new environment, and what is named *beside* it.

    The dependencies are links to what this environment has, chosen as pip would: nothing is fetched, and nothing is
    there that no requirement names.
    """
    venv.create(folder, symlinks=True, with_pip=False)
    installation = Installation(folder)
    _pip("--python", str(folder / "bin" / "python"), "install", "--no-index", "--no-deps", str(wheel))
    target = Path(installation.evaluate("import sysconfig; print(sysconfig.get_path('purelib'))"))
    [metadata] = target.glob("userservice-*.dist-info")
    _link(importlib.metadata.PathDistribution(metadata), extras=set(extras), target=target, seen=set())
    for name in beside:
        other = importlib.metadata.distribution(name)
        _link_files(other, target)
        _link(other, extras=set(), target=target, seen=set())
    return installation


def _link(
    distribution: importlib.metadata.Distribution, *, extras: set[str], target: Path, seen: set[tuple[str, str]]
) -> None:
    """Link what *distribution* requires into *target*, with all that follows from it."""
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        name = canonicalize_name(requirement.name)
        wanted = {(name, extra) for extra in requirement.extras or {""}}
        if wanted <= seen:
            continue
        seen |= wanted
        if name == "userservice":
            _link(distribution, extras=requirement.extras, target=target, seen=seen)
        else:
            required = importlib.metadata.distribution(name)
            _link_files(required, target)
            _link(required, extras=requirement.extras, target=target, seen=seen)


def _link_files(distribution: importlib.metadata.Distribution, target: Path) -> None:
    source = Path(sysconfig.get_path("purelib"))
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        link = target / name
        if not link.exists():
            link.symlink_to(source / name)
