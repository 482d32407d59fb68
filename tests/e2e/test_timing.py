"""What an attacker with a stopwatch learns from signing in."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import psycopg
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import settings_for
from tests.stopwatch import chance_that_first_is_slower, post, without_request_id
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.http.messages import Request

if TYPE_CHECKING:
    from pathlib import Path

_TRIES: Final = 300
_WARM_UP: Final = 10
_TOLERATED: Final = 0.10
_OWNERS: Final = 80
_TOLERATED_OF_FEW: Final = 0.18
"""Three standard deviations and more of what chance makes of so few."""


@pytest.mark.asvs("6.3.8")
def test_an_unknown_address_takes_the_time_of_a_known_one(database: str, tmp_path: Path) -> None:
    """
    Asked in random order, known and unknown addresses cannot be told apart by time, and not at all by the answer.

    With the hash that is the default: it takes most of the time, on both sides.
    """
    settings = settings_for(database, tmp_path)
    rng = random.Random(20_261)  # noqa: S311 - the order of the questions is no secret
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        for number in range(10):
            answer = post(service.pipeline, "/auth/register", email=f"known{number}@example.com", password=PASSWORD)
            assert answer.status == 201
        questions = ["known", "unknown"] * (_TRIES + _WARM_UP)
        rng.shuffle(questions)
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        answers = set()
        for question in questions:
            email = f"{question}{rng.randrange(10)}@example.com"
            began = time.perf_counter()
            answer = post(service.pipeline, "/auth/login", email=email, password="certainly not this one")
            seconds[question].append(time.perf_counter() - began)
            answers.add((answer.status, without_request_id(answer)))

    assert len(answers) == 1
    assert {status for status, _ in answers} == {401}
    slower = chance_that_first_is_slower(seconds["known"][_WARM_UP:], seconds["unknown"][_WARM_UP:])
    assert slower == pytest.approx(0.5, abs=_TOLERATED)


@pytest.mark.asvs("6.3.8")
def test_hashes_of_another_system_do_not_tell_who_has_an_account(database: str, tmp_path: Path) -> None:
    """
    Half of the accounts have hashes that take many times as long as new ones, and so do half of the other addresses.

    Some accounts answer slowly and some fast, and so do addresses without one, which are never the same account.
    """
    settings = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="1024", ARGON2_TIME_COST="1")
    rng = random.Random(20_263)  # noqa: S311 - the order of the questions is no secret
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        for number in range(10):
            answer = post(service.pipeline, "/auth/register", email=f"known{number}@example.com", password=PASSWORD)
            assert answer.status == 201
        with psycopg.connect(database) as connection:
            imported = connection.execute(
                "UPDATE credentials SET password_hash = 'pbkdf2_sha256$80000$saltsaltsalt$' || repeat('A', 43) || '='"
                " WHERE user_id IN (SELECT user_id FROM user_emails WHERE email_key < 'known5')"
            )
            assert imported.rowcount == 5
        # Each account as often as the others, and each other address once: the draw is not to be what is measured.
        asked = _TRIES // 2 + _WARM_UP
        questions = [("known", number % 10) for number in range(asked)]
        questions += [("unknown", number) for number in range(asked)]
        rng.shuffle(questions)
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        for question, number in questions:
            email = f"{question}{number}@example.com"
            began = time.perf_counter()
            answer = post(service.pipeline, "/auth/login", email=email, password="certainly not this one")
            seconds[question].append(time.perf_counter() - began)
            assert answer.status == 401

    known, unknown = (sorted(times[_WARM_UP:]) for times in (seconds["known"], seconds["unknown"]))
    assert known[-len(known) // 4] > 1.5 * known[len(known) // 4]
    assert unknown[-len(unknown) // 4] > 1.5 * unknown[len(unknown) // 4]
    # Which of the other addresses are slow is a matter of the key, and so is how many; 0.75 if none were.
    assert chance_that_first_is_slower(known, unknown) == pytest.approx(0.5, abs=1.5 * _TOLERATED)


@pytest.mark.asvs("6.3.8")
def test_a_link_for_an_unknown_address_takes_the_time_of_one_that_is_mailed(database: str, tmp_path: Path) -> None:
    """Each known address is asked for once, so that its owner is mailed each time; the unknown one has nobody."""
    settings = settings_for(database, tmp_path)
    rng = random.Random(20_262)  # noqa: S311 - the order of the questions is no secret
    numbers = range(_OWNERS)
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        for number in numbers:
            answer = post(service.pipeline, "/auth/register", email=f"known{number}@example.com", password=PASSWORD)
            assert answer.status == 201
        questions = [(kind, number) for kind in ("known", "unknown") for number in numbers]
        rng.shuffle(questions)
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        for kind, number in questions:
            began = time.perf_counter()
            answer = post(service.pipeline, "/auth/request-password-reset", email=f"{kind}{number}@example.com")
            seconds[kind].append(time.perf_counter() - began)
            assert (answer.status, answer.body) == (202, b"")

    slower = chance_that_first_is_slower(seconds["known"][_WARM_UP:], seconds["unknown"][_WARM_UP:])
    assert slower == pytest.approx(0.5, abs=_TOLERATED_OF_FEW)


@pytest.mark.asvs("6.3.8")
def test_an_address_that_has_an_account_takes_the_time_of_a_new_one(database: str, tmp_path: Path) -> None:
    """Where registering hides who has an account; each address is sent once, so that every owner is mailed."""
    settings = settings_for(database, tmp_path, HIDE_REGISTERED_EMAILS="true")
    rng = random.Random(20_263)  # noqa: S311 - the order of the questions is no secret
    numbers = range(_OWNERS)
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        for number in numbers:
            post(service.pipeline, "/auth/register", email=f"known{number}@example.com", password=PASSWORD)
        questions = [(kind, number) for kind in ("known", "unknown") for number in numbers]
        rng.shuffle(questions)
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        for kind, number in questions:
            began = time.perf_counter()
            answer = post(service.pipeline, "/auth/register", email=f"{kind}{number}@example.com", password=PASSWORD)
            seconds[kind].append(time.perf_counter() - began)
            assert (answer.status, answer.body) == (202, b"")

    slower = chance_that_first_is_slower(seconds["known"][_WARM_UP:], seconds["unknown"][_WARM_UP:])
    assert slower == pytest.approx(0.5, abs=_TOLERATED_OF_FEW)


def test_an_unknown_client_takes_the_time_of_a_known_one(database: str, tmp_path: Path) -> None:
    """Nothing is hashed for long here, so that what is left is what the database does; the answers are the same."""
    settings = settings_for(database, tmp_path)
    rng = random.Random(20_262)  # noqa: S311 - as above
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        made = [
            service.use_cases.service_clients.create(actor=OPERATOR, name=str(number), permissions=["user:read"])
            for number in range(10)
        ]
        ids = {"known": [str(new.client.id) for new in made], "unknown": [str(new.id) for new in made]}
        questions = ["known", "unknown"] * (_TRIES + _WARM_UP)
        rng.shuffle(questions)
        seconds: dict[str, list[float]] = {"known": [], "unknown": []}
        answers = set()
        for question in questions:
            form = {"grant_type": "client_credentials", "client_id": rng.choice(ids[question]), "client_secret": "no"}
            began = time.perf_counter()
            answer = service.pipeline.handle(_form_request("/oauth/token", form))
            seconds[question].append(time.perf_counter() - began)
            answers.add((answer.status, answer.body))

    assert len(answers) == 1
    assert {status for status, _ in answers} == {401}
    slower = chance_that_first_is_slower(seconds["known"][_WARM_UP:], seconds["unknown"][_WARM_UP:])
    assert slower == pytest.approx(0.5, abs=_TOLERATED)


def _form_request(path: str, form: dict[str, str]) -> Request:
    content = urlencode(form).encode()
    return Request(
        method="POST", path=path, headers=(("content-type", "application/x-www-form-urlencoded"),), body=content
    )
