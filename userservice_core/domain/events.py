"""
What happened, in the past tense; each class is one event type of the contract.

An event's members are the JSON members of its data (snake_case here, camelCase on the wire). No event holds a
password, a token or a secret, and an address that may belong to no account appears only as an HMAC.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.domain.ids import AddressId, EventId, PermissionId, RoleId, SessionId, UserId

if TYPE_CHECKING:
    from collections.abc import Mapping

PERSONAL: Final = "personal"
"""Under this name the metadata of a member say what consumers need it for, where it tells something of a person."""


def personal(why: str) -> Mapping[str, str]:
    """
    Return the metadata of a member that tells something of a person.

    Args:
        why: What consumers need it for.
    """
    if not why.strip():
        raise ValueError("Say what for.")
    return {PERSONAL: why}


_ADDRESS: Final = personal("consumers that write to customers learn the address nowhere else")
PERSONAL_EVERYWHERE: Final[Mapping[str, str]] = {
    "user_id": "consumers file the event under whom it is about",
    "ip": "detection of sign-ins that the owner did not make looks for places",
    "user_agent": "detection of sign-ins that the owner did not make looks for devices",
}
"""Members that mean the same in every event, and what consumers need them for."""


class Topic(enum.StrEnum):
    """Where events go; the settings put a prefix in front (`userservice.` by default)."""

    USERS = "users"
    AUTH = "auth"
    ACCESS = "access"
    NOTIFICATIONS = "notifications"
    PRIVACY = "privacy"


class ReceivedTopic(enum.StrEnum):
    """
    Where the service takes events of others from; the settings put the same prefix in front.

    One for each kind of sender, so that the broker can hold each to its own.
    """

    BOUNCES = "bounces"
    ERASURE_REQUESTS = "erasure-requests"


class SequencedBy(enum.Enum):
    """
    The row whose event counter numbers the events of a key, without gaps, from 1.

    A transaction raises the counter on that row before anything else, so that the row's lock orders the events of
    the key.
    """

    USER = "user"
    LOGIN_STATE = "login_state"
    ROLE = "role"
    PERMISSION = "permission"
    NOTHING = "nothing"


@attrs.frozen(kw_only=True)
class Event:
    """
    What all events have; subclasses add the data.

    Attributes:
        id: UUIDv7, the event's identity for consumers.
        occurred_at: When it happened.
    """

    type: ClassVar[str]
    schema_version: ClassVar[int] = 1
    topic: ClassVar[Topic | ReceivedTopic]
    sequenced_by: ClassVar[SequencedBy] = SequencedBy.NOTHING

    id: EventId
    occurred_at: datetime

    @property
    def key(self) -> str:
        """The partition key: events of one key keep their order."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """The aggregate the event is about."""
        return self.key


@attrs.frozen(kw_only=True)
class UserEvent(Event):
    """An event of one user, numbered by the user's row."""

    topic = Topic.USERS
    sequenced_by = SequencedBy.USER

    user_id: UserId

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.user_id)


@attrs.frozen(kw_only=True)
class UserRegistered(UserEvent):
    """
    There is a new account: somebody registered, was invited, or was taken over from another system.

    Attributes:
        status: `pending_verification` until the address is confirmed; one that was taken over may have any.
    """

    type = "user.registered"

    email: str = attrs.field(metadata=_ADDRESS)
    status: str
    roles: tuple[str, ...]


@attrs.frozen(kw_only=True)
class UserEmailVerified(UserEvent):
    """The owner of the address confirmed it."""

    type = "user.email_verified"

    email: str = attrs.field(metadata=_ADDRESS)


class EmailChange(enum.StrEnum):
    """How an account came by another address."""

    CONFIRMED = "confirmed"
    UNDONE = "undone"


@attrs.frozen(kw_only=True)
class UserEmailChanged(UserEvent):
    """
    The account has another address.

    Attributes:
        email: The address now, as its owner wrote it.
        method: `confirmed` by a link that was mailed to it, or `undone`: it is the one from before a change.
    """

    type = "user.email_changed"

    email: str = attrs.field(metadata=_ADDRESS)
    method: str


@attrs.frozen(kw_only=True)
class UserPasswordResetRequested(UserEvent):
    """Somebody asked for a link to choose a new password; it was mailed to the owner."""

    type = "user.password_reset_requested"


class PasswordChange(enum.StrEnum):
    """How the owner showed who they are when they chose a new password."""

    RESET = "reset"
    CHANGE = "change"
    FIRST_SIGN_IN = "first-sign-in"
    INVITATION = "invitation"


