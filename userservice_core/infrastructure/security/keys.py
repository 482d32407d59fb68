"""
The key ring: every long-lived secret of the service in one JSON document.

```json
{"version": 1,
 "signingKeys": [{"state": "current", "createdAt": "2026-01-31T12:00:00Z", "jwk": {"kty": "OKP", "kid": "…", "d":
 "…"}}], "secretKeys": [{"state": "current", "createdAt": "2026-01-31T12:00:00Z", "id": "…", "secret": "…"}]}
```

Keys are changed with an overlap. A *next* key is known to everybody before it is used, the *current* one is used, a
*retired* one still verifies and opens what was made with it. A retired signing key may go once the access tokens it
signed have expired; a retired secret key once the sessions begun under it have ended.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

import attrs
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import ConfigurationError
from userservice_core.infrastructure.security.encoding import decode_base64url, encode_base64url, parse_json_object
from userservice_core.infrastructure.security.jwk import (
    KEY_ID,
    PrivateKey,
    VerificationKey,
    generate_rsa_key,
    private_members,
    public_members,
    read_private_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from userservice_core.ports.clock import Entropy

_VERSION: Final = 1
_SECRET_BYTES: Final = 32
_SECRET_ID_BYTES: Final = 6
_DERIVED_BYTES: Final = 32


class KeyState(enum.StrEnum):
    """Where a key is in its life."""

    NEXT = "next"
    CURRENT = "current"
    RETIRED = "retired"


class KeyPurpose(enum.StrEnum):
    """What a key derived from a secret key is for; the value is part of the derivation and never changes."""

    SEAL = "seal"
    DIGEST = "digest"
    REFRESH_TAG = "refresh-tag"
    REFRESH_CHAIN = "refresh-chain"
    CURSOR = "cursor"
    POSITION = "position"


@attrs.frozen(kw_only=True)
class SigningKey:
    """A key that signs access tokens."""

    state: KeyState
    created_at: datetime
    verification: VerificationKey
    private: PrivateKey = attrs.field(repr=False, eq=False)

    @property
    def id(self) -> str:
        """The `kid` of the tokens it signs."""
        return self.verification.id

    def dump(self) -> dict[str, Any]:
        """Return the key as it stands in the document."""
        jwk = {**self.verification.to_jwk(), **private_members(self.private)}
        return {"state": self.state.value, "createdAt": _format_time(self.created_at), "jwk": jwk}


@attrs.frozen(kw_only=True)
class SecretKey:
    """A secret that keys are derived from, one for each purpose, so that none can stand in for another."""

    id: str
    state: KeyState
    created_at: datetime
    secret: bytes = attrs.field(repr=False)

    def derive(self, purpose: KeyPurpose) -> bytes:
        """Return the 32 bytes of the key for *purpose* (HKDF-SHA-256, RFC 5869)."""
        return _derive(self.secret, purpose)

    def dump(self) -> dict[str, Any]:
        """Return the key as it stands in the document."""
        return {
            "state": self.state.value,
            "createdAt": _format_time(self.created_at),
            "id": self.id,
            "secret": encode_base64url(self.secret),
        }


@functools.lru_cache(maxsize=64)
def _derive(secret: bytes, purpose: KeyPurpose) -> bytes:
    info = f"userservice/1/{purpose.value}".encode()
    return HKDF(algorithm=SHA256(), length=_DERIVED_BYTES, salt=None, info=info).derive(secret)


class SigningKeySource(Protocol):
    """
    Signing keys that change while the process runs. Safe for many threads; reading them does not block.

    Both attributes raise SigningKeysUnavailableError while it is not known which keys there are.
    """

    @property
    def current_signing_key(self) -> SigningKey:
        """The key that signs now."""
        ...

    @property
    def verification_keys(self) -> Mapping[str, VerificationKey]:
        """The public halves of the keys that verify now, by their id."""
        ...

    def look_again(self) -> bool:
        """Read the keys again, since a token names an unknown one; may block. Tell if that was done."""
        ...


@attrs.frozen(kw_only=True)
class KeyRing:
    """All keys; of signing and of secret keys exactly one is current."""

    signing_keys: tuple[SigningKey, ...]
    secret_keys: tuple[SecretKey, ...]

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """
        Read the document.

        Raises:
            ConfigurationError: Naming everything that is wrong with it, and nothing of what it holds.
        """
        return _Reader().read(text)

    @classmethod
    def generate(cls, now: datetime, entropy: Entropy, *, algorithm: SigningAlgorithm = SigningAlgorithm.EDDSA) -> Self:
        """Make a ring with one signing and one secret key; an RSA key takes its entropy from the system."""
        private = _generate_private_key(algorithm, entropy)
        verification = VerificationKey(_thumbprint(private), algorithm, private.public_key())
        signing = SigningKey(state=KeyState.CURRENT, created_at=now, verification=verification, private=private)
        secret = SecretKey(
            id=entropy.token_bytes(_SECRET_ID_BYTES).hex(),
            state=KeyState.CURRENT,
            created_at=now,
            secret=entropy.token_bytes(_SECRET_BYTES),
        )
        return cls(signing_keys=(signing,), secret_keys=(secret,))

    def dump(self) -> str:
        """Return the document that :meth:`parse` reads."""
        document = {
            "version": _VERSION,
            "signingKeys": [key.dump() for key in self.signing_keys],
            "secretKeys": [key.dump() for key in self.secret_keys],
        }
        return json.dumps(document, indent=2)

    @property
    def current_signing_key(self) -> SigningKey:
        """The key that signs."""
        return next(key for key in self.signing_keys if key.state is KeyState.CURRENT)

    @property
    def current_secret_key(self) -> SecretKey:
        """The key that seals, digests and begins refresh tokens."""
        return next(key for key in self.secret_keys if key.state is KeyState.CURRENT)

    @functools.cached_property
    def verification_keys(self) -> Mapping[str, VerificationKey]:
        """The public halves of all signing keys by their id."""
        return {key.id: key.verification for key in self.signing_keys}

    def look_again(self) -> bool:
        """Return False: no other keys come while the process runs."""
        return False


def _generate_private_key(algorithm: SigningAlgorithm, entropy: Entropy) -> PrivateKey:
    match algorithm:
        case SigningAlgorithm.EDDSA:
            return Ed25519PrivateKey.from_private_bytes(entropy.token_bytes(32))
        case SigningAlgorithm.ES256:
            # FIPS 186-5 §A.2.1: 64 bits more than the order has, so that the remainder is not biased.
            order = SECP256R1().group_order
            return derive_private_key(int.from_bytes(entropy.token_bytes(40)) % (order - 1) + 1, SECP256R1())
        case SigningAlgorithm.RS256:
            return generate_rsa_key()


def _thumbprint(private: PrivateKey) -> str:
    """Return the SHA-256 thumbprint of the public half (RFC 7638 §3)."""
    members = json.dumps(public_members(private.public_key()), sort_keys=True, separators=(",", ":"))
    return encode_base64url(hashlib.sha256(members.encode()).digest())


def _format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# --- reading ----------------------------------------------------------------------------------------------------------

_Key = TypeVar("_Key", SigningKey, SecretKey)


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def read(self, text: str) -> KeyRing:
        try:
            document = parse_json_object(text)
        except ValueError as error:
            raise ConfigurationError((f"key ring: not one JSON object: {_reason(error)}",)) from None
        self._check_members("key ring", document, {"version", "signingKeys", "secretKeys"})
        if document.get("version") != _VERSION:
            self._problems.append(f"key ring: version is not {_VERSION}")
        signing = self._read_keys(document, "signingKeys", _read_signing_key, {"jwk"})
        secret = self._read_keys(document, "secretKeys", _read_secret_key, {"id", "secret"})
        if self._problems:
            raise ConfigurationError(tuple(self._problems))
        return KeyRing(signing_keys=signing, secret_keys=secret)

    def _read_keys(
        self, document: Mapping[str, Any], member: str, read: Callable[[dict[str, Any]], _Key], own: set[str]
    ) -> tuple[_Key, ...]:
        entries = document.get(member)
        if not isinstance(entries, list):
            self._problems.append(f"key ring: {member} is not a list")
            return ()
        keys: list[_Key] = []
        for position, entry in enumerate(entries):
            where = f"key ring: {member}[{position}]"
            if not isinstance(entry, dict):
                self._problems.append(f"{where}: not an object")
                continue
            self._check_members(where, entry, {"state", "createdAt"} | own)
            try:
                keys.append(read(entry))
            except ValueError as error:
                self._problems.append(f"{where}: {error}")
        self._check_together(member, entries, keys)
        return tuple(keys)

    def _check_together(self, member: str, entries: list[object], keys: list[_Key]) -> None:
        if len(keys) != len(entries):
            return  # what is wrong with a key would be told twice
        for state, least, most in ((KeyState.CURRENT, 1, 1), (KeyState.NEXT, 0, 1)):
            if not least <= sum(key.state is state for key in keys) <= most:
                bound = "exactly" if least == most else "at most"
                self._problems.append(f"key ring: {member} has not {bound} one key whose state is {state.value}")
        if len({key.id for key in keys}) != len(keys):
            self._problems.append(f"key ring: {member} has two keys of one id")

    def _check_members(self, where: str, members: Mapping[str, Any], known: set[str]) -> None:
        self._problems += [f"{where}: unknown member {name!r}" for name in sorted(members.keys() - known)]


def _reason(error: ValueError) -> str:
    """Say what is wrong with a document without quoting from it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)


