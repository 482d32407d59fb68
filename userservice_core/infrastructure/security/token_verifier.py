"""Verifying access tokens in another service, which needs the base install and the keys, and nothing else of ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from userservice_core.errors import ConfigurationError, InvalidAccessTokenError
from userservice_core.infrastructure.security.access_tokens import TOKEN_TYPE, JwtAccessTokenVerifier
from userservice_core.infrastructure.security.jwk import VerificationKey, read_key_set
from userservice_core.infrastructure.security.jws import TokenRefusedError, parse_token
from userservice_core.infrastructure.security.remote_keys import KeySetStatus, RemoteKeySet

if TYPE_CHECKING:
    from userservice_core.ports.security import AccessClaims


class TokenVerifier:
    """
    Verifies access tokens of the user service. Safe for many threads.

    It promises that a token was issued for this audience and has not expired. That its session has not ended meanwhile
    it does not know; such tokens live on for at most the life of an access token (ten minutes by default).

    With the URL of the key set, the keys are fetched with the first token, and renewed in the background. While they
    cannot be renewed, those at hand stay in use for a day.
    """

    def __init__(
        self, jwks: str | Mapping[str, Any] | RemoteKeySet, *, issuer: str, audience: str = "userservice"
    ) -> None:
        """
        Take over the keys, or where to get them; nothing is fetched yet.

        Args:
            jwks: The URL of the key set, which is `/.well-known/jwks.json` of the user service; or the document that
                is found there, for a service that has it by other means: then, when the keys change, make a new
                verifier.
            issuer: Claim `iss` to be required, compared as a whole.
            audience: To be among the claim `aud`.

        Raises:
            ConfigurationError: If the URL is neither https nor of this machine, or the document holds no key that can
                be used, saying why for each.
        """
        self._issuer = issuer
        self._audience = audience
        if isinstance(jwks, Mapping):
            self._keys: RemoteKeySet | _FixedKeySet = _FixedKeySet.read(jwks)
        else:
            self._keys = RemoteKeySet(jwks) if isinstance(jwks, str) else jwks
        self._current: _VerifierOfKeys | None = None

    def verify(self, token: str) -> AccessClaims:
        """
        Return what *token* says; waits for the keys where the one it names is not at hand, at most five seconds.

        Raises:
            InvalidAccessTokenError: If it is not ours, not for this audience, altered or expired.
            SigningKeysUnavailableError: If that cannot be told, since the keys cannot be had.
        """
        claims = self.peek(token)
        if claims is not None:
            return claims
        return self._verifier_with(self._keys.keys_for(_key_id_of(token))).verify(token)

    def peek(self, token: str) -> AccessClaims | None:
        """
        Return the claims if this very token was verified before and has not expired, else None.

        It never waits, so it may be called on an event loop.
        """
        keys = self._keys.keys()
        return None if keys is None else self._verifier_with(keys).peek(token)

    def status(self) -> KeySetStatus:
        """Tell how the keys are, for a health check or a metric; never waits."""
        return self._keys.status()

    def _verifier_with(self, keys: Mapping[str, VerificationKey]) -> JwtAccessTokenVerifier:
        """Return the verifier with these keys; other keys mean a new one, which remembers no token of the old ones."""
        current = self._current
        if current is None or current.keys is not keys:
            verifier = JwtAccessTokenVerifier(keys, issuer=self._issuer, audience=self._audience, clock=_MachineClock())
            current = self._current = _VerifierOfKeys(keys, verifier)
        return current.verifier


@attrs.frozen
class _VerifierOfKeys:
    """A verifier and the very key set it was made with."""

    keys: Mapping[str, VerificationKey]
    verifier: JwtAccessTokenVerifier


@attrs.frozen
class _FixedKeySet:
    """Keys that were given and stay as they are."""

    _keys: Mapping[str, VerificationKey]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> _FixedKeySet:
        keys, problems = read_key_set(document)
        if not keys:
            raise ConfigurationError(problems or ("The key set is empty.",))
        return cls(keys)

    def keys(self) -> Mapping[str, VerificationKey]:
        return self._keys

    def keys_for(self, _key_id: str) -> Mapping[str, VerificationKey]:
        return self._keys

    def status(self) -> KeySetStatus:
        return KeySetStatus(has_keys=True, fetches=0, failures=0, last_failure=None, age_seconds=None)


class _MachineClock:
    """The machine's clock, without anything that the base install lacks."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def _key_id_of(token: str) -> str:
    """Return which key a token names, if it looks like one of ours at all: no other is worth asking for."""
    try:
        header = parse_token(token).header
    except TokenRefusedError as error:
        raise InvalidAccessTokenError from error
    key_id = header.get("kid")
    if header.get("typ") != TOKEN_TYPE or not isinstance(key_id, str):
        raise InvalidAccessTokenError
    return key_id
