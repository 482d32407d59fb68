"""Refresh tokens: one chain a session, which nobody can lengthen or bend without the ring."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.errors import InvalidRefreshTokenError
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.refresh_tokens import HmacRefreshTokens
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON

USER = UserId(UUID("01900000-0000-7000-8000-000000000001"))
SESSION = SessionId(UUID("01900000-0000-7000-8000-000000000002"))
_RING = KeyRing.generate(NOON, SystemEntropy())
_TOKENS = HmacRefreshTokens(_RING, SystemEntropy())


def _secret_of(text: str) -> bytes:
    return decode_base64url(text.split(".")[2])[36:68]


@given(user=st.uuids(), session=st.uuids(), steps=st.integers(min_value=0, max_value=5))
def test_a_token_of_any_generation_is_read_back(user: UUID, session: UUID, steps: int) -> None:
    """Text, ids, generation and the hash of the secret."""
    token = _TOKENS.first(user_id=UserId(user), session_id=SessionId(session))
    for _ in range(steps):
        token = _TOKENS.successor(token)

    assert token == _TOKENS.parse(token.text)
    assert (token.user_id, token.session_id, token.generation) == (user, session, steps)
    assert token.secret_hash == hashlib.sha256(_secret_of(token.text)).digest()


@pytest.mark.asvs("7.2.3")
def test_the_first_secret_is_random() -> None:
    """Two sign-ins have nothing in common."""
    first, second = (_TOKENS.first(user_id=USER, session_id=SESSION) for _ in range(2))

    assert first.secret_hash != second.secret_hash


def test_a_token_has_one_successor() -> None:
    """However often and by whichever process it is derived: parallel tabs get the same one."""
    token = _TOKENS.first(user_id=USER, session_id=SESSION)
    elsewhere = HmacRefreshTokens(KeyRing.parse(_RING.dump()), SystemEntropy())

    successors = {_TOKENS.successor(token), _TOKENS.successor(_TOKENS.parse(token.text)), elsewhere.successor(token)}

    assert len(successors) == 1
    assert successors.pop().generation == 1


def test_a_successor_depends_on_session_and_secret() -> None:
    """No two chains meet."""
    one = _TOKENS.first(user_id=USER, session_id=SESSION)
    two = _TOKENS.first(user_id=USER, session_id=SESSION)

    assert _TOKENS.successor(one).secret_hash != _TOKENS.successor(two).secret_hash


@pytest.mark.asvs("11.2.2")
def test_a_chain_outlives_the_change_of_the_secret_key() -> None:
    """A session stays with its key, so its successor is the same before and after the change."""
    token = _TOKENS.first(user_id=USER, session_id=SESSION)
    document = json.loads(KeyRing.generate(NOON, SystemEntropy()).dump())
    (old,) = json.loads(_RING.dump())["secretKeys"]
    document["secretKeys"].append({**old, "state": "retired"})
    changed = HmacRefreshTokens(KeyRing.parse(json.dumps(document)), SystemEntropy())

    assert changed.successor(token) == _TOKENS.successor(token)
    assert changed.first(user_id=USER, session_id=SESSION).text.split(".")[1] != old["id"]


def test_a_token_of_another_ring_is_refused() -> None:
    """Also where the other ring calls its key by the same name."""
    document = json.loads(KeyRing.generate(NOON, SystemEntropy()).dump())
    document["secretKeys"][0]["id"] = _RING.current_secret_key.id
    other = HmacRefreshTokens(KeyRing.parse(json.dumps(document)), SystemEntropy())

    with pytest.raises(InvalidRefreshTokenError):
        _TOKENS.parse(other.first(user_id=USER, session_id=SESSION).text)


@pytest.mark.asvs("7.2.3")
@given(position=st.integers(min_value=0, max_value=99), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_of_a_token_can_be_changed(position: int, bit: int) -> None:
    """User, session, generation, secret and tag are covered."""
    prefix, key_id, body = _TOKENS.first(user_id=USER, session_id=SESSION).text.split(".")
    data = bytearray(decode_base64url(body))
    data[position] ^= 1 << bit

    with pytest.raises(InvalidRefreshTokenError):
        _TOKENS.parse(f"{prefix}.{key_id}.{encode_base64url(bytes(data))}")


def test_a_token_has_one_text() -> None:
    """Neither padding nor stray bits nor another key id or format make a second one."""
    text = _TOKENS.first(user_id=USER, session_id=SESSION).text
    prefix, key_id, body = text.split(".")
    variants = [
        "",
        "..",
        "rt1..",
        f"{text}=",
        f"{text}==",
        f" {text}",
        f"{text}\n",
        f"{text}.",
        f"rt2.{key_id}.{body}",
        f"{prefix}.other.{body}",
        f"{prefix}..{body}",
        f"{prefix}.{key_id}.{body}AAAA",
        f"{prefix}.{key_id}.{body[:-4]}",
        text.upper(),
        text + "A" * 10_000_000,
        *(text[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if last != text[-1]),
    ]

    for variant in variants:
        with pytest.raises(InvalidRefreshTokenError):
            _TOKENS.parse(variant)


@given(
    text=st.text(alphabet=st.characters(codec=None))
    | st.text().map(lambda end: f"rt1.{_RING.current_secret_key.id}.{end}")
)
def test_no_text_raises_anything_but_the_refusal(text: str) -> None:
    """Whatever a client sends."""
    with pytest.raises(InvalidRefreshTokenError):
        _TOKENS.parse(text)


def test_a_token_does_not_show_in_its_representation() -> None:
    """Whoever logs it logs no secret."""
    token = _TOKENS.first(user_id=USER, session_id=SESSION)

    assert token.text not in repr(token)
    assert repr(token.secret_hash) not in repr(token)
