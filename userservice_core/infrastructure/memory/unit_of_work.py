"""One transaction at a time: reads see what is committed, and writes go to a copy, which becomes the store at once."""

from __future__ import annotations

import enum
import time
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.domain.addresses import displaced_by
from userservice_core.domain.audit import Actor, Subject, SubjectKind
from userservice_core.domain.credentials import LoginState
from userservice_core.domain.event_data import MAX_DATA_BYTES, event_data, wire_type
from userservice_core.domain.events import NotificationRequested, SequencedBy
from userservice_core.domain.one_time_tokens import KEPT_BESIDE_NEWER, TokenPurpose
from userservice_core.domain.permission_sets import EVERYTHING, PermissionSet
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    AlreadyExistsError,
    ConflictError,
    DeadlineExceededError,
    EmailTakenError,
    IdempotencyKeyInUseError,
    NotFoundError,
    PermissionNotFoundError,
    ProgrammingError,
    RoleInUseError,
    RoleNotFoundError,
    SessionNotFoundError,
    StaleVersionError,
    UserNotFoundError,
)
from userservice_core.infrastructure.memory.readers import (
    addresses_of,
    find_user,
    get_client,
    get_permission,
    get_role,
    keys_in_order,
    open_sessions,
    profile_of,
    roles_granting,
    settings_of,
    sign_in_of,
)
from userservice_core.infrastructure.memory.store import KeptAnswer, OwnRows, WaitingRecord, WrittenRevocation
from userservice_core.ports.audit import AuditRecord
from userservice_core.ports.consuming import KeyState, Verdict
from userservice_core.ports.context import current_call, provisional_reads, require_patience
from userservice_core.ports.failpoints import failpoint
from userservice_core.ports.idempotency import AnsweredBeforeError
from userservice_core.ports.publishing import OutboxRecord, lane_of
from userservice_core.ports.revocations import OUTBOX_CHANNEL, REVOCATIONS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from userservice_core.domain.addresses import Address
    from userservice_core.domain.audit import AuditEntry
    from userservice_core.domain.clients import ServiceClient
    from userservice_core.domain.credentials import Credential, SignIn
    from userservice_core.domain.events import Event
    from userservice_core.domain.ids import AddressId, ClientId, ClientSecretId, PermissionId, RoleId, SessionId, UserId
    from userservice_core.domain.mfa import MfaFactor, RecoveryCode
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.domain.revocations import Revocation
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.settings import SettingChange, StoredSettings
    from userservice_core.domain.signing_keys import StoredSigningKey
    from userservice_core.domain.users import User
    from userservice_core.infrastructure.memory.store import InMemoryStore, Rows
    from userservice_core.ports.clock import Clock
    from userservice_core.ports.consuming import AfterDeadLetter, ConsumedEvent
    from userservice_core.ports.idempotency import Claim
    from userservice_core.ports.publishing import ParkedEvent
    from userservice_core.ports.revocations import Signal
    from userservice_core.ports.unit_of_work import Transaction

    Write = Callable[[Rows], object]

T = TypeVar("T")


class _Turn(enum.IntEnum):
    """When a write has its turn at the commit, whatever the order it was asked for in."""

    USER = enum.auto()
    OTHER = enum.auto()
    EVENT = enum.auto()
    # An event of what is removed takes its number from the row that goes.
    REMOVAL = enum.auto()
    ERASURE = enum.auto()


