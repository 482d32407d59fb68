"""A POST that is repeated with its key takes effect once, behind every host."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hosts.installation import HOSTS, Installation, sample_route
from userservice_core.errors import InvalidInputError, OverloadedError
from userservice_core.http.call import empty_response
from userservice_core.http.routes import ROUTES, RateClass
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response
    from userservice_core.testing.clocks import FakeClock
    from userservice_core.testing.host import HostClient

_PASSWORD: Final = "correct horse battery staple"
_ADA: Final = {"email": "ada@example.com", "password": _PASSWORD}
_ADDRESS: Final = {
    "addressLine1": "1 Main St",
    "city": "Springfield",
    "stateOrProvince": "IL",
    "postalCode": "62701",
    "countryCode": "US",
}
_OWN_HEADERS: Final = {"x-request-id", "idempotency-replayed"}


def _post(
    client: HostClient, path: str, content: dict[str, Any], *, key: str | None, token: str | None = None
) -> Response:
    headers = () if key is None else (("Idempotency-Key", key),)
    return send_json(client, "POST", path, content, token=token, headers=headers)


def _key() -> str:
    return str(uuid.uuid4())


def _is_replay(response: Response) -> bool:
    return response.header("idempotency-replayed") == "true"


def _told(response: Response) -> tuple[int, Sequence[tuple[str, str]], bytes]:
    """Return all of an answer but what is each answer's own."""
    return response.status, sorted(pair for pair in response.headers if pair[0] not in _OWN_HEADERS), response.body


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


def test_a_repeated_call_is_answered_as_before(installation: Installation, client: HostClient) -> None:
    """Byte for byte, and there is one user, one event and one mail."""
    key = _key()

    first = _post(client, "/auth/register", _ADA, key=key)
    again = _post(client, "/auth/register", _ADA, key=key)

    assert (first.status, _is_replay(first), _is_replay(again)) == (201, False, True)
    assert _told(again) == _told(first)
    assert len(installation.stored().users) == 1
    assert len(installation.mails()) == 1
    assert _code(_post(client, "/auth/register", _ADA, key=_key())) == (409, "email-taken")


def test_location_and_etag_are_repeated(installation: Installation, client: HostClient) -> None:
    """An answer is more than its body."""
    token, key = installation.administrator_token("root@example.com"), _key()
    role = {"name": "Clerk", "description": None}

    first = _post(client, "/admin/roles", role, key=key, token=token)
    again = _post(client, "/admin/roles", role, key=key, token=token)

    assert first.status == 201
    assert None not in (first.header("location"), first.header("etag"))
    assert _is_replay(again)
    assert _told(again) == _told(first)


def test_another_request_under_the_same_key_is_refused(installation: Installation, client: HostClient) -> None:
    """Another body, another query; nothing is done. For another path the key is free."""
    key = _key()
    assert _post(client, "/auth/register", _ADA, key=key).status == 201
    before = installation.stored()

    other = _post(client, "/auth/register", {**_ADA, "email": "eve@example.com"}, key=key)
    assert _code(other) == (422, "idempotency-key-reused")
    assert _code(_post(client, "/auth/register?x=1", _ADA, key=key)) == (422, "idempotency-key-reused")
    assert installation.stored() == before
    assert _post(client, "/auth/request-email-verification", {"email": "ada@example.com"}, key=key).status == 202


def test_a_refusal_is_not_repeated(installation: Installation, client: HostClient) -> None:
    """The next call with the key is another attempt; what a refusal counts is counted each time."""
    key = _key()
    assert _code(_post(client, "/auth/login", _ADA, key=key)) == (401, "invalid-credentials")
    installation.access_token("ada@example.com")
    wrong = {**_ADA, "password": "not the right password"}

    assert [_code(_post(client, "/auth/login", wrong, key=key)) for _ in range(2)] == [(401, "invalid-credentials")] * 2
    (state,) = installation.stored().login_states.values()
    assert state.failed_attempts == 2

    right = _post(client, "/auth/login", _ADA, key=key)
    assert (right.status, _is_replay(right)) == (200, False)


def test_a_repeated_sign_in_begins_no_second_session(installation: Installation, client: HostClient) -> None:
    """The same tokens again; where they are kept nobody can read them, nor the password."""
    installation.access_token("ada@example.com")
    key = _key()

    first, again = (_post(client, "/auth/login", _ADA, key=key) for _ in range(2))

    assert _is_replay(again)
    assert again.body == first.body
    assert len(installation.stored().sessions) == 1
    kept = str(installation.stored().answers)
    assert "ada@example.com" not in kept
    assert _PASSWORD not in kept
    assert json_of(first)["accessToken"] not in kept


def test_a_key_belongs_to_its_caller(installation: Installation, client: HostClient) -> None:
    """Two users may take the same key, and even a short one."""
    tokens = [installation.access_token(f"{name}@example.com") for name in ("ada", "bob")]

    answers = [
        _post(client, "/users/me/addresses", _ADDRESS, key="1", token=token) for token in tokens for _ in range(2)
    ]

    assert [(answer.status, _is_replay(answer)) for answer in answers] == [(201, False), (201, True)] * 2
    assert len({json_of(answer)["id"] for answer in answers}) == 2
    assert len(installation.stored().addresses) == 2


@pytest.mark.parametrize(
    "key",
    ["", '""', "a b", "a" * 256, "a,b", '"unfinished', "caf\xe9" * 10, "short", "0123456789abcdef", "a" * 21, "1" * 31],
)
def test_what_others_could_guess_is_no_key_where_anyone_calls(client: HostClient, key: str) -> None:
    """Nobody may meet another's answer by chance."""
    assert _code(_post(client, "/auth/register", _ADA, key=key)) == (400, "idempotency-key-invalid")


