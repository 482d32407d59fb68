"""All rows in one object, replaced as a whole at each commit, so that a transaction is all or nothing."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import attrs

from userservice_core.domain.addresses import Address
from userservice_core.domain.clients import ServiceClient
from userservice_core.domain.credentials import Credential, LoginState
from userservice_core.domain.events import SequencedBy
from userservice_core.domain.ids import AddressId, ClientId, PermissionId, RoleId, SessionId, UserId
from userservice_core.domain.mfa import MfaFactor, RecoveryCode
from userservice_core.domain.one_time_tokens import OneTimeToken
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.revocations import Revocation
from userservice_core.domain.roles import SYSTEM_PERMISSIONS, SYSTEM_ROLES, AssignedRole, Permission, Role
from userservice_core.domain.sessions import Session
from userservice_core.domain.settings import SettingChange
from userservice_core.domain.signing_keys import StoredSigningKey
from userservice_core.domain.users import User
from userservice_core.errors import DeadlineExceededError, ProgrammingError
from userservice_core.ports.audit import AuditRecord
from userservice_core.ports.consuming import KeyState
from userservice_core.ports.context import current_call
from userservice_core.ports.idempotency import CallId
from userservice_core.ports.publishing import LANES, OutboxRecord, ParkedEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEVER: Final = float("-inf")

_COUNTED: Final[tuple[tuple[SequencedBy, UUID], ...]] = (
    *((SequencedBy.ROLE, role.id) for role in SYSTEM_ROLES),
    *((SequencedBy.PERMISSION, permission.id) for permission in SYSTEM_PERMISSIONS),
)
"""What is there from the start and has events of its own."""


@attrs.frozen
class WrittenRevocation:
    """A revocation and when its transaction committed."""

    revocation: Revocation
    at: datetime


@attrs.frozen
class WaitingRecord:
    """A record of the outbox, and since when it waits, by the store's monotonic clock."""

    record: OutboxRecord
    since: float


@attrs.frozen
class ParkedRecord:
    """A record that was set aside, and since when it would have waited in the outbox."""

    event: ParkedEvent
    since: float


@attrs.frozen
class KeptAnswer:
    """What a call was answered with, and until when that counts."""

    answer: str
    expires_at: datetime


@attrs.define
class LaneRow:
    """
    Who relays a lane, and until when.

    Attributes:
        relay_id: Of the last holder, None after a release.
        run: The object that stands for this run of the relay.
        expires_at: By the store's monotonic clock.
    """

    fence: int = 0
    relay_id: str | None = None
    run: object = None
    expires_at: float = NEVER


