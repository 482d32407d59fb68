"""One rule of what is the same address, in every operation that takes one, over every host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_PASSWORD: Final = "correct horse battery staple"

_SAME: Final = (
    ("Robin@Example.com", "robin@example.com"),
    ("robin@example.com", "ROBIN@EXAMPLE.COM"),
    ("stra\u00dfe@example.com", "STRASSE@example.com"),
    ("caf\u00e9@example.com", "cafe\u0301@example.com"),
    ("robin@b\u00fccher.example", "robin@xn--bcher-kva.example"),
)
_DIFFERENT: Final = (
    ("robin@example.com", "robin+1@example.com"),
    ("robin.hill@example.com", "robinhill@example.com"),
    ("testo@example.com", "test\u043e@example.com"),
    ("robin@example.com", "robin@mail.example.com"),
)


def _register(client: HostClient, email: str) -> Response:
    return send_json(client, "POST", "/auth/register", {"email": email, "password": _PASSWORD})


def _confirmed(installation: Installation, client: HostClient, email: str) -> None:
    assert _register(client, email).status == 201
    token = installation.mailed_token(email)
    assert send_json(client, "POST", "/auth/verify-email", {"token": token}).status == 200


def _signed_in_as(client: HostClient, email: str) -> str:
    response = send_json(client, "POST", "/auth/login", {"email": email, "password": _PASSWORD})
    assert response.status == 200
    shown: str = json_of(response)["user"]["email"]
    return shown


@pytest.mark.parametrize(("first", "second"), _SAME)
def test_another_spelling_is_the_same_account(
    installation: Installation, client: HostClient, first: str, second: str
) -> None:
    """Case, normal form, and the two forms of a domain: taken, and the way in and back, mailed as first typed."""
    _confirmed(installation, client, first)
    plain, spelled = _register(client, first), _register(client, second)

    assert (spelled.status, json_of(spelled)["type"]) == (plain.status, json_of(plain)["type"])
    assert plain.status == 409
    assert _signed_in_as(client, second) == first
    before = len(installation.mails())
    assert send_json(client, "POST", "/auth/request-password-reset", {"email": second}).status == 202
    assert [mail.to for mail in installation.mails()[before:]] == [first]


@pytest.mark.parametrize(("first", "second"), _DIFFERENT)
def test_what_only_looks_alike_is_another_account(
    installation: Installation, client: HostClient, first: str, second: str
) -> None:
    """Plus, dots, and letters of another script are not folded away: two accounts, each with its own way back."""
    _confirmed(installation, client, first)
    _confirmed(installation, client, second)

    assert (_signed_in_as(client, first), _signed_in_as(client, second)) == (first, second)
    for email in (first, second):
        before = len(installation.mails())
        assert send_json(client, "POST", "/auth/request-password-reset", {"email": email}).status == 202
        assert [mail.to for mail in installation.mails()[before:]] == [email]