class _Writes:
    """What a transaction will do at its commit; nothing is read once there is any."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._writes: list[tuple[_Turn, Write]] = []
        self._first: list[Write] = []

    def read(self) -> Rows:
        current_call().remaining_seconds()
        if self._writes:
            raise ProgrammingError("A transaction reads before it writes.")
        return self._rows

    def add(self, write: Write, *, turn: _Turn = _Turn.OTHER) -> None:
        self._writes.append((turn, write))

    def add_before_reads(self, write: Write) -> None:
        """Add one that elsewhere is done at once, with a lock, so that reads may follow it."""
        self.read()
        self._first.append(write)

    def applied(self) -> Rows:
        rows = self._rows.copy()
        for write in self._first:
            write(rows)
        for _, write in sorted(self._writes, key=lambda pair: pair[0]):
            write(rows)
        return rows


class InMemoryUserRepository:
    """A :class:`~userservice_core.ports.users.UserRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, user_id: UserId) -> User:
        user = self._writes.read().find_user(user_id)
        if user is None:
            raise UserNotFoundError
        return user

    def find_by_email(self, email_key: str) -> User | None:
        return find_user(self._writes.read(), email_key)

    def list_holders(self, role_id: RoleId, *, limit: int) -> tuple[User, ...]:
        rows = self._writes.read()
        holders = (user for user in map(rows.find_user, rows.users) if user is not None)
        held = (user for user in holders if any(role.id == role_id for role in user.roles))
        return tuple(sorted(held, key=lambda user: user.id.int)[:limit])

    def list_expired(
        self, *, deleted_before: datetime, pending_before: datetime, now: datetime, limit: int
    ) -> tuple[User, ...]:
        rows = self._writes.read()
        invited = {
            token.user_id
            for token in rows.one_time_tokens.values()
            if token.purpose is TokenPurpose.INVITE and token.used_at is None and now < token.expires_at
        }

        def is_expired(user: User) -> bool:
            if user.deleted_at is not None:
                return user.deleted_at < deleted_before
            is_pending = user.status is UserStatus.PENDING_VERIFICATION and user.id not in invited
            return is_pending and user.created_at < pending_before

        expired = [user for user in map(rows.find_user, rows.users) if user is not None and is_expired(user)]
        return tuple(sorted(expired, key=lambda user: user.id.int)[:limit])

    def add(self, user: User) -> None:
        def write(rows: Rows) -> None:
            if user.id in rows.users:
                raise AlreadyExistsError
            if user.email.key in rows.user_by_email:
                raise EmailTakenError
            if any(role.id not in rows.roles for role in user.roles):
                raise RoleNotFoundError
            rows.users[user.id] = user
            rows.user_by_email[user.email.key] = user.id
            rows.event_versions[SequencedBy.USER, user.id] = 0

        self._writes.add(write, turn=_Turn.USER)

    def save(self, user: User) -> None:
        def write(rows: Rows) -> None:
            stored = rows.users.get(user.id)
            if stored is None:
                raise StaleVersionError
            if rows.user_by_email.get(user.email.key, user.id) != user.id:
                raise EmailTakenError
            if stored.version != user.version - 1:
                raise StaleVersionError
            del rows.user_by_email[stored.email.key]
            rows.user_by_email[user.email.key] = user.id
            rows.users[user.id] = attrs.evolve(user, roles=stored.roles, created_at=stored.created_at)

        self._writes.add(write, turn=_Turn.USER)

    def save_roles(self, user: User) -> None:
        def write(rows: Rows) -> None:
            if user.roles:
                _require_user(rows, user.id)
            if any(role.id not in rows.roles for role in user.roles):
                raise RoleNotFoundError
            if user.id in rows.users:
                rows.users[user.id] = attrs.evolve(rows.users[user.id], roles=user.roles)

        self._writes.add(write, turn=_Turn.USER)

    def remove(self, user_id: UserId) -> None:
        self._writes.add(lambda rows: rows.remove_user(user_id), turn=_Turn.REMOVAL)


class InMemorySignInRepository:
    """A :class:`~userservice_core.ports.credentials.SignInRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, user_id: UserId) -> SignIn:
        rows = self._writes.read()
        user = rows.find_user(user_id)
        if user is None:
            raise UserNotFoundError
        return sign_in_of(rows, user)

    def add(self, credential: Credential) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, credential.user_id)
            if credential.user_id in rows.credentials:
                raise AlreadyExistsError
            rows.credentials[credential.user_id] = credential

        self._writes.add(write)
        self.add_state(LoginState(user_id=credential.user_id))

    def add_state(self, state: LoginState) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, state.user_id)
            if state.user_id in rows.login_states:
                raise AlreadyExistsError
            rows.login_states[state.user_id] = state
            rows.event_versions[SequencedBy.LOGIN_STATE, state.user_id] = 0

        self._writes.add(write)

    def save_credential(self, credential: Credential) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, credential.user_id)
            rows.credentials[credential.user_id] = credential

        self._writes.add(write)

    def save_state(self, state: LoginState) -> None:
        def write(rows: Rows) -> None:
            if state.user_id in rows.login_states:
                rows.login_states[state.user_id] = state

        self._writes.add(write)

    def count_failure(self, user_id: UserId) -> None:
        def write(rows: Rows) -> None:
            if user_id in rows.login_states:
                rows.login_states[user_id] = rows.login_states[user_id].failed()

        self._writes.add(write)


