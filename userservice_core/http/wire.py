"""
What bodies look like on the wire: camelCase, unknown members refused.

Lengths here only keep absurd input from the rules that follow; the rules are the domain's.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from userservice_core.application.audit_trail import Activity, Doer
from userservice_core.domain.address_kinds import AddressType
from userservice_core.domain.audit import ActorKind, AuditAction, Outcome, SubjectKind
from userservice_core.domain.event_data import camel_case
from userservice_core.domain.lists import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET_ROWS
from userservice_core.domain.settings import SettingSource
from userservice_core.domain.users import UserStatus
from userservice_core.ports.security import PrincipalKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.application.authentication import SignedIn
    from userservice_core.application.authorization import CheckedPermissions
    from userservice_core.application.passwords import PasswordChanged
    from userservice_core.application.run_time_settings import ShownSettings
    from userservice_core.application.service_clients import NewSecret
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.clients import ServiceClient
    from userservice_core.domain.credentials import LoginState, UserOverview
    from userservice_core.domain.one_time_tokens import OneTimeToken
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.settings import ShownSetting
    from userservice_core.domain.users import User
    from userservice_core.ports.audit import AuditRecord
    from userservice_core.ports.mfa import Enrolment
    from userservice_core.ports.personal_data import PersonalData
    from userservice_core.ports.security import AccessClaims

MAX_TEXT_CHARACTERS = 1_024
MAX_LONG_TEXT_CHARACTERS = 4_096
MAX_TOKEN_CHARACTERS = 8_192
MAX_MAILED_TOKEN_CHARACTERS = 512
MAX_CODE_CHARACTERS = 64
MAX_PERMISSION_CHARACTERS = 129
MAX_CURSOR_CHARACTERS = 2_048
MIN_EMAIL_PART_CHARACTERS = 3
MAX_EMAIL_PART_CHARACTERS = 254
MAX_ITEMS = 100

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)]
LongText = Annotated[str, msgspec.Meta(max_length=MAX_LONG_TEXT_CHARACTERS)]
TokenText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN_CHARACTERS)]
MailedTokenText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MAILED_TOKEN_CHARACTERS)]


CodeText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CODE_CHARACTERS)]


PermissionName = Annotated[
    str, msgspec.Meta(max_length=MAX_PERMISSION_CHARACTERS, pattern=r"^([a-z0-9_]+|\*):([a-z0-9_]+|\*)$")
]


PermissionNames = Annotated[tuple[PermissionName, ...], msgspec.Meta(max_length=MAX_ITEMS)]


CLIENT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


Deleted = Literal["false", "true", "any"]
UserSort = Literal["createdAt", "-createdAt", "email", "-email", "lastLoginAt", "-lastLoginAt"]


Ids = Annotated[tuple[UUID, ...], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A body or a part of one, in either direction."""


def given_members(body: msgspec.Struct) -> dict[str, Any]:
    """Return the members of *body* by name, without those that may be left out and were."""
    members = ((name, getattr(body, name)) for name in body.__struct_fields__)
    return {name: value for name, value in members if value is not UNSET}


class RegisterBody(Body, frozen=True, kw_only=True):
    """Who wants an account."""

    email: Text
    password: Text


class LoginBody(Body, frozen=True, kw_only=True):
    """Who wants to sign in; a password that was issued has to be replaced by a new one."""

    email: Text
    password: Text
    new_password: Text | None = None
    device_token: MailedTokenText | None = None


class ReauthenticateBody(Body, frozen=True, kw_only=True):
    """How somebody who is signed in proves again who they are: by the code where a second factor is on."""

    password: Text | None = None
    code: CodeText | None = None


class MfaCodeBody(Body, frozen=True, kw_only=True):
    """The code that an authenticator shows."""

    code: CodeText


class MfaChallengeBody(Body, frozen=True, kw_only=True):
    """The second factor of a sign-in: the code of the authenticator, or a recovery code."""

    mfa_session_token: MailedTokenText
    code: CodeText | None = None
    recovery_code: CodeText | None = None


class ChangePasswordBody(Body, frozen=True, kw_only=True):
    """The password that is, and the one that is to be."""

    current_password: Text
    new_password: Text


class RefreshTokenBody(Body, frozen=True, kw_only=True):
    """The refresh token to exchange."""

    refresh_token: TokenText


class LogoutBody(Body, frozen=True, kw_only=True):
    """The refresh token of the session to end; it may be left out beside a good access token."""

    refresh_token: TokenText | None = None


class NoTokenBody(Body, frozen=True, kw_only=True):
    """Nothing: the refresh token is in the cookie, and nowhere else."""


class RequestEmailVerificationBody(Body, frozen=True, kw_only=True):
    """Where to mail a new link to."""

    email: Text


class RequestPasswordResetBody(Body, frozen=True, kw_only=True):
    """Where to mail a link to choose a new password to."""

    email: Text


class ResetPasswordBody(Body, frozen=True, kw_only=True):
    """The token of a mailed link, and the new password."""

    token: MailedTokenText
    password: Text


class VerifyEmailBody(Body, frozen=True, kw_only=True):
    """The token of a mailed link."""

    token: MailedTokenText


class VerifyEmailQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The token of a mailed link, as the link carries it."""

    token: MailedTokenText


class UserAnswer(Body, frozen=True, kw_only=True):
    """A user, as the contract describes the entity."""

    id: UUID
    email: str
    email_verified: bool
    pending_email: str | None
    status: str
    roles: tuple[str, ...]
    attributes: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    mfa_enabled: bool
    deleted_at: datetime | None
    version: int

    @classmethod
    def of(cls, user: User) -> UserAnswer:
        """Show *user*."""
        return cls(
            id=user.id,
            email=user.email.address,
            email_verified=user.email_verified,
            pending_email=user.pending_email,
            status=user.status.value,
            roles=user.role_names,
            attributes=dict(user.attributes),
            created_at=user.created_at,
            updated_at=user.updated_at,
            mfa_enabled=user.mfa_enabled,
            deleted_at=user.deleted_at,
            version=user.version,
        )


class PasswordChangedAnswer(UserAnswer, frozen=True, kw_only=True):
    """The user, and what this device is known by from now on: tokens of devices end with the password before."""

    device_token: str

    @classmethod
    def of_change(cls, changed: PasswordChanged) -> PasswordChangedAnswer:
        """Show *changed*."""
        user = UserAnswer.of(changed.user)
        return cls(**msgspec.structs.asdict(user), device_token=changed.device_token)


class AccountPatchBody(Body, frozen=True, kw_only=True):
    """An address that is to be confirmed; null for the pending one withdraws it, and the rest may be sent as it is."""

    id: UUID | UnsetType = UNSET
    email: Text | UnsetType = UNSET
    email_verified: bool | UnsetType = UNSET
    pending_email: Text | UnsetType | None = UNSET
    status: Text | UnsetType = UNSET
    roles: tuple[str, ...] | UnsetType = UNSET
    attributes: dict[str, Any] | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    mfa_enabled: bool | UnsetType = UNSET
    deleted_at: datetime | UnsetType | None = UNSET
    version: int | UnsetType = UNSET


class PageItem(Body, frozen=True, kw_only=True):
    """Which part of a list the answer is; cursors are null where there is no more."""

    limit: int
    next_cursor: str | None = None
    prev_cursor: str | None = None
    total: int
    total_is_estimate: bool = False


class ListQuery(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True
):
    """
    Which part of a list is wanted; a query of a list adds its filters, and `sort` with the orders that it has.

    Parameters that it does not know are refused: a filter that is misspelled would filter nothing.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    cursor: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CURSOR_CHARACTERS)] | UnsetType = UNSET
    page: Annotated[int, msgspec.Meta(ge=1, le=MAX_OFFSET_ROWS)] | UnsetType = UNSET
    fields: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS)] | UnsetType = UNSET
    sort: str = ""


class LoginStateItem(Body, frozen=True, kw_only=True):
    """How a user's sign-ins went; it changes without a change of the user."""

    last_login_at: datetime | None
    failed_attempts: int
    locked_until: datetime | None

    @classmethod
    def of(cls, state: LoginState) -> LoginStateItem:
        """Show *state*."""
        return cls(
            last_login_at=state.last_login_at, failed_attempts=state.failed_attempts, locked_until=state.locked_until
        )


class AdminUserAnswer(UserAnswer, frozen=True, kw_only=True):
    """A user as administrators see them; the login state is there if it was asked for."""

    email_is_mixed_script: bool
    email_undeliverable_since: datetime | None
    login_state: LoginStateItem | UnsetType = UNSET

    @classmethod
    def of(cls, user: User, *, state: LoginState | None = None) -> Self:
        """Show *user*, with the *state* of their sign-ins if one is given."""
        shown = UserAnswer.of(user)
        return cls(
            **{name: getattr(shown, name) for name in UserAnswer.__struct_fields__},
            email_is_mixed_script=user.email.is_mixed_script,
            email_undeliverable_since=user.email_undeliverable_since,
            login_state=UNSET if state is None else LoginStateItem.of(state),
        )


class ListedUserAnswer(AdminUserAnswer, frozen=True, kw_only=True):
    """A user in a list, with the login state."""

    login_state: LoginStateItem

    @classmethod
    def of_overview(cls, overview: UserOverview) -> Self:
        """Show *overview*."""
        return cls.of(overview.user, state=overview.state)


class UserListAnswer(Body, frozen=True, kw_only=True):
    """Some of the users."""

    data: tuple[ListedUserAnswer, ...]
    page: PageItem


class UsersQuery(ListQuery, frozen=True, kw_only=True):
    """Which part of the list of users; all conditions have to hold."""

    sort: UserSort = "-createdAt"
    email: (
        Annotated[str, msgspec.Meta(min_length=MIN_EMAIL_PART_CHARACTERS, max_length=MAX_EMAIL_PART_CHARACTERS)]
        | UnsetType
    ) = UNSET
    exact_email: Text | UnsetType = UNSET
    status: UserStatus | UnsetType = UNSET
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_CHARACTERS)] | UnsetType = UNSET
    created_after: Moment | UnsetType = UNSET
    created_before: Moment | UnsetType = UNSET
    deleted: Deleted = "false"
    id: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=MAX_ITEMS)] = ()


class RoleUsersQuery(ListQuery, frozen=True, kw_only=True):
    """Which part of the list of those who hold a role."""

    sort: UserSort = "-createdAt"
    status: UserStatus | UnsetType = UNSET
    deleted: Deleted = "false"


class IncludeQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is to be shown beside the user."""

    include: Literal["loginState"] | UnsetType = UNSET


class ProfileNamesBody(Body, frozen=True, kw_only=True):
    """The names that a profile begins with."""

    first_name: Text | None = None
    last_name: Text | None = None
    display_name: Text | None = None


class NewUserBody(Body, frozen=True, kw_only=True):
    """An account to open for somebody; it takes no password, since its owner chooses one."""

    email: Text
    role_ids: Annotated[tuple[UUID, ...], msgspec.Meta(max_length=MAX_ITEMS)] = ()
    attributes: dict[str, Any] = {}
    profile: ProfileNamesBody = msgspec.field(default_factory=ProfileNamesBody)


class UserPatchBody(Body, frozen=True, kw_only=True):
    """
    What is to be different about a user (RFC 7396); the members that cannot be changed here may be sent as read.

    Another address waits for its confirmation, as it does for the user themselves. Another status may come with its
    reason, and a suspension has to. What is sent of the login state is ignored: a sign-in changes it, and no version
    tells.
    """

    status: UserStatus | UnsetType = UNSET
    status_reason: Text | UnsetType | None = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET
    email: Text | UnsetType = UNSET
    id: UUID | UnsetType = UNSET
    email_verified: bool | UnsetType = UNSET
    pending_email: str | UnsetType | None = UNSET
    roles: tuple[str, ...] | UnsetType = UNSET
    created_at: datetime | UnsetType = UNSET
    updated_at: datetime | UnsetType = UNSET
    mfa_enabled: bool | UnsetType = UNSET
    deleted_at: datetime | UnsetType | None = UNSET
    version: int | UnsetType = UNSET
    email_is_mixed_script: bool | UnsetType = UNSET
    email_undeliverable_since: datetime | UnsetType | None = UNSET
    login_state: LoginStateItem | UnsetType = UNSET


class UserDeletionQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether to erase the user for good, instead of keeping them for a while so that they can be restored."""

    hard_delete: Literal["true", "false"] = "false"


class RestoreAccountBody(Body, frozen=True, kw_only=True):
    """The token of a mailed link."""

    token: MailedTokenText


class AccountRestoredAnswer(Body, frozen=True, kw_only=True):
    """That the account is no longer deleted or deactivated; its status tells whether it can be used."""

    email: str
    status: str


class ProfileAnswer(Body, frozen=True, kw_only=True):
    """A profile, as the contract describes the entity."""

    user_id: UUID
    first_name: str | None
    last_name: str | None
    display_name: str | None
    phone_number: str | None
    phone_verified: bool
    date_of_birth: date | None
    gender: str | None
    profile_picture_url: str | None
    bio: str | None
    language: str | None
    timezone: str | None
    preferences: dict[str, Any]
    communication_preferences: dict[str, Any]

    @classmethod
    def of(cls, profile: UserProfile) -> ProfileAnswer:
        """Show *profile*."""
        return cls(
            user_id=profile.user_id,
            first_name=profile.first_name,
            last_name=profile.last_name,
            display_name=profile.display_name,
            phone_number=profile.phone_number,
            phone_verified=profile.phone_verified,
            date_of_birth=profile.date_of_birth,
            gender=profile.gender,
            profile_picture_url=profile.profile_picture_url,
            bio=profile.bio,
            language=profile.language,
            timezone=profile.timezone,
            preferences=dict(profile.preferences),
            communication_preferences=dict(profile.communication_preferences),
        )


class ProfileBody(Body, frozen=True, kw_only=True):
    """A whole profile; `userId` and `phoneVerified` may be sent as they are."""

    user_id: UUID | UnsetType = UNSET
    first_name: Text | None = None
    last_name: Text | None = None
    display_name: Text | None = None
    phone_number: Text | None = None
    phone_verified: bool | UnsetType = UNSET
    date_of_birth: date | None = None
    gender: Text | None = None
    profile_picture_url: LongText | None = None
    bio: Text | None = None
    language: Text | None = None
    timezone: Text | None = None
    preferences: dict[str, Any] = {}
    communication_preferences: dict[str, Any] = {}


class ProfilePatchBody(Body, frozen=True, kw_only=True):
    """Members of a profile to change (RFC 7396); `userId` and `phoneVerified` may be sent as they are."""

    user_id: UUID | UnsetType = UNSET
    first_name: Text | UnsetType | None = UNSET
    last_name: Text | UnsetType | None = UNSET
    display_name: Text | UnsetType | None = UNSET
    phone_number: Text | UnsetType | None = UNSET
    phone_verified: bool | UnsetType = UNSET
    date_of_birth: date | UnsetType | None = UNSET
    gender: Text | UnsetType | None = UNSET
    profile_picture_url: LongText | UnsetType | None = UNSET
    bio: Text | UnsetType | None = UNSET
    language: Text | UnsetType | None = UNSET
    timezone: Text | UnsetType | None = UNSET
    preferences: dict[str, Any] | UnsetType | None = UNSET
    communication_preferences: dict[str, Any] | UnsetType | None = UNSET


class AddressAnswer(Body, frozen=True, kw_only=True):
    """An address, as the contract describes the entity."""

    id: UUID
    user_id: UUID
    address_type: AddressType | None
    address_line1: str
    address_line2: str | None
    city: str
    state_or_province: str | None
    postal_code: str | None
    country_code: str
    contact_name: str | None
    contact_phone: str | None
    company_name: str | None
    additional_notes: str | None
    is_default_shipping: bool
    is_default_billing: bool

    @classmethod
    def of(cls, address: Address) -> AddressAnswer:
        """Show *address*."""
        return cls(**{name: getattr(address, name) for name in cls.__struct_fields__})


