"""All rows in one object, replaced as a whole at each commit, so that a transaction is all or nothing."""

from __future__ import annotations

import threading
from datetime import datetime
from uuid import UUID

import attrs

from userservice_core.domain.credentials import Credential, LoginState
from userservice_core.domain.events import SequencedBy
from userservice_core.domain.ids import RoleId, SessionId, UserId
from userservice_core.domain.one_time_tokens import OneTimeToken
from userservice_core.domain.revocations import Revocation
from userservice_core.domain.roles import SYSTEM_PERMISSIONS, SYSTEM_ROLES, Permission, Role
from userservice_core.domain.sessions import Session
from userservice_core.domain.users import User
from userservice_core.ports.publishing import OutboxRecord


@attrs.frozen
class WrittenRevocation:
    """A revocation and when its transaction committed."""

    revocation: Revocation
    at: datetime


@attrs.define
class Rows:
    """What is stored; whoever changes it works on a copy."""

    users: dict[UserId, User] = attrs.field(factory=dict)
    user_by_email: dict[str, UserId] = attrs.field(factory=dict)
    credentials: dict[UserId, Credential] = attrs.field(factory=dict)
    login_states: dict[UserId, LoginState] = attrs.field(factory=dict)
    sessions: dict[tuple[UserId, SessionId], Session] = attrs.field(factory=dict)
    one_time_tokens: dict[tuple[UserId, bytes], OneTimeToken] = attrs.field(factory=dict)
    roles: dict[RoleId, Role] = attrs.field(factory=lambda: {role.id: role for role in SYSTEM_ROLES})
    permissions: dict[str, Permission] = attrs.field(
        factory=lambda: {permission.name: permission for permission in SYSTEM_PERMISSIONS}
    )
    access_epoch: int = 1
    revocations: list[WrittenRevocation] = attrs.field(factory=list)
    event_versions: dict[tuple[SequencedBy, UUID], int] = attrs.field(factory=dict)
    outbox: list[OutboxRecord] = attrs.field(factory=list)
    parked: list[tuple[OutboxRecord, str]] = attrs.field(factory=list)
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
            roles=self.roles.copy(),
            permissions=self.permissions.copy(),
            access_epoch=self.access_epoch,
            revocations=self.revocations.copy(),
            event_versions=self.event_versions.copy(),
            outbox=self.outbox.copy(),
            parked=self.parked.copy(),
            last_position=self.last_position,
        )

    def remove_user(self, user_id: UserId) -> None:
        """Erase a user and everything under their id."""
        user = self.users.pop(user_id, None)
        if user is not None:
            del self.user_by_email[user.email.key]
        self.credentials.pop(user_id, None)
        self.login_states.pop(user_id, None)
        self.sessions = {key: value for key, value in self.sessions.items() if key[0] != user_id}
        self.one_time_tokens = {key: value for key, value in self.one_time_tokens.items() if key[0] != user_id}
        for kind in SequencedBy:
            self.event_versions.pop((kind, user_id), None)


class InMemoryStore:
    """
    The rows that all in-memory implementations of one service share.

    Attributes:
        lock: Held for as long as a transaction runs, so that there is one at a time.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.rows = Rows()
