"""The key ring: what it dumps it reads, everything wrong with a document is told, and no purpose shares a key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import ConfigurationError
from userservice_core.infrastructure.security.keys import KeyPurpose, KeyRing, KeyState
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON

if TYPE_CHECKING:
    from collections.abc import Callable


def _document(ring: KeyRing) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(ring.dump())
    return document


def _problems(document: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        KeyRing.parse(document if isinstance(document, str) else json.dumps(document))
    return caught.value.problems


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_a_ring_is_read_back_as_it_was_written(
    rings: dict[SigningAlgorithm, KeyRing], algorithm: SigningAlgorithm
) -> None:
    """Private halves included: the ring that was read signs with the same key."""
    ring = KeyRing.parse(rings[algorithm].dump())

    assert ring == rings[algorithm]
    assert ring.dump() == rings[algorithm].dump()
    assert ring.current_signing_key.verification.algorithm is algorithm


@pytest.mark.asvs("11.5.1", "11.6.1")
def test_two_rings_have_nothing_in_common() -> None:
    """Every generated ring is another one."""
    first, second = (KeyRing.generate(NOON, SystemEntropy()) for _ in range(2))

    assert first.current_signing_key.id != second.current_signing_key.id
    assert first.current_secret_key.secret != second.current_secret_key.secret


def test_each_purpose_has_a_key_of_its_own(ring: KeyRing) -> None:
    """A derived key stands for nothing else, and is the same each time."""
    key = ring.current_secret_key
    derived = {key.derive(purpose) for purpose in KeyPurpose}

    assert len(derived) == len(KeyPurpose)
    assert key.secret not in derived
    assert derived == {key.derive(purpose) for purpose in KeyPurpose}


def test_keys_do_not_show_in_their_representation(ring: KeyRing) -> None:
    """Whoever logs a ring logs no secret."""
    shown = repr(ring)

    assert repr(ring.current_secret_key.secret) not in shown
    assert json.loads(ring.dump())["secretKeys"][0]["secret"] not in shown


def test_three_states_of_signing_keys_are_held_together(ring: KeyRing) -> None:
    """Next, current and retired verify; the current one signs."""
    document = _document(ring)
    for state in (KeyState.NEXT, KeyState.RETIRED):
        other = _document(KeyRing.generate(NOON, SystemEntropy()))["signingKeys"][0]
        document["signingKeys"].append({**other, "state": state.value})

    parsed = KeyRing.parse(json.dumps(document))

    assert parsed.current_signing_key.id == ring.current_signing_key.id
    assert len(parsed.verification_keys) == 3


def test_all_problems_are_told_at_once_and_none_quotes_a_secret(ring: KeyRing) -> None:
    """Each wrong thing has its line, with its place in the document."""
    document = _document(ring)
    secret = document["secretKeys"][0]["secret"]
    document["version"] = 2
    document["comment"] = "mine"
    document["signingKeys"][0]["state"] = "former"
    document["secretKeys"][0]["secret"] = secret[:-3]
    document["secretKeys"].append("what")

    problems = _problems(document)

    assert problems == (
        "key ring: unknown member 'comment'",
        "key ring: version is not 1",
        "key ring: signingKeys[0]: its state is none of next, current and retired",
        "key ring: secretKeys[0]: its secret has not 32 bytes",
        "key ring: secretKeys[1]: not an object",
    )
    assert not any(secret[:8] in problem for problem in problems)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"version": 1, "version": 1}', "{" * 100_000, '{"a": NaN}', "\ud800"]
)
def test_what_is_no_object_is_one_problem(text: str) -> None:
    """No exception of the parser comes through."""
    assert len(_problems(text)) == 1


def _without_current(document: dict[str, Any]) -> None:
    document["signingKeys"][0]["state"] = "retired"


def _two_current(document: dict[str, Any]) -> None:
    document["secretKeys"].append({**document["secretKeys"][0], "id": "other"})


def _same_id(document: dict[str, Any]) -> None:
    document["secretKeys"].append({**document["secretKeys"][0], "state": "retired"})


def _none(document: dict[str, Any]) -> None:
    document["signingKeys"] = []


def _halves_of_two_keys(document: dict[str, Any]) -> None:
    document["signingKeys"][0]["jwk"]["x"] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"


def _key_for_encryption(document: dict[str, Any]) -> None:
    document["signingKeys"][0]["jwk"]["use"] = "enc"


def _public_only(document: dict[str, Any]) -> None:
    del document["signingKeys"][0]["jwk"]["d"]


def _id_with_a_dot(document: dict[str, Any]) -> None:
    document["secretKeys"][0]["id"] = "a.b"


def _naive_time(document: dict[str, Any]) -> None:
    document["secretKeys"][0]["createdAt"] = "2026-01-01T00:00:00"


def _stray_bits(document: dict[str, Any]) -> None:
    document["secretKeys"][0]["secret"] = "A" * 42 + "B"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_without_current, "exactly one key whose state is current"),
        (_two_current, "exactly one key whose state is current"),
        (_same_id, "two keys of one id"),
        (_none, "exactly one key whose state is current"),
        (_halves_of_two_keys, "do not belong together"),
        (_key_for_encryption, "its use is not sig"),
        (_public_only, "its d has not 32 bytes"),
        (_id_with_a_dot, "its id is not"),
        (_naive_time, "its createdAt is no RFC 3339 time"),
        (_stray_bits, "base64url with stray bits"),
    ],
)
def test_one_wrong_thing_is_one_problem(ring: KeyRing, spoil: Callable[[dict[str, Any]], None], problem: str) -> None:
    """Whatever makes a ring ambiguous or unsafe is refused, in words that say where."""
    document = _document(ring)
    spoil(document)

    (told,) = _problems(document)

    assert problem in told
