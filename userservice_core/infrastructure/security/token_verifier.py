"""Verifying access tokens in another service, which needs the base install and the key set, and no connection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from userservice_core.errors import ConfigurationError
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenVerifier
from userservice_core.infrastructure.security.jwk import read_key_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.ports.security import AccessClaims


class TokenVerifier:
    """
    Verifies access tokens of the user service, offline. Safe for many threads.

    It promises that a token was issued for this audience and has not expired. That its session has not ended meanwhile
    it does not know; such tokens live on for at most the life of an access token (ten minutes by default).
    """

    def __init__(self, jwks: Mapping[str, Any], *, issuer: str, audience: str = "userservice") -> None:
        """
        Take over the keys; when the service changes them, make a new verifier.

        Args:
            jwks: The document at `/.well-known/jwks.json`.
            issuer: Claim `iss` to be required, compared as a whole.
            audience: To be among the claim `aud`.

        Raises:
            ConfigurationError: If the document holds no key that can be used, saying why for each.
        """
        keys, problems = read_key_set(jwks)
        if not keys:
            raise ConfigurationError(problems or ("The key set is empty.",))
        self._verifier = JwtAccessTokenVerifier(keys, issuer=issuer, audience=audience, clock=_MachineClock())

    def verify(self, token: str) -> AccessClaims:
        """
        Return what *token* says.

        Raises:
            InvalidAccessTokenError: If it is not ours, not for this audience, altered or expired.
        """
        return self._verifier.verify(token)


class _MachineClock:
    """The machine's clock, without anything that the base install lacks."""

    def now(self) -> datetime:
        return datetime.now(UTC)