class AddressListAnswer(Body, frozen=True, kw_only=True):
    """All addresses of a user: never so many that they would need a second page."""

    data: tuple[AddressAnswer, ...]
    page: PageItem


class SessionAnswer(Body, frozen=True, kw_only=True):
    """An open session; `current` where the call comes from it."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    ip: str | None
    user_agent: str | None
    current: bool

    @classmethod
    def of(cls, session: Session, *, current: bool) -> SessionAnswer:
        """Show *session*."""
        return cls(
            id=session.id,
            created_at=session.created_at,
            last_used_at=session.last_used_at,
            expires_at=session.expires_at,
            ip=session.ip,
            user_agent=session.user_agent,
            current=current,
        )


class SessionListAnswer(Body, frozen=True, kw_only=True):
    """All open sessions of a user, most recently used first: never so many that they would need a second page."""

    data: tuple[SessionAnswer, ...]
    page: PageItem


class AddressBody(Body, frozen=True, kw_only=True):
    """A whole address; `id` and `userId` may be sent as they are."""

    id: UUID | UnsetType = UNSET
    user_id: UUID | UnsetType = UNSET
    address_type: AddressType | None = None
    address_line1: Text
    address_line2: Text | None = None
    city: Text
    state_or_province: Text | None = None
    postal_code: Text | None = None
    country_code: Text
    contact_name: Text | None = None
    contact_phone: Text | None = None
    company_name: Text | None = None
    additional_notes: Text | None = None
    is_default_shipping: bool = False
    is_default_billing: bool = False


class DefaultAddressBody(Body, frozen=True, kw_only=True):
    """What an address is to be the default for: true for one or both."""

    shipping: bool | UnsetType = UNSET
    billing: bool | UnsetType = UNSET


class SignedInAnswer(Body, frozen=True, kw_only=True):
    """
    The tokens of a session (names after RFC 6749 §5.1, in camelCase) and whose it is; times in seconds.

    A sign-in also gives a device token, to be sent with the next sign-in from there.
    """

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int
    refresh_expires_in: int
    device_token: str | UnsetType = UNSET
    user: UserAnswer

    @classmethod
    def of(cls, signed_in: SignedIn) -> SignedInAnswer:
        """Show *signed_in*."""
        return cls(
            access_token=signed_in.access_token,
            refresh_token=signed_in.refresh_token,
            expires_in=signed_in.expires_in_seconds,
            refresh_expires_in=signed_in.refresh_expires_in_seconds,
            device_token=UNSET if signed_in.device_token is None else signed_in.device_token,
            user=UserAnswer.of(signed_in.user),
        )


class SignedInByCookieAnswer(Body, frozen=True, kw_only=True):
    """What a sign-in or a refresh yields where the refresh token travels in a cookie: all but that token."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int
    refresh_expires_in: int
    device_token: str | UnsetType = UNSET
    user: UserAnswer

    @classmethod
    def of(cls, signed_in: SignedIn) -> SignedInByCookieAnswer:
        """Show *signed_in*."""
        return cls(
            access_token=signed_in.access_token,
            expires_in=signed_in.expires_in_seconds,
            refresh_expires_in=signed_in.refresh_expires_in_seconds,
            device_token=UNSET if signed_in.device_token is None else signed_in.device_token,
            user=UserAnswer.of(signed_in.user),
        )


class MfaRequiredAnswer(Body, frozen=True, kw_only=True):
    """That the password was right, and that the sign-in waits for the second factor."""

    mfa_required: bool = True
    mfa_session_token: str


class MfaSetupAnswer(Body, frozen=True, kw_only=True):
    """What an authenticator app takes, in three forms; it is shown this once."""

    otpauth_url: str
    secret: str
    qr_svg: str

    @classmethod
    def of(cls, enrolment: Enrolment) -> MfaSetupAnswer:
        """Show *enrolment*."""
        return cls(otpauth_url=enrolment.uri, secret=enrolment.secret, qr_svg=enrolment.qr_svg)


class RecoveryCodesAnswer(Body, frozen=True, kw_only=True):
    """Codes that stand for the authenticator, each once; they are shown this once."""

    recovery_codes: tuple[str, ...]


