"""What is read outside transactions."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from userservice_core.domain.audit import Actor, Outcome, Subject
from userservice_core.domain.clients import ClientMap, ClientSecretMap
from userservice_core.domain.credentials import LoginState, SignIn, UserOverview
from userservice_core.domain.lists import Position, page_of
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.roles import RoleMap, role_name_key
from userservice_core.domain.settings import SettingChange, StoredSettings
from userservice_core.errors import (
    AddressNotFoundError,
    ClientNotFoundError,
    PermissionNotFoundError,
    RoleNotFoundError,
    UserNotFoundError,
)
from userservice_core.ports.personal_data import PersonalData
from userservice_core.ports.revocations import RevocationBatch
from userservice_core.ports.sessions import SessionOfUser
from userservice_core.ports.user_dumps import UserDump

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.addresses import Address
    from userservice_core.domain.audit import AuditEntry
    from userservice_core.domain.clients import ServiceClient
    from userservice_core.domain.ids import AddressId, ClientId, PermissionId, RoleId, SessionId, UserId
    from userservice_core.domain.lists import Page, PageRequest, SortKey
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.signing_keys import StoredSigningKey
    from userservice_core.domain.users import User
    from userservice_core.infrastructure.memory.store import InMemoryStore, Rows
    from userservice_core.ports.audit import AuditFilter, AuditRecord
    from userservice_core.ports.clock import Clock
    from userservice_core.ports.idempotency import CallId
    from userservice_core.ports.publishing import ParkedEvent
    from userservice_core.ports.sessions import Rotation
    from userservice_core.ports.users import UserFilter


class InMemoryUserReader:
    """A :class:`~userservice_core.ports.users.UserReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def get(self, user_id: UserId) -> User:
        user = self._store.read().find_user(user_id)
        if user is None:
            raise UserNotFoundError
        return user

    def get_overview(self, user_id: UserId) -> UserOverview:
        rows = self._store.read()
        user = rows.find_user(user_id)
        if user is None:
            raise UserNotFoundError
        return _overview_of(rows, user)

    def list_page(self, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        rows = self._store.read()
        found = (user for user in map(rows.find_user, rows.users) if user is not None and _is_wanted_user(user, users))
        return page_of(
            (_overview_of(rows, user) for user in found),
            request,
            position_of=lambda overview: _position_of(overview, request.sort.by),
        )

    def find_by_email(self, email_key: str) -> User | None:
        return find_user(self._store.read(), email_key)

    def list_known(self, *, ids: Collection[UserId], email_keys: Collection[str]) -> tuple[tuple[UserId, str], ...]:
        rows = self._store.read()
        found = {user_id for user_id in ids if user_id in rows.users}
        found.update(rows.user_by_email[key] for key in email_keys if key in rows.user_by_email)
        return tuple((user_id, rows.users[user_id].email.key) for user_id in found)


class InMemorySignInReader:
    """A :class:`~userservice_core.ports.credentials.SignInReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def find_sign_in(self, email_key: str) -> SignIn | None:
        rows = self._store.read()
        user = find_user(rows, email_key)
        return None if user is None else sign_in_of(rows, user)

    def get(self, user_id: UserId) -> SignIn:
        rows = self._store.read()
        user = rows.find_user(user_id)
        if user is None:
            raise UserNotFoundError
        return sign_in_of(rows, user)

    def sample_hashes(self, *, limit: int) -> tuple[str, ...]:
        credentials = self._store.read().credentials.values()
        return tuple(credential.password_hash for credential in itertools.islice(credentials, limit))


