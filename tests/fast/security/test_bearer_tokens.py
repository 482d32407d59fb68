"""Tokens for others: from a file that somebody renews, and from a token endpoint."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import jwt
import pytest

from tests.key_endpoint import Answering, KeyEndpoint
from userservice_core.errors import BusUnavailableError, ConfigurationError
from userservice_core.infrastructure.security.bearer_tokens import ClientCredentialsTokens, TokenFile

if TYPE_CHECKING:
    from pathlib import Path

_NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


class _Clock:
    """Tells the time that a test wants."""

    def __init__(self) -> None:
        self.at = _NOW

    def __call__(self) -> datetime:
        return self.at


def _jwt(*, seconds: float) -> str:
    return jwt.encode({"exp": int((_NOW + timedelta(seconds=seconds)).timestamp())}, "k" * 32, algorithm="HS256")


def _answer(text: str, **members: object) -> Answering:
    return Answering(body=json.dumps({"access_token": text, "token_type": "Bearer", **members}).encode())


def _tokens(endpoint: KeyEndpoint, clock: _Clock, *, scope: str | None = None) -> ClientCredentialsTokens:
    return ClientCredentialsTokens(endpoint.url, client_id="relay:1", client_secret="s/ecret", scope=scope, now=clock)


def test_a_file_is_read_each_time(tmp_path: Path) -> None:
    """Whoever renews it need not tell us; what a JWT says of its end is believed."""
    file = tmp_path / "token"
    source = TokenFile(file, now=lambda: _NOW)
    file.write_text(f"{_jwt(seconds=60)}\n")
    first = source()
    file.write_text("opaque")

    second = source()

    assert (first.text, first.expires_at) == (_jwt(seconds=60), _NOW + timedelta(seconds=60))
    assert second.text == "opaque"
    assert second.expires_at > _NOW
    assert "opaque" not in repr(second)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file"),
        (b"", "no token"),
        (b"two words", "no token"),
        (b"\xff", "cannot be read: not ASCII"),
        (_jwt(seconds=0).encode(), "has expired"),
    ],
)
def test_a_file_without_a_token_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """With the reason, and nothing of what it holds."""
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(BusUnavailableError) as raised:
        TokenFile(file, now=lambda: _NOW)()

    assert reason in raised.value.detail
    assert "two words" not in raised.value.detail


def test_an_endpoint_is_asked_as_oauth_says() -> None:
    """By POST, with the credentials encoded in the header (RFC 6749 §2.3.1) and the scope in the form."""
    with KeyEndpoint(_answer("t1", expires_in=100)) as endpoint:
        token = _tokens(endpoint, _Clock(), scope="kafka.write")()

    assert (token.text, token.expires_at) == ("t1", _NOW + timedelta(seconds=100))
    assert parse_qs(endpoint.bodies[0].decode()) == {"grant_type": ["client_credentials"], "scope": ["kafka.write"]}
    # base64 of relay%3A1:s%2Fecret
    assert endpoint.requests[0]["authorization"] == "Basic cmVsYXklM0ExOnMlMkZlY3JldA=="
    assert endpoint.requests[0]["content-type"] == "application/x-www-form-urlencoded"


def test_a_token_is_kept_until_most_of_its_life_is_over() -> None:
    """Then there is a new one; while that cannot be had, the old one is used to its end."""
    clock = _Clock()
    with KeyEndpoint(_answer("t1", expires_in=100)) as endpoint:
        tokens = _tokens(endpoint, clock)
        told = [tokens().text]
        endpoint.answering = _answer("t2", expires_in=100)
        clock.at = _NOW + timedelta(seconds=79)
        told.append(tokens().text)
        endpoint.answering = Answering(status=503)
        clock.at = _NOW + timedelta(seconds=90)
        told.append(tokens().text)
        endpoint.answering = _answer("t2", expires_in=100)
        told.append(tokens().text)
        endpoint.answering = Answering(status=503)
        clock.at = _NOW + timedelta(seconds=190)

        with pytest.raises(BusUnavailableError, match="answered 503"):
            tokens()

    assert told == ["t1", "t1", "t1", "t2"]


@pytest.mark.parametrize(
    "answering",
    [
        Answering(status=401, body=b"s/ecret is wrong"),
        Answering(body=b"s/ecret"),
        Answering(body=b'{"token": "s/ecret"}'),
        Answering(body=b'{"access_token": 1}'),
        Answering(body=b"x" * 70_000),
    ],
    ids=["refused", "no JSON", "no token", "no text", "too large"],
)
def test_an_answer_without_a_token_is_told(answering: Answering) -> None:
    """As the bus that cannot be reached; what was answered is not repeated."""
    with KeyEndpoint(answering) as endpoint, pytest.raises(BusUnavailableError) as raised:
        _tokens(endpoint, _Clock())()

    assert "The token endpoint gave no token: " in raised.value.detail
    assert "s/ecret" not in raised.value.detail


def test_the_secret_is_sent_to_nobody_in_the_clear() -> None:
    """An endpoint elsewhere has to speak TLS."""
    with pytest.raises(ConfigurationError):
        ClientCredentialsTokens(
            "http://login.example.com", client_id="a", client_secret="b", scope=None, now=lambda: _NOW
        )