class ReauthenticatedAnswer(Body, frozen=True, kw_only=True):
    """A new access token of the same session; time in seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int


class TokenInspectionAnswer(Body, frozen=True, kw_only=True):
    """What a mailed token is for, null where that is unknown, and whether it would be accepted now."""

    purpose: str | None
    valid: bool


class PasswordPolicyAnswer(Body, frozen=True, kw_only=True):
    """What a new password must satisfy, to show in a form; common and obvious ones are refused too."""

    min_characters: int
    max_characters: int
    max_bytes: int
    remembered_passwords: int


class EmailVerifiedAnswer(Body, frozen=True, kw_only=True):
    """That the address is confirmed."""

    email: str
    email_verified: bool


class CheckPermissionsBody(Body, frozen=True, kw_only=True):
    """
    Whether a user may do all of that.

    Where the id of the resource's owner is given and is the user's, `resource:action_own` grants `resource:action`.
    """

    user_id: UUID
    permissions: Annotated[tuple[PermissionName, ...], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]
    resource_owner_id: UUID | None = None


class CheckPermissionsBatchBody(Body, frozen=True, kw_only=True):
    """Several checks at once."""

    checks: Annotated[tuple[CheckPermissionsBody, ...], msgspec.Meta(min_length=1, max_length=MAX_ITEMS)]


class CheckedPermissionItem(Body, frozen=True, kw_only=True):
    """One permission, and whether the user has it."""

    permission: str
    granted: bool


class CheckPermissionsAnswer(Body, frozen=True, kw_only=True):
    """Whether the user may do all that was asked for, and each of it, in the order of the question."""

    user_id: UUID
    granted: bool
    checked_permissions: tuple[CheckedPermissionItem, ...]

    @classmethod
    def of(cls, checked: CheckedPermissions) -> CheckPermissionsAnswer:
        """Show *checked*."""
        return cls(
            user_id=checked.user_id,
            granted=checked.granted,
            checked_permissions=tuple(
                CheckedPermissionItem(permission=permission, granted=granted)
                for permission, granted in checked.outcomes
            ),
        )


class CheckPermissionsBatchAnswer(Body, frozen=True, kw_only=True):
    """The answers, in the order of the checks."""

    results: tuple[CheckPermissionsAnswer, ...]


class EffectivePermissionsQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which resource it is about; all of them if not given."""

    resource_type: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PERMISSION_CHARACTERS)] | None = None


class EffectivePermissionsAnswer(Body, frozen=True, kw_only=True):
    """What a user may do, by name, sorted; wildcards stand for all that they cover."""

    user_id: UUID
    permissions: tuple[str, ...]


class NewRoleBody(Body, frozen=True, kw_only=True):
    """A role to make; it grants nothing yet."""

    name: Text
    description: Text | None = None


class RoleBody(Body, frozen=True, kw_only=True):
    """What a role is to be; the members that cannot be changed here may be sent as they were read."""

    name: Text
    description: Text | None = None
    id: UUID | UnsetType = UNSET
    is_system_role: bool | UnsetType = UNSET
    permissions: tuple[str, ...] | UnsetType = UNSET
    version: int | UnsetType = UNSET


class RolePatchBody(Body, frozen=True, kw_only=True):
    """What is to be different about a role (RFC 7396)."""

    name: Text | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    id: UUID | UnsetType = UNSET
    is_system_role: bool | UnsetType = UNSET
    permissions: tuple[str, ...] | UnsetType = UNSET
    version: int | UnsetType = UNSET


class RoleAnswer(Body, frozen=True, kw_only=True):
    """A role, with the names of what it grants, sorted."""

    id: UUID
    name: str
    description: str | None
    is_system_role: bool
    permissions: tuple[str, ...]
    version: int

    @classmethod
    def of(cls, role: Role) -> RoleAnswer:
        """Show *role*."""
        return cls(
            id=role.id,
            name=role.name,
            description=role.description,
            is_system_role=role.is_system_role,
            permissions=tuple(sorted(role.permissions)),
            version=role.version,
        )


class NamedQuery(ListQuery, frozen=True, kw_only=True):
    """Which part of a list of what has a name."""

    sort: Literal["name", "-name"] = "name"


class RoleListAnswer(Body, frozen=True, kw_only=True):
    """Some of the roles, of which there are at most 1,000; names are in order regardless of case."""

    data: tuple[RoleAnswer, ...]
    page: PageItem


class ActorItem(Body, frozen=True, kw_only=True):
    """Who acted; the system, and who has not shown who they are, have no id."""

    kind: ActorKind
    id: UUID | None


class SubjectItem(Body, frozen=True, kw_only=True):
    """What an action is about."""

    kind: SubjectKind
    id: UUID


class AuditEntryAnswer(Body, frozen=True, kw_only=True):
    """An action in the audit log; its details are empty once they were erased."""

    id: UUID
    at: datetime
    action: str
    actor: ActorItem
    subject: SubjectItem | None
    outcome: Outcome
    reason: str | None
    changed: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    ip: str | None
    user_agent: str | None
    request_id: str
    details_erased: bool

    @classmethod
    def of(cls, record: AuditRecord) -> AuditEntryAnswer:
        """Show *record*."""
        entry = record.entry
        subject = entry.subject
        return cls(
            id=entry.id,
            at=entry.at,
            action=entry.action,
            actor=ActorItem(kind=entry.actor.kind, id=entry.actor.id),
            subject=None if subject is None else SubjectItem(kind=subject.kind, id=subject.id),
            outcome=entry.outcome,
            reason=entry.reason,
            changed=entry.changed,
            before=dict(entry.before),
            after=dict(entry.after),
            ip=record.origin.ip,
            user_agent=record.origin.user_agent,
            request_id=record.request_id,
            details_erased=record.is_erased,
        )


class SettingsPatchBody(Body, frozen=True, kw_only=True):
    """Which settings are to be different (RFC 7396: null takes away what the database holds), and why."""

    values: dict[str, Any]
    reason: LongText


class SettingItem(Body, frozen=True, kw_only=True):
    """A setting that may change at run time."""

    name: str
    value: Any
    source: SettingSource
    expected: str
    description: str
    problem: str | None

    @classmethod
    def of(cls, setting: ShownSetting) -> SettingItem:
        """Show *setting*."""
        return cls(
            name=camel_case(setting.name),
            value=setting.value,
            source=setting.source,
            expected=setting.expected,
            description=setting.description,
            problem=setting.problem,
        )