class InMemorySessionStore:
    """A :class:`~userservice_core.ports.sessions.SessionStore`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def rotate(self, rotation: Rotation) -> SessionOfUser | None:
        with self._store.held():
            found = self.find(rotation.user_id, rotation.session_id)
            if found is None or not _can_rotate(found, rotation):
                return None
            session = found.session
            rotated = attrs.evolve(
                session,
                generation=session.generation + 1,
                previous_hash=session.current_hash,
                current_hash=rotation.next_hash,
                rotated_at=rotation.now,
                last_used_at=rotation.now,
                expires_at=min(rotation.now + (session.expires_at - session.last_used_at), session.absolute_expires_at),
            )
            rows = self._store.rows.copy()
            rows.sessions[session.user_id, session.id] = rotated
            self._store.rows = rows
            return SessionOfUser(session=rotated, user=found.user)

    def find(self, user_id: UserId, session_id: SessionId) -> SessionOfUser | None:
        rows = self._store.read()
        session, user = rows.sessions.get((user_id, session_id)), rows.find_user(user_id)
        return None if session is None or user is None else SessionOfUser(session=session, user=user)

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        rows = self._store.read()
        if rows.find_user(user_id) is None:
            raise UserNotFoundError
        return open_sessions(rows, user_id, now=now)


class InMemoryOneTimeTokenReader:
    """A :class:`~userservice_core.ports.one_time_tokens.OneTimeTokenReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        return self._store.read().one_time_tokens.get((user_id, digest))


class InMemoryFactorSecrets:
    """A :class:`~userservice_core.ports.mfa.FactorSecrets`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def list_sealed_otherwise(self, prefix: str, *, after: UserId | None, limit: int) -> tuple[UserId, ...]:
        factors = self._store.read().mfa_factors.values()
        due = (
            factor.user_id
            for factor in factors
            if not factor.sealed_secret.startswith(prefix) and (after is None or factor.user_id.int > after.int)
        )
        return tuple(sorted(due, key=lambda user_id: user_id.int)[:limit])


class InMemoryAnswerStore:
    """An :class:`~userservice_core.ports.idempotency.AnswerStore`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def find(self, call_id: CallId, *, now: datetime) -> str | None:
        kept = self._store.read().answers.get(call_id)
        return None if kept is None or kept.expires_at <= now else kept.answer

    def remove_expired(self, *, now: datetime, limit: int) -> int:
        with self._store.held():
            rows = self._store.read().copy()
            expired = [(kept.expires_at, key) for key, kept in rows.answers.items() if kept.expires_at <= now]
            oldest = sorted(expired, key=lambda pair: pair[0])[:limit]
            for _, key in oldest:
                del rows.answers[key]
            self._store.rows = rows
        return len(oldest)


class InMemoryProfileReader:
    """A :class:`~userservice_core.ports.profiles.ProfileReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def get(self, user_id: UserId) -> UserProfile:
        return profile_of(self._store.read(), user_id)


class InMemoryAddressReader:
    """A :class:`~userservice_core.ports.addresses.AddressReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def get(self, user_id: UserId, address_id: AddressId) -> Address:
        address = self._store.read().addresses.get((user_id, address_id))
        if address is None:
            raise AddressNotFoundError
        return address

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        return addresses_of(self._store.read(), user_id)


class InMemoryRoleReader:
    """A :class:`~userservice_core.ports.roles.RoleReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def role_map(self) -> RoleMap:
        rows = self._store.read()
        return RoleMap(rows.access_epoch, {role.id: role.permissions for role in rows.roles.values()})

    def find_by_name(self, name: str) -> Role | None:
        key = role_name_key(name)
        return next((role for role in self._store.read().roles.values() if role.name_key == key), None)

    def is_held(self, role_id: RoleId) -> bool:
        return any(
            role.id == role_id
            for user in self._store.read().users.values()
            if user.deleted_at is None
            for role in user.roles
        )

    def get(self, role_id: RoleId) -> Role:
        return get_role(self._store.read(), role_id)

    def list_roles(self) -> tuple[Role, ...]:
        return tuple(sorted(self._store.read().roles.values(), key=lambda role: role.name_key))

    def get_permission(self, permission_id: PermissionId) -> Permission:
        return get_permission(self._store.read(), permission_id)

    def list_permissions_of(self, role_id: RoleId) -> tuple[Permission, ...]:
        rows = self._store.read()
        return tuple(rows.permissions[name] for name in sorted(get_role(rows, role_id).permissions))

    def list_roles_granting(self, permission_id: PermissionId) -> tuple[Role, ...]:
        return roles_granting(self._store.read(), permission_id)

    def list_permissions(self) -> tuple[Permission, ...]:
        return tuple(permission for _, permission in sorted(self._store.read().permissions.items()))


class InMemoryParkedEventReader:
    """A :class:`~userservice_core.ports.publishing.ParkedEventReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def list_parked(self, *, after: int = 0, limit: int) -> tuple[ParkedEvent, ...]:
        events = (parked.event for parked in self._store.read().parked)
        wanted = [event for event in events if event.record.position > after]
        return tuple(sorted(wanted, key=lambda event: event.record.position)[:limit])


