"""What another service does with our tokens: offline, with the key set alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from userservice_core import TokenVerifier
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.errors import ConfigurationError, InvalidAccessTokenError
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.ports.security import AccessClaims

_ISSUER = "https://accounts.example.com"


def _issued(issuer: JwtAccessTokenIssuer, *, seconds: int = 60) -> str:
    now = datetime.now(UTC)
    claims = AccessClaims(
        user_id=UserId(UUID(int=1)),
        session_id=SessionId(UUID(int=2)),
        client_id="userservice",
        token_id="t",
        issued_at=now - timedelta(minutes=5),
        expires_at=now + timedelta(seconds=seconds),
        auth_time=now,
        amr=("pwd",),
        permissions=("user:read",),
    )
    return issuer.issue(claims)


def test_the_published_keys_suffice_to_verify() -> None:
    """Whose token it is and what it permits, from the document that the service publishes."""
    issuer = JwtAccessTokenIssuer(
        KeyRing.generate(datetime.now(UTC), SystemEntropy()), issuer=_ISSUER, audience="userservice"
    )

    claims = TokenVerifier(issuer.jwks(), issuer=_ISSUER).verify(_issued(issuer))

    assert claims.user_id == UUID(int=1)
    assert claims.permissions == ("user:read",)


def test_what_is_expired_foreign_or_for_others_is_refused() -> None:
    """By one error, which does not say why."""
    entropy = SystemEntropy()
    issuer, other = (
        JwtAccessTokenIssuer(KeyRing.generate(datetime.now(UTC), entropy), issuer=_ISSUER, audience="userservice")
        for _ in range(2)
    )
    verifier = TokenVerifier(issuer.jwks(), issuer=_ISSUER)

    for token in (_issued(issuer, seconds=-60), _issued(other), "bent"):
        with pytest.raises(InvalidAccessTokenError):
            verifier.verify(token)
    with pytest.raises(InvalidAccessTokenError):
        TokenVerifier(issuer.jwks(), issuer=_ISSUER, audience="billing").verify(_issued(issuer))


@pytest.mark.parametrize("document", [{}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AAAA", "kid": "1"}]}])
def test_a_key_set_without_a_usable_key_is_told(document: dict[str, object]) -> None:
    """At the start, and not by refusing every token."""
    with pytest.raises(ConfigurationError):
        TokenVerifier(document, issuer=_ISSUER)
