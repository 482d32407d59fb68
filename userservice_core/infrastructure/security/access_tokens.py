"""Access tokens (RFC 9068): signed when somebody signs in or refreshes, verified at each request."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.errors import InvalidAccessTokenError
from userservice_core.infrastructure.security.encoding import parse_json_object
from userservice_core.infrastructure.security.jwk import VerificationKey
from userservice_core.infrastructure.security.jws import TokenRefusedError, UnknownKeyError, open_token, sign_token
from userservice_core.ports.security import AccessClaims, PrincipalKind

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.keys import SigningKeySource
    from userservice_core.ports.clock import Clock

TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - the value of `typ`, RFC 9068 §2.1
LEEWAY_SECONDS: Final = 30
MAX_PERMISSIONS_BYTES: Final = 2_048

_OF_USERS: Final = frozenset({"sid", "auth_time", "amr", "roles", "permissions"})

_LAST_NUMERIC_DATE: Final = 253_402_300_799
"""The last second of the year 9999, which is the last one that datetime knows."""


class JwtAccessTokenIssuer:
    """Signs with the key that is current."""

    def __init__(self, keys: SigningKeySource, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def issue(self, claims: AccessClaims) -> str:
        payload: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": claims.subject,
            "client_id": claims.client_id,
            "iat": int(claims.issued_at.timestamp()),
            "exp": int(claims.expires_at.timestamp()),
            "jti": claims.token_id,
            **(_claims_of_user(claims) if claims.subject_kind is PrincipalKind.USER else _claims_of_client(claims)),
        }
        return sign_token(msgspec.json.encode(payload), self._keys.current_signing_key, typ=TOKEN_TYPE)

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.to_jwk() for key in self._keys.verification_keys.values()]}


class JwtAccessTokenVerifier:
    """
    Verifies tokens of one issuer for one audience, and remembers those it verified.

    A signature costs a hundred times what finding the token's hash costs; whether a token was revoked is not remembered
    but asked each time.
    """

    def __init__(
        self,
        keys: SigningKeySource | Mapping[str, VerificationKey],
        *,
        issuer: str,
        audience: str,
        clock: Clock,
        max_cached: int = 10_000,
    ) -> None:
        self._source = _Unchanging(dict(keys)) if isinstance(keys, Mapping) else keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._verified = _VerifiedTokens(max_cached)

    def verify(self, token: str) -> AccessClaims:
        digest = _digest(token)
        now = self._clock.now()
        claims = self._verified.find(digest)
        if claims is None:
            claims = self._read(token, now=now)
            self._verified.add(digest, claims)
        # Also of what is remembered: a key that is gone is gone at once, whoever has heard of it or not.
        if _has_expired(claims, now=now) or claims.key_id not in self._source.verification_keys:
            self._verified.remove(digest)
            raise InvalidAccessTokenError
        return claims

    def peek(self, token: str) -> AccessClaims | None:
        claims = self._verified.find(_digest(token))
        if claims is None or _has_expired(claims, now=self._clock.now()):
            return None
        return claims if claims.key_id in self._source.verification_keys else None

    def forget_key(self, key_id: str) -> None:
        self._verified.remove_key(key_id)

    def _read(self, token: str, *, now: datetime) -> AccessClaims:
        try:
            key, payload = self._open(token)
            claims = parse_json_object(payload)
            self._require_meant_for_us(claims)
            return _read_claims(claims, key_id=key.id, now=now)
        except ValueError as error:
            raise InvalidAccessTokenError from error

    def _open(self, token: str) -> tuple[VerificationKey, bytes]:
        try:
            return open_token(token, self._source.verification_keys, typ=TOKEN_TYPE)
        except UnknownKeyError:
            if not self._source.look_again():
                raise
            return open_token(token, self._source.verification_keys, typ=TOKEN_TYPE)

    def _require_meant_for_us(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self._issuer:
            raise TokenRefusedError("another issuer")
        audience = claims.get("aud")
        audiences = _texts(claims, "aud") if isinstance(audience, list) else (audience,)
        if self._audience not in audiences:
            raise TokenRefusedError("another audience")


@attrs.frozen
class _Unchanging:
    """Keys that stay what they are."""

    verification_keys: Mapping[str, VerificationKey]

    def look_again(self) -> bool:
        return False


def _claims_of_user(claims: AccessClaims) -> dict[str, Any]:
    members: dict[str, Any] = {
        "sid": str(claims.session_id),
        "auth_time": int(claims.auth_time.timestamp()),
        "amr": claims.amr,
        "acr": "aal2" if "mfa" in claims.amr else "aal1",
        "roles": claims.roles,
    }
    if claims.permissions is not None and len(msgspec.json.encode(claims.permissions)) <= MAX_PERMISSIONS_BYTES:
        members["permissions"] = claims.permissions
    return members


def _claims_of_client(claims: AccessClaims) -> dict[str, Any]:
    return {"scope": " ".join(claims.scope or ())}


def _digest(token: str) -> bytes:
    """Return what a token is remembered by; the key's id is part of the token and so of the digest."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _has_expired(claims: AccessClaims, *, now: datetime) -> bool:
    return now >= claims.expires_at + timedelta(seconds=LEEWAY_SECONDS)