class InMemoryClientReader:
    """A :class:`~userservice_core.ports.clients.ClientReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def client_map(self) -> ClientMap:
        rows = self._store.read()
        usable = (client for client in rows.clients.values() if not client.is_disabled)
        return ClientMap(rows.access_epoch, {client.id: client.permissions for client in usable})

    def secret_map(self) -> ClientSecretMap:
        rows = self._store.read()
        usable = (client for client in rows.clients.values() if not client.is_disabled)
        return ClientSecretMap(rows.access_epoch, {client.id: client.secrets for client in usable if client.secrets})

    def find(self, client_id: ClientId) -> ServiceClient | None:
        return self._store.read().clients.get(client_id)

    def get(self, client_id: ClientId) -> ServiceClient:
        return get_client(self._store.read(), client_id)

    def list_clients(self) -> tuple[ServiceClient, ...]:
        return tuple(sorted(self._store.read().clients.values(), key=lambda client: client.id.int))


class InMemorySettingReader:
    """A :class:`~userservice_core.ports.settings.SettingReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def read(self) -> StoredSettings:
        return settings_of(self._store.read())

    def history(self, *, limit: int) -> tuple[SettingChange, ...]:
        changes = self._store.read().setting_changes
        return tuple(sorted(changes, key=lambda change: (-change.version, change.name))[:limit])


def settings_of(rows: Rows) -> StoredSettings:
    """Return what the changes of settings come to."""
    latest = {change.name: change.after for change in sorted(rows.setting_changes, key=lambda change: change.version)}
    return StoredSettings(
        version=max((change.version for change in rows.setting_changes), default=0),
        texts={name: text for name, text in latest.items() if text is not None},
    )


class InMemorySigningKeyReader:
    """A :class:`~userservice_core.ports.signing_keys.SigningKeyReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def list_keys(self) -> tuple[StoredSigningKey, ...]:
        return keys_in_order(self._store.read())


def keys_in_order(rows: Rows) -> tuple[StoredSigningKey, ...]:
    """Return the signing keys in the order in which they begin to sign."""
    return tuple(sorted(rows.signing_keys.values(), key=lambda key: (key.signs_from, key.created_at, key.id)))


