"""
What bodies look like on the wire: camelCase, unknown members refused.

Lengths here only keep absurd input from the rules that follow; the rules are the domain's.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from userservice_core.domain.address_kinds import AddressType

if TYPE_CHECKING:
    from userservice_core.application.authentication import SignedIn
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.domain.users import User

MAX_TEXT_CHARACTERS = 1_024
MAX_LONG_TEXT_CHARACTERS = 4_096
MAX_TOKEN_CHARACTERS = 8_192
MAX_MAILED_TOKEN_CHARACTERS = 512

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)]
LongText = Annotated[str, msgspec.Meta(max_length=MAX_LONG_TEXT_CHARACTERS)]
TokenText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TOKEN_CHARACTERS)]
MailedTokenText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MAILED_TOKEN_CHARACTERS)]


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
    """Who wants to sign in."""

    email: Text
    password: Text


class RefreshTokenBody(Body, frozen=True, kw_only=True):
    """The refresh token to exchange."""

    refresh_token: TokenText


class LogoutBody(Body, frozen=True, kw_only=True):
    """The refresh token of the session to end; it may be left out beside a good access token."""

    refresh_token: TokenText | None = None


class RequestEmailVerificationBody(Body, frozen=True, kw_only=True):
    """Where to mail a new link to."""

    email: Text


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


class PageItem(Body, frozen=True, kw_only=True):
    """Which part of a list the answer is; cursors are null where there is no more."""

    limit: int
    next_cursor: str | None = None
    prev_cursor: str | None = None
    total: int
    total_is_estimate: bool = False


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
    """The tokens of a session (names after RFC 6749 §5.1, in camelCase) and whose it is; times in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme, no secret
    expires_in: int
    refresh_expires_in: int
    user: UserAnswer

    @classmethod
    def of(cls, signed_in: SignedIn) -> SignedInAnswer:
        """Show *signed_in*."""
        return cls(
            access_token=signed_in.access_token,
            refresh_token=signed_in.refresh_token,
            expires_in=signed_in.expires_in_seconds,
            refresh_expires_in=signed_in.refresh_expires_in_seconds,
            user=UserAnswer.of(signed_in.user),
        )


class TokenInspectionAnswer(Body, frozen=True, kw_only=True):
    """What a mailed token is for, null where that is unknown, and whether it would be accepted now."""

    purpose: str | None
    valid: bool


class EmailVerifiedAnswer(Body, frozen=True, kw_only=True):
    """That the address is confirmed."""

    email: str
    email_verified: bool


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
