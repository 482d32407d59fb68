"""What :class:`~userservice_core.ports.security.AccessTokenIssuer` and ``AccessTokenVerifier`` promise."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.errors import InvalidAccessTokenError, UserTokenRequiredError
from userservice_core.ports.security import AccessClaims, PrincipalKind
from userservice_core.testing.contracts.races import race
from userservice_core.testing.samples import sample_event_id, sample_session_id, sample_user_id

if TYPE_CHECKING:
    from userservice_core.ports.security import AccessTokenIssuer, AccessTokenVerifier
    from userservice_core.testing.clocks import FakeClock

_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""Of a JWK (RFC 7518 §6)."""


class AccessTokensContract:
    """For :class:`~userservice_core.ports.security.AccessTokenIssuer` and ``AccessTokenVerifier``."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The clock of the verifier."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def issuer(self) -> AccessTokenIssuer:
        """One with a key ring of its own."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def verifier(self, clock: FakeClock, issuer: AccessTokenIssuer) -> AccessTokenVerifier:
        """One that takes what *issuer* signs, by *clock*."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def stranger(self) -> AccessTokenIssuer:
        """An issuer of the same name with other keys."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def claims(self, clock: FakeClock) -> AccessClaims:
        """What a token says that is issued now, to the second."""
        now = clock.now().replace(microsecond=0)
        return AccessClaims(
            user_id=sample_user_id(),
            session_id=sample_session_id(),
            client_id="userservice",
            token_id=str(sample_event_id()),
            issued_at=now,
            expires_at=now + timedelta(minutes=10),
            auth_time=now - timedelta(hours=1),
            amr=("pwd", "otp", "mfa"),
            roles=("administrator", "user"),
            permissions=("user:read",),
        )

    def test_a_token_says_what_it_was_issued_for(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims
    ) -> None:
        """The verifier adds which key signed it."""
        read = verifier.verify(issuer.issue(claims))

        assert claims == attrs.evolve(read, key_id="")
        assert read.key_id in {key["kid"] for key in issuer.jwks()["keys"]}

    @pytest.mark.parametrize("scope", [(), ("user:read",), ("user:list", "user:read")], ids=len)
    def test_a_token_of_a_client_is_none_of_a_user(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims, scope: tuple[str, ...]
    ) -> None:
        """It says whose it is and what it is good for, and what only users have is refused to whoever asks."""
        of_client = AccessClaims(
            client_id=str(sample_user_id()),
            token_id=str(sample_event_id()),
            issued_at=claims.issued_at,
            expires_at=claims.expires_at,
            scope=scope,
        )
        read = verifier.verify(issuer.issue(of_client))

        assert of_client == attrs.evolve(read, key_id="")
        assert (read.subject_kind, read.subject, claims.subject_kind) == (
            PrincipalKind.CLIENT,
            of_client.client_id,
            PrincipalKind.USER,
        )
        for name in ("user_id", "session_id", "auth_time"):
            with pytest.raises(UserTokenRequiredError):
                getattr(read, name)

    @pytest.mark.parametrize("permissions", [None, (), tuple(f"resource-{number}:read" for number in range(200))])
    def test_permissions_may_be_left_out(
        self,
        issuer: AccessTokenIssuer,
        verifier: AccessTokenVerifier,
        claims: AccessClaims,
        permissions: tuple[str, ...] | None,
    ) -> None:
        """Where they do not fit into 2 KiB, or were not given; none at all is something else."""
        read = verifier.verify(issuer.issue(attrs.evolve(claims, permissions=permissions)))

        assert read.permissions == (permissions if not permissions else None)

    def test_a_token_ends_with_its_time(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims, clock: FakeClock
    ) -> None:
        """Give or take a minute between clocks, verified before or not."""
        known, unknown = issuer.issue(claims), issuer.issue(attrs.evolve(claims, client_id="other"))
        clock.set(claims.expires_at - timedelta(seconds=1))
        verifier.verify(known)
        clock.set(claims.expires_at + timedelta(seconds=60))

        for token in (known, unknown):
            assert verifier.peek(token) is None
            with pytest.raises(InvalidAccessTokenError):
                verifier.verify(token)

    def test_a_peek_knows_what_was_verified(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims
    ) -> None:
        """This very token, and no other of the same claims."""
        token = issuer.issue(claims)

        assert verifier.peek(token) is None
        read = verifier.verify(token)

        assert read == verifier.peek(token)
        assert verifier.peek(f"{token}A") is None

    def test_a_foreign_token_is_refused(
        self, stranger: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims
    ) -> None:
        """Whatever it says."""
        with pytest.raises(InvalidAccessTokenError):
            verifier.verify(stranger.issue(claims))

    def test_an_altered_token_is_refused(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims
    ) -> None:
        """Whichever character was changed, and the error never says what is wrong."""
        token = issuer.issue(claims)
        header, payload, signature = token.split(".")
        broken = {
            *(token[:at] + other + token[at + 1 :] for at in range(0, len(token), 7) for other in "Aa0.é"),
            *("", ".", "..", "a.b.c", f"{token}A", f"{token}=", f" {token}", f"{token}\n", token[:-1]),
            *(f"{header}.{payload}", f"{header}.{payload}.", f".{payload}.{signature}", f"{token}.{signature}"),
        } - {token}

        details = set()
        for text in broken:
            with pytest.raises(InvalidAccessTokenError) as raised:
                verifier.verify(text)
            details.add(raised.value.detail)
        assert len(details) == 1

    def test_published_keys_are_public(self, issuer: AccessTokenIssuer) -> None:
        """As a JWK Set, each with an id of its own; whoever changes the answer changes nothing."""
        keys: list[dict[str, Any]] = issuer.jwks()["keys"]

        assert len({key["kid"] for key in keys}) == len(keys) >= 1
        for key in keys:
            assert not _PRIVATE_MEMBERS & key.keys()
            assert {"kty", "alg", "use"} <= key.keys()
        keys.clear()
        assert issuer.jwks()["keys"]

    def test_many_threads_share_a_verifier(
        self, issuer: AccessTokenIssuer, verifier: AccessTokenVerifier, claims: AccessClaims
    ) -> None:
        """Each gets its own claims."""
        mine = [attrs.evolve(claims, token_id=str(number)) for number in range(4)]

        def verify(own: AccessClaims) -> bool:
            token = issuer.issue(own)
            return all(verifier.verify(token).token_id == own.token_id for _ in range(20))

        assert race([lambda own=own: verify(own) for own in mine]) == [True] * 4  # type: ignore[misc]
