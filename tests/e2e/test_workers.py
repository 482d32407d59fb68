"""Workers of a server that die before they serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.e2e.processes import Process, free_port, settings_for

if TYPE_CHECKING:
    from pathlib import Path

# Python loads it first of all. The first worker dies at once, and each later one only after what the server takes for a
# loop by itself.
_DIES: Final = """
import os
import pathlib
import sys
import time

TRIES = pathlib.Path(__file__).with_name("tries")


class Dying:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.endswith(".starlette_app.asgi"):
            tries = TRIES.read_text() if TRIES.exists() else ""
            TRIES.write_text(tries + "x")
            time.sleep(6 if tries else 0)
            os._exit(3)


sys.meta_path.insert(0, Dying)
"""


def test_a_server_whose_workers_never_start_ends(database: str, tmp_path: Path) -> None:
    """However long each takes to die: whoever started it is told, instead of having a server that never answers."""
    (tmp_path / "sitecustomize.py").write_text(_DIES)
    ports = {"PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    environment = {**settings_for(database, tmp_path, **ports), "PYTHONPATH": str(tmp_path)}
    with Process("serve", environment=environment) as server:
        assert server.wait() == 1

    assert (tmp_path / "tries").read_text() == "xx"
    assert "Workers die before they have started; the server ends." in server.lines
