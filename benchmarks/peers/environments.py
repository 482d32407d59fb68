"""The environments of the peers: what each needs is installed apart from the project, and only when it is measured."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.figure import CannotMeasureError

ROOT: Final = Path(__file__).parents[2]
_FOLDER: Final = ROOT / ".cache" / "peers"
_LAST_CHARACTERS: Final = 2_000


def requirements_of(package: str) -> Path:
    """Return the file with everything that a peer needs, at exact versions."""
    return Path(__file__).with_name(package) / "requirements.txt"


def versions_of(package: str) -> dict[str, str]:
    """Return what a peer needs, by name."""
    lines = requirements_of(package).read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def python_of(package: str) -> Path:
    """Return the interpreter of a peer's environment; see :func:`environment`."""
    return environment(_FOLDER / package, requirements_of(package))


def environment(folder: Path, requirements: Path) -> Path:
    """
    Return the interpreter of an environment, which is made if it is not there or if other versions are wanted.

    Raises:
        CannotMeasureError: If something could not be installed; the text ends with what the installer said.
    """
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = hashlib.sha256(f"{platform.python_version()}\n{requirements.read_text()}".encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing into {folder} ...", file=sys.stderr)
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    _run(*pip, "install", "--quiet", "--no-deps", "--requirement", str(requirements))
    _run(*pip, "check")
    stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    if finished.returncode:
        told = (finished.stdout + finished.stderr)[-_LAST_CHARACTERS:]
        raise CannotMeasureError(f"{' '.join(command)} ended with {finished.returncode}:\n{told}")
