"""
What an attacker with a stopwatch learns about accounts, over thousands of questions.

Hashing is made cheap, but where it is what is compared: what it would hide is what is looked for.
"""

from __future__ import annotations

import base64
import random
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, LiteralString
from uuid import UUID

import psycopg
import pyotp

from tests.e2e.processes import settings_for
from tests.soak.outcomes import Part, Tally
from tests.soak.servers import database, folder, servers
from tests.stopwatch import chance_that_first_is_slower, post, seconds_taken
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.http.messages import Request
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.servers.run import ServersOfRun
    from tests.soak.outcomes import Trials
    from userservice_core.http.messages import Response

_TIMES: Final = 2_000
_WARM_UP: Final = 20
_TOLERATED: Final = 0.05
_ACCOUNTS: Final = 50
"""Of each kind, so that none is locked by the questions."""

_PASSWORD: Final = "correct horse battery staple"
_WRONG: Final = "certainly not this one"
_CHEAP: Final = {"ARGON2_MEMORY_KIB": "256", "ARGON2_TIME_COST": "1"}


def _timing() -> Trials:
    with servers() as run:
        for trial, kinds in ((_logins, 6), (_foreign_hashes, 2), (_mails, 6), (_second_factors, 3)):
            yield kinds * _TIMES, partial(trial, run)


PARTS: Final = (Part("timing", _timing),)


@contextmanager
def _installation(run: ServersOfRun, **settings: str) -> Iterator[tuple[UserService, psycopg.Connection]]:
    """Serve a database of its own, without limits that questions would reach."""
    with database(run) as dsn, folder() as data, psycopg.connect(dsn, autocommit=True) as connection:
        environment = settings_for(dsn, data, **{**_CHEAP, **settings})
        with bootstrap(Settings.from_environment(environment), background=False) as service:
            yield service, connection


def _register(service: UserService, kind: str, count: int) -> None:
    for number in range(count):
        _ = post(service.pipeline, "/auth/register", email=_email(kind, number), password=_PASSWORD)


def _email(kind: str, number: int) -> str:
    return f"{kind}-{number}@example.com"


def _compared(
    name: str, asked: Mapping[str, Callable[[int], Response]], *, with_one: str, seed: int, status: int
) -> Tally:
    """Ask in random order, expect one answer for all, and tell how well each kind is told from *with_one*."""
    rng = random.Random(seed)  # noqa: S311 - the order of the questions is no secret
    seconds, answers = seconds_taken(asked, times=_TIMES, warm_up=_WARM_UP, rng=rng)
    assert {answered for answered, _ in answers} == {status}, answers
    assert len(answers) == 1, answers
    figures = {
        f"{name}: {kind} or {with_one}, auc": round(chance_that_first_is_slower(taken, seconds[with_one]), 4)
        for kind, taken in seconds.items()
        if kind != with_one
    }
    told = [auc for auc in figures.values() if abs(auc - 0.5) > _TOLERATED]
    return Tally(figures=figures, failed=bool(told))


def _logins(run: ServersOfRun, *, seed: int) -> Tally:
    """A wrong password, and where no password would be right."""
    kinds = ("known", "locked", "unverified", "without a password")
    with _installation(run) as (service, connection):
        for kind in kinds:
            _register(service, kind.replace(" ", "-"), _ACCOUNTS)
        _for_users(connection, "UPDATE users SET status = 'active', email_verified = true", ("known", "locked"))
        _for_users(connection, "UPDATE login_states SET locked_until = '9999-01-01'", ("locked",))
        _for_users(connection, "DELETE FROM credentials", ("without",))

        def ask(kind: str, number: int, password: str = _WRONG) -> Response:
            email = _email(kind.replace(" ", "-"), number % _ACCOUNTS)
            return post(service.pipeline, "/auth/login", email=email, password=password)

        asked = {kind: partial(ask, kind) for kind in (*kinds, "unknown")}
        asked["locked with the right password"] = partial(ask, "locked", password=_PASSWORD)
        return _compared("sign-in", asked, with_one="unknown", seed=seed, status=401)


def _for_users(connection: psycopg.Connection, statement: LiteralString, kinds: tuple[str, ...]) -> None:
    """Do something to the users of *kinds*."""
    those = "user_id IN (SELECT user_id FROM user_emails WHERE email_key LIKE %s)"
    for kind in kinds:
        changed = connection.execute(f"{statement} WHERE {those}", (f"{kind}-%",))
        assert changed.rowcount > 0, (statement, kind)


_OF_ANOTHER_SYSTEM: Final = (
    "UPDATE credentials SET password_hash = 'pbkdf2_sha256$40000$saltsaltsalt$' || repeat('A', 43) || '='"
)


