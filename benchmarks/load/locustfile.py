"""
The people of the scenarios, for Locust: each signs in, asks, thinks, asks again.

`python -m benchmarks.load` starts Locust with this file. Locust replaces the sockets of whatever process imports it, so
nothing else imports this.
"""

from __future__ import annotations

import csv
import json
import random
import time
import uuid
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from locust import FastHttpUser, LoadTestShape, events, task
from locust.exception import StopUser

from benchmarks.load.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from locust.argument_parser import LocustArgumentParser
    from locust.env import Environment

_OK: Final = range(200, 300)
_UNAUTHENTICATED: Final = 401
_ERROR_CHARACTERS: Final = 120
_PERSON: Final = 2
"""Members of a line of somebody who asks for themselves; whoever may ask about others has one more."""

_accounts: Iterator[tuple[str, str]] = iter(())
_askers: Iterator[tuple[str, str]] = iter(())


def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", choices=tuple(SCENARIOS), default="steady", include_in_web_ui=False)
    parser.add_argument("--accounts", default="", include_in_web_ui=False, help="lines of e-mail address and password")
    parser.add_argument("--think", type=float, default=1.0, help="how long people think, times what is usual")
    parser.add_argument("--results", default="", include_in_web_ui=False, help="where the results go as JSON")


def _read_accounts(environment: Environment, **_others: object) -> None:
    """Deal the accounts out among the processes, so that none is used by two people while there are enough."""
    global _accounts, _askers  # noqa: PLW0603 - what a locustfile shares among its users is global
    options = environment.parsed_options
    if options is None or not options.accounts:
        return
    with Path(options.accounts).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    index, number = max(0, getattr(environment.runner, "worker_index", 0)), max(1, options.processes or 1)
    people = [(row[0], row[1]) for row in rows if len(row) == _PERSON]
    _accounts = cycle(people[index % number :: number] or people)
    _askers = cycle([(row[0], row[1]) for row in rows if len(row) > _PERSON])


def _write_results(environment: Environment, **_others: object) -> None:
    options, runner = environment.parsed_options, environment.runner
    if options is None or runner is None or not options.results or options.worker:
        return
    document = {
        "operations": [entry.serialize() for entry in environment.stats.entries.values()],
        "errors": [error.serialize() for error in environment.stats.errors.values()],
        "exceptions": [{"count": each["count"], "text": each["msg"]} for each in runner.exceptions.values()],
    }
    Path(options.results).write_text(json.dumps(document), encoding="utf-8")


for _event, _listener in (
    (events.init_command_line_parser, _add_options),
    (events.test_start, _read_accounts),
    (events.quitting, _write_results),
):
    _event.add_listener(_listener)  # type: ignore[no-untyped-call]


class Course(LoadTestShape):
    """As many people as the scenario has at that time; the most of them, and how long, are Locust's options."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """Return how many there are to be now, and how fast they come; None at the end."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        part = (time.perf_counter() - self.start_time) / float(options.run_time)
        if part >= 1:
            return None
        users = max(1, round(options.num_users * SCENARIOS[options.scenario].part_at(part)))
        return users, float(max(1, abs(users - self.runner.user_count)))


class Person(FastHttpUser):
    """Somebody with one connection, and an account unless they register."""

    abstract = True
    thinking = (1.0, 3.0)
    """Seconds between two requests, evenly between these."""

    email = ""
    password = ""
    tokens: dict[str, Any]

    def wait_time(self) -> float:
        """Return for how many seconds they think now."""
        options = self.environment.parsed_options
        return random.uniform(*self.thinking) * (1.0 if options is None else float(options.think))  # noqa: S311

    def take_account(self) -> None:
        """Take the next account, or stop if there is none at all."""
        try:
            self.email, self.password = next(_accounts)
        except StopIteration:
            raise StopUser from None

    def sign_in(self) -> None:
        """Sign in; without that there is nothing to do but to try again."""
        body = {"email": self.email, "password": self.password}
        while (answer := self.send("POST", "/auth/login", body=body)) is None:
            time.sleep(self.wait_time())
        self.tokens = answer

    def send(
        self, method: str, path: str, *, name: str | None = None, body: object = None, signed: bool = False
    ) -> dict[str, Any] | None:
        """
        Send one request.

        Args:
            method: Of the request.
            path: Of the request.
            name: What it is counted as, if not its path.
            body: What becomes JSON.
            signed: Whether with the access token.

        Returns:
            What was answered; None if not with 2xx, which is counted as a failure named by its status.
        """
        headers = {"Accept": "application/json"}
        if signed:
            headers["Authorization"] = f"Bearer {self.tokens['accessToken']}"
        with self.client.request(
            method, path, name=name or path, json=body, headers=headers, catch_response=True
        ) as response:
            status = int(response.status_code or 0)
            text = str(response.text or "")
            if status in _OK:
                response.success()
                found: dict[str, Any] = json.loads(text) if text else {}
                return found
            response.failure(f"{status} {_reason(text) or response.error or ''}".strip()[:_ERROR_CHARACTERS])
        if signed and status == _UNAUTHENTICATED:
            self.sign_in()
        return None


