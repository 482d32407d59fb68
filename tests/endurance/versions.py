"""Versions of the service: this tree, and those of its history that need an earlier schema."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT: Final = Path(__file__).parents[2]
_MIGRATE: Final = "userservice_core/infrastructure/postgres/migrate.py"
_PACKAGES: Final = ("userservice_core", "adapters", "docs/reference/events")
_NEEDED: Final = re.compile(r'^NEEDED_EXPAND: Final = "(expand_\d{4})"$', re.MULTILINE)
_SETTING: Final = re.compile(r"^    ([a-z]\w*): ", re.MULTILINE)
_PREFIX: Final = "USERSERVICE_"
_MIGRATE_SECONDS: Final = 120.0


@attrs.frozen
class Version:
    """
    Code of the service in a folder, run by the interpreter of the tests.

    Attributes:
        needed: The newest expanding revision that its statements rely on.
    """

    folder: Path
    needed: str

    @classmethod
    def of_this_tree(cls) -> Version:
        """Return what is being tested."""
        return cls(ROOT, _needed_by((ROOT / _MIGRATE).read_text()))

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return those of *settings* that it knows, with which a process, and what it starts, finds this code alone."""
        declared = set(_SETTING.findall((self.folder / "userservice_core/config.py").read_text()))
        known = {
            name: value
            for name, value in settings.items()
            if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX).lower() in declared
        }
        return {**known, "PYTHONPATH": str(self.folder)}

    def run(self, *arguments: str, settings: Mapping[str, str]) -> str:
        """Run a command of the service to its end, and return what it prints."""
        return self._python("-m", "userservice_core.cli", *arguments, settings=settings)

    def location(self, settings: Mapping[str, str]) -> set[Path]:
        """Return the folders of the code that its processes load."""
        packages = "import userservice_core, userservice_core.adapters as adapters"
        files = self._python(
            "-c", f"{packages}; print(userservice_core.__file__); print(adapters.__file__)", settings=settings
        )
        return {Path(file).resolve().parents[1] for file in files.split()}

    def schemas(self) -> dict[str, str]:
        """Return the JSON Schemas of its events, by type."""
        folder = self.folder / "docs/reference/events"
        ending = ".schema.json"
        return {file.name.removesuffix(ending): file.read_text() for file in folder.glob(f"*{ending}")}

    def _python(self, *arguments: str, settings: Mapping[str, str]) -> str:
        finished = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(settings),
            check=False,
            capture_output=True,
            text=True,
            timeout=_MIGRATE_SECONDS,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


def earlier_commits() -> Iterator[tuple[str, str]]:
    """
    Find the commits before which the schema was expanded, from the newest on, each with the revision that it needs.

    They are states of the main line, so each was complete. A tree without history, such as an archive, has none.
    """
    needed = Version.of_this_tree().needed
    commits = _git("rev-list", "--first-parent", "HEAD", "--", _MIGRATE) if (ROOT / ".git").exists() else b""
    for commit in commits.decode().split():
        try:
            before = _needed_by(_git("show", f"{commit}^:{_MIGRATE}").decode())
        except subprocess.CalledProcessError:
            return  # the first commit of it, or of what a shallow clone has
        if before < needed:
            needed = before
            yield _git("rev-parse", f"{commit}^").decode().strip(), needed


def checked_out(commit: str, needed: str, folder: Path) -> Version:
    """Write the packages of *commit* to *folder*."""
    with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", commit, *_PACKAGES))) as archive:
        archive.extractall(folder, filter="data")
    # An installation has the adapters inside the package. The one of this tree that the interpreter knows would be
    # found otherwise.
    (folder / "userservice_core" / "adapters").symlink_to(folder / "adapters", target_is_directory=True)
    return Version(folder, needed)


def _needed_by(source: str) -> str:
    found = _NEEDED.search(source)
    assert found, f"{_MIGRATE} names no revision that it needs"
    return found[1]


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