@attrs.frozen(kw_only=True)
class UserPasswordChanged(UserEvent):
    """
    The owner chose a new password, and every session but the one they did so in was ended.

    Attributes:
        method: How they showed who they are: `reset` by a mailed link, `change` by the current password, and
            `first-sign-in` by a password that was issued.
    """

    type = "user.password_changed"

    method: str


@attrs.frozen(kw_only=True)
class UserStatusChanged(UserEvent):
    """
    An account has another status.

    Attributes:
        previous_status: Until now.
        status: From now on.
        by: `owner` or `administrator`.
        reason: What the administrator gave as the reason, None where nothing was given.
    """

    type = "user.status_changed"

    previous_status: str
    status: str
    by: str
    reason: str | None = attrs.field(metadata=personal("whoever tells the owner why has to know it"))


@attrs.frozen(kw_only=True)
class UserDeleted(UserEvent):
    """
    An account was deleted. It can be restored for a while, unless it was erased.

    An account that was deleted before is erased by a second event. After one with `erased` there is none of this user
    any more, and whatever others keep of them has to go as well.

    Attributes:
        erased: Whether all personal data are gone for good.
        by: `owner` or `administrator`; `retention` where the time was up in which it could be restored, or in which
            the address had to be confirmed; `privacy-request` where an event asked for it.
    """

    type = "user.deleted"

    erased: bool
    by: str


@attrs.frozen(kw_only=True)
class UserRestored(UserEvent):
    """
    A deleted account is back, without sessions.

    Attributes:
        status: Which it had before.
        by: `owner` or `administrator`.
    """

    type = "user.restored"

    status: str
    by: str


@attrs.frozen(kw_only=True)
class UserUpdated(UserEvent):
    """
    Something about the user is different that has no event of its own; what it is now has to be asked for.

    Attributes:
        version: That the user has now.
        changed_members: Their names.
    """

    type = "user.updated"

    version: int
    changed_members: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ProfileUpdated(UserEvent):
    """
    A user's profile was changed.

    Attributes:
        version: Of the profile, after the change.
        changed_members: Names of the members that have another value now, as the HTTP interface calls them.
        display_name: What to call the user: the display name, or else first and last name; None where there is neither.
    """

    type = "profile.updated"

    version: int
    changed_members: tuple[str, ...]
    display_name: str | None = attrs.field(
        default=None, metadata=personal("services that show the name beside what is theirs keep a copy of it")
    )


@attrs.frozen(kw_only=True)
class AddressAdded(UserEvent):
    """A user has a new address."""

    type = "address.added"

    address_id: AddressId
    country_code: str = attrs.field(metadata=personal("taxes and delivery depend on it; the rest stays here"))


@attrs.frozen(kw_only=True)
class AddressUpdated(UserEvent):
    """
    A user's address was changed otherwise than by gaining or losing a default.

    Attributes:
        version: Of the address, after the change.
        changed_members: Names of the members that have another value now, as the HTTP interface calls them.
    """

    type = "address.updated"

    address_id: AddressId
    version: int
    changed_members: tuple[str, ...]


@attrs.frozen(kw_only=True)
class AddressDeleted(UserEvent):
    """A user's address is gone."""

    type = "address.deleted"

    address_id: AddressId


@attrs.frozen(kw_only=True)
class AddressDefaultChanged(UserEvent):
    """
    Another address than before, or none, is a user's default.

    Attributes:
        kind: Of the default.
        address_id: The default now, None where there is none any more.
        previous_address_id: The default until now, None where there was none.
    """

    type = "address.default_changed"

    kind: DefaultKind
    address_id: AddressId | None
    previous_address_id: AddressId | None


@attrs.frozen(kw_only=True)
class UserRoleAssigned(UserEvent):
    """The user was given a role."""

    type = "user.role_assigned"

    role_id: RoleId
    role: str


@attrs.frozen(kw_only=True)
class UserRoleRemoved(UserEvent):
    """A role was taken from the user."""

    type = "user.role_removed"

    role_id: RoleId
    role: str


@attrs.frozen(kw_only=True)
class RoleEvent(Event):
    """An event of one role, numbered by the role's row."""

    topic = Topic.ACCESS
    sequenced_by = SequencedBy.ROLE

    role_id: RoleId

    @property
    def key(self) -> str:
        """The role's id."""
        return str(self.role_id)


@attrs.frozen(kw_only=True)
class RoleCreated(RoleEvent):
    """There is a new role, which grants nothing yet."""

    type = "role.created"

    name: str
    description: str | None


@attrs.frozen(kw_only=True)
class RoleUpdated(RoleEvent):
    """A role has another name or description."""

    type = "role.updated"

    name: str
    description: str | None


@attrs.frozen(kw_only=True)
class RoleDeleted(RoleEvent):
    """A role is gone; nobody holds it any more."""

    type = "role.deleted"

    name: str