# --- claims -----------------------------------------------------------------------------------------------------------


def _read_claims(claims: Mapping[str, Any], *, key_id: str, now: datetime) -> AccessClaims:
    latest = now + timedelta(seconds=LEEWAY_SECONDS)
    issued_at = _moment(claims, "iat")
    if issued_at > latest or ("nbf" in claims and _moment(claims, "nbf") > latest):
        raise TokenRefusedError("from the future")
    if claims.get("sub") == claims.get("client_id"):
        return _read_claims_of_client(claims, key_id=key_id, issued_at=issued_at)
    return AccessClaims(
        user_id=UserId(_uuid(claims, "sub")),
        session_id=SessionId(_uuid(claims, "sid")),
        client_id=_text(claims, "client_id"),
        token_id=_text(claims, "jti"),
        issued_at=issued_at,
        expires_at=_moment(claims, "exp"),
        auth_time=_moment(claims, "auth_time"),
        amr=_texts(claims, "amr"),
        roles=_texts(claims, "roles"),
        permissions=_texts(claims, "permissions") if "permissions" in claims else None,
        key_id=key_id,
    )


def _read_claims_of_client(claims: Mapping[str, Any], *, key_id: str, issued_at: datetime) -> AccessClaims:
    """Read the claims of a token whose subject is the client itself; what only users have must not be in it."""
    if _OF_USERS & claims.keys():
        raise TokenRefusedError("a client's token with claims of a user")
    scope = claims.get("scope")
    if not isinstance(scope, str):
        raise TokenRefusedError("no scope")
    return AccessClaims(
        client_id=str(_uuid(claims, "client_id")),
        token_id=str(_uuid(claims, "jti")),
        issued_at=issued_at,
        expires_at=_moment(claims, "exp"),
        scope=tuple(scope.split(" ")) if scope else (),
        key_id=key_id,
    )


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise TokenRefusedError(f"no {name}")
    return value


def _texts(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TokenRefusedError(f"{name} is no list of strings")
    return tuple(value)


def _uuid(claims: Mapping[str, Any], name: str) -> UUID:
    text = _text(claims, name)
    value = UUID(text)
    if str(value) != text:
        raise TokenRefusedError(f"{name} is no id as we write it")
    return value


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_NUMERIC_DATE:
        raise TokenRefusedError(f"{name} is no whole number of seconds")
    return datetime.fromtimestamp(value, UTC)


# --- what was verified ------------------------------------------------------------------------------------------------


@attrs.define
class _VerifiedTokens:
    """Claims by the digest of their token; past the bound, the least recently used go. Reading takes no lock."""

    _max: int
    _claims: OrderedDict[bytes, AccessClaims] = attrs.field(init=False, factory=OrderedDict)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def find(self, digest: bytes) -> AccessClaims | None:
        claims = self._claims.get(digest)
        # Whoever finds the lock taken leaves the order as it is: to be a little off costs less than to wait.
        if claims is not None and self._lock.acquire(blocking=False):
            try:
                if digest in self._claims:
                    self._claims.move_to_end(digest)
            finally:
                self._lock.release()
        return claims

    def add(self, digest: bytes, claims: AccessClaims) -> None:
        with self._lock:
            self._claims[digest] = claims
            while len(self._claims) > self._max:
                self._claims.popitem(last=False)

    def remove(self, digest: bytes) -> None:
        with self._lock:
            self._claims.pop(digest, None)

    def remove_key(self, key_id: str) -> None:
        with self._lock:
            for digest in [digest for digest, claims in self._claims.items() if claims.key_id == key_id]:
                del self._claims[digest]
