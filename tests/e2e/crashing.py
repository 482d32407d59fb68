"""
Processes that die at a step: reads one job a line, forks a process for each, and says how it ended.

A fork of a process that has loaded everything and opened nothing is a new process for a tenth of the price.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import threading
from typing import TYPE_CHECKING, Any

from userservice_core import infrastructure
from userservice_core.bootstrap import bootstrap, bootstrap_consumer, bootstrap_relay
from userservice_core.config import Settings
from userservice_core.http.messages import Request

if TYPE_CHECKING:
    from collections.abc import Mapping


def _register(environment: Mapping[str, str], email: str) -> int:
    """Register *email* through the whole pipeline, and return the status of the answer."""
    service = bootstrap(Settings.from_environment(environment), background=False)
    body = json.dumps({"email": email, "password": "correct horse battery staple"}).encode()
    request = Request(method="POST", path="/auth/register", headers=(("content-type", "application/json"),), body=body)
    return service.pipeline.handle(request).status


def _relay(environment: Mapping[str, str]) -> int:
    """Relay until the end of the process."""
    with bootstrap_relay(Settings.from_environment(environment), relay_id="crashing") as relay:
        relay.run(threading.Event())
    return 0


def _consume(environment: Mapping[str, str]) -> int:
    """Take what others ask for until the end of the process."""
    with bootstrap_consumer(Settings.from_environment(environment), member_id="crashing") as service:
        service.consumer.run(threading.Event())
    return 0


def _do(job: Mapping[str, Any]) -> int:
    environment = {**os.environ, "USERSERVICE_FAILPOINT": job["failpoint"]}
    if job["task"] == "register":
        return _register(environment, job["email"])
    if job["task"] == "consume":
        return _consume(environment)
    return _relay(environment)


def main() -> None:
    """Serve jobs until the input ends."""
    for module in pkgutil.walk_packages(infrastructure.__path__, f"{infrastructure.__name__}."):
        if ".versions" not in module.name and not module.name.endswith("env"):
            importlib.import_module(module.name)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            # The answers to the jobs are the parent's alone.
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            os._exit(_do(job) % 256)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