class InMemorySessionRepository:
    """A :class:`~userservice_core.ports.sessions.SessionRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, user_id: UserId, session_id: SessionId) -> Session:
        session = self._writes.read().sessions.get((user_id, session_id))
        if session is None:
            raise SessionNotFoundError
        return session

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        return open_sessions(self._writes.read(), user_id, now=now)

    def list_origins(self, user_id: UserId, *, limit: int) -> tuple[Origin, ...]:
        sessions = self._writes.read().sessions.values()
        begun = sorted((each for each in sessions if each.user_id == user_id), key=lambda each: each.id.int)
        return tuple(Origin(ip=each.ip, user_agent=each.user_agent) for each in begun[::-1][:limit])

    def add(self, session: Session) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, session.user_id)
            if (session.user_id, session.id) in rows.sessions:
                raise AlreadyExistsError
            rows.sessions[session.user_id, session.id] = session

        self._writes.add(write)

    def save(self, session: Session) -> None:
        def write(rows: Rows) -> None:
            key = (session.user_id, session.id)
            if key in rows.sessions:
                rows.sessions[key] = attrs.evolve(
                    rows.sessions[key], revoked_at=session.revoked_at, auth_time=session.auth_time, amr=session.amr
                )

        self._writes.add(write)


class InMemoryOneTimeTokenRepository:
    """A :class:`~userservice_core.ports.one_time_tokens.OneTimeTokenRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        return self._writes.read().one_time_tokens.get((user_id, digest))

    def add(self, token: OneTimeToken) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, token.user_id)
            for key, other in rows.one_time_tokens.items():
                is_older = (key[0], other.purpose, other.used_at) == (token.user_id, token.purpose, None)
                if is_older and token.purpose not in KEPT_BESIDE_NEWER:
                    rows.one_time_tokens[key] = other.used(now=token.created_at)
            if (token.user_id, token.digest) in rows.one_time_tokens:
                raise AlreadyExistsError
            rows.one_time_tokens[token.user_id, token.digest] = token

        self._writes.add(write)

    def count_since(self, user_id: UserId, purposes: Collection[TokenPurpose], *, since: datetime) -> int:
        tokens = self._writes.read().one_time_tokens.values()
        return sum(
            token.user_id == user_id and token.purpose in purposes and token.created_at > since for token in tokens
        )

    def end_all(
        self,
        user_id: UserId,
        *,
        now: datetime,
        keep: Collection[TokenPurpose] = (),
        made_since: datetime | None = None,
    ) -> None:
        def write(rows: Rows) -> None:
            for key, token in rows.one_time_tokens.items():
                is_kept = token.purpose in keep or (made_since is not None and token.created_at < made_since)
                if (token.user_id, token.used_at) == (user_id, None) and not is_kept:
                    rows.one_time_tokens[key] = token.used(now=now)

        self._writes.add(write)

    def save(self, token: OneTimeToken) -> None:
        def write(rows: Rows) -> None:
            key = (token.user_id, token.digest)
            if key in rows.one_time_tokens:
                rows.one_time_tokens[key] = attrs.evolve(
                    rows.one_time_tokens[key], used_at=token.used_at, failures=token.failures
                )

        self._writes.add(write)


class InMemoryMfaRepository:
    """A :class:`~userservice_core.ports.mfa.MfaRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def find(self, user_id: UserId) -> MfaFactor | None:
        return self._writes.read().mfa_factors.get(user_id)

    def save(self, factor: MfaFactor) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, factor.user_id)
            rows.mfa_factors[factor.user_id] = factor

        self._writes.add(write)

    def remove(self, user_id: UserId) -> None:
        self._writes.add(lambda rows: rows.remove_mfa(user_id))

    def find_code(self, user_id: UserId, digest: bytes) -> RecoveryCode | None:
        return self._writes.read().recovery_codes.get((user_id, digest))

    def save_code(self, code: RecoveryCode) -> None:
        def write(rows: Rows) -> None:
            key = (code.user_id, code.digest)
            if key in rows.recovery_codes:
                rows.recovery_codes[key] = attrs.evolve(rows.recovery_codes[key], used_at=code.used_at)

        self._writes.add(write)

    def replace_codes(self, user_id: UserId, codes: Iterable[RecoveryCode]) -> None:
        replacing = tuple(codes)

        def write(rows: Rows) -> None:
            _require_user(rows, user_id)
            others = {key: code for key, code in rows.recovery_codes.items() if key[0] != user_id}
            rows.recovery_codes = others | {(code.user_id, code.digest): code for code in replacing}

        self._writes.add(write)


