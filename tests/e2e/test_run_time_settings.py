"""The command that changes settings, and the servers that follow it without a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.e2e.processes import Process, Server, eventually, settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_REASON = ("--reason", "a test")
_ENOUGH_FOR_ALL_WORKERS = 8


def _run(*arguments: str, environment: Mapping[str, str]) -> tuple[int, Process]:
    with Process("settings", *arguments, environment=environment) as process:
        return process.wait(), process


def test_servers_follow_the_command(database: str, tmp_path: Path) -> None:
    """Every worker of every host, within seconds; what cannot be is refused, and the history tells all."""
    environment = settings_for(database, tmp_path)
    # What the environment gives goes before.
    del environment["USERSERVICE_LOG_LEVEL"]
    with (
        Server("starlette", environment={**environment, "USERSERVICE_WORKERS": "2"}) as here,
        Server("flask", environment=environment) as there,
        httpx.Client() as client,
    ):

        def least() -> set[int]:
            urls = [here.url, there.url] * _ENOUGH_FOR_ALL_WORKERS
            return {client.get(f"{url}/auth/password-policy").json()["minCharacters"] for url in urls}

        assert least() == {15}
        code, process = _run("set", "password_min_characters=22", "log_level=DEBUG", *_REASON, environment=environment)
        assert (code, process.documents()[-1]) == (0, {"version": 1})
        eventually(lambda: least() == {22}, what="every worker to follow")

        code, process = _run("set", "password_min_characters=7", "keyring={}", *_REASON, environment=environment)
        assert code == 1
        assert all(name in "".join(process.lines) for name in ("passwordMinCharacters", "keyring"))
        _, process = _run("history", environment=environment)
        told = {(change["name"], change["after"]) for change in process.documents() if "reason" in change}
        assert told == {("log_level", "DEBUG"), ("password_min_characters", "22")}
