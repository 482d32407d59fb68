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
_AUTHORIZATION: Final = "Authorization"

_SCRIPT: Final = """\
local requests, next_request, threads = {{}}, 0, 0
matched = 0
function setup(thread) thread:set("offset", threads); threads = threads + 1; only = thread end
function make(path, body, authorization)
  local headers = {{ ["Content-Type"] = "{content_type}" }}
  if authorization ~= "" then headers["{token_header}"] = authorization end
  return wrk.format("{method}", path, headers, body ~= "" and body or nil)
end
function init()
  local file = assert(io.open("{requests}", "r"))
  for line in file:lines() do
    requests[#requests + 1] = make(line:match("^([^\\t]*)\\t([^\\t]*)\\t(.*)$"))
  end
  next_request = offset * 7
end
{turns}
function done(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.stderr:write(string.format(
    '{{"answers": %d, "seconds": %.6f, "faults": %d, "p50": %.3f, "p95": %.3f, "p99": %.3f}}',
    summary.requests, summary.duration / 1e6, lost + {faults},
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
"""
_IN_TURN: Final = """\
function request()
  next_request = next_request % #requests + 1
  return requests[next_request]
end
"""
_COUNTED: Final = """\
function response(status)
  if status == {status} then matched = matched + 1 end
end
"""
# What an answer brings goes to the end of the line, and what is at its beginning is sent once.
_CHAINED: Final = """\
local first, last = 0, {bodies}
function request()
  first = first + 1
  local line = requests[first]
  requests[first] = nil
  return line or make("/", "", "")
end
function response(status, headers, body)
  local text = body:match('"{member}":"([^"]+)"')
  if status == {status} and text then
    matched = matched + 1
    last = last + 1
    requests[last] = make("{path}", '{{"{member}":"' .. text .. '"}}', "")
  end
end
"""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """
    Requests to send, in turn, again and again.

    Attributes:
        paths: One for each request.
        bodies: The same; empty for none.
        tokens: What goes behind `Bearer` in the header `Authorization`, the same; empty for none.
        token_header: Another header that takes the token as it is.
        status: How they are to be answered; None for any 2xx.
        chained: A member of the answer whose text takes the place of what the body had as that member: each body is
            sent once, and what it becomes by the answer after the others. There have to be more bodies than clients.
    """

    method: str
    port: int
    paths: tuple[str, ...]
    bodies: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    token_header: str = _AUTHORIZATION
    content_type: str = "application/json"
    status: int | None = None
    chained: str | None = None

    def lines(self) -> list[tuple[str, str, str]]:
        """Return path, body and what the header of the token has, of each request."""
        bodies = self.bodies or ("",) * len(self.paths)
        scheme = "Bearer " if self.token_header == _AUTHORIZATION else ""
        headers = [f"{scheme}{token}" for token in self.tokens] or [""] * len(self.paths)
        return list(zip(self.paths, bodies, headers, strict=True))

    def is_right(self, status: int) -> bool:
        """Tell whether an answer is as it is to be."""
        return 200 <= status < 300 if self.status is None else status == self.status


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a load; latencies in milliseconds, `faults` of requests without the answer they were to have."""

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
            script.write_text(_script(load, requests))
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


def _script(load: Load, requests: Path) -> str:
    """Return the program of wrk; to look at answers costs it something, so it does only where it has to."""
    if load.chained is not None:
        turns = _CHAINED.format(
            status=load.status or 200, member=load.chained, path=load.paths[0], bodies=len(load.bodies)
        )
    else:
        turns = _IN_TURN + ("" if load.status is None else _COUNTED.format(status=load.status))
    looks = load.status is not None or load.chained is not None
    faults = "summary.requests - only:get('matched')" if looks else "errors.status"
    return _SCRIPT.format(
        requests=requests,
        method=load.method,
        content_type=load.content_type,
        token_header=load.token_header,
        turns=turns,
        faults=faults,
    )


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