class InMemoryProfileRepository:
    """A :class:`~userservice_core.ports.profiles.ProfileRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, user_id: UserId) -> UserProfile:
        return profile_of(self._writes.read(), user_id)

    def save(self, profile: UserProfile) -> None:
        def write(rows: Rows) -> None:
            stored = rows.profiles.get(profile.user_id)
            if (0 if stored is None else stored.version) != profile.version - 1:
                raise StaleVersionError
            _require_user(rows, profile.user_id)
            rows.profiles[profile.user_id] = profile

        self._writes.add(write)


class InMemoryAddressRepository:
    """A :class:`~userservice_core.ports.addresses.AddressRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        rows = self._writes.read()
        _require_user(rows, user_id)
        return addresses_of(rows, user_id)

    def add(self, address: Address) -> None:
        def write(rows: Rows) -> None:
            _require_user(rows, address.user_id)
            if (address.user_id, address.id) in rows.addresses:
                raise AlreadyExistsError
            _put_address(rows, address)

        self._writes.add(write)

    def save(self, address: Address) -> None:
        def write(rows: Rows) -> None:
            stored = rows.addresses.get((address.user_id, address.id))
            if stored is None or stored.version != address.version - 1:
                raise StaleVersionError
            _put_address(rows, address)

        self._writes.add(write)

    def remove(self, user_id: UserId, address_id: AddressId) -> None:
        self._writes.add(lambda rows: rows.addresses.pop((user_id, address_id), None))


class InMemoryRoleRepository:
    """A :class:`~userservice_core.ports.roles.RoleRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def lock(self) -> int:
        return self._writes.read().access_epoch

    def get(self, role_id: RoleId) -> Role:
        return get_role(self._writes.read(), role_id)

    def get_all(self, role_ids: Collection[RoleId]) -> tuple[Role, ...]:
        rows = self._writes.read()
        return tuple(sorted((get_role(rows, role_id) for role_id in set(role_ids)), key=lambda role: role.name_key))

    def list_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        return roles_granting(self._writes.read(), permission_id)

    def count(self) -> int:
        return len(self._writes.read().roles)

    def permissions_of(self, user_id: UserId) -> PermissionSet:
        rows = self._writes.read()
        user = rows.users.get(user_id)
        if user is None or not user.is_live:
            return PermissionSet(frozenset())
        return PermissionSet(frozenset().union(*(rows.roles[role.id].permissions for role in user.roles)))

    def has_administrator(self, *, without: Collection[RoleId], of: UserId | None = None) -> bool:
        rows = self._writes.read()
        return any(
            EVERYTHING in rows.roles[role.id].permissions
            for user in rows.users.values()
            if user.is_live
            for role in user.roles
            if not (role.id in without and of in {None, user.id})
        )

    def add(self, role: Role) -> None:
        def write(rows: Rows) -> None:
            if role.id in rows.roles or any(other.name_key == role.name_key for other in rows.roles.values()):
                raise AlreadyExistsError
            _put_role(rows, role)
            rows.event_versions[SequencedBy.ROLE, role.id] = 0

        self._writes.add(write)

    def save(self, role: Role) -> None:
        def write(rows: Rows) -> None:
            stored = rows.roles.get(role.id)
            if stored is None or stored.version != role.version - 1:
                raise StaleVersionError
            if any(other.name_key == role.name_key and other.id != role.id for other in rows.roles.values()):
                raise AlreadyExistsError
            _put_role(rows, role)

        self._writes.add(write)

    def remove(self, role_id: RoleId) -> None:
        def write(rows: Rows) -> None:
            if role_id not in rows.roles or rows.is_held(role_id):
                raise RoleInUseError
            del rows.roles[role_id]
            del rows.event_versions[SequencedBy.ROLE, role_id]
            rows.access_epoch += 1

        self._writes.add(write, turn=_Turn.REMOVAL)