def _reason(text: str) -> str:
    """Return which problem an answer tells (RFC 9457), without what is of this request alone."""
    try:
        return str(json.loads(text)["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return ""


class Visitor(Person):
    """Signs in, and then mostly reads."""

    def on_start(self) -> None:
        """Sign in."""
        self.take_account()
        self.sign_in()

    @task(10)
    def who_am_i(self) -> None:
        """Read the account."""
        self.send("GET", "/users/me", signed=True)

    @task(4)
    def profile(self) -> None:
        """Read the profile."""
        self.send("GET", "/users/me/profile", signed=True)

    @task(2)
    def addresses(self) -> None:
        """Read the addresses."""
        self.send("GET", "/users/me/addresses", signed=True)

    @task(1)
    def sessions(self) -> None:
        """Look at where one is signed in."""
        self.send("GET", "/auth/sessions", signed=True)

    @task(1)
    def refresh(self) -> None:
        """Exchange the refresh token."""
        answer = self.send("POST", "/auth/refresh-token", body={"refreshToken": self.tokens["refreshToken"]})
        if answer is not None:
            self.tokens = answer

    @task(1)
    def say_something(self) -> None:
        """Change a line of the profile."""
        self.send("PATCH", "/users/me/profile", body={"bio": f"Was here {uuid.uuid4()}"}, signed=True)


class Asker(Person):
    """Another service, which asks for each of its requests whether somebody may do that."""

    thinking = (0.05, 0.2)

    def on_start(self) -> None:
        """Sign in."""
        self.email, self.password = next(_askers)
        self.sign_in()

    @task
    def may_they(self) -> None:
        """Have a permission checked."""
        body = {"userId": self.tokens["user"]["id"], "permissions": ["user:read"]}
        self.send("POST", "/auth/check-permissions", body=body, signed=True)


class Returner(Person):
    """Signs in, and does it again."""

    thinking = (0.0, 0.2)

    def on_start(self) -> None:
        """Take an account."""
        self.take_account()

    @task
    def come_back(self) -> None:
        """Sign in once."""
        self.send("POST", "/auth/login", body={"email": self.email, "password": self.password})


class Newcomer(Person):
    """Registers, as one after the other."""

    thinking = (0.0, 0.5)

    @task
    def register(self) -> None:
        """Open an account that nobody has."""
        body = {"email": f"load-{uuid.uuid4()}@example.com", "password": f"a sentence of {uuid.uuid4()}"}
        self.send("POST", "/auth/register", body=body)


class Editor(Person):
    """Signs in, and changes what there is."""

    thinking = (0.2, 1.0)

    def on_start(self) -> None:
        """Sign in."""
        self.take_account()
        self.sign_in()

    @task(6)
    def patch_profile(self) -> None:
        """Change a line of the profile."""
        self.send("PATCH", "/users/me/profile", body={"bio": f"Was here {uuid.uuid4()}"}, signed=True)

    @task(2)
    def replace_profile(self) -> None:
        """Write the profile anew."""
        body = {"firstName": "Ada", "lastName": random.choice(_NAMES), "language": "en"}  # noqa: S311 - no secret
        self.send("PUT", "/users/me/profile", body=body, signed=True)

    @task(2)
    def come_and_go(self) -> None:
        """Add an address, and take it away."""
        body = {
            "addressLine1": f"{random.randint(1, 99)} Main Street",  # noqa: S311 - no secret
            "city": "Springfield",
            "stateOrProvince": "IL",
            "postalCode": "62701",
            "countryCode": "US",
        }
        added = self.send("POST", "/users/me/addresses", body=body, signed=True)
        if added is not None:
            self.send("DELETE", f"/users/me/addresses/{added['id']}", name="/users/me/addresses/{id}", signed=True)


_NAMES: Final = ("Byron", "Hopper", "Lovelace", "Noether", "Turing")