@attrs.define
class Rows:
    """What is stored; whoever changes it works on a copy."""

    users: dict[UserId, User] = attrs.field(factory=dict)
    user_by_email: dict[str, UserId] = attrs.field(factory=dict)
    credentials: dict[UserId, Credential] = attrs.field(factory=dict)
    login_states: dict[UserId, LoginState] = attrs.field(factory=dict)
    sessions: dict[tuple[UserId, SessionId], Session] = attrs.field(factory=dict)
    one_time_tokens: dict[tuple[UserId, bytes], OneTimeToken] = attrs.field(factory=dict)
    mfa_factors: dict[UserId, MfaFactor] = attrs.field(factory=dict)
    recovery_codes: dict[tuple[UserId, bytes], RecoveryCode] = attrs.field(factory=dict)
    profiles: dict[UserId, UserProfile] = attrs.field(factory=dict)
    addresses: dict[tuple[UserId, AddressId], Address] = attrs.field(factory=dict)
    roles: dict[RoleId, Role] = attrs.field(factory=lambda: {role.id: role for role in SYSTEM_ROLES})
    permissions: dict[str, Permission] = attrs.field(
        factory=lambda: {permission.name: permission for permission in SYSTEM_PERMISSIONS}
    )
    clients: dict[ClientId, ServiceClient] = attrs.field(factory=dict)
    signing_keys: dict[str, StoredSigningKey] = attrs.field(factory=dict)
    setting_changes: list[SettingChange] = attrs.field(factory=list)
    access_epoch: int = 1
    revocations: list[WrittenRevocation] = attrs.field(factory=list)
    audit: list[AuditRecord] = attrs.field(factory=list)
    event_versions: dict[tuple[SequencedBy, UUID], int] = attrs.field(factory=lambda: dict.fromkeys(_COUNTED, 0))
    outbox: list[WaitingRecord] = attrs.field(factory=list)
    parked: list[ParkedRecord] = attrs.field(factory=list)
    answers: dict[CallId, KeptAnswer] = attrs.field(factory=dict)
    inbox_states: dict[tuple[str, str, str], KeyState] = attrs.field(factory=dict)
    inbox_seen: dict[tuple[str, str, str], float] = attrs.field(factory=dict)
    last_position: int = 0

    def copy(self) -> Rows:
        """Return rows that can be changed without changing these; what they hold is frozen."""
        return Rows(
            users=self.users.copy(),
            user_by_email=self.user_by_email.copy(),
            credentials=self.credentials.copy(),
            login_states=self.login_states.copy(),
            sessions=self.sessions.copy(),
            one_time_tokens=self.one_time_tokens.copy(),
            mfa_factors=self.mfa_factors.copy(),
            recovery_codes=self.recovery_codes.copy(),
            profiles=self.profiles.copy(),
            addresses=self.addresses.copy(),
            roles=self.roles.copy(),
            permissions=self.permissions.copy(),
            clients=self.clients.copy(),
            signing_keys=self.signing_keys.copy(),
            setting_changes=self.setting_changes.copy(),
            access_epoch=self.access_epoch,
            revocations=self.revocations.copy(),
            audit=self.audit.copy(),
            event_versions=self.event_versions.copy(),
            outbox=self.outbox.copy(),
            parked=self.parked.copy(),
            answers=self.answers.copy(),
            inbox_states=self.inbox_states.copy(),
            inbox_seen=self.inbox_seen.copy(),
            last_position=self.last_position,
        )

    def find_user(self, user_id: UserId | None) -> User | None:
        """Return a user, with their roles under the names that they have now, in the order of the names."""
        user = None if user_id is None else self.users.get(user_id)
        if user is None:
            return None
        held = (AssignedRole(role.id, self.roles[role.id].name) for role in user.roles)
        return attrs.evolve(user, roles=tuple(sorted(held, key=lambda role: role.name)))

    def find_permission(self, permission_id: PermissionId) -> Permission | None:
        """Return a permission."""
        return next((each for each in self.permissions.values() if each.id == permission_id), None)

    def is_held(self, role_id: RoleId) -> bool:
        """Tell whether any user, deleted ones included, holds a role."""
        return any(role.id == role_id for user in self.users.values() for role in user.roles)

    def remove_mfa(self, user_id: UserId) -> None:
        """Delete a user's second factor and recovery codes."""
        self.mfa_factors.pop(user_id, None)
        self.recovery_codes = {key: value for key, value in self.recovery_codes.items() if key[0] != user_id}

    def remove_user(self, user_id: UserId) -> None:
        """Erase a user and everything under their id."""
        user = self.users.pop(user_id, None)
        if user is not None:
            del self.user_by_email[user.email.key]
        self.credentials.pop(user_id, None)
        self.login_states.pop(user_id, None)
        self.profiles.pop(user_id, None)
        self.remove_mfa(user_id)
        self.addresses = {key: value for key, value in self.addresses.items() if key[0] != user_id}
        self.sessions = {key: value for key, value in self.sessions.items() if key[0] != user_id}
        self.one_time_tokens = {key: value for key, value in self.one_time_tokens.items() if key[0] != user_id}
        self.answers = {key: value for key, value in self.answers.items() if key.owner_id != user_id}
        for kind in SequencedBy:
            self.event_versions.pop((kind, user_id), None)


@attrs.define
class OwnRows:
    """What is stored as one call sees it that has changed them and not yet committed."""

    rows: Rows


class InMemoryStore:
    """
    The rows that all in-memory implementations of one service share.

    Attributes:
        rows: What is committed; to be replaced as a whole, by whoever holds the store.
        lanes: Who relays what, to be changed by whoever holds the store.
        relays_seen_at: When each relay last asked for lanes.
        calls_at_work: What is claimed by whoever holds the store.
        monotonic: The clock of leases and waiting times, in seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.rows = Rows()
        self.lanes = tuple(LaneRow() for _ in range(LANES))
        self.relays_seen_at: dict[str, float] = {}
        self.calls_at_work: set[CallId] = set()
        self.monotonic = monotonic
        self._lock = threading.RLock()
        self._own: ContextVar[OwnRows | None] = ContextVar("userservice_own_rows", default=None)

    def read(self) -> Rows:
        """
        Return what is committed; nobody changes it any more.

        Raises:
            DeadlineExceededError: If the call's deadline passed.
        """
        current_call().remaining_seconds()
        own = self._own.get()
        return self.rows if own is None else own.rows

    @contextmanager
    def showing(self, own: OwnRows) -> Iterator[None]:
        """Let this thread read *own* within the block, whatever they are at the time."""
        token = self._own.set(own)
        try:
            yield
        finally:
            self._own.reset(token)

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Hold the store within the block, so that there is one transaction at a time.

        Raises:
            DeadlineExceededError: If it was not had within the call's deadline.
            ProgrammingError: If the call has a transaction still open, which what is done now would not be part of.
        """
        if self._own.get() is not None:
            raise ProgrammingError("Nothing is changed beside a transaction that the call has still open.")
        left_seconds = current_call().remaining_seconds()
        if not self._lock.acquire(timeout=-1 if left_seconds is None else left_seconds):
            raise DeadlineExceededError
        try:
            yield
        finally:
            self._lock.release()