class InMemoryPermissionRepository:
    """A :class:`~userservice_core.ports.roles.PermissionRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, permission_id: PermissionId) -> Permission:
        return get_permission(self._writes.read(), permission_id)

    def get_all(self, permission_ids: Collection[PermissionId]) -> tuple[Permission, ...]:
        rows = self._writes.read()
        found = (get_permission(rows, permission_id) for permission_id in set(permission_ids))
        return tuple(sorted(found, key=lambda permission: permission.name))

    def list_named(self, names: Collection[str]) -> tuple[Permission, ...]:
        permissions = self._writes.read().permissions
        return tuple(permissions[name] for name in sorted(set(names) & permissions.keys()))

    def count(self) -> int:
        return len(self._writes.read().permissions)

    def add(self, permission: Permission) -> None:
        def write(rows: Rows) -> None:
            if permission.name in rows.permissions or rows.find_permission(permission.id) is not None:
                raise AlreadyExistsError
            rows.permissions[permission.name] = permission
            rows.event_versions[SequencedBy.PERMISSION, permission.id] = 0
            rows.access_epoch += 1

        self._writes.add(write)

    def save(self, permission: Permission) -> None:
        def write(rows: Rows) -> None:
            stored = rows.find_permission(permission.id)
            if stored is None or stored.version != permission.version - 1:
                raise StaleVersionError
            if rows.permissions.get(permission.name, stored).id != permission.id:
                raise AlreadyExistsError
            del rows.permissions[stored.name]
            rows.permissions[permission.name] = permission
            _rename_grants(rows, stored.name, {permission.name})
            rows.access_epoch += 1

        self._writes.add(write)

    def remove(self, permission_id: PermissionId) -> None:
        def write(rows: Rows) -> None:
            rows.access_epoch += 1
            stored = rows.find_permission(permission_id)
            if stored is not None:
                del rows.permissions[stored.name]
                del rows.event_versions[SequencedBy.PERMISSION, permission_id]
                _rename_grants(rows, stored.name, set())

        self._writes.add(write, turn=_Turn.REMOVAL)


class InMemoryClientRepository:
    """A :class:`~userservice_core.ports.clients.ClientRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def get(self, client_id: ClientId) -> ServiceClient:
        return get_client(self._writes.read(), client_id)

    def find_held(self, client_id: ClientId) -> ServiceClient | None:
        return self._writes.read().clients.get(client_id)

    def list_holding(self, permission_id: PermissionId) -> tuple[ServiceClient, ...]:
        rows = self._writes.read()
        permission = rows.find_permission(permission_id)
        holding = (
            client
            for client in rows.clients.values()
            if permission is not None and permission.name in client.permissions
        )
        return tuple(sorted(holding, key=lambda client: client.id.int))

    def count(self) -> int:
        return len(self._writes.read().clients)

    def add(self, client: ServiceClient) -> None:
        def write(rows: Rows) -> None:
            if client.id in rows.clients:
                raise AlreadyExistsError
            _put_client(rows, client)

        self._writes.add(write)

    def save(self, client: ServiceClient) -> None:
        def write(rows: Rows) -> None:
            stored = rows.clients.get(client.id)
            if stored is None or stored.version != client.version - 1:
                raise StaleVersionError
            used = {secret.id: secret.last_used_at for secret in stored.secrets}
            secrets = tuple(
                attrs.evolve(secret, last_used_at=used.get(secret.id, secret.last_used_at)) for secret in client.secrets
            )
            _put_client(rows, attrs.evolve(client, secrets=secrets, created_at=stored.created_at))

        self._writes.add(write)

    def touch(self, client_id: ClientId, secret_id: ClientSecretId, *, now: datetime) -> None:
        def write(rows: Rows) -> None:
            client = rows.clients.get(client_id)
            if client is not None:
                secrets = tuple(
                    attrs.evolve(secret, last_used_at=max(now, secret.last_used_at or now))
                    if secret.id == secret_id
                    else secret
                    for secret in client.secrets
                )
                rows.clients[client_id] = attrs.evolve(client, secrets=secrets)

        self._writes.add(write)

    def remove(self, client_id: ClientId) -> None:
        def write(rows: Rows) -> None:
            rows.clients.pop(client_id, None)
            rows.access_epoch += 1

        self._writes.add(write)


class InMemorySigningKeyRepository:
    """A :class:`~userservice_core.ports.signing_keys.SigningKeyRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def list_locked(self) -> tuple[StoredSigningKey, ...]:
        return keys_in_order(self._writes.read())

    def put(self, key: StoredSigningKey) -> None:
        def write(rows: Rows) -> None:
            stored = rows.signing_keys.get(key.id, key)
            rows.signing_keys[key.id] = attrs.evolve(
                stored, sealed=key.sealed, signs_from=key.signs_from, revoked_at=key.revoked_at
            )

        self._writes.add(write)

    def remove(self, key_id: str) -> None:
        self._writes.add(lambda rows: rows.signing_keys.pop(key_id, None))


class InMemorySettingRepository:
    """A :class:`~userservice_core.ports.settings.SettingRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def read_locked(self) -> StoredSettings:
        return settings_of(self._writes.read())

    def add(self, change: SettingChange) -> None:
        def write(rows: Rows) -> None:
            if any((other.name, other.version) == (change.name, change.version) for other in rows.setting_changes):
                raise ConflictError
            rows.setting_changes.append(change)

        self._writes.add(write)


class InMemoryRevocationWriter:
    """A :class:`~userservice_core.ports.revocations.RevocationWriter`."""

    def __init__(self, writes: _Writes, *, clock: Clock) -> None:
        self._writes = writes
        self._clock = clock
        self.added: list[Revocation] = []

    def add(self, revocation: Revocation) -> None:
        self.added.append(revocation)
        self._writes.add(lambda rows: rows.revocations.append(WrittenRevocation(revocation, self._clock.now())))


class InMemoryAuditLog:
    """A :class:`~userservice_core.ports.audit.AuditLog`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def add(self, entry: AuditEntry) -> None:
        call = current_call()
        record = AuditRecord(entry=entry, request_id=call.request_id, origin=call.origin)

        def write(rows: Rows) -> None:
            if any((other.entry.at, other.entry.id) == (entry.at, entry.id) for other in rows.audit):
                raise AlreadyExistsError
            rows.audit.append(_erased(record) if _is_of_nobody(rows, entry.subject) else record)

        self._writes.add(write)

    def erase_details(self, user_id: UserId) -> None:
        def write(rows: Rows) -> None:
            rows.audit = [_without(record, user_id) for record in rows.audit]

        self._writes.add(write, turn=_Turn.ERASURE)