@pytest.mark.parametrize("key", [str(uuid.UUID(int=1)), "a" * 31 + "g", "Zm9vYmFyYmF6cXV4Zm9vYg", "e" * 32])
def test_a_key_may_be_quoted(client: HostClient, key: str) -> None:
    """As the draft of the standard has it; it is the same key."""
    assert _post(client, "/auth/register", _ADA, key=key).status == 201
    assert _is_replay(_post(client, "/auth/register", _ADA, key=f'"{key}"'))


def test_two_keys_are_none(client: HostClient) -> None:
    """Which of them counts could not be told."""
    headers = [("idempotency-key", _key()), ("Idempotency-Key", _key())]

    response = send_json(client, "POST", "/auth/register", _ADA, headers=headers)

    assert _code(response) == (400, "idempotency-key-invalid")


def test_an_answer_is_kept_for_a_day(installation: Installation, client: HostClient, clock: FakeClock) -> None:
    """Then the key is free, and its row goes with the next purge."""
    key, body = _key(), {"email": "ada@example.com"}
    path = "/auth/request-email-verification"
    _post(client, path, body, key=key)

    clock.advance(timedelta(hours=23, minutes=59))
    assert _is_replay(_post(client, path, body, key=key))
    assert installation.service.use_cases.idempotent_calls.purge() == 0
    clock.advance(timedelta(minutes=1))
    assert not _is_replay(_post(client, path, {"email": "bob@example.com"}, key=key))
    clock.advance(timedelta(hours=24))
    assert installation.service.use_cases.idempotent_calls.purge(limit=1) == 1
    assert installation.service.use_cases.idempotent_calls.purge(limit=1) == 0
    assert installation.stored().answers == {}


def test_a_replay_tells_nobody_whether_an_address_is_known(installation: Installation, client: HostClient) -> None:
    """Where one answer serves all addresses, each is kept and repeated alike."""
    installation.access_token("ada@example.com")
    for path in ("/auth/request-email-verification", "/auth/request-password-reset"):
        told = []
        for email in ("ada@example.com", "nobody@example.com"):
            key = _key()
            answers = [_post(client, path, {"email": email}, key=key) for _ in range(2)]
            told.append([(*_told(answer), _is_replay(answer)) for answer in answers])
        assert told[0] == told[1]


def test_who_may_not_call_any_more_is_not_answered_again(installation: Installation, client: HostClient) -> None:
    """A replay is for those who may make the call now."""
    installation.access_token("ada@example.com")
    token = json_of(_post(client, "/auth/login", _ADA, key=None))["accessToken"]
    key = _key()
    assert _post(client, "/users/me/addresses", _ADDRESS, key=key, token=token).status == 201
    assert _is_replay(_post(client, "/users/me/addresses", _ADDRESS, key=key, token=token))

    assert _post(client, "/auth/logout", {}, key=_key(), token=token).status == 204
    assert _code(_post(client, "/users/me/addresses", _ADDRESS, key=key, token=token)) == (401, "invalid-token")


def test_routes_that_take_no_key_ignore_it(installation: Installation, client: HostClient) -> None:
    """What changes nothing is answered anew: permissions of yesterday are no answer."""
    token = installation.administrator_token("root@example.com")
    (user_id,) = installation.stored().users
    body = {"userId": str(user_id), "permissions": ["user:list"]}

    answers = [_post(client, "/auth/check-permissions", body, key="same", token=token) for _ in range(2)]

    assert [(answer.status, _is_replay(answer)) for answer in answers] == [(200, False)] * 2
    assert not [route for route in ROUTES if route.rate_class is RateClass.READ and route.takes_key]


@pytest.mark.parametrize("name", ["pipeline", "starlette", "flask", "lambda"])
def test_of_fifty_at_once_one_takes_effect(installation: Installation, name: str) -> None:
    """The others get its answer, or are told to come again."""
    client, key = HOSTS[name](installation.service), _key()
    start = threading.Barrier(10)

    def attempt(number: int) -> Response:
        if number < start.parties:
            start.wait()
        return _post(client, "/auth/register", _ADA, key=key)

    with ThreadPoolExecutor(start.parties) as threads:
        answers = list(threads.map(attempt, range(50)))

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert [_is_replay(answer) for answer in answers].count(False) == 1
    assert len(installation.stored().users) == 1


def test_what_is_our_own_fault_leaves_nothing(installation: Installation) -> None:
    """Neither a change nor an answer, also where it goes wrong after the change; a refusal leaves what it did."""
    registration = installation.service.use_cases.registration
    error: Exception = OverloadedError()

    def fail_late(_call: Call) -> Response:
        registration.register(email="ada@example.com", password=_PASSWORD)
        raise error

    route = sample_route(fail_late, method="POST", rate_class=RateClass.WRITE)
    client = PipelineClient(installation.with_routes(route).pipeline)

    for failure, status, users in ((error, 503, 0), (RuntimeError(), 500, 0), (InvalidInputError(()), 400, 1)):
        error = failure
        assert client.request("POST", "/wait", headers=[("idempotency-key", _key())]).status == status
        assert len(installation.stored().users) == users
    assert installation.stored().answers == {}


def test_only_success_is_kept(installation: Installation) -> None:
    """An answer of another kind that is no error, too, is given anew."""
    statuses = iter((302, 299, 500))

    def wait(_call: Call) -> Response:
        return empty_response(next(statuses))

    client = PipelineClient(installation.with_routes(sample_route(wait, method="POST")).pipeline)
    key = ("idempotency-key", _key())

    assert [client.request("POST", "/wait", headers=[key]).status for _ in range(3)] == [302, 299, 299]