class InMemoryRevocationLog:
    """A :class:`~userservice_core.ports.revocations.RevocationLog`."""

    def __init__(self, store: InMemoryStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def read_since(self, since: datetime | None) -> RevocationBatch:
        # The time first, so that what is written meanwhile is in the next batch at the latest.
        now = self._clock.now()
        written = tuple(
            row.revocation
            for row in self._store.read().revocations
            if (since is None or row.at >= since) and row.revocation.expires_at > now
        )
        return RevocationBatch(revocations=written, read_at=now)

    def is_revoked(
        self,
        *,
        user_id: UserId | None,
        session_id: SessionId | None,
        key_id: str,
        issued_at: datetime,
        client_id: ClientId | None = None,
    ) -> bool:
        refused = {(RevocationKind.KEY, key_id)}
        if session_id is not None:
            refused.add((RevocationKind.SESSION, str(session_id)))
        ended = {(RevocationKind.USER, str(user_id)), (RevocationKind.CLIENT, str(client_id))}
        return any(
            (revocation.kind, revocation.subject) in refused
            or ((revocation.kind, revocation.subject) in ended and issued_at < revocation.not_before)
            for revocation in (row.revocation for row in self._store.read().revocations)
        )


class InMemoryAuditReader:
    """A :class:`~userservice_core.ports.audit.AuditReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def list_page(self, wanted: AuditFilter, request: PageRequest) -> Page[AuditRecord]:
        rows = [record for record in self._store.read().audit if _is_wanted(record.entry, wanted)]
        return page_of(rows, request, position_of=lambda record: Position(key=record.entry.at, id=record.entry.id))


class InMemoryPersonalDataReader:
    """A :class:`~userservice_core.ports.personal_data.PersonalDataReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def read(self, user_id: UserId, *, max_entries: int) -> PersonalData:
        rows = self._store.read()
        user = rows.find_user(user_id)
        if user is None:
            raise UserNotFoundError
        subject, actor = Subject.user(user_id), Actor.user(user_id)
        log = sorted(rows.audit, key=lambda record: (record.entry.at, record.entry.id), reverse=True)
        done_to = [record for record in log if record.entry.subject == subject]
        done_by = [record for record in log if record.entry.actor == actor and record.entry.subject != subject]
        sessions = (session for session in rows.sessions.values() if session.user_id == user_id)
        tokens = (token for token in rows.one_time_tokens.values() if token.user_id == user_id)
        return PersonalData(
            sign_in=sign_in_of(rows, user),
            profile=profile_of(rows, user_id),
            addresses=addresses_of(rows, user_id),
            sessions=tuple(sorted(sessions, key=lambda session: session.id.int)),
            one_time_tokens=tuple(sorted(tokens, key=lambda token: (token.created_at, token.digest))),
            done_to=tuple(done_to[:max_entries]),
            done_by=tuple(done_by[:max_entries]),
            log_is_complete=max(len(done_to), len(done_by)) <= max_entries,
        )


class InMemoryUserDumpReader:
    """A :class:`~userservice_core.ports.user_dumps.UserDumpReader`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def read(self, *, after: UserId | None, limit: int) -> tuple[UserDump, ...]:
        rows = self._store.read()
        users = (user for user in map(rows.find_user, sorted(rows.users)) if user is not None)
        page = (user for user in users if user.deleted_at is None and (after is None or user.id > after))
        return tuple(
            UserDump(
                sign_in=sign_in_of(rows, user),
                profile=profile_of(rows, user.id),
                addresses=addresses_of(rows, user.id),
            )
            for user in itertools.islice(page, limit)
        )


def _is_wanted(entry: AuditEntry, wanted: AuditFilter) -> bool:
    subject_id = None if entry.subject is None else entry.subject.id
    return (
        wanted.actor_id in {None, entry.actor.id}
        and (wanted.actions is None or entry.action in wanted.actions)
        and wanted.subject_kind in {None, None if entry.subject is None else entry.subject.kind}
        and wanted.subject_id in {None, subject_id}
        and (wanted.own is None or entry.outcome is Outcome.SUCCEEDED or entry.actor.id in {None, subject_id})
        and wanted.outcome in {None, entry.outcome}
        and (wanted.after is None or entry.at >= wanted.after)
        and (wanted.before is None or entry.at < wanted.before)
    )


def find_user(rows: Rows, email_key: str) -> User | None:
    """Return who holds the address."""
    return rows.find_user(rows.user_by_email.get(email_key))


def open_sessions(rows: Rows, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
    """Return the user's sessions that can be used at *now*, most recently used first."""
    sessions = (each for each in rows.sessions.values() if each.user_id == user_id and each.is_open(now=now))
    return tuple(sorted(sessions, key=lambda session: (session.last_used_at, session.id.int), reverse=True))


def profile_of(rows: Rows, user_id: UserId) -> UserProfile:
    """Return the user's profile, an empty one where none was written."""
    if user_id not in rows.users:
        raise UserNotFoundError
    return rows.profiles.get(user_id) or UserProfile(user_id=user_id)


def addresses_of(rows: Rows, user_id: UserId) -> tuple[Address, ...]:
    """Return the user's addresses in the order of their ids."""
    found = (address for (owner, _), address in rows.addresses.items() if owner == user_id)
    return tuple(sorted(found, key=lambda address: address.id))


def get_role(rows: Rows, role_id: RoleId) -> Role:
    """Return a role, or raise RoleNotFoundError."""
    role = rows.roles.get(role_id)
    if role is None:
        raise RoleNotFoundError
    return role


def get_client(rows: Rows, client_id: ClientId) -> ServiceClient:
    """Return a client, or raise ClientNotFoundError."""
    client = rows.clients.get(client_id)
    if client is None:
        raise ClientNotFoundError
    return client


def roles_granting(rows: Rows, permission_id: PermissionId) -> tuple[Role, ...]:
    """Return the roles that grant a permission."""
    permission = rows.find_permission(permission_id)
    granting = (role for role in rows.roles.values() if permission is not None and permission.name in role.permissions)
    return tuple(sorted(granting, key=lambda role: role.name_key))


def get_permission(rows: Rows, permission_id: PermissionId) -> Permission:
    """Return a permission, or raise PermissionNotFoundError."""
    permission = rows.find_permission(permission_id)
    if permission is None:
        raise PermissionNotFoundError
    return permission


def sign_in_of(rows: Rows, user: User) -> SignIn:
    """Return all that deciding about a sign-in needs."""
    state = rows.login_states.get(user.id) or LoginState(user_id=user.id)
    return SignIn(user=user, credential=rows.credentials.get(user.id), state=state)


def _overview_of(rows: Rows, user: User) -> UserOverview:
    return UserOverview(user, rows.login_states.get(user.id) or LoginState(user_id=user.id))


def _position_of(overview: UserOverview, sorted_by: str) -> Position:
    keys: dict[str, SortKey] = {
        "createdAt": overview.user.created_at,
        "email": overview.user.email.key,
        "lastLoginAt": overview.state.last_login_at,
    }
    return Position(key=keys[sorted_by], id=overview.user.id)


def _is_wanted_user(user: User, wanted: UserFilter) -> bool:
    role_key = None if wanted.role_name is None else role_name_key(wanted.role_name)
    return (
        (not wanted.email_parts or any(part in user.email.key for part in wanted.email_parts))
        and wanted.email_key in {None, user.email.key}
        and wanted.status in {None, user.status}
        and (wanted.role_id is None or wanted.role_id in {role.id for role in user.roles})
        and (role_key is None or role_key in {role_name_key(role.name) for role in user.roles})
        and (wanted.created_from is None or user.created_at >= wanted.created_from)
        and (wanted.created_before is None or user.created_at < wanted.created_before)
        and wanted.deleted in {None, user.deleted_at is not None}
        and (wanted.ids is None or user.id in wanted.ids)
    )


def _can_rotate(found: SessionOfUser, rotation: Rotation) -> bool:
    session = found.session
    is_current = (session.generation, session.current_hash) == (rotation.generation, rotation.secret_hash)
    return is_current and session.is_open(now=rotation.now) and found.user.is_live
