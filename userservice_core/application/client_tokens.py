"""Tokens of service clients (RFC 6749 §4.4), and what clients may ask about tokens (RFC 7662) and end (RFC 7009)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import attrs

from userservice_core.application.access import ClientPrincipal
from userservice_core.application.service_clients import secret_digest
from userservice_core.application.session_ends import LEEWAY
from userservice_core.application.token_times import jittered
from userservice_core.domain.clients import (
    MAX_CLIENT_PERMISSIONS,
    MAX_CLIENT_SECRETS,
    MAX_CLIENTS,
    ClientSecret,
    ServiceClient,
)
from userservice_core.domain.ids import ClientId, ClientSecretId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import is_permission_name
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidRefreshTokenError,
    InvalidScopeError,
    UnauthorizedClientError,
)
from userservice_core.ports.security import AccessClaims

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from userservice_core.application.access import Access
    from userservice_core.application.authentication import Authentication
    from userservice_core.ports.clients import ClientReader
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.pacing import Pacer
    from userservice_core.ports.security import AccessTokenIssuer
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

T = TypeVar("T")

_NOBODY: Final = ClientId(UUID(int=0))
"""Stands for an id that is none, so that looking it up is the same work."""

_NO_DIGEST: Final = bytes(32)
"""No text has this SHA-256 that anybody could find."""


@attrs.frozen(kw_only=True)
class ClientCredentials:
    """Who a client says it is, and by which secret; as presented."""

    client_id: str
    secret: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ClientToken:
    """
    An access token for a client.

    Attributes:
        scope: Names of the permissions that it is good for.
    """

    access_token: str = attrs.field(repr=False)
    expires_in_seconds: int
    scope: tuple[str, ...]


class ClientTokens:
    """
    What a client does with its secret.

    An unknown client, a wrong secret and a disabled client are one error after the same work.
    """

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        clients: ClientReader,
        access: Access,
        authentication: Authentication,
        issuer: AccessTokenIssuer,
        clock: Clock,
        ids: IdGenerator,
        entropy: Entropy,
        metrics: Metrics,
        pacer: Pacer,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._clients = clients
        self._access = access
        self._authentication = authentication
        self._issuer = issuer
        self._clock = clock
        self._ids = ids
        self._entropy = entropy
        self._metrics = metrics
        self._pacer = pacer
        self._access_lifetime = access_lifetime
        # What is held of a secret does not show what was written since.
        self._uses_written_at: dict[ClientSecretId, datetime] = {}

    def issue(self, *, credentials: ClientCredentials, scope: str | None) -> ClientToken:
        """
        Give a client an access token.

        Args:
            credentials: As presented.
            scope: Permissions that the token is to be good for, separated by spaces; all that the client holds if None.

        Raises:
            InvalidClientError: If the client is unknown or disabled, or the secret is not one of its.
            InvalidScopeError: If the scope names nothing, or what the client does not hold.
        """

        def work(transaction: Transaction) -> tuple[ServiceClient, datetime]:
            # Held until the commit, so that whoever disables the client or deletes the secret comes before or after,
            # and in the latter case takes a later time than this token's.
            client = transaction.clients.find_held(_id_of(credentials))
            now = self._clock.now()
            client, secret = self._opened(client, credentials)
            if secret.is_use_worth_writing(now=now):
                transaction.clients.touch(client.id, secret.id, now=now)
            return client, now

        client, now = self._evenly(lambda: self._uow.run(work))
        granted = _granted_scope(client, scope)
        issued_at = client.token_time(now=now)
        lifetime = jittered(self._access_lifetime, self._entropy)
        claims = AccessClaims(
            client_id=str(client.id),
            token_id=str(self._ids.new()),
            issued_at=issued_at,
            expires_at=issued_at + lifetime,
            scope=granted,
        )
        return ClientToken(
            access_token=self._issuer.issue(claims),
            expires_in_seconds=int(lifetime.total_seconds()),
            scope=granted,
        )

    def introspect(self, *, credentials: ClientCredentials, token: str) -> AccessClaims | None:
        """
        Return what an access token says that stands now, whether a user's or a client's; None for anything else.

        A secret that has ended is good for as long as a token that was revoked; one that is new is good at once.

        Raises:
            InvalidClientError: If the client is unknown or disabled, or the secret is not one of its.
            RevocationsUnknownError: If it cannot be told whether the token was revoked.
        """
        if not self._is_held(credentials):
            self._authenticate(credentials)
        try:
            principal = self._access.authenticate(token=token)
            self._access.permissions_of_caller(principal)
        except InvalidAccessTokenError:
            return None
        return principal.claims

    def revoke(self, *, credentials: ClientCredentials, token: str) -> None:
        """
        End a token; one that is unknown, or has ended already, is no error.

        A user's token, of either kind, ends its session: whoever holds it could do the same by signing out. A client's
        token ends by itself.

        Raises:
            InvalidClientError: If the client is unknown or disabled, or the secret is not one of its.
            UnauthorizedClientError: If the token is another client's.
            RevocationsUnknownError: If it cannot be told whether the token was revoked.
        """
        client = self._authenticate(credentials)
        try:
            return self._authentication.sign_out(access_token=None, refresh_token=token)
        except InvalidRefreshTokenError:
            pass
        try:
            principal = self._access.authenticate(token=token)
        except InvalidAccessTokenError:
            return None
        if not isinstance(principal, ClientPrincipal):
            return self._authentication.sign_out(access_token=token, refresh_token=None)
        if principal.client_id != client.id:
            raise UnauthorizedClientError
        return self._end(principal.claims)

    def _authenticate(self, credentials: ClientCredentials) -> ServiceClient:
        client, secret = self._evenly(lambda: self._opened(self._clients.find(_id_of(credentials)), credentials))
        self._note_use(client.id, secret)
        return client

    def _is_held(self, credentials: ClientCredentials) -> bool:
        """Tell whether this process holds the secret; if not, it may be new, and only the primary can refuse it."""
        client_id = _id_of(credentials)
        secret = _matching(self._access.held_secrets(client_id=client_id), credentials)
        if secret is None:
            return False
        self._note_use(client_id, secret)
        return True

    def _note_use(self, client_id: ClientId, secret: ClientSecret) -> None:
        now = self._clock.now()
        if not secret.is_use_worth_writing(now=now, written_at=self._uses_written_at.get(secret.id)):
            return
        self._uow.run(lambda transaction: transaction.clients.touch(client_id, secret.id, now=now))
        if len(self._uses_written_at) >= MAX_CLIENTS * MAX_CLIENT_SECRETS:
            # Most are of secrets that are gone; the others are written once more.
            self._uses_written_at.clear()
        self._uses_written_at[secret.id] = now

    def _evenly(self, authenticate: Callable[[], T]) -> T:
        """Do it, and take as long for every client that is refused: a row that is read takes longer than none."""
        began = self._pacer.start()
        try:
            return authenticate()
        except InvalidClientError:
            self._pacer.hold("failed client authentication", since=began)
            self._metrics.count("client_authentication", outcome="refused")
            raise

    @staticmethod
    def _opened(client: ServiceClient | None, credentials: ClientCredentials) -> tuple[ServiceClient, ClientSecret]:
        """Return the client that the credentials open and its secret that did."""
        secret = _matching(() if client is None else client.secrets, credentials)
        if client is None or client.is_disabled or secret is None:
            raise InvalidClientError
        return client, secret

    def _end(self, claims: AccessClaims) -> None:
        """Revoke one token: it is the only one of a session that has its id."""
        revocation = Revocation(
            kind=RevocationKind.SESSION,
            subject=claims.token_id,
            not_before=self._clock.now(),
            expires_at=claims.expires_at + LEEWAY,
        )
        self._uow.run(lambda transaction: transaction.revocations.add(revocation))


def _id_of(credentials: ClientCredentials) -> ClientId:
    try:
        return ClientId(UUID(credentials.client_id))
    except ValueError:
        return _NOBODY


def _matching(secrets: Sequence[ClientSecret], credentials: ClientCredentials) -> ClientSecret | None:
    """Return which of a client's secrets was presented, if one was; compares as much in every case."""
    presented = secret_digest(credentials.secret)
    digests = [*(secret.digest for secret in secrets), *[_NO_DIGEST] * MAX_CLIENT_SECRETS][:MAX_CLIENT_SECRETS]
    matches = [hmac.compare_digest(digest, presented) for digest in digests]
    return secrets[matches.index(True)] if any(matches) else None


def _granted_scope(client: ServiceClient, scope: str | None) -> tuple[str, ...]:
    if scope is None:
        return tuple(sorted(client.permissions))
    wanted = tuple(dict.fromkeys(scope.split(" ")))
    is_list = len(wanted) <= MAX_CLIENT_PERMISSIONS and all(map(is_permission_name, wanted))
    if not is_list or not client.held.covers(wanted):
        raise InvalidScopeError
    return wanted