class SettingsAnswer(Body, frozen=True, kw_only=True):
    """The settings that may change at run time, as the process sees them that answers."""

    version: int
    settings: tuple[SettingItem, ...]
    unusable: dict[str, str]

    @classmethod
    def of(cls, shown: ShownSettings) -> SettingsAnswer:
        """Show them."""
        return cls(
            version=shown.version,
            settings=tuple(map(SettingItem.of, shown.settings)),
            unusable=dict(shown.unusable),
        )


class AuditLogAnswer(Body, frozen=True, kw_only=True):
    """Some of the audit log."""

    data: tuple[AuditEntryAnswer, ...]
    page: PageItem


class AuditLogQuery(ListQuery, frozen=True, kw_only=True):
    """Which part of the audit log; all conditions have to hold."""

    sort: Literal["at", "-at"] = "-at"
    actor: UUID | UnsetType = UNSET
    action: Annotated[tuple[AuditAction, ...], msgspec.Meta(max_length=MAX_ITEMS)] = ()
    subject: UUID | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    after: Moment | UnsetType = UNSET
    before: Moment | UnsetType = UNSET


class ActivityItem(Body, frozen=True, kw_only=True):
    """Something that happened to one's own account; where from is told of oneself and of strangers only."""

    id: UUID
    at: datetime
    action: str
    by: Doer
    outcome: Outcome
    reason: str | None
    changed: tuple[str, ...]
    ip: str | None
    user_agent: str | None

    @classmethod
    def of(cls, activity: Activity) -> ActivityItem:
        """Show *activity*."""
        return cls(
            id=activity.id,
            at=activity.at,
            action=activity.action,
            by=activity.by,
            outcome=activity.outcome,
            reason=activity.reason,
            changed=activity.changed,
            ip=activity.origin.ip,
            user_agent=activity.origin.user_agent,
        )


class ActivityAnswer(Body, frozen=True, kw_only=True):
    """Some of what happened to one's own account."""

    data: tuple[ActivityItem, ...]
    page: PageItem


class ActivityQuery(ListQuery, frozen=True, kw_only=True):
    """Which part of one's own activity."""

    sort: Literal["at", "-at"] = "-at"


class SignInsItem(Body, frozen=True, kw_only=True):
    """The password, of which nothing but these is told, and how sign-ins went."""

    has_password: bool
    password_changed_at: datetime | None
    password_must_change: bool
    last_login_at: datetime | None
    failed_attempts: int
    locked_until: datetime | None


class HeldSessionItem(Body, frozen=True, kw_only=True):
    """A session that is, or was."""

    id: UUID
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    absolute_expires_at: datetime
    auth_time: datetime
    amr: tuple[str, ...]
    generation: int
    rotated_at: datetime | None
    revoked_at: datetime | None
    ip: str | None
    user_agent: str | None


class MailedLinkItem(Body, frozen=True, kw_only=True):
    """A link that was mailed to the user."""

    purpose: str
    email: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


class HeldActivityItem(ActivityItem, frozen=True, kw_only=True):
    """Something that happened to one's own account, with the values that are kept of it."""

    before: dict[str, Any]
    after: dict[str, Any]
    request_id: str


class DeedItem(Body, frozen=True, kw_only=True):
    """Something that the user did to others, or to the service; the values are those of others."""

    id: UUID
    at: datetime
    action: str
    subject: SubjectItem | None
    outcome: Outcome
    reason: str | None
    changed: tuple[str, ...]
    ip: str | None
    user_agent: str | None
    request_id: str


class ExportAnswer(Body, frozen=True, kw_only=True):
    """Everything that is held about the user, as of one moment; no hash and no secret is in it."""

    account: UserAnswer
    email_undeliverable_since: datetime | None
    sign_ins: SignInsItem
    roles: tuple[AssignedRoleItem, ...]
    profile: ProfileAnswer
    addresses: tuple[AddressAnswer, ...]
    sessions: tuple[HeldSessionItem, ...]
    mailed_links: tuple[MailedLinkItem, ...]
    activity: tuple[HeldActivityItem, ...]
    deeds: tuple[DeedItem, ...]
    log_is_complete: bool

    @classmethod
    def of(cls, data: PersonalData) -> ExportAnswer:
        """Show *data*."""
        user, credential, state = data.sign_in.user, data.sign_in.credential, data.sign_in.state
        return cls(
            account=UserAnswer.of(user),
            email_undeliverable_since=user.email_undeliverable_since,
            sign_ins=SignInsItem(
                has_password=credential is not None,
                password_changed_at=None if credential is None else credential.changed_at,
                password_must_change=credential is not None and credential.must_change,
                last_login_at=state.last_login_at,
                failed_attempts=state.failed_attempts,
                locked_until=state.locked_until,
            ),
            roles=tuple(AssignedRoleItem(id=role.id, name=role.name) for role in user.roles),
            profile=ProfileAnswer.of(data.profile),
            addresses=tuple(map(AddressAnswer.of, data.addresses)),
            sessions=tuple(map(_held_session, data.sessions)),
            mailed_links=tuple(map(_mailed_link, data.one_time_tokens)),
            activity=tuple(_held_activity(record, user) for record in data.done_to),
            deeds=tuple(map(_deed, data.done_by)),
            log_is_complete=data.log_is_complete,
        )


