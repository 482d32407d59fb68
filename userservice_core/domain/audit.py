"""Who did what to whom, and whether it was done: the log of administrative and security actions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final, Self
from uuid import UUID

import attrs

from userservice_core.domain.ids import AuditEntryId, PermissionId, RoleId, UserId
from userservice_core.errors import ProgrammingError


class ActorKind(enum.StrEnum):
    """What kind of somebody acts."""

    USER = "user"
    CLIENT = "client"
    SYSTEM = "system"
    """The service itself: a job, or a command that an operator runs."""
    ANONYMOUS = "anonymous"


@attrs.frozen
class Actor:
    """
    Who acts.

    Attributes:
        id: Of the user or the client; None for the others.
    """

    kind: ActorKind
    id: UUID | None = None

    @classmethod
    def user(cls, user_id: UserId) -> Self:
        """Return the user."""
        return cls(ActorKind.USER, user_id)

    @classmethod
    def client(cls, client_id: UUID) -> Self:
        """Return the service client."""
        return cls(ActorKind.CLIENT, client_id)


SYSTEM: Final = Actor(ActorKind.SYSTEM)
ANONYMOUS: Final = Actor(ActorKind.ANONYMOUS)


class SubjectKind(enum.StrEnum):
    """What kind of thing an action is about."""

    USER = "user"
    ROLE = "role"
    PERMISSION = "permission"
    CLIENT = "client"
    SETTINGS = "settings"


@attrs.frozen
class Subject:
    """What an action is about; what belongs to a user, such as a session, is filed under the user."""

    kind: SubjectKind
    id: UUID

    @classmethod
    def user(cls, user_id: UserId) -> Self:
        """Return the user."""
        return cls(SubjectKind.USER, user_id)

    @classmethod
    def role(cls, role_id: RoleId) -> Self:
        """Return the role."""
        return cls(SubjectKind.ROLE, role_id)

    @classmethod
    def permission(cls, permission_id: PermissionId) -> Self:
        """Return the permission."""
        return cls(SubjectKind.PERMISSION, permission_id)

    @classmethod
    def client(cls, client_id: UUID) -> Self:
        """Return the service client."""
        return cls(SubjectKind.CLIENT, client_id)


SETTINGS: Final = Subject(SubjectKind.SETTINGS, UUID("01900000-0000-7000-8000-030000000001"))
"""The settings that the database holds, all together."""


class Outcome(enum.StrEnum):
    """Whether an action was done."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"