def _read_signing_key(entry: dict[str, Any]) -> SigningKey:
    verification, private = read_private_key(entry.get("jwk"))
    if KEY_ID.fullmatch(verification.id) is None:
        raise ValueError("its kid is not 1 to 64 letters, digits, hyphens and underscores")
    return SigningKey(
        state=_read_state(entry), created_at=_read_time(entry), verification=verification, private=private
    )


def _read_secret_key(entry: dict[str, Any]) -> SecretKey:
    key_id, text = entry.get("id"), entry.get("secret")
    if not isinstance(key_id, str) or KEY_ID.fullmatch(key_id) is None:
        raise ValueError("its id is not 1 to 64 letters, digits, hyphens and underscores")
    secret = decode_base64url(text) if isinstance(text, str) else b""
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"its secret has not {_SECRET_BYTES} bytes")
    return SecretKey(id=key_id, state=_read_state(entry), created_at=_read_time(entry), secret=secret)


def _read_state(entry: Mapping[str, Any]) -> KeyState:
    try:
        return KeyState(str(entry.get("state")))
    except ValueError:
        raise ValueError("its state is none of next, current and retired") from None


def _read_time(entry: Mapping[str, Any]) -> datetime:
    text = entry.get("createdAt")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("its createdAt is no RFC 3339 time with an offset")
    return moment.astimezone(UTC)
