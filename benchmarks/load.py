"""
Clients that send requests as fast as they are answered: wrk where there is one, else a client of our own.

Each client has one connection and one request under way. A figure counts the requests that were answered as expected.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, Protocol

import attrs
import msgspec

_START_SECONDS: Final = 30.0

_SCRIPT: Final = """\
local requests, next_request = {{}}, 0
local threads = 0
function setup(thread) thread:set("offset", threads); threads = threads + 1 end
function init()
  local file = assert(io.open("{requests}", "r"))
  for line in file:lines() do
    local path, body, authorization = line:match("^([^\\t]*)\\t([^\\t]*)\\t(.*)$")
    local headers = {{ ["Content-Type"] = "application/json" }}
    if authorization ~= "" then headers["Authorization"] = authorization end
    requests[#requests + 1] = wrk.format("{method}", path, headers, body ~= "" and body or nil)
  end
  next_request = offset * 7
end
function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end
function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{{"answers": %d, "seconds": %.6f, "faults": %d, "p50": %.3f, "p95": %.3f, "p99": %.3f}}',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """
    Requests to send, in turn, again and again.

    Attributes:
        paths: One for each request.
        bodies: The same; empty for none.
        tokens: Access tokens, the same; empty for none.
    """

    method: str
    port: int
    paths: tuple[str, ...]
    bodies: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()

    def lines(self) -> list[tuple[str, str, str]]:
        """Return path, body and the header Authorization of each request."""
        bodies = self.bodies or ("",) * len(self.paths)
        headers = [f"Bearer {token}" for token in self.tokens] or [""] * len(self.paths)
        return list(zip(self.paths, bodies, headers, strict=True))


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a load; latencies in milliseconds, `faults` of requests that were not answered with 2xx."""

    answers: int
    seconds: float
    faults: int
    p50: float
    p95: float
    p99: float

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return (self.answers - self.faults) / self.seconds


class LoadClient(Protocol):
    """Sends a load."""

    name: str

    def run(self, load: Load, *, clients: int, seconds: float) -> Outcome:
        """Keep *clients* requests under way for *seconds*."""
        ...


class Wrk:
    """Sends by wrk: about as fast as anything can, in C."""

    name = "wrk"

    def run(self, load: Load, *, clients: int, seconds: float) -> Outcome:
        """Keep *clients* requests under way for *seconds*."""
        with tempfile.TemporaryDirectory() as folder:
            requests, script = Path(folder, "requests"), Path(folder, "script.lua")
            requests.write_text("\n".join("\t".join(line) for line in load.lines()))
            script.write_text(_SCRIPT.format(requests=requests, method=load.method))
            finished = subprocess.run(
                (
                    *("wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{round(seconds)}s"),
                    *("--timeout", "10s", "--script", str(script), f"http://127.0.0.1:{load.port}"),
                ),
                check=True,
                capture_output=True,
                text=True,
                timeout=seconds + _START_SECONDS,
            )
        return Outcome(**json.loads(finished.stderr))


class PythonClient:
    """Sends by threads of a Python process of its own: slower than what it measures, and for comparison only."""

    name = "http.client in threads"

    def run(self, load: Load, *, clients: int, seconds: float) -> Outcome:
        """Keep *clients* requests under way for *seconds*."""
        finished = subprocess.run(
            (sys.executable, "-m", "benchmarks.python_client", str(clients), str(seconds)),
            input=msgspec.json.encode(load),
            check=True,
            capture_output=True,
            timeout=seconds + _START_SECONDS,
        )
        return Outcome(**json.loads(finished.stdout))


def find_client() -> LoadClient:
    """Return wrk if this machine has it."""
    return Wrk() if shutil.which("wrk") else PythonClient()