class AuditAction(enum.StrEnum):
    """What is done. The names are stable: others search for them."""

    ACCESS_DENIED = "access.denied"
    """An administrative route that changes nothing was called by somebody who may not; always refused."""
    ROLE_CREATED = "role.created"
    ROLE_UPDATED = "role.updated"
    ROLE_DELETED = "role.deleted"
    ROLE_PERMISSIONS_ASSIGNED = "role.permissions_assigned"
    ROLE_PERMISSIONS_REMOVED = "role.permissions_removed"
    PERMISSION_CREATED = "permission.created"
    PERMISSION_UPDATED = "permission.updated"
    PERMISSION_DELETED = "permission.deleted"
    CLIENT_CREATED = "client.created"
    CLIENT_UPDATED = "client.updated"
    CLIENT_DELETED = "client.deleted"
    CLIENT_SECRET_ADDED = "client.secret_added"  # noqa: S105 - a name, no secret
    CLIENT_SECRET_REMOVED = "client.secret_removed"  # noqa: S105 - as above
    SIGNING_KEY_ADDED = "signing_key.added"
    SIGNING_KEY_PROMOTED = "signing_key.promoted"
    SIGNING_KEY_REVOKED = "signing_key.revoked"
    SETTINGS_CHANGED = "settings.changed"
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_STATUS_CHANGED = "user.status_changed"
    USER_UNLOCKED = "user.unlocked"
    USER_INVITED = "user.invited"
    USER_DELETED = "user.deleted"
    USER_RESTORED = "user.restored"
    USER_ERASED = "user.erased"
    USER_PROFILE_UPDATED = "user.profile_updated"
    """By somebody else than the user."""
    USER_EMAIL_CHANGE_REQUESTED = "user.email_change_requested"
    USER_EMAIL_CHANGED = "user.email_changed"
    USER_EMAIL_CHANGE_UNDONE = "user.email_change_undone"
    USER_REGISTERED = "user.registered"
    USER_EMAIL_VERIFICATION_REQUESTED = "user.email_verification_requested"
    USER_EMAIL_VERIFIED = "user.email_verified"
    USER_PASSWORD_RESET_REQUESTED = "user.password_reset_requested"  # noqa: S105 - a name, no password
    USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105 - as above
    USER_ROLES_ASSIGNED = "user.roles_assigned"
    USER_ROLES_REMOVED = "user.roles_removed"
    USER_EXPORTED = "user.exported"
    USER_IMPORTED = "user.imported"
    """Taken over from another system, by a command that an operator ran."""
    USERS_EXPORTED = "users.exported"
    """All of them, by a command that an operator ran."""
    EVENT_RETRIED = "event.retried"
    """One that could not be published is tried again."""
    EVENT_DROPPED = "event.dropped"
    """One that could not be published is given up."""
    LOGGED_IN = "auth.logged_in"
    LOGGED_OUT = "auth.logged_out"
    REAUTHENTICATED = "auth.reauthenticated"
    MFA_CHALLENGED = "auth.mfa_challenged"
    """The right password was given, and the second factor was asked for."""
    MFA_ENABLED = "auth.mfa_enabled"
    MFA_DISABLED = "auth.mfa_disabled"
    MFA_RECOVERY_CODES_REPLACED = "auth.mfa_recovery_codes_replaced"
    MFA_RECOVERY_CODE_USED = "auth.mfa_recovery_code_used"
    MFA_RESET = "user.mfa_reset"
    SESSION_REVOKED = "auth.session_revoked"
    REFRESH_REUSED = "auth.refresh_reused"
    ACCOUNT_LOCKED = "auth.locked"


SECRET_NAMES: Final = ("password", "secret", "token", "hash")
"""Parts of names, in small letters, whose values are never written."""


def _plain(values: Mapping[str, object]) -> dict[str, Any]:
    for name in values:
        if any(part in name.lower() for part in SECRET_NAMES):
            raise ProgrammingError(f"The value of {name} does not belong into the audit log; name it as changed.")
    return {name: _json(value) for name, value in values.items()}


def _json(value: object) -> Any:  # noqa: ANN401, PLR0911 - JSON has no narrower type; one answer a kind
    match value:
        case enum.Enum():
            return _json(value.value)
        case UUID():
            return str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case Mapping():
            return {name: _json(item) for name, item in value.items()}
        case frozenset() | set():
            return sorted(_json(item) for item in value)
        case list() | tuple():
            return [_json(item) for item in value]
        case None | str() | bool() | int() | float():
            return value
        case _:
            raise TypeError(f"The audit log cannot hold a {type(value).__name__}")


def _names_that_differ(entry: AuditEntry) -> tuple[str, ...]:
    names = entry.before.keys() | entry.after.keys()
    return tuple(sorted(name for name in names if entry.before.get(name) != entry.after.get(name)))


@attrs.frozen(kw_only=True)
class AuditEntry:
    """
    One action.

    Attributes:
        id: UUIDv7.
        at: When it was done.
        action: An :class:`AuditAction`; read from the log, one of another version may be a name that this one lacks.
        subject: What it is about; None where that does not exist, such as the account of a mistyped address.
        reason: Code of the error that refused it; None for what succeeded.
        before: Values as they were, by their names on the wire; erased together with the subject.
        after: Values as they are now; for what changes nothing, its circumstances.
        changed: Names of what changed, those of secrets too, whose values are written nowhere. If not given, the names
            whose values differ.
    """

    id: AuditEntryId
    at: datetime
    action: str
    actor: Actor
    subject: Subject | None
    outcome: Outcome = Outcome.SUCCEEDED
    reason: str | None = None
    before: Mapping[str, Any] = attrs.field(factory=dict, converter=_plain)
    after: Mapping[str, Any] = attrs.field(factory=dict, converter=_plain)
    changed: tuple[str, ...] = attrs.Factory(_names_that_differ, takes_self=True)