@attrs.frozen(kw_only=True)
class RolePermissionAssigned(RoleEvent):
    """The role grants this permission from now on."""

    type = "role.permission_assigned"

    permission_id: PermissionId
    permission: str


@attrs.frozen(kw_only=True)
class RolePermissionRemoved(RoleEvent):
    """The role does not grant this permission any more."""

    type = "role.permission_removed"

    permission_id: PermissionId
    permission: str


@attrs.frozen(kw_only=True)
class PermissionEvent(Event):
    """An event of one permission, numbered by the permission's row."""

    topic = Topic.ACCESS
    sequenced_by = SequencedBy.PERMISSION

    permission_id: PermissionId

    @property
    def key(self) -> str:
        """The permission's id."""
        return str(self.permission_id)


@attrs.frozen(kw_only=True)
class PermissionCreated(PermissionEvent):
    """There is a new permission, which no role grants yet."""

    type = "permission.created"

    name: str
    description: str | None
    group_name: str | None


@attrs.frozen(kw_only=True)
class PermissionUpdated(PermissionEvent):
    """A permission has another name, description or group; whoever held it holds it under its new name."""

    type = "permission.updated"

    name: str
    description: str | None
    group_name: str | None


@attrs.frozen(kw_only=True)
class PermissionDeleted(PermissionEvent):
    """A permission is gone; no role grants it any more."""

    type = "permission.deleted"

    name: str


@attrs.frozen(kw_only=True)
class SignInEvent(Event):
    """An event of a known user's sign-ins, numbered by the LoginState row."""

    topic = Topic.AUTH
    sequenced_by = SequencedBy.LOGIN_STATE

    user_id: UserId

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.user_id)


@attrs.frozen(kw_only=True)
class LoggedIn(SignInEvent):
    """A user signed in."""

    type = "auth.logged_in"

    session_id: SessionId
    amr: tuple[str, ...]
    ip: str | None
    user_agent: str | None


@attrs.frozen(kw_only=True)
class LoginFailed(SignInEvent):
    """Somebody tried to sign in to an account and was refused."""

    type = "auth.login_failed"

    reason: str
    ip: str | None
    user_agent: str | None


@attrs.frozen(kw_only=True)
class AccountLocked(SignInEvent):
    """Too many passwords in a row were wrong: from now on only a known device or a new password gets in."""

    type = "auth.locked"

    failed_attempts: int
    ip: str | None
    user_agent: str | None


@attrs.frozen(kw_only=True)
class UnknownLoginFailed(Event):
    """Somebody tried an address that has no account; the same type on the wire, keyed by the address's HMAC."""

    type = "auth.login_failed"
    topic = Topic.AUTH

    email_hmac: str = attrs.field(metadata=personal("tells attempts on one address apart without saying which"))
    reason: str
    ip: str | None
    user_agent: str | None

    @property
    def key(self) -> str:
        """The HMAC of the address tried."""
        return self.email_hmac


@attrs.frozen(kw_only=True)
class LoggedOut(SignInEvent):
    """A user ended one session, or all of them."""

    type = "auth.logged_out"

    session_ids: tuple[SessionId, ...]


@attrs.frozen(kw_only=True)
class RefreshReused(SignInEvent):
    """A superseded refresh token was presented after its grace window: the session was ended."""

    type = "auth.refresh_reused"

    session_id: SessionId
    ip: str | None
    user_agent: str | None


@attrs.frozen(kw_only=True)
class SessionRevoked(SignInEvent):
    """A session was ended other than by signing out: by its user or an administrator from elsewhere, or by a rule."""

    type = "auth.session_revoked"

    session_id: SessionId
    reason: str


class MfaChange(enum.StrEnum):
    """What became of a user's second factor."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    RESET = "reset"
    RECOVERY_CODES_REPLACED = "recovery-codes-replaced"
    RECOVERY_CODE_USED = "recovery-code-used"


@attrs.frozen(kw_only=True)
class MfaChanged(SignInEvent):
    """
    Something about a user's second factor is different.

    Attributes:
        change: `enabled` or `disabled` by its owner, `reset` by an administrator; `recovery-codes-replaced`; or
            `recovery-code-used`, in the place of the authenticator, at a sign-in.
    """

    type = "auth.mfa_changed"

    change: str


class NotificationKind(enum.StrEnum):
    """Which mail is to be sent."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a name, and no password
    INVITE = "invite"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a name, and no password
    REFRESH_REUSED = "refresh_reused"
    NEW_DEVICE = "new_device"
    ACCOUNT_LOCKED = "account_locked"
    CHANGE_EMAIL = "change_email"
    EMAIL_CHANGE_REQUESTED = "email_change_requested"
    EMAIL_CHANGED = "email_changed"
    EMAIL_CHANGE_UNDONE = "email_change_undone"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_REACTIVATED = "account_reactivated"
    ACCOUNT_DEACTIVATED = "account_deactivated"
    ACCOUNT_DELETED = "account_deleted"
    ACCOUNT_RESTORED = "account_restored"
    RESTORE_ACCOUNT = "restore_account"
    ALREADY_REGISTERED = "already_registered"
    REACTIVATE_ACCOUNT = "reactivate_account"
    MFA_ENABLED = "mfa_enabled"
    MFA_DISABLED = "mfa_disabled"
    MFA_RESET = "mfa_reset"
    RECOVERY_CODES_REPLACED = "recovery_codes_replaced"
    RECOVERY_CODE_USED = "recovery_code_used"


