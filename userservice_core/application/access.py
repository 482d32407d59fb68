"""Who is calling, and what they may do."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.audit import Actor
from userservice_core.domain.clients import ClientMap, ClientSecret, ClientSecretMap
from userservice_core.domain.ids import ClientId, RoleId, SessionId, UserId
from userservice_core.domain.permission_sets import PermissionSet
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import AssignedRole, RoleMap
from userservice_core.errors import (
    InvalidAccessTokenError,
    PermissionDeniedError,
    UserNotFoundError,
    UserTokenRequiredError,
)
from userservice_core.ports.cache import Cache, Codec, Namespace, Versioned
from userservice_core.ports.context import reads_are_provisional, require_patience
from userservice_core.ports.security import AccessClaims, PrincipalKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from userservice_core.domain.users import User
    from userservice_core.ports.clients import ClientReader
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

    @property
    def id(self) -> UserId:
        """The id of whoever is calling, as that of a client has it, too."""
        return self.user_id

    def as_actor(self) -> Actor:
        """Return who that is to the audit log."""
        return Actor.user(self.user_id)


@attrs.frozen(kw_only=True)
class ClientPrincipal:
    """A service client whose access token stands."""

    client_id: ClientId
    claims: AccessClaims

    @property
    def id(self) -> ClientId:
        """The id of whoever is calling, as that of a user has it, too."""
        return self.client_id

    def as_actor(self) -> Actor:
        """Return who that is to the audit log."""
        return Actor.client(self.client_id)

    @property
    def scope(self) -> PermissionSet:
        """Bounds of what the client may do with this token."""
        return PermissionSet(frozenset(self.claims.scope or ()))


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
        clients: ClientReader,
        cache: Cache,
    ) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._log = log
        self._users = users
        self._roles = roles
        self._clients = clients
        self._cache = cache

    def authenticate(self, *, token: str, sensitive: bool = False) -> Principal | ClientPrincipal:
        """
        Return the caller that *token* names.

        Args:
            token: An access token.
            sensitive: Whether to ask the primary if it was revoked, instead of this process's memory.

        Raises:
            InvalidAccessTokenError: If it is not ours, expired or revoked.
            RevocationsUnknownError: If it cannot be told whether it was revoked.
        """
        claims = self._verifier.peek(token)
        if claims is None:
            # A signature takes the processor for longer than all else here.
            require_patience()
            claims = self._verifier.verify(token)
        principal = _principal(claims)
        is_revoked = self._log.is_revoked if sensitive else self._revocations.is_revoked
        if is_revoked(**_question_about(principal)):
            raise InvalidAccessTokenError
        return principal

    def authenticate_user(self, *, token: str) -> Principal:
        """
        Return the user that *token* names.

        Raises:
            InvalidAccessTokenError: As :meth:`authenticate`.
            RevocationsUnknownError: As :meth:`authenticate`.
            UserTokenRequiredError: If it is the token of a client.
        """
        principal = self.authenticate(token=token)
        if isinstance(principal, ClientPrincipal):
            raise UserTokenRequiredError
        return principal

    def peek(self, *, token: str) -> Principal | ClientPrincipal | None:
        """
        Return the caller if this process's memory suffices to tell, else None; never blocks.

        Raises:
            InvalidAccessTokenError: If the token is known to be revoked.
        """
        claims = self._verifier.peek(token)
        if claims is None:
            return None
        principal = _principal(claims)
        revoked = self._revocations.peek(**_question_about(principal))
        if revoked is None:
            return None
        if revoked:
            raise InvalidAccessTokenError
        return principal

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

    def permissions_of_each(self, *, user_ids: Iterable[UserId]) -> dict[UserId, PermissionSet]:
        """
        Return what several users may do; those who do not exist, or cannot use their accounts, are left out.

        What roles grant is asked for once, however many users and roles there are, and each user once.
        """
        roles = {}
        for user_id in dict.fromkeys(user_ids):
            with suppress(UserNotFoundError, _NotLiveError):
                roles[user_id] = self._roles_of(user_id)
        role_map = self._cached(ROLE_MAP, "", self._load_role_map)
        return {user_id: role_map.permissions_of(held) for user_id, held in roles.items()}

    def held_secrets(self, *, client_id: ClientId) -> tuple[ClientSecret, ...]:
        """
        Return the secrets of a client as this process holds them; none where it is unknown or disabled.

        What has ended is forgotten within the bounds of a revocation. What is new may not be known yet, so nobody is
        refused by this alone.
        """
        return self._cached(CLIENT_SECRETS, "", self._load_client_secrets).of(client_id)

    def require(self, *, principal: Principal | ClientPrincipal, permission: str, sensitive: bool = False) -> None:
        """
        Check that the caller holds *permission* (`resource:action`); a client within the scope of its token.

        Args:
            principal: The caller.
            permission: Its name.
            sensitive: Whether to ask the primary what the caller may do, instead of any cache.

        Raises:
            PermissionDeniedError: If they do not.
            InvalidAccessTokenError: If the account or the client is gone, or cannot be used any more.
        """
        if not self.permissions_of_caller(principal, sensitive=sensitive).allows(permission):
            raise PermissionDeniedError(permission=permission)

    def permissions_of_caller(
        self, principal: Principal | ClientPrincipal, *, sensitive: bool = False
    ) -> PermissionSet:
        """
        Return what the caller may do, from the primary if it is *sensitive*; a client within the scope of its token.

        Raises:
            InvalidAccessTokenError: If the account or the client is gone, or cannot be used any more.
        """
        if isinstance(principal, ClientPrincipal):
            held = self._cached(CLIENT_MAP, "", self._load_client_map, sensitive=sensitive).find(principal.client_id)
            if held is None:
                raise InvalidAccessTokenError
            return held.within(principal.scope)
        try:
            return self._granted_by(self._roles_of(principal.user_id, sensitive=sensitive), sensitive=sensitive)
        except (UserNotFoundError, _NotLiveError) as error:
            raise InvalidAccessTokenError from error

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

    def _cached(
        self, namespace: Namespace[T], key: str, load: Callable[[], Versioned[T]], *, sensitive: bool = False
    ) -> T:
        # Without news of what was taken away, a cached answer would stand for as long as it lives.
        if sensitive or reads_are_provisional() or not self._revocations.is_current():
            return load().value
        return self._cache.get(namespace, key, load)

    def _roles_of(self, user_id: UserId, *, sensitive: bool = False) -> tuple[RoleId, ...]:
        return self._cached(HELD_ROLES, str(user_id), lambda: self._load_roles_of(user_id), sensitive=sensitive)

    def _load_roles_of(self, user_id: UserId) -> Versioned[tuple[RoleId, ...]]:
        user = self._users.get(user_id)
        if not user.is_live:
            raise _NotLiveError
        return Versioned(user.access_version, tuple(role.id for role in user.roles))

    def _granted_by(self, roles: Iterable[RoleId], *, sensitive: bool = False) -> PermissionSet:
        return self._cached(ROLE_MAP, "", self._load_role_map, sensitive=sensitive).permissions_of(roles)

    def _load_role_map(self) -> Versioned[RoleMap]:
        role_map = self._roles.role_map()
        return Versioned(role_map.epoch, role_map)

    def _load_client_map(self) -> Versioned[ClientMap]:
        client_map = self._clients.client_map()
        return Versioned(client_map.epoch, client_map)

    def _load_client_secrets(self) -> Versioned[ClientSecretMap]:
        secret_map = self._clients.secret_map()
        return Versioned(secret_map.epoch, secret_map)


def forget_access(cache: Cache, revocation: Revocation) -> None:
    """Refuse from now on what *cache* holds of who may do what, as far as *revocation* says that it is outdated."""
    match revocation.kind:
        case RevocationKind.ROLE_MAP:
            cache.invalidate(ROLE_MAP, "", revocation.version)
            cache.invalidate(CLIENT_MAP, "", revocation.version)
            cache.invalidate(CLIENT_SECRETS, "", revocation.version)
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
    """Return what tells every process to forget what roles granted, and of clients what they held, before *epoch*."""
    return Revocation(
        kind=RevocationKind.ROLE_MAP, subject="", not_before=now, version=epoch, expires_at=now + _KEPT_FOR
    )


def _principal(claims: AccessClaims) -> Principal | ClientPrincipal:
    if claims.subject_kind is PrincipalKind.CLIENT:
        return ClientPrincipal(client_id=ClientId(UUID(claims.client_id)), claims=claims)
    return Principal(user_id=claims.user_id, session_id=claims.session_id, claims=claims)


class _Question(TypedDict):
    """What the log of revocations is asked about a token."""

    user_id: UserId | None
    client_id: ClientId | None
    session_id: SessionId
    key_id: str
    issued_at: datetime


def _question_about(principal: Principal | ClientPrincipal) -> _Question:
    """Ask about a token; that of a client is a session of its own, and ends by its own id."""
    claims = principal.claims
    if isinstance(principal, ClientPrincipal):
        user_id, client_id, session_id = None, principal.client_id, SessionId(UUID(claims.token_id))
    else:
        user_id, client_id, session_id = principal.user_id, None, principal.session_id
    return {
        "user_id": user_id,
        "client_id": client_id,
        "session_id": session_id,
        "key_id": claims.key_id,
        "issued_at": claims.issued_at,
    }


class _MapDocument(msgspec.Struct, forbid_unknown_fields=True):
    """How a map from roles or clients to permissions is written into a shared cache."""

    epoch: int
    permissions: dict[UUID, list[str]]


def _encode_role_map(role_map: RoleMap) -> bytes:
    permissions = {role: sorted(names) for role, names in role_map.permissions.items()}
    return msgspec.json.encode({"epoch": role_map.epoch, "permissions": permissions})


def _decode_role_map(data: bytes) -> RoleMap:
    document = msgspec.json.decode(data, type=_MapDocument)
    return RoleMap(document.epoch, {RoleId(role): frozenset(names) for role, names in document.permissions.items()})


LONGEST_KEPT_SECONDS: Final = 30
"""After which even what nobody was told to forget is read again."""

ROLE_MAP: Namespace[RoleMap] = Namespace(
    name="role-map", ttl_seconds=LONGEST_KEPT_SECONDS, codec=Codec(_encode_role_map, _decode_role_map)
)
"""Which permissions each role grants; one value, under the empty key, fenced by the access epoch."""


def _encode_client_map(client_map: ClientMap) -> bytes:
    permissions = {client: sorted(names) for client, names in client_map.permissions.items()}
    return msgspec.json.encode({"epoch": client_map.epoch, "permissions": permissions})


def _decode_client_map(data: bytes) -> ClientMap:
    document = msgspec.json.decode(data, type=_MapDocument)
    return ClientMap(
        document.epoch, {ClientId(client): frozenset(names) for client, names in document.permissions.items()}
    )


CLIENT_MAP: Namespace[ClientMap] = Namespace(
    name="client-map", ttl_seconds=LONGEST_KEPT_SECONDS, codec=Codec(_encode_client_map, _decode_client_map)
)
"""What each client may do; one value, under the empty key, fenced by the access epoch."""

CLIENT_SECRETS: Namespace[ClientSecretMap] = Namespace(
    name="client-secrets", ttl_seconds=LONGEST_KEPT_SECONDS, codec=None
)
"""
By which secrets each client is known; one value, under the empty key, fenced by the access epoch.

It has no way into a shared cache: whoever could read that, or write there, would have every client.
"""


def _decode_held_roles(data: bytes) -> tuple[RoleId, ...]:
    return tuple(RoleId(role) for role in msgspec.json.decode(data, type=list[UUID]))


HELD_ROLES: Namespace[tuple[RoleId, ...]] = Namespace(
    name="held-roles", ttl_seconds=LONGEST_KEPT_SECONDS, codec=Codec(msgspec.json.encode, _decode_held_roles)
)
"""Which roles a live user holds; one value a user, under the user's id, fenced by the version of their access."""

# Longer than any value of the two can be kept, with room for clocks that differ.
_KEPT_FOR: Final = timedelta(minutes=15)
