"""Permission checks in another service, by what an access token says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from userservice_core.domain.permission_sets import PermissionSet
from userservice_core.errors import PermissionDeniedError, PermissionsUnknownError, UserTokenRequiredError
from userservice_core.ports.security import PrincipalKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.ports.security import AccessClaims


class Verifier(Protocol):
    """Verifies access tokens, as :class:`~userservice_core.TokenVerifier` does."""

    def verify(self, token: str) -> AccessClaims:
        """
        Return what *token* says.

        Raises:
            InvalidAccessTokenError: If it is not good.
            UnavailableError: If that cannot be told now.
        """
        ...

    def peek(self, token: str) -> AccessClaims | None:
        """Return the claims of a token that was verified before and has not expired, else None; never waits."""
        ...


class PermissionSource(Protocol):
    """Knows what users may do whose permissions do not fit into their tokens; called by many threads at once."""

    def __call__(self, claims: AccessClaims, /) -> Iterable[str]:
        """
        Return the names of all permissions that the user of *claims* holds, wildcards as such.

        It is asked at each check, so one that asks another service keeps answers for a while.

        Raises:
            UnavailableError: If that cannot be told now.
        """
        ...


class Authorizer:
    """
    Verifies tokens and checks permissions. Safe for many threads.

    It believes the claim `permissions` of a user's token, and the claim `scope` of a service client's, which are as old
    as the token: what was granted or taken since is not seen before the next one.
    """

    def __init__(self, verifier: Verifier, *, permissions: PermissionSource | None = None) -> None:
        """
        Decide by what *verifier* says.

        Args:
            verifier: Of the tokens.
            permissions: To be asked where a token does not list its permissions, since they are too many. Without
                one such a check fails with PermissionsUnknownError.
        """
        self._verifier = verifier
        self._permissions = permissions

    def authenticate(self, token: str) -> AccessClaims:
        """
        Return what *token* says.

        Raises:
            InvalidAccessTokenError: If it is not good.
            UnavailableError: If that cannot be told now.
        """
        return self._verifier.verify(token)

    def allows(self, claims: AccessClaims, permission: str) -> bool:
        """
        Tell whether the user or the client of *claims* holds *permission* (``resource:action``), wildcards counted.

        Raises:
            UnavailableError: If the token does not list its permissions, and it cannot be told now.
        """
        names = claims.permissions if claims.scope is None else claims.scope
        if names is None:
            if self._permissions is None:
                raise PermissionsUnknownError
            names = tuple(self._permissions(claims))
        return PermissionSet(frozenset(names)).allows(permission)

    def require(self, claims: AccessClaims, permission: str) -> None:
        """
        Check that the user or the client of *claims* holds *permission*.

        Raises:
            PermissionDeniedError: If they do not; its parameters name the permission.
            UnavailableError: If that cannot be told now.
        """
        if not self.allows(claims, permission):
            raise PermissionDeniedError(permission=permission)

    def admit(self, token: str, *, permission: str | None = None) -> AccessClaims:
        """
        Return what *token* says, having checked that whoever it speaks for holds *permission*, where one is named.

        Where none is named, users may pass and service clients may not: a client is there for what it was given.

        Raises:
            InvalidAccessTokenError: If the token is not good.
            PermissionDeniedError: If the permission is not held.
            UserTokenRequiredError: If no permission is named, and the token is a client's.
            UnavailableError: If either cannot be told now.
        """
        claims = self.authenticate(token)
        self._require_admitted(claims, permission)
        return claims

    def try_admit(self, token: str, *, permission: str | None = None) -> AccessClaims | None:
        """
        Do what :meth:`admit` does if that takes the process's memory only, else return None; never waits.

        Raises:
            PermissionDeniedError: As :meth:`admit`.
            UserTokenRequiredError: As :meth:`admit`.
        """
        claims = self._verifier.peek(token)
        if claims is None or (permission is not None and claims.permissions is None and claims.scope is None):
            return None
        self._require_admitted(claims, permission)
        return claims

    def _require_admitted(self, claims: AccessClaims, permission: str | None) -> None:
        if permission is not None:
            self.require(claims, permission)
        elif claims.subject_kind is PrincipalKind.CLIENT:
            raise UserTokenRequiredError
