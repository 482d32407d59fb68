"""Who is calling, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.ids import RoleId, SessionId, UserId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import AssignedRole, PermissionSet, RoleMap
from userservice_core.errors import InvalidAccessTokenError, PermissionDeniedError
from userservice_core.ports.cache import Cache, Namespace, Versioned
from userservice_core.ports.security import AccessClaims

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.ports.revocations import RevocationChecker, RevocationLog
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.security import AccessTokenVerifier
    from userservice_core.ports.users import UserReader


@attrs.frozen(kw_only=True)
class Principal:
    """A caller whose access token stands."""

    user_id: UserId
    session_id: SessionId
    claims: AccessClaims


class Access:
    """Tokens say who is calling; what they may do comes from the database through the cache, never from a token."""

    def __init__(
        self,
        *,
        verifier: AccessTokenVerifier,
        revocations: RevocationChecker,
        log: RevocationLog,
        users: UserReader,
        roles: RoleReader,
        cache: Cache,
    ) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._log = log
        self._users = users
        self._roles = roles
        self._cache = cache

    def authenticate(self, *, token: str, sensitive: bool = False) -> Principal:
        """
        Return the caller that *token* names.

        Args:
            token: An access token.
            sensitive: Whether to ask the primary if it was revoked, instead of this process's memory.

        Raises:
            InvalidAccessTokenError: If it is not ours, expired or revoked.
            RevocationsUnknownError: If it cannot be told whether it was revoked.
        """
        claims = self._verifier.verify(token)
        is_revoked = self._log.is_revoked if sensitive else self._revocations.is_revoked
        if is_revoked(
            user_id=claims.user_id,
            session_id=claims.session_id,
            key_id=claims.key_id,
            issued_at=claims.issued_at,
        ):
            raise InvalidAccessTokenError
        return _principal(claims)

    def peek(self, *, token: str) -> Principal | None:
        """
        Return the caller if this process's memory suffices to tell, else None; never blocks.

        Raises:
            InvalidAccessTokenError: If the token is known to be revoked.
        """
        claims = self._verifier.peek(token)
        if claims is None:
            return None
        revoked = self._revocations.peek(
            user_id=claims.user_id,
            session_id=claims.session_id,
            key_id=claims.key_id,
            issued_at=claims.issued_at,
        )
        if revoked is None:
            return None
        if revoked:
            raise InvalidAccessTokenError
        return _principal(claims)

    def permissions_of_roles(self, roles: Iterable[AssignedRole]) -> PermissionSet:
        """Return what *roles* grant together."""
        role_map = self._cache.get(ROLE_MAP, "", self._load_role_map)
        return role_map.permissions_of(role.id for role in roles)

    def permissions_of(self, *, user_id: UserId) -> PermissionSet:
        """
        Return what a user may do; one who cannot use their account may do nothing.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        user = self._users.get(user_id)
        return self.permissions_of_roles(user.roles if user.is_live else ())

    def require(self, *, principal: Principal, permission: str) -> None:
        """
        Check that the caller holds *permission* (`resource:action`).

        Raises:
            PermissionDeniedError: If they do not.
            UserNotFoundError: If their account was erased.
        """
        if not self.permissions_of(user_id=principal.user_id).allows(permission):
            raise PermissionDeniedError(permission=permission)

    def forget(self, revocation: Revocation) -> None:
        """Drop from memory what *revocation* says is outdated."""
        match revocation.kind:
            case RevocationKind.ROLE_MAP:
                self._cache.invalidate(ROLE_MAP, "", revocation.version)
            case RevocationKind.KEY:
                self._verifier.forget_key(revocation.subject)

    def forget_all(self) -> None:
        """Drop everything from the cache of this process, for when it is not known what is outdated."""
        self._cache.clear()

    def _load_role_map(self) -> Versioned[RoleMap]:
        role_map = self._roles.role_map()
        return Versioned(role_map.epoch, role_map)


def _principal(claims: AccessClaims) -> Principal:
    return Principal(user_id=claims.user_id, session_id=claims.session_id, claims=claims)


class _RoleMapDocument(msgspec.Struct, forbid_unknown_fields=True):
    """How a role map is written into a shared cache."""

    epoch: int
    permissions: dict[UUID, list[str]]


def _encode_role_map(role_map: RoleMap) -> bytes:
    permissions = {role: sorted(names) for role, names in role_map.permissions.items()}
    return msgspec.json.encode({"epoch": role_map.epoch, "permissions": permissions})


def _decode_role_map(data: bytes) -> RoleMap:
    document = msgspec.json.decode(data, type=_RoleMapDocument)
    return RoleMap(document.epoch, {RoleId(role): frozenset(names) for role, names in document.permissions.items()})


ROLE_MAP: Namespace[RoleMap] = Namespace(
    name="role-map", ttl_seconds=300, encode=_encode_role_map, decode=_decode_role_map
)
"""Which permissions each role grants; one value, under the empty key, fenced by the access epoch."""
