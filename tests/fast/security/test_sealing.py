"""Sealing: opened only as it was closed, and digests that stay apart by context."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.errors import SealBrokenError
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON

_RING = KeyRing.generate(NOON, SystemEntropy())
_SEALER = AesGcmSecretSealer(_RING, SystemEntropy())


@pytest.mark.asvs("11.3.1")
@given(plaintext=st.binary(max_size=200), context=st.text(max_size=50))
def test_what_was_sealed_is_opened_in_its_context(plaintext: bytes, context: str) -> None:
    """The sealed text is safe in URLs and holds nothing of what was sealed."""
    sealed = _SEALER.seal(plaintext, context=context)

    assert plaintext == _SEALER.unseal(sealed, context=context)
    assert set(sealed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@pytest.mark.asvs("11.3.2", "11.3.3")
@given(context=st.text(max_size=20), other=st.text(max_size=20))
def test_another_context_does_not_open_it(context: str, other: str) -> None:
    """A sealed token copied into another event is worth nothing."""
    sealed = _SEALER.seal(b"token", context=context)

    if context != other:
        with pytest.raises(SealBrokenError):
            _SEALER.unseal(sealed, context=other)


@pytest.mark.asvs("11.3.4")
def test_the_same_value_is_never_sealed_alike() -> None:
    """Equal secrets cannot be told from what is stored."""
    assert _SEALER.seal(b"x", context="c") != _SEALER.seal(b"x", context="c")


@pytest.mark.asvs("11.3.1", "11.3.2", "11.3.3")
@given(position=st.integers(min_value=0, max_value=32), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_can_be_changed(position: int, bit: int) -> None:
    """Nonce, ciphertext and tag are covered."""
    prefix, key_id, body = _SEALER.seal(b"token", context="c").split(".")
    data = bytearray(decode_base64url(body))
    data[position] ^= 1 << bit

    with pytest.raises(SealBrokenError):
        _SEALER.unseal(f"{prefix}.{key_id}.{encode_base64url(bytes(data))}", context="c")


@given(
    text=st.text(alphabet=st.characters(codec=None))
    | st.text().map(lambda end: f"s1.{_RING.current_secret_key.id}.{end}")
)
def test_no_text_raises_anything_but_that_the_seal_is_broken(text: str) -> None:
    """Truncated, foreign and empty values included."""
    with pytest.raises(SealBrokenError):
        _SEALER.unseal(text, context="c")


def test_a_value_is_opened_after_the_change_of_the_key_and_not_after_its_end() -> None:
    """A retired key opens what it sealed; new values are sealed under the current one."""
    sealed = _SEALER.seal(b"token", context="c")
    fresh = KeyRing.generate(NOON, SystemEntropy())
    document = json.loads(fresh.dump())
    (old,) = json.loads(_RING.dump())["secretKeys"]
    document["secretKeys"].append({**old, "state": "retired"})
    changed = AesGcmSecretSealer(KeyRing.parse(json.dumps(document)), SystemEntropy())

    assert changed.unseal(sealed, context="c") == b"token"
    assert changed.seal(b"x", context="c").split(".")[1] == fresh.current_secret_key.id
    with pytest.raises(SealBrokenError):
        AesGcmSecretSealer(fresh, SystemEntropy()).unseal(sealed, context="c")


def test_digests_are_stable_and_apart() -> None:
    """The same for one value, context and key; another one as soon as one of them differs."""
    elsewhere = AesGcmSecretSealer(KeyRing.parse(_RING.dump()), SystemEntropy())
    other_ring = AesGcmSecretSealer(KeyRing.generate(NOON, SystemEntropy()), SystemEntropy())
    digest = _SEALER.digest("a@example.com", context="login")

    assert digest == elsewhere.digest("a@example.com", context="login")
    assert len(digest) == 64
    assert digest not in {
        _SEALER.digest("b@example.com", context="login"),
        _SEALER.digest("a@example.com", context="reset"),
        other_ring.digest("a@example.com", context="login"),
    }