def _foreign_hashes(run: ServersOfRun, *, seed: int) -> Tally:
    """Half of the accounts have a hash of another system, which takes many times as long."""
    with _installation(run) as (service, connection):
        for kind in ("own", "foreign"):
            _register(service, kind, _ACCOUNTS)
        _for_users(connection, _OF_ANOTHER_SYSTEM, ("foreign",))

        def known(number: int) -> Response:
            email = _email("foreign" if number % 2 else "own", number // 2 % _ACCOUNTS)
            return post(service.pipeline, "/auth/login", email=email, password=_WRONG)

        def unknown(number: int) -> Response:
            return post(service.pipeline, "/auth/login", email=_email("unknown", number), password=_WRONG)

        asked = {"known": known, "unknown": unknown}
        return _compared("sign-in with foreign hashes", asked, with_one="unknown", seed=seed, status=401)


def _mails(run: ServersOfRun, *, seed: int) -> Tally:
    """What is mailed to owners: that they have an account already, a link to confirm it, a link to a new password."""
    asked_of_each = _TIMES + _WARM_UP
    with _installation(run, HIDE_REGISTERED_EMAILS="true") as (service, connection):
        _register(service, "known", asked_of_each)

        def ask(path: str, kind: str, number: int, **content: str) -> Response:
            return post(service.pipeline, path, email=_email(kind, number), **content)

        register = partial(ask, "/auth/register", password=_PASSWORD)
        asked = {"known": partial(register, "known"), "new": partial(register, "new")}
        registration = _compared("registration", asked, with_one="new", seed=seed, status=202)
        # Those that were new wait for a confirmation now; the others had two mails, and may have one more.
        verify = partial(ask, "/auth/request-email-verification")
        asked = {"waiting": partial(verify, "new"), "unknown": partial(verify, "unknown")}
        verification = _compared("confirmation", asked, with_one="unknown", seed=seed, status=202)
        _for_users(connection, "UPDATE users SET status = 'active', email_verified = true", ("known",))
        reset = partial(ask, "/auth/request-password-reset")
        asked = {"known": partial(reset, "known"), "unknown": partial(reset, "unknown")}
        resets = _compared("reset", asked, with_one="unknown", seed=seed, status=202)
    tallies = (registration, verification, resets)
    figures: dict[str, Any] = {}
    for tally in tallies:
        figures |= tally.figures
    return Tally(figures=figures, failed=any(tally.failed for tally in tallies))


def _second_factors(run: ServersOfRun, *, seed: int) -> Tally:
    """A made-up token for the code names a user by the id: one with a second factor, one without, and nobody."""
    with _installation(run) as (service, connection):
        for kind in ("doubled", "single"):
            _register(service, kind, _ACCOUNTS)
        _for_users(connection, "UPDATE users SET status = 'active', email_verified = true", ("doubled", "single"))
        ids = {
            kind: [row[0] for row in connection.execute(_IDS, (f"{kind}-%",)).fetchall()]
            for kind in ("doubled", "single")
        }
        for number in range(_ACCOUNTS):
            _turn_on(service, _email("doubled", number))
        rng = random.Random(seed)  # noqa: S311 - a token that was made up

        def ask(kind: str, number: int) -> Response:
            user_id = ids[kind][number % _ACCOUNTS] if kind in ids else UUID(bytes=rng.randbytes(16), version=4)
            token = base64.urlsafe_b64encode(user_id.bytes + rng.randbytes(32)).decode()
            return post(service.pipeline, "/auth/mfa/challenge", mfaSessionToken=token, code="123456")

        asked = {
            "with": partial(ask, "doubled"),
            "without": partial(ask, "single"),
            "nobody": partial(ask, "nobody"),
        }
        return _compared("second factor", asked, with_one="nobody", seed=seed, status=401)


_IDS: Final = "SELECT user_id FROM user_emails WHERE email_key LIKE %s"


def _turn_on(service: UserService, email: str) -> None:
    token = json_of(post(service.pipeline, "/auth/login", email=email, password=_PASSWORD))["accessToken"]

    def send(path: str, body: bytes = b"") -> dict[str, Any]:
        headers = (("authorization", f"Bearer {token}"), ("content-type", "application/json"))
        response = service.pipeline.handle(Request(method="POST", path=path, headers=headers, body=body))
        assert response.status == 200, response.body
        return json_of(response)

    code = pyotp.TOTP(send("/auth/mfa/setup")["secret"]).now()
    send("/auth/mfa/verify", f'{{"code": "{code}"}}'.encode())
