"""The load that people make, against a server as users start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.e2e.processes import ROOT, Server, free_port, settings_for, without_settings

if TYPE_CHECKING:
    from pathlib import Path


def _load(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "benchmarks.load", *arguments, "--results", str(results))
    return subprocess.run(
        command, cwd=ROOT, env=without_settings() | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_load_names_its_bottleneck_and_ends_by_its_criteria(database: str, tmp_path: Path) -> None:
    """Ten who only sign in wait for the one thread that hashes; where nobody answers, the exit status says so."""
    criteria = tmp_path / "criteria.toml"
    criteria.write_text(
        "[login-storm]\nfailed = 0.0\nrefused = 0.0\np95 = 60000\n"
        "[registration-storm]\nfailed = 0.5\nrefused = 0.0\np95 = 60000\n"
    )
    usual = ("--criteria", str(criteria), "--seconds", "4")
    with ThreadPoolExecutor() as threads, Server("starlette", environment=settings_for(database, tmp_path)) as server:
        nobody = threads.submit(
            _load, "registration-storm", *usual, "--users", "1", "--url", f"http://127.0.0.1:{free_port()}",
            results=tmp_path / "nobody",
        )  # fmt: skip
        finished = _load(
            *("login-storm", *usual, "--users", "10", "--think", "0", "--url", server.url),
            *("--metrics", server.metrics_url, "--dsn", database),
            results=tmp_path / "served",
        )
        refused = nobody.result()

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Bottleneck: hash queue" in finished.stdout
    document = json.loads((tmp_path / "served" / "load-login-storm.json").read_text())
    page = (tmp_path / "served" / "load-login-storm.html").read_text()
    assert document["bottleneck"] == "hash queue"
    assert [operation["name"] for operation in document["operations"]] == ["POST /auth/login", "all"]
    assert document["operations"][0]["requests"] >= 10
    assert document["faults"] == []
    assert max(interval["in_flight"] for interval in document["intervals"]) > 3
    for party in ("service", "database", "generator"):
        assert max(interval[party] or 0 for interval in document["intervals"]) > 0, party
    assert "<svg" in page
    assert "hash queue" in page

    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "Failed: registration-storm" in refused.stdout
    assert "Connection refused" in refused.stdout
