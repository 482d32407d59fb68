"""
JSON Web Keys, read strictly.

PyJWT checks neither `use` and `key_ops`, nor the size of a key, nor whether two keys of a set share their id; a key
that fails any of this is not used here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import attrs
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicKey,
    RSAPublicNumbers,
)

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_RSA_BITS: Final = 3072
MAX_RSA_BITS: Final = 8192
"""A larger modulus makes each verification a burden that whoever publishes the key could put on us."""

_MIN_RSA_EXPONENT: Final = 65_537
_COORDINATE_BYTES: Final = 32
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MAX_KEYS: Final = 100

KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""What our own keys may be called; without a dot, which separates the parts of our tokens."""

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


@attrs.frozen
class VerificationKey:
    """A public key and the one algorithm it is used with, whatever a token says."""

    id: str
    algorithm: SigningAlgorithm
    public: PublicKey = attrs.field(repr=False, eq=False)

    def to_jwk(self) -> dict[str, str]:
        """Return the key as a public JWK."""
        return {**public_members(self.public), "kid": self.id, "alg": self.algorithm.value, "use": "sig"}


# --- sets -------------------------------------------------------------------------------------------------------------


def read_key_set(document: Mapping[str, Any]) -> tuple[dict[str, VerificationKey], tuple[str, ...]]:
    """
    Read a JWK Set (RFC 7517 §5), such as another service publishes.

    Returns:
        The usable keys by their id, and one line for each key that was left out. Keys that share an id are all left
        out, since it cannot be told which of them is meant.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        return {}, ("the key set has no list called keys",)
    if len(entries) > _MAX_KEYS:
        return {}, (f"the key set has more than {_MAX_KEYS} keys",)
    keys: dict[str, VerificationKey] = {}
    problems: list[str] = []
    uses = Counter(entry["kid"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("kid"), str))
    for position, entry in enumerate(entries):
        try:
            key = read_public_key(entry)
        except ValueError as error:
            problems.append(f"key {position}: {error}")
            continue
        if uses[key.id] > 1:
            problems.append(f"key {position}: its kid is not unique")
            continue
        keys[key.id] = key
    return keys, tuple(problems)


def read_public_key(jwk: object) -> VerificationKey:
    """
    Read one public key.

    Raises:
        ValueError: If it is no key that signatures of ours may be verified with.
    """
    members = _members(jwk)
    if _PRIVATE_MEMBERS & members.keys():
        raise ValueError("it holds a private or a symmetric key")
    _require_purpose(members, "verify")
    algorithm, public = _read_public(members)
    return VerificationKey(_key_id(members), algorithm, public)


# --- one key ----------------------------------------------------------------------------------------------------------


def read_private_key(jwk: object) -> tuple[VerificationKey, PrivateKey]:
    """
    Read a private key and the public one that belongs to it.

    Raises:
        ValueError: If it is no usable key, or its two halves do not belong together.
    """
    members = _members(jwk)
    _require_purpose(members, "sign")
    algorithm, public = _read_public(members)
    private = _read_private(members, algorithm)
    if public_members(private.public_key()) != public_members(public):
        raise ValueError("its private and public halves do not belong together")
    return VerificationKey(_key_id(members), algorithm, public), private


def public_members(public: PublicKey) -> dict[str, str]:
    """Return the members of a JWK that say what the key is; those that RFC 7638 §3.2 makes a thumbprint of."""
    match public:
        case Ed25519PublicKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(public.public_bytes_raw())}
        case EllipticCurvePublicKey():
            numbers = public.public_numbers()
            return {"kty": "EC", "crv": "P-256", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
        case RSAPublicKey():
            rsa_numbers = public.public_numbers()
            return {"kty": "RSA", "n": _integer(rsa_numbers.n), "e": _integer(rsa_numbers.e)}


def private_members(private: PrivateKey) -> dict[str, str]:
    """Return the members that a private JWK has besides the public ones."""
    match private:
        case Ed25519PrivateKey():
            return {"d": encode_base64url(private.private_bytes_raw())}
        case EllipticCurvePrivateKey():
            return {"d": _coordinate(private.private_numbers().private_value)}
        case RSAPrivateKey():
            numbers = private.private_numbers()
            return {
                "d": _integer(numbers.d),
                "p": _integer(numbers.p),
                "q": _integer(numbers.q),
                "dp": _integer(numbers.dmp1),
                "dq": _integer(numbers.dmq1),
                "qi": _integer(numbers.iqmp),
            }


def _members(jwk: object) -> dict[str, Any]:
    if not isinstance(jwk, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - it is the input that is wrong, not the call
    return jwk


def _key_id(members: Mapping[str, Any]) -> str:
    key_id = members.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise ValueError("it has no kid")
    return key_id


def _require_purpose(members: Mapping[str, Any], operation: str) -> None:
    """Check `use` (RFC 7517 §4.2) and `key_ops` (§4.3); a key made for something else is not for this."""
    if members.get("use", "sig") != "sig":
        raise ValueError("its use is not sig")
    operations = members.get("key_ops", [operation])
    if not isinstance(operations, list) or operation not in operations:
        raise ValueError(f"its key_ops do not hold {operation}")


def _read_public(members: Mapping[str, Any]) -> tuple[SigningAlgorithm, PublicKey]:
    algorithm: SigningAlgorithm
    public: PublicKey
    match (members.get("kty"), members.get("crv")):
        case ("OKP", "Ed25519"):
            algorithm = SigningAlgorithm.EDDSA
            public = Ed25519PublicKey.from_public_bytes(_bytes(members, "x", _COORDINATE_BYTES))
        case ("EC", "P-256"):
            algorithm = SigningAlgorithm.ES256
            x, y = (int.from_bytes(_bytes(members, name, _COORDINATE_BYTES)) for name in ("x", "y"))
            public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        case ("RSA", None):
            algorithm = SigningAlgorithm.RS256
            public = _read_rsa(members)
        case _:
            raise ValueError("its kind is none of Ed25519, P-256 and RSA")
    if members.get("alg", algorithm.value) != algorithm.value:
        raise ValueError(f"its alg is not {algorithm.value}")
    return algorithm, public


def _read_rsa(members: Mapping[str, Any]) -> RSAPublicKey:
    modulus, exponent = _number(members, "n"), _number(members, "e")
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key has {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    if exponent < _MIN_RSA_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > _COORDINATE_BYTES:
        raise ValueError(f"its exponent is not an odd number from {_MIN_RSA_EXPONENT} on")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _read_private(members: Mapping[str, Any], algorithm: SigningAlgorithm) -> PrivateKey:
    match algorithm:
        case SigningAlgorithm.EDDSA:
            return Ed25519PrivateKey.from_private_bytes(_bytes(members, "d", _COORDINATE_BYTES))
        case SigningAlgorithm.ES256:
            return derive_private_key(int.from_bytes(_bytes(members, "d", _COORDINATE_BYTES)), SECP256R1())
        case SigningAlgorithm.RS256:
            d, p, q, dp, dq, qi = (_number(members, name) for name in ("d", "p", "q", "dp", "dq", "qi"))
            public = RSAPublicNumbers(_number(members, "e"), _number(members, "n"))
            return RSAPrivateNumbers(p=p, q=q, d=d, dmp1=dp, dmq1=dq, iqmp=qi, public_numbers=public).private_key()


def generate_rsa_key() -> RSAPrivateKey:
    """Make an RSA key of the least size that is taken, from the system's entropy."""
    return rsa.generate_private_key(public_exponent=_MIN_RSA_EXPONENT, key_size=MIN_RSA_BITS)


def _bytes(members: Mapping[str, Any], name: str, length: int) -> bytes:
    text = members.get(name)
    try:
        data = decode_base64url(text) if isinstance(text, str) else b""
    except ValueError as error:
        raise ValueError(f"its {name} is not base64url") from error
    if len(data) != length:
        raise ValueError(f"its {name} has not {length} bytes")
    return data


def _number(members: Mapping[str, Any], name: str) -> int:
    """Read a Base64urlUInt (RFC 7518 §2), which has no leading zero."""
    text = members.get(name)
    try:
        data = decode_base64url(text) if isinstance(text, str) else b""
    except ValueError as error:
        raise ValueError(f"its {name} is not base64url") from error
    if not data or data[0] == 0 or len(data) > MAX_RSA_BITS // 8:
        raise ValueError(f"its {name} is missing, too long or has a leading zero")
    return int.from_bytes(data)


def _coordinate(value: int) -> str:
    return encode_base64url(value.to_bytes(_COORDINATE_BYTES))


def _integer(value: int) -> str:
    return encode_base64url(value.to_bytes((value.bit_length() + 7) // 8))
