"""Who has no secret of an account learns nothing of it: answers are the same to the byte, headers included."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.clocks import FakeClock
    from userservice_core.testing.host import HostClient

_PASSWORD: Final = "correct horse battery staple"
_WRONG: Final = "mauve otter climbs slowly"
_ID: Final = ("x-request-id", "the-same-everywhere")

_ASKING: Final = {
    "/auth/login": {"password": _WRONG},
    "/auth/request-password-reset": {},
    "/auth/request-email-verification": {},
}
"""What anybody may ask of an address that they name, beside the address."""


def _told(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    return response.status, sorted(response.headers), response.body


def _accounts(client: HostClient, installation: Installation) -> Iterator[str]:
    """Make an account in each state, and yield the address of each; and one that nobody has."""
    root = installation.administrator_token("root@example.com")
    yield "nobody@example.com"
    account = {"email": "pending@example.com", "password": _PASSWORD}
    assert send_json(client, "POST", "/auth/register", account).status == 201
    yield account["email"]
    assert send_json(client, "POST", "/admin/users", {"email": "invited@example.com"}, token=root).status == 201
    yield "invited@example.com"
    changes: dict[str, Callable[[str, str], Response]] = {
        "active": lambda token, _: send_json(client, "GET", "/users/me", token=token),
        "suspended": lambda _, path: send_json(
            client, "PATCH", path, {"status": "suspended", "statusReason": "chargeback"}, token=root
        ),
        "deactivated": lambda token, _: send_json(client, "POST", "/users/me/deactivate", token=token),
        "deleted": lambda _, path: send_json(client, "DELETE", path, token=root),
        "erased": lambda _, path: send_json(client, "DELETE", f"{path}?hardDelete=true", token=root),
    }
    for state, change in changes.items():
        token = installation.access_token(f"{state}@example.com")
        user_id = json_of(send_json(client, "GET", "/users/me", token=token))["id"]
        assert change(token, f"/admin/users/{user_id}").status in {200, 204}, state
        yield f"{state}@example.com"


@pytest.mark.asvs("6.3.8")
def test_an_address_is_answered_alike_whatever_became_of_its_account(
    client: HostClient, installation: Installation
) -> None:
    """Unknown, pending, invited, active, suspended, deactivated, deleted and erased: nothing tells which."""
    emails = list(_accounts(client, installation))
    for path, content in _ASKING.items():
        answers = {
            email: _told(send_json(client, "POST", path, {"email": email, **content}, headers=[_ID]))
            for email in emails
        }
        expected = answers["nobody@example.com"]
        assert expected[0] in {202, 401}
        assert {email: told for email, told in answers.items() if told != expected} == {}, path


@pytest.mark.asvs("6.3.8", "11.2.5")
def test_a_link_that_does_nothing_does_not_say_why(
    client: HostClient, installation: Installation, clock: FakeClock
) -> None:
    """Nonsense, of nobody, for something else, used, and expired: one answer where a password is chosen."""
    email = "ada@example.com"
    assert send_json(client, "POST", "/auth/register", {"email": email, "password": _PASSWORD}).status == 201
    for_something_else = installation.mailed_token(email)
    assert send_json(client, "POST", "/auth/verify-email", {"token": for_something_else}).status == 200
    send_json(client, "POST", "/auth/request-password-reset", {"email": email})
    used = installation.mailed_token(email)
    assert send_json(client, "POST", "/auth/reset-password", {"token": used, "password": _WRONG}).status == 200
    clock.advance(timedelta(hours=2))
    send_json(client, "POST", "/auth/request-password-reset", {"email": email})
    expired = installation.mailed_token(email)
    clock.advance(timedelta(hours=2))
    half = len(used) // 2
    tokens = [
        *(for_something_else, used, expired),
        *("nonsense", f"{used}x", used[:-1], used[:half] + expired[half:][::-1], "A" * len(used)),
    ]
    told = {
        token: _told(
            send_json(client, "POST", "/auth/reset-password", {"token": token, "password": _PASSWORD}, headers=[_ID])
        )
        for token in tokens
    }

    assert len({repr(each) for each in told.values()}) == 1
    assert told["nonsense"][0] == 400