def _is_of_nobody(rows: Rows, subject: Subject | None) -> bool:
    return subject is not None and subject.kind is SubjectKind.USER and subject.id not in rows.users


def _without(record: AuditRecord, user_id: UserId) -> AuditRecord:
    """Leave out of *record* what is the user's."""
    if record.entry.subject == Subject.user(user_id):
        return _erased(record)
    return attrs.evolve(record, origin=Origin()) if record.entry.actor == Actor.user(user_id) else record


def _erased(record: AuditRecord) -> AuditRecord:
    entry = attrs.evolve(record.entry, before={}, after={})
    return attrs.evolve(record, entry=entry, origin=Origin(), is_erased=True)


class InMemoryParkedEventRepository:
    """A :class:`~userservice_core.ports.publishing.ParkedEventRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes
        self.wakes_relays = False

    def get(self, position: int) -> ParkedEvent:
        for parked in self._writes.read().parked:
            if parked.event.record.position == position:
                return parked.event
        raise NotFoundError(f"No event is parked at {position}.")

    def put_back(self, event: ParkedEvent) -> None:
        self.wakes_relays = True

        def write(rows: Rows) -> None:
            (parked,) = (each for each in rows.parked if each.event == event)
            rows.parked.remove(parked)
            rows.outbox.append(WaitingRecord(event.record, parked.since))
            rows.outbox.sort(key=lambda waiting: waiting.record.position)

        self._writes.add(write)

    def drop(self, event: ParkedEvent) -> None:
        self.wakes_relays = True

        def write(rows: Rows) -> None:
            rows.parked = [parked for parked in rows.parked if parked.event != event]

        self._writes.add(write)


class InMemoryInboxRepository:
    """A :class:`~userservice_core.ports.consuming.InboxRepository`."""

    def __init__(self, writes: _Writes) -> None:
        self._writes = writes

    def judge(self, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool = False) -> Verdict:
        return _judged(self._writes.read(), group, event, rule=rule, is_replay=is_replay)

    def take(
        self, group: str, events: Sequence[ConsumedEvent], *, rule: AfterDeadLetter, is_replay: bool = False
    ) -> tuple[Verdict, ...]:
        rows = self._writes.read().copy()
        verdicts = []
        for event in events:
            verdicts.append(_judged(rows, group, event, rule=rule, is_replay=is_replay))
            if verdicts[-1] is Verdict.FRESH:
                _remember(rows, group, event)
        fresh = [event for event, verdict in zip(events, verdicts, strict=True) if verdict is Verdict.FRESH]

        def write(rows: Rows) -> None:
            for event in fresh:
                _remember(rows, group, event)

        self._writes.add_before_reads(write)
        return tuple(verdicts)

    def park(self, group: str, event: ConsumedEvent) -> None:
        def write(rows: Rows) -> None:
            if event.sequence is not None:
                key = (group, event.topic, event.key)
                state = rows.inbox_states.get(key, KeyState())
                rows.inbox_states[key] = state.with_parked(event.id, event.sequence)

        self._writes.add(write)

    def forget(self, *, older_than_seconds: float) -> None:
        def write(rows: Rows) -> None:
            until = time.monotonic() - older_than_seconds
            rows.inbox_seen = {identity: at for identity, at in rows.inbox_seen.items() if at > until}

        self._writes.add(write)


def _judged(rows: Rows, group: str, event: ConsumedEvent, *, rule: AfterDeadLetter, is_replay: bool) -> Verdict:
    if event.sequence is None:
        is_seen = (group, event.topic, event.identity) in rows.inbox_seen
        return Verdict.REPEATED if is_seen else Verdict.FRESH
    state = rows.inbox_states.get((group, event.topic, event.key), KeyState())
    return state.judge(event.id, event.sequence, rule=rule, is_replay=is_replay)


def _remember(rows: Rows, group: str, event: ConsumedEvent) -> None:
    if event.sequence is None:
        rows.inbox_seen[group, event.topic, event.identity] = time.monotonic()
    else:
        key = (group, event.topic, event.key)
        rows.inbox_states[key] = rows.inbox_states.get(key, KeyState()).applied(event.id, event.sequence)


class InMemoryTransaction:
    """A :class:`~userservice_core.ports.unit_of_work.Transaction`."""

    def __init__(self, writes: _Writes, *, clock: Clock) -> None:
        self.users = InMemoryUserRepository(writes)
        self.sign_ins = InMemorySignInRepository(writes)
        self.sessions = InMemorySessionRepository(writes)
        self.one_time_tokens = InMemoryOneTimeTokenRepository(writes)
        self.mfa = InMemoryMfaRepository(writes)
        self.profiles = InMemoryProfileRepository(writes)
        self.addresses = InMemoryAddressRepository(writes)
        self.roles = InMemoryRoleRepository(writes)
        self.permissions = InMemoryPermissionRepository(writes)
        self.clients = InMemoryClientRepository(writes)
        self.signing_keys = InMemorySigningKeyRepository(writes)
        self.settings = InMemorySettingRepository(writes)
        self.revocations = InMemoryRevocationWriter(writes, clock=clock)
        self.audit = InMemoryAuditLog(writes)
        self.parked_events = InMemoryParkedEventRepository(writes)
        self.inbox = InMemoryInboxRepository(writes)
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


class InMemoryJoinedTransaction:
    """A :class:`~userservice_core.ports.idempotency.JoinedTransaction`; it holds the store from its first part on."""

    def __init__(self, store: InMemoryStore, claim: Claim, resources: ExitStack) -> None:
        self._store = store
        self._claim = claim
        self._resources = resources
        self._own: OwnRows | None = None
        self._answer: str | None = None
        self.done: list[InMemoryTransaction] = []

    def keep(self, answer: str) -> None:
        self._answer = answer

    def run(self, work: Callable[[Rows], tuple[T, InMemoryTransaction, Rows]]) -> T:
        """Do *work* on the rows as this call has left them so far."""
        if self._own is not None:
            result, transaction, self._own.rows = work(self._own.rows)
        else:
            with ExitStack() as resources:
                result, transaction, rows = work(self._begun(resources))
                own = OwnRows(rows)
                resources.enter_context(self._store.showing(own))
                resources.enter_context(provisional_reads())
                self._resources.push(resources.pop_all())
            self._own = own
        self.done.append(transaction)
        return result

    def rows_to_commit(self) -> Rows | None:
        """Return the rows with the answer, None where there is nothing to commit."""
        if self._own is not None:
            rows = self._own.rows
        elif self._answer is not None:
            rows = self._begun(self._resources).copy()
        else:
            return None
        if self._answer is not None:
            rows.answers[self._claim.call_id] = KeptAnswer(self._answer, self._claim.expires_at)
        return rows

    def _begun(self, resources: ExitStack) -> Rows:
        """Hold the store and take the claim."""
        at_work = self._store.calls_at_work
        try:
            resources.enter_context(self._store.held())
        except DeadlineExceededError as error:
            if self._claim.call_id in at_work:
                raise IdempotencyKeyInUseError from error
            raise
        failpoint("uow.begun")
        rows = self._store.read()
        kept = rows.answers.get(self._claim.call_id)
        if kept is not None and kept.expires_at > self._claim.now:
            raise AnsweredBeforeError(kept.answer)
        at_work.add(self._claim.call_id)
        resources.callback(at_work.discard, self._claim.call_id)
        return rows


class InMemoryUnitOfWork:
    """A :class:`~userservice_core.ports.unit_of_work.UnitOfWork`; its transactions run one after the other."""

    def __init__(
        self,
        store: InMemoryStore,
        *,
        clock: Clock,
        topic_prefix: str = "userservice.",
        source: str = "/userservice",
        signal: Signal | None = None,
        on_revocation: Callable[[Revocation], None] = lambda _: None,
    ) -> None:
        """
        Work on *store*.

        Args:
            on_revocation: Called after a commit with each revocation it wrote: this process need not wait to hear it.
        """
        self._store = store
        self._on_revocation = on_revocation
        self._clock = clock
        self._topic_prefix = topic_prefix
        self._source = source
        self._signal = signal
        self._call: ContextVar[InMemoryJoinedTransaction | None] = ContextVar("userservice_joined_call", default=None)

    def run(self, work: Callable[[Transaction], T]) -> T:
        require_patience()
        call = self._call.get()
        if call is not None:
            return call.run(lambda rows: self._done(work, rows))
        with self._store.held():
            failpoint("uow.begun")
            result, transaction, rows = self._done(work, self._store.rows)
            self._commit(rows)
        self._tell_of(transaction)
        return result

    @contextmanager
    def joined(self, claim: Claim) -> Iterator[InMemoryJoinedTransaction]:
        """Make one transaction of all that is run within the block; see `ports.idempotency.JoiningUnitOfWork`."""
        with ExitStack() as resources:
            call = InMemoryJoinedTransaction(self._store, claim, resources)
            token = self._call.set(call)
            try:
                yield call
                rows = call.rows_to_commit()
                if rows is not None:
                    self._commit(rows)
            finally:
                self._call.reset(token)
        for transaction in call.done:
            self._tell_of(transaction)

    def _done(self, work: Callable[[Transaction], T], rows: Rows) -> tuple[T, InMemoryTransaction, Rows]:
        """Do *work* on *rows*, and return the rows that it leaves."""
        writes = _Writes(rows)
        transaction = InMemoryTransaction(writes, clock=self._clock)
        result = work(transaction)
        for event in transaction.events:
            writes.add(self._insertion(event), turn=_Turn.EVENT)
        failpoint("uow.flushing")
        return result, transaction, writes.applied()

    def _commit(self, rows: Rows) -> None:
        failpoint("uow.before-commit")
        current_call().remaining_seconds()
        self._store.rows = rows
        failpoint("uow.committed")

    def _tell_of(self, transaction: InMemoryTransaction) -> None:
        for revocation in transaction.revocations.added:
            self._on_revocation(revocation)
        if self._signal is not None:
            if transaction.events or transaction.parked_events.wakes_relays:
                self._signal.notify(OUTBOX_CHANNEL)
            if transaction.revocations.added:
                self._signal.notify(REVOCATIONS_CHANNEL)

    def _insertion(self, event: Event) -> Write:
        payload = msgspec.json.encode(event_data(event))
        if len(payload) > MAX_DATA_BYTES:
            raise ProgrammingError(f"The data of a {event.type} is larger than {MAX_DATA_BYTES} bytes.")
        topic = f"{self._topic_prefix}{event.topic}"

        def write(rows: Rows) -> None:
            rows.last_position += 1
            preferred = _preferred_language(rows, event)
            record = OutboxRecord(
                position=rows.last_position,
                id=event.id,
                lane=lane_of(topic, event.key),
                topic=topic,
                key=event.key,
                type=wire_type(event),
                source=self._source,
                subject=event.subject,
                occurred_at=event.occurred_at,
                sequence=_next_sequence(rows, event),
                traceparent=current_call().traceparent,
                payload=payload if preferred is None else msgspec.json.encode(event_data(preferred)),
            )
            rows.outbox.append(WaitingRecord(record, self._store.monotonic()))

        return write


def _preferred_language(rows: Rows, event: Event) -> Event | None:
    """Return *event* in the language of its owner, None where it has none or the owner names none."""
    if not isinstance(event, NotificationRequested):
        return None
    profile = rows.profiles.get(event.user_id)
    return None if profile is None or profile.language is None else attrs.evolve(event, language=profile.language)


def _next_sequence(rows: Rows, event: Event) -> int | None:
    """Raise the counter that numbers *event*, and return its number; None where its row does not exist."""
    if event.sequenced_by is SequencedBy.NOTHING:
        return None
    counter = (event.sequenced_by, UUID(event.key))
    if counter not in rows.event_versions:
        return None
    rows.event_versions[counter] += 1
    return rows.event_versions[counter]


def _require_user(rows: Rows, user_id: UUID) -> None:
    if user_id not in rows.users:
        raise UserNotFoundError


def _put_address(rows: Rows, address: Address) -> None:
    if displaced_by(address, addresses_of(rows, address.user_id)):
        raise AlreadyExistsError
    rows.addresses[address.user_id, address.id] = address


def _put_role(rows: Rows, role: Role) -> None:
    if not role.permissions <= rows.permissions.keys():
        raise PermissionNotFoundError
    rows.roles[role.id] = role
    rows.access_epoch += 1


def _put_client(rows: Rows, client: ServiceClient) -> None:
    if not client.permissions <= rows.permissions.keys():
        raise PermissionNotFoundError
    rows.clients[client.id] = client
    rows.access_epoch += 1


def _rename_grants(rows: Rows, name: str, names: set[str]) -> None:
    """Let roles grant, and clients hold, *names* where they had *name*."""
    for client in list(rows.clients.values()):
        if name in client.permissions:
            rows.clients[client.id] = attrs.evolve(client, permissions=(client.permissions - {name}) | names)
    for role in list(rows.roles.values()):
        if name in role.permissions:
            rows.roles[role.id] = attrs.evolve(role, permissions=(role.permissions - {name}) | names)
