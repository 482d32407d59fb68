"""Callers of one operation each: a connection, one request at a time, each request made of the answer before."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import statistics
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import attrs

from benchmarks.accounts import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.accounts import Account

_TIMEOUT_SECONDS: Final = 20


@attrs.frozen
class Call:
    """A request to send."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    token: str | None = None


@attrs.frozen
class Calls:
    """How many calls were answered with 2xx in how long, and each one's seconds."""

    seconds: float
    latencies: tuple[float, ...]
    faults: int

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def median_seconds(self) -> float:
        """Of an answer."""
        return statistics.median(self.latencies)


def caller_of(operation: str, account: Account, others: Sequence[Account]) -> Callable[[Any], Call]:
    """
    Return what makes each call of *operation* from the answer before, None at first.

    Args:
        others: Whose profiles are changed in turn, so that the events have many keys.
    """
    tokens = itertools.cycle(other.access_token for other in others)

    def refresh(answer: Any) -> Call:  # noqa: ANN401 - JSON
        if answer is None:
            return _login(account)
        return Call("POST", "/auth/refresh-token", {"refreshToken": answer["refreshToken"]})

    calls: dict[str, Callable[[Any], Call]] = {
        "get_current_user": lambda _: Call("GET", "/users/me", token=account.access_token),
        "get_profile": lambda _: Call("GET", "/users/me/profile", token=account.access_token),
        "patch_profile": lambda _: Call("PATCH", "/users/me/profile", {"bio": uuid.uuid4().hex}, token=next(tokens)),
        "login": lambda _: _login(account),
        "register": lambda _: Call(
            "POST", "/auth/register", {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}
        ),
        "refresh_token": refresh,
    }
    return calls[operation]


OPERATIONS: Final = ("get_current_user", "get_profile", "patch_profile", "refresh_token", "login", "register")


_SIGNING_IN: Final = frozenset({"login", "refresh_token"})


def _login(account: Account) -> Call:
    return Call("POST", "/auth/login", {"email": account.email, "password": PASSWORD})


def call_for(
    seconds: float, ports: Sequence[int], operation: str, accounts: Sequence[Account], *, callers: int
) -> Calls:
    """
    Let *callers* call *operation* for *seconds*, spread over *ports*, each with an account of its own.

    Those that sign in take the accounts from the end, since a new session ends the oldest of many, and its token.
    """
    accounts = accounts[::-1] if operation in _SIGNING_IN else accounts
    latencies: list[float] = []
    faults: list[int] = []
    began = time.perf_counter()

    def run(index: int) -> None:
        with _connection(ports[index % len(ports)]) as connection:
            next_call, answer = caller_of(operation, accounts[index], accounts[: len(accounts) // 2]), None
            while (sent_at := time.perf_counter()) < began + seconds:
                status, answer = _answer(connection, next_call(answer))
                if http.client.OK <= status < http.client.MULTIPLE_CHOICES:
                    latencies.append(time.perf_counter() - sent_at)
                else:
                    faults.append(status)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Calls(time.perf_counter() - began, tuple(latencies), len(faults))


@contextlib.contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)) as connection:
        yield connection


def _answer(connection: http.client.HTTPConnection, call: Call) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if call.token is not None:
        headers["Authorization"] = f"Bearer {call.token}"
    connection.request(call.method, call.path, None if call.body is None else json.dumps(call.body), headers)
    response = connection.getresponse()
    body = response.read()
    return response.status, json.loads(body) if body else {}
