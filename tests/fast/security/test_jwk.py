"""Foreign key sets: bad keys are left out, good ones are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.security.encoding import encode_base64url
from userservice_core.infrastructure.security.jwk import read_key_set, read_public_key

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import KeyRing


def _jwk(ring: KeyRing, **changes: object) -> dict[str, Any]:
    jwk: dict[str, Any] = dict(ring.current_signing_key.verification.to_jwk())
    return {name: value for name, value in {**jwk, **changes}.items() if value is not None}


def _rsa_jwk(public: rsa.RSAPublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8)
    exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8)
    return {"kty": "RSA", "kid": "r", "n": encode_base64url(modulus), "e": encode_base64url(exponent)}


@pytest.mark.parametrize("algorithm", list(SigningAlgorithm))
def test_what_we_publish_can_be_read(rings: dict[SigningAlgorithm, KeyRing], algorithm: SigningAlgorithm) -> None:
    """Our own JWKS passes our own loader, and shows no private member."""
    jwk = rings[algorithm].current_signing_key.verification.to_jwk()

    assert read_public_key(jwk) == rings[algorithm].current_signing_key.verification
    assert not {"d", "p", "q", "dp", "dq", "qi"} & jwk.keys()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"use": "enc"}, "its use is not sig"),
        ({"key_ops": ["sign"]}, "its key_ops do not hold verify"),
        ({"key_ops": "verify"}, "its key_ops do not hold verify"),
        ({"alg": "ES256"}, "its alg is not EdDSA"),
        ({"alg": "none"}, "its alg is not EdDSA"),
        ({"kid": None}, "it has no kid"),
        ({"kid": 7}, "it has no kid"),
        ({"x": "AAAA"}, "its x has not 32 bytes"),
        ({"x": "!"}, "its x is not base64url"),
        ({"x": None}, "its x has not 32 bytes"),
        ({"kty": "oct", "crv": None}, "its kind is none of"),
        ({"crv": "Ed448"}, "its kind is none of"),
        ({"crv": "X25519"}, "its kind is none of"),
        ({"d": "AAAA"}, "private or a symmetric"),
        ({"k": "AAAA"}, "private or a symmetric"),
    ],
)
def test_a_key_for_something_else_is_refused(ring: KeyRing, changes: dict[str, object], problem: str) -> None:
    """Use, operations, algorithm, kind, size and privacy are checked."""
    with pytest.raises(ValueError, match=problem):
        read_public_key(_jwk(ring, **changes))


@pytest.mark.asvs("11.2.3")
def test_a_point_off_the_curve_is_refused(rings: dict[SigningAlgorithm, KeyRing]) -> None:
    """An invalid-curve key does not come near a signature."""
    jwk = _jwk(rings[SigningAlgorithm.ES256], y=encode_base64url(bytes(32)))

    with pytest.raises(ValueError, match="curve"):
        read_public_key(jwk)


@pytest.mark.asvs("11.2.3")
def test_a_short_rsa_key_is_refused() -> None:
    """2048 bits are too few."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    with pytest.raises(ValueError, match="3072 to 8192 bits"):
        read_public_key(_rsa_jwk(key.public_key()))


@pytest.mark.parametrize("bits", [8, 512, 1_024, 2_048, 3_071])
def test_a_modulus_is_measured_by_its_bits(bits: int) -> None:
    """One bit less than the least is too few; the bytes of the text do not count."""
    modulus = (1 << bits) - 1
    jwk = {"kty": "RSA", "kid": "r", "n": encode_base64url(modulus.to_bytes((bits + 7) // 8)), "e": "AQAB"}

    with pytest.raises(ValueError, match="3072 to 8192 bits"):
        read_public_key(jwk)


@pytest.mark.parametrize("size", [1_025, 16_384, 1_000_000])
def test_a_costly_modulus_is_refused_before_it_is_a_number(size: int) -> None:
    """Whoever publishes the key would decide how long each verification takes."""
    with pytest.raises(ValueError, match="too long"):
        read_public_key({"kty": "RSA", "kid": "r", "n": encode_base64url(b"\xff" * size), "e": "AQAB"})


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "kid": "s", "k": "AAAA"},
        {"kty": "oct", "kid": "s", "alg": "HS256", "use": "sig"},
        {"kty": "oct", "kid": "s", "k": encode_base64url(bytes(64)), "alg": "HS256", "key_ops": ["verify"]},
        {"kty": "AKP", "kid": "s", "pub": "AAAA"},
        {"kty": "RSA", "kid": "s", "x5c": ["AAAA"]},
        {"kty": ["OKP"], "crv": "Ed25519", "kid": "s"},
        {"kid": "s"},
        {},
        [],
        7,
    ],
)
def test_what_is_no_public_key_is_left_out_of_a_set(ring: KeyRing, jwk: object) -> None:
    """A symmetric key never verifies anything, however it is dressed; the good key beside it does."""
    keys, problems = read_key_set({"keys": [jwk, _jwk(ring)]})

    assert set(keys) == {ring.current_signing_key.id}
    assert len(problems) == 1


def test_a_set_has_a_hundred_keys_at_most(ring: KeyRing) -> None:
    """Of one more than that, none is taken."""
    entries = [_jwk(ring, kid=f"k{number}") for number in range(101)]

    assert len(read_key_set({"keys": entries[:100]})[0]) == 100
    assert read_key_set({"keys": entries})[0] == {}


@pytest.mark.asvs("11.2.3", "11.6.1")
@pytest.mark.parametrize("exponent", [1, 3, 65_536, 2**33 + 1])
def test_a_weak_or_costly_exponent_is_refused(rings: dict[SigningAlgorithm, KeyRing], exponent: int) -> None:
    """Small ones are weak, even ones are none, long ones make each verification slow."""
    text = encode_base64url(exponent.to_bytes((exponent.bit_length() + 7) // 8))

    with pytest.raises(ValueError, match="exponent"):
        read_public_key(_jwk(rings[SigningAlgorithm.RS256], e=text))


def test_a_number_with_a_leading_zero_is_refused(rings: dict[SigningAlgorithm, KeyRing]) -> None:
    """RFC 7518 has one text for each number."""
    with pytest.raises(ValueError, match="leading zero"):
        read_public_key(_jwk(rings[SigningAlgorithm.RS256], e="AAEAAQ"))


def test_a_set_keeps_the_good_keys(ring: KeyRing) -> None:
    """Each key that is left out has its line."""
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    foreign = {"kty": "EC", "crv": "P-384", "kid": "e", "x": encode_base64url(p384.x.to_bytes(48)), "y": "AA"}
    document = {"keys": [_jwk(ring), foreign, "text", None, _jwk(ring, kid="other", use="enc")]}

    keys, problems = read_key_set(document)

    assert set(keys) == {ring.current_signing_key.id}
    assert len(problems) == 4


def test_keys_that_share_an_id_are_all_left_out(ring: KeyRing) -> None:
    """It cannot be told which of them is meant, even where one of the two could not be used anyway."""
    keys, problems = read_key_set({"keys": [_jwk(ring), _jwk(ring, alg="ES256")]})

    assert keys == {}
    assert len(problems) == 2


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": [{}] * 10_000}])
def test_a_set_that_is_none_or_huge_has_no_keys(document: dict[str, Any]) -> None:
    """Nothing is worked through that nobody publishes."""
    keys, problems = read_key_set(document)

    assert keys == {}
    assert len(problems) == 1