def _held_session(session: Session) -> HeldSessionItem:
    return HeldSessionItem(
        id=session.id,
        created_at=session.created_at,
        last_used_at=session.last_used_at,
        expires_at=session.expires_at,
        absolute_expires_at=session.absolute_expires_at,
        auth_time=session.auth_time,
        amr=session.amr,
        generation=session.generation,
        rotated_at=session.rotated_at,
        revoked_at=session.revoked_at,
        ip=session.ip,
        user_agent=session.user_agent,
    )


def _mailed_link(token: OneTimeToken) -> MailedLinkItem:
    return MailedLinkItem(
        purpose=token.purpose.value,
        email=token.email.address,
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=token.used_at,
    )


def _held_activity(record: AuditRecord, user: User) -> HeldActivityItem:
    shown = ActivityItem.of(Activity.of(record, user_id=user.id))
    return HeldActivityItem(
        **{name: getattr(shown, name) for name in ActivityItem.__struct_fields__},
        before=dict(record.entry.before),
        after=dict(record.entry.after),
        request_id=record.request_id,
    )


def _deed(record: AuditRecord) -> DeedItem:
    entry = record.entry
    return DeedItem(
        id=entry.id,
        at=entry.at,
        action=entry.action,
        subject=None if entry.subject is None else SubjectItem(kind=entry.subject.kind, id=entry.subject.id),
        outcome=entry.outcome,
        reason=entry.reason,
        changed=entry.changed,
        ip=record.origin.ip,
        user_agent=record.origin.user_agent,
        request_id=record.request_id,
    )


class DeletionQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether to delete what is in use, and to end that use with it."""

    force: Literal["true", "false"] = "false"


class PermissionIdsBody(Body, frozen=True, kw_only=True):
    """Permissions, by id."""

    permission_ids: Ids


class PermissionIdsQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Permissions, by id; the parameter is repeated for each."""

    permission_id: Ids


class RoleIdsBody(Body, frozen=True, kw_only=True):
    """Roles, by id."""

    role_ids: Ids


class RoleIdsQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Roles, by id; the parameter is repeated for each."""

    role_id: Ids


class AssignedRoleItem(Body, frozen=True, kw_only=True):
    """A role that a user holds."""

    id: UUID
    name: str


class AssignedRolesAnswer(Body, frozen=True, kw_only=True):
    """All roles that a user holds, by name: never so many that they would need a second page."""

    data: tuple[AssignedRoleItem, ...]
    page: PageItem


class NewPermissionBody(Body, frozen=True, kw_only=True):
    """A permission to make, for `resource:action`; no role grants it yet."""

    resource: Text
    action: Text
    description: Text | None = None
    group_name: Text | None = None


class PermissionBody(Body, frozen=True, kw_only=True):
    """What a permission is to be; the members that cannot be changed here may be sent as they were read."""

    resource: Text
    action: Text
    description: Text | None = None
    group_name: Text | None = None
    id: UUID | UnsetType = UNSET
    name: str | UnsetType = UNSET
    is_system_permission: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET


class PermissionPatchBody(Body, frozen=True, kw_only=True):
    """What is to be different about a permission (RFC 7396)."""

    resource: Text | UnsetType = UNSET
    action: Text | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    group_name: Text | UnsetType | None = UNSET
    id: UUID | UnsetType = UNSET
    name: str | UnsetType = UNSET
    is_system_permission: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET


class PermissionAnswer(Body, frozen=True, kw_only=True):
    """A permission; `*` in the place of the action, or of both, stands for all."""

    id: UUID
    name: str
    resource: str
    action: str
    description: str | None
    group_name: str | None
    is_system_permission: bool
    version: int

    @classmethod
    def of(cls, permission: Permission) -> PermissionAnswer:
        """Show *permission*."""
        return cls(
            id=permission.id,
            name=permission.name,
            resource=permission.resource,
            action=permission.action,
            description=permission.description,
            group_name=permission.group_name,
            is_system_permission=permission.is_system_permission,
            version=permission.version,
        )


class PermissionListAnswer(Body, frozen=True, kw_only=True):
    """Some of the permissions, of which there are at most 1,000."""

    data: tuple[PermissionAnswer, ...]
    page: PageItem


class PermissionsAnswer(Body, frozen=True, kw_only=True):
    """All permissions that a role grants, by name; there are at most 1,000."""

    data: tuple[PermissionAnswer, ...]

    @classmethod
    def of(cls, permissions: Iterable[Permission]) -> PermissionsAnswer:
        """Show *permissions*."""
        return cls(data=tuple(PermissionAnswer.of(permission) for permission in permissions))


class ClientSecretItem(Body, frozen=True, kw_only=True):
    """That a service client has a secret, and about when it was used last."""

    id: UUID
    created_at: datetime
    last_used_at: datetime | None


class NewClientBody(Body, frozen=True, kw_only=True):
    """A service client to make, and the names of what it may do."""

    name: Text
    permissions: PermissionNames = ()


class ClientPatchBody(Body, frozen=True, kw_only=True):
    """What is to be different about a service client (RFC 7396); the other members may be sent as they were read."""

    name: Text | UnsetType = UNSET
    permissions: PermissionNames | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    id: UUID | UnsetType = UNSET
    secrets: tuple[ClientSecretItem, ...] | UnsetType = UNSET
    created_at: Moment | UnsetType = UNSET
    disabled_at: Moment | UnsetType | None = UNSET
    version: int | UnsetType = UNSET


class ClientAnswer(Body, frozen=True, kw_only=True):
    """A service client, with the names of what it may do, sorted; never a secret itself."""

    id: UUID
    name: str
    permissions: tuple[str, ...]
    disabled: bool
    secrets: tuple[ClientSecretItem, ...]
    created_at: datetime
    disabled_at: datetime | None
    version: int

    @classmethod
    def of(cls, client: ServiceClient) -> Self:
        """Show *client*."""
        return cls(**_members_of(client))


class NewClientAnswer(ClientAnswer, frozen=True, kw_only=True):
    """A service client that was just made; `secret` is shown this once."""

    secret: str

    @classmethod
    def showing(cls, new: NewSecret) -> NewClientAnswer:
        """Show a client and its first secret."""
        return cls(**_members_of(new.client), secret=new.text)


class ClientListAnswer(Body, frozen=True, kw_only=True):
    """Some of the service clients, of which there are at most 1,000; names are in order regardless of case."""

    data: tuple[ClientAnswer, ...]
    page: PageItem


class NewClientSecretAnswer(Body, frozen=True, kw_only=True):
    """A secret that was just made, and is shown this once."""

    id: UUID
    secret: str


def _members_of(client: ServiceClient) -> dict[str, Any]:
    return {
        "id": client.id,
        "name": client.name,
        "permissions": tuple(sorted(client.permissions)),
        "disabled": client.is_disabled,
        "secrets": tuple(
            ClientSecretItem(id=secret.id, created_at=secret.created_at, last_used_at=secret.last_used_at)
            for secret in client.secrets
        ),
        "created_at": client.created_at,
        "disabled_at": client.disabled_at,
        "version": client.version,
    }


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """
    A form of OAuth, its members named as there; others are ignored (RFC 6749 §3.2).

    A client that does not authenticate by the header `Authorization` sends its id and its secret here.
    """

    client_id: Text | None = None
    client_secret: Text | None = None


class TokenForm(Form, frozen=True, kw_only=True):
    """Which token a client wants (RFC 6749 §4.4.2); `grant_type` is `client_credentials`."""

    grant_type: Text
    scope: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN_CHARACTERS)] | None = None


class PresentedTokenForm(Form, frozen=True, kw_only=True):
    """A token to tell of, or to end (RFC 7662 §2.1, RFC 7009 §2.1); the hint is not needed."""

    token: TokenText
    token_type_hint: Text | None = None


class ClientTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A client's access token (RFC 6749 §5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int
    scope: str


class IntrospectionAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether an access token stands, and what it says (RFC 7662 §2.2); times in seconds since 1970."""

    active: bool
    token_type: Literal["Bearer"] | None = None
    iss: str | None = None
    sub: str | None = None
    client_id: str | None = None
    scope: str | None = None
    iat: int | None = None
    exp: int | None = None
    jti: str | None = None
    sid: str | None = None
    auth_time: int | None = None

    @classmethod
    def of(cls, claims: AccessClaims, *, issuer: str) -> IntrospectionAnswer:
        """Show what a token says that stands; `sid` and `auth_time` are a user's, `scope` is a client's."""
        is_user = claims.subject_kind is PrincipalKind.USER
        return cls(
            active=True,
            token_type="Bearer",  # noqa: S106 - the name of a scheme, no secret
            iss=issuer,
            sub=claims.subject,
            client_id=claims.client_id,
            scope=None if claims.scope is None else " ".join(claims.scope),
            iat=int(claims.issued_at.timestamp()),
            exp=int(claims.expires_at.timestamp()),
            jti=claims.token_id,
            sid=str(claims.session_id) if is_user else None,
            auth_time=int(claims.auth_time.timestamp()) if is_user else None,
        )


class AuthorizationServerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where tokens are issued, and how (RFC 8414 §2)."""

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    grant_types_supported: tuple[str, ...] = ("client_credentials",)
    response_types_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = CLIENT_AUTH_METHODS
    introspection_endpoint_auth_methods_supported: tuple[str, ...] = CLIENT_AUTH_METHODS
    revocation_endpoint_auth_methods_supported: tuple[str, ...] = CLIENT_AUTH_METHODS


class OAuthErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong at an OAuth endpoint (RFC 6749 §5.2)."""

    error: str
    error_description: str


class LiveAnswer(Body, frozen=True, kw_only=True):
    """That the process answers."""

    status: Literal["live"] = "live"


class ReadyAnswer(Body, frozen=True, kw_only=True):
    """What the process can do, and how its resources are: `ok`, or in a few words what is wrong."""

    status: Literal["starting", "ready", "degraded", "draining", "broken"]
    resources: dict[str, str]


class JwksAnswer(Body, frozen=True, kw_only=True):
    """The public keys that verify access tokens (RFC 7517 §5)."""

    keys: tuple[dict[str, Any], ...]


class FaultItem(Body, frozen=True, kw_only=True):
    """One thing that is wrong with the input; `pointer` is a JSON Pointer (RFC 6901) into it."""

    pointer: str
    code: str
    message: str


class ProblemAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: tuple[FaultItem, ...] = ()
    params: dict[str, str | int | float | bool | None] = {}


class OpenApiAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
