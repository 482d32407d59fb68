"""The word of a parent process that its workers should drain."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.system.draining import inherited_notice, tell_start, worker_notice
from userservice_core.infrastructure.system.health import HealthProbe
from userservice_core.ports.health import HealthStatus

if TYPE_CHECKING:
    from pathlib import Path

_CHILD = """
from userservice_core.infrastructure.system.draining import inherited_notice
is_told = inherited_notice()
for _ in range(2):
    print(is_told(), flush=True)
    input()
"""


def test_a_process_hears_of_it_whenever_it_was_started(tmp_path: Path) -> None:
    """One that was there before, and one that a server starts afterwards, in place of another that died."""
    with worker_notice(tmp_path / "data") as notice:
        command = [sys.executable, "-c", _CHILD]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            before = child.stdout.readline().strip()
            notice.drain()
            notice.drain()
            child.stdin.write("\n\n")
            child.stdin.flush()
            after = child.stdout.readline().strip()
        later = inherited_notice()()

    assert (before, after, later) == ("False", "True", True)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_parent_hears_once_of_a_start(tmp_path: Path) -> None:
    """And of the next one again; to be told to drain is something else."""
    command = [sys.executable, "-c", "from userservice_core.infrastructure.system.draining import *; tell_start()"]
    with worker_notice(tmp_path) as notice:
        heard = [notice.has_new_start()]
        subprocess.run(command, check=True)
        heard += [notice.has_new_start(), notice.has_new_start()]
        tell_start()
        notice.drain()
        heard += [notice.has_new_start(), inherited_notice()()]
    tell_start()

    assert heard == [False, True, False, True, True]


def test_without_such_a_parent_nobody_tells(tmp_path: Path) -> None:
    """Nor does one that is gone, with its file."""
    with worker_notice(tmp_path):
        heard = inherited_notice()

    assert not heard()
    assert not inherited_notice()()


def test_a_process_that_is_told_is_draining_and_not_ready() -> None:
    """Without a word of its own, and from that moment."""
    told = False
    probe = HealthProbe((), is_loaded=lambda: True, metrics=InMemoryMetrics(), is_told_to_drain=lambda: told)

    before = probe.is_draining
    told = True

    assert not before
    assert probe.is_draining
    assert probe.report().status is HealthStatus.DRAINING
