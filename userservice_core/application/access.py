"""Who is calling, and what they may do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.ids import RoleId, SessionId, UserId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import AssignedRole, PermissionSet, RoleMap
from userservice_core.errors import InvalidAccessTokenError, PermissionDeniedError, UserNotFoundError
from userservice_core.ports.cache import Cache, Namespace, Versioned
from userservice_core.ports.context import reads_are_provisional
from userservice_core.ports.security import AccessClaims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from userservice_core.domain.users import User
    from userservice_core.ports.revocations import RevocationChecker, RevocationLog
    from userservice_core.ports.roles import RoleReader
    from userservice_core.ports.security import AccessTokenVerifier
    from userservice_core.ports.users import UserReader

T = TypeVar("T")


class _NotLiveError(Exception):
    """The account cannot be used; raised from a load, so that nothing is cached and it counts once it can be."""


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
        return self._granted_by(role.id for role in roles)

    def permissions_of(self, *, user_id: UserId) -> PermissionSet:
        """
        Return what a user may do; one who cannot use their account may do nothing.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        try:
            return self._granted_by(self._roles_of(user_id))
        except _NotLiveError:
            return PermissionSet(frozenset())

    def require(self, *, principal: Principal, permission: str) -> None:
        """
        Check that the caller holds *permission* (`resource:action`).

        Raises:
            PermissionDeniedError: If they do not.
            InvalidAccessTokenError: If their account was erased, or cannot be used any more.
        """
        try:
            roles = self._roles_of(principal.user_id)
        except (UserNotFoundError, _NotLiveError) as error:
            raise InvalidAccessTokenError from error
        if not self._granted_by(roles).allows(permission):
            raise PermissionDeniedError(permission=permission)

    def forget(self, revocation: Revocation) -> None:
        """Drop from memory what *revocation* says is outdated."""
        match revocation.kind:
            case RevocationKind.KEY:
                self._verifier.forget_key(revocation.subject)
            case _:
                forget_access(self._cache, revocation)

    def forget_all(self) -> None:
        """Drop everything from the cache of this process, for when it is not known what is outdated."""
        self._cache.clear()

    def _cached(self, namespace: Namespace[T], key: str, load: Callable[[], Versioned[T]]) -> T:
        return load().value if reads_are_provisional() else self._cache.get(namespace, key, load)

    def _roles_of(self, user_id: UserId) -> tuple[RoleId, ...]:
        return self._cached(HELD_ROLES, str(user_id), lambda: self._load_roles_of(user_id))

    def _load_roles_of(self, user_id: UserId) -> Versioned[tuple[RoleId, ...]]:
        user = self._users.get(user_id)
        if not user.is_live:
            raise _NotLiveError
        return Versioned(user.access_version, tuple(role.id for role in user.roles))

    def _granted_by(self, roles: Iterable[RoleId]) -> PermissionSet:
        return self._cached(ROLE_MAP, "", self._load_role_map).permissions_of(roles)

    def _load_role_map(self) -> Versioned[RoleMap]:
        role_map = self._roles.role_map()
        return Versioned(role_map.epoch, role_map)


def forget_access(cache: Cache, revocation: Revocation) -> None:
    """Refuse from now on what *cache* holds of who may do what, as far as *revocation* says that it is outdated."""
    match revocation.kind:
        case RevocationKind.ROLE_MAP:
            cache.invalidate(ROLE_MAP, "", revocation.version)
        case RevocationKind.USER_ACCESS:
            cache.invalidate(HELD_ROLES, revocation.subject, revocation.version)


def access_changed(user: User, *, now: datetime) -> Revocation:
    """Return what tells every process to forget what *user* might do before this version of their access."""
    return Revocation(
        kind=RevocationKind.USER_ACCESS,
        subject=str(user.id),
        not_before=now,
        version=user.access_version,
        expires_at=now + _KEPT_FOR,
    )


def role_map_changed(epoch: int, *, now: datetime) -> Revocation:
    """Return what tells every process to forget what roles granted before *epoch*."""
    return Revocation(
        kind=RevocationKind.ROLE_MAP, subject="", not_before=now, version=epoch, expires_at=now + _KEPT_FOR
    )


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


def _decode_held_roles(data: bytes) -> tuple[RoleId, ...]:
    return tuple(RoleId(role) for role in msgspec.json.decode(data, type=list[UUID]))


HELD_ROLES: Namespace[tuple[RoleId, ...]] = Namespace(
    name="held-roles", ttl_seconds=300, encode=msgspec.json.encode, decode=_decode_held_roles
)
"""Which roles a live user holds; one value a user, under the user's id, fenced by the version of their access."""

# Longer than any value of the two can be kept, with room for clocks that differ.
_KEPT_FOR: Final = timedelta(minutes=15)