@attrs.frozen(kw_only=True)
class NotificationRequested(Event):
    """
    A mail is to be sent.

    Attributes:
        to: The stored address of the owner.
        language: BCP 47 tag of the owner's preference. Whoever records the request leaves it as it is: the unit of
            work takes the language of the owner's profile, as it is at the commit, wherever that names one.
        sealed_token: The one-time token for the link, sealed under the key ring; None where the mail carries none.
    """

    type = "notification.requested"
    topic = Topic.NOTIFICATIONS

    user_id: UserId
    kind: NotificationKind
    to: str = attrs.field(metadata=personal("the mail goes there"))
    language: str = attrs.field(default="en", metadata=personal("the mail is written in it"))
    sealed_token: str | None = None

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.user_id)


class ErasureOutcome(enum.StrEnum):
    """What became of a request to erase a user."""

    ERASED = "erased"
    NOTHING_HELD = "nothing-held"
    REFUSED = "refused"


@attrs.frozen(kw_only=True)
class ErasureAnswered(Event):
    """
    A request to erase a user was dealt with: its receipt, one for each request.

    Attributes:
        request_id: The `id` of the event that asked.
        request_source: Its `source`; the two together tell it from any other.
        outcome: `erased`; `nothing-held`, where there is no such user, be it that they were erased before or never
            were; `refused`, and then the user is as before.
        reason: Code of what refused it, such as `last-administrator`; None for the others.
    """

    type = "privacy.erasure_answered"
    topic = Topic.PRIVACY

    user_id: UserId
    request_id: str
    request_source: str
    outcome: ErasureOutcome
    reason: str | None

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.user_id)


EVENT_TYPES: tuple[type[Event], ...] = (
    UserRegistered,
    UserEmailVerified,
    UserEmailChanged,
    UserPasswordResetRequested,
    UserPasswordChanged,
    UserStatusChanged,
    UserDeleted,
    UserRestored,
    UserUpdated,
    ProfileUpdated,
    AddressAdded,
    AddressUpdated,
    AddressDeleted,
    AddressDefaultChanged,
    UserRoleAssigned,
    UserRoleRemoved,
    RoleCreated,
    RoleUpdated,
    RoleDeleted,
    RolePermissionAssigned,
    RolePermissionRemoved,
    PermissionCreated,
    PermissionUpdated,
    PermissionDeleted,
    LoggedIn,
    LoginFailed,
    AccountLocked,
    UnknownLoginFailed,
    LoggedOut,
    RefreshReused,
    SessionRevoked,
    MfaChanged,
    NotificationRequested,
    ErasureAnswered,
)
"""What the service publishes."""


# --- what others publish ----------------------------------------------------------------------------------------------


class BounceKind(enum.StrEnum):
    """Whether a mail may still arrive."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"


@attrs.frozen(kw_only=True)
class NotificationBounced(Event):
    """
    A mail could not be delivered, as whoever sends mails has learnt.

    Attributes:
        email: Where it was to go, as the mail had it.
        kind: `permanent` where there is no such mailbox; `transient`, as for a full one, changes nothing.
    """

    type = "notifications.bounced"
    topic = ReceivedTopic.BOUNCES

    email: str = attrs.field(metadata=personal("the account is found by it"))
    kind: BounceKind

    @property
    def key(self) -> str:
        """Whatever its sender chooses; events of one address share it."""
        return self.email


@attrs.frozen(kw_only=True)
class ErasureRequested(Event):
    """Whoever handles privacy requests wants a user to be erased; :class:`ErasureAnswered` says what became of it."""

    type = "privacy.erasure_requested"
    topic = ReceivedTopic.ERASURE_REQUESTS

    user_id: UserId

    @property
    def key(self) -> str:
        """The user's id."""
        return str(self.user_id)


RECEIVED_TYPES: tuple[type[Event], ...] = (NotificationBounced, ErasureRequested)
"""What the service takes from others; it publishes none of them."""
