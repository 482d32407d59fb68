"""Hashing, sealing and tokens."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Protocol, TypeVar

import attrs

from userservice_core.domain.ids import SessionId, UserId
from userservice_core.errors import UserTokenRequiredError

T = TypeVar("T")


class PasswordHasher(Protocol):
    """Hashes and verifies passwords. Blocks for tens of milliseconds of CPU; the number at work at once is bounded."""

    def hash(self, password: str) -> str:
        """
        Return the hash of *password* (in NFC), in PHC string format.

        Raises:
            OverloadedError: If the bounded queue in front of the hash slots is full.
            DeadlineExceededError: If no slot was had within the call's deadline.
        """
        ...

    def verify(self, password_hash: str, password: str) -> bool:
        """
        Tell whether *password*, as typed, belongs to *password_hash*.

        It does if the hash was made of it as it is, or of its NFC. A hash that is unreadable, or whose parameters ask
        for more work than is reasonable, belongs to nothing, which is told after the work of the live parameters.
        """
        ...

    def verify_nobody(self, password: str, *, like: str | None = None) -> None:
        """
        Do the work of :meth:`verify` for an account that does not exist.

        Args:
            password: As typed.
            like: A stored hash, whose parameters are taken; the live ones if not given, or if it is not verifiable.
        """
        ...

    def is_outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made with other parameters than the present ones."""
        ...

    def is_verifiable(self, password_hash: str) -> bool:
        """Tell whether :meth:`verify` can tell what belongs to it; for hashes that come from elsewhere."""
        ...


class SecretSealer(Protocol):
    """Authenticated encryption under a key ring, and keyed digests. Safe for many threads."""

    @property
    def current_prefix(self) -> str:
        """What everything begins with that :meth:`seal` makes now, and nothing that was made under an earlier key."""
        ...

    def seal(self, plaintext: bytes, *, context: str) -> str:
        """Encrypt under the newest key, bound to *context*; the result is URL-safe text that names its key."""
        ...

    def unseal(self, sealed: str, *, context: str) -> bytes:
        """
        Decrypt what :meth:`seal` made for the same *context*.

        Raises:
            SealBrokenError: If it was altered, made for another context, or its key is gone.
        """
        ...

    def digest(self, value: str, *, context: str) -> str:
        """Return an HMAC-SHA-256 of *value* under a key of its own for *context*, as hex; stable while that key is."""
        ...


class PrincipalKind(enum.Enum):
    """Whom an access token speaks for."""

    USER = "user"
    CLIENT = "client"


@attrs.frozen(kw_only=True)
class AccessClaims:
    """
    What an access token says (RFC 9068 §2.2): either of a user who has signed in, or of a service client.

    What only users have raises UserTokenRequiredError where the token is a client's, so that nobody takes the one for
    the other.

    Attributes:
        client_id: Claim `client_id`: to whom it was issued; for a client's own token the client itself.
        roles: Names of the roles held when it was issued; for others to read, never used to decide here.
        permissions: Names of what a user might do, or None where they do not fit into the token.
        scope: Names of what a client's token is good for; None for a user's.
        key_id: The header's `kid`; filled in by the verifier.
    """

    _user_id: UserId | None = None
    _session_id: SessionId | None = None
    client_id: str
    token_id: str
    issued_at: datetime
    expires_at: datetime
    _auth_time: datetime | None = None
    amr: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] | None = None
    scope: tuple[str, ...] | None = None
    key_id: str = ""

    @property
    def subject_kind(self) -> PrincipalKind:
        """Whether the token speaks for a user, or for a service client itself."""
        return PrincipalKind.CLIENT if self._user_id is None else PrincipalKind.USER

    @property
    def subject(self) -> str:
        """Claim `sub`: the id of the user, or of the client."""
        return self.client_id if self._user_id is None else str(self._user_id)

    @property
    def user_id(self) -> UserId:
        """
        The user who has signed in.

        Raises:
            UserTokenRequiredError: If the token is a client's.
        """
        return _of_user(self._user_id)

    @property
    def session_id(self) -> SessionId:
        """
        Claim `sid`.

        Raises:
            UserTokenRequiredError: If the token is a client's.
        """
        return _of_user(self._session_id)

    @property
    def auth_time(self) -> datetime:
        """
        When the user last proved who they are.

        Raises:
            UserTokenRequiredError: If the token is a client's.
        """
        return _of_user(self._auth_time)


def _of_user(value: T | None) -> T:
    if value is None:
        raise UserTokenRequiredError
    return value


class AccessTokenIssuer(Protocol):
    """Signs access tokens."""

    def issue(self, claims: AccessClaims) -> str:
        """Return *claims* as a signed JWT of type `at+jwt`; `permissions` is left out where it passes 2 KiB."""
        ...

    def jwks(self) -> dict[str, Any]:
        """Return the public keys, next, current and retired, as a JWK Set (RFC 7517 §5)."""
        ...


class AccessTokenVerifier(Protocol):
    """Verifies access tokens; keeps verified ones, bounded, until they expire. Safe for many threads."""

    def verify(self, token: str) -> AccessClaims:
        """
        Return the claims of a token that is ours, intact and not expired; revocation is another matter.

        Raises:
            InvalidAccessTokenError: In every other case; the detail does not say which.
        """
        ...

    def peek(self, token: str) -> AccessClaims | None:
        """Return the claims if this very token was verified before and has not expired, else None; never blocks."""
        ...

    def forget_key(self, key_id: str) -> None:
        """Drop what is kept of the tokens of a key that was revoked; the memory is theirs who are still welcome."""
        ...


@attrs.frozen(kw_only=True)
class RefreshToken:
    """
    A refresh token that carries a good tag.

    Attributes:
        text: As the client holds it.
        secret_hash: SHA-256 of its secret.
    """

    text: str = attrs.field(repr=False)
    user_id: UserId
    session_id: SessionId
    generation: int
    secret_hash: bytes = attrs.field(repr=False)


class RefreshTokens(Protocol):
    """
    Makes and reads refresh tokens.

    A token holds key id, user id, session id, generation, secret and a tag (HMAC under the key ring). The first
    secret is
    256 random bits; each next one is an HMAC of session, generation and the secret before it, so whoever holds a
    token and the ring derives its successor, and nobody else does.
    """

    def first(self, *, user_id: UserId, session_id: SessionId) -> RefreshToken:
        """Make the token of generation 0."""
        ...

    def parse(self, text: str) -> RefreshToken:
        """
        Read a token and check its tag.

        Raises:
            InvalidRefreshTokenError: If it is malformed or its tag is not ours.
        """
        ...

    def successor(self, token: RefreshToken) -> RefreshToken:
        """Derive the token of the next generation; the same one every time."""
        ...


class CursorSigner(Protocol):
    """Gives clients something to bring back that they cannot change; they can read it."""

    def sign(self, content: bytes) -> str:
        """Return *content* with a tag (HMAC under the key ring), as text that needs no encoding in a query."""
        ...

    def verify(self, text: str) -> bytes | None:
        """Return the content of what :meth:`sign` returned; None if it was changed, or its key is gone."""
        ...
