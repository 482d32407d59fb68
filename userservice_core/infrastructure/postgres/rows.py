"""From rows to the values of the domain: the columns in the order in which they are read, and what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, func, select
from sqlalchemy.dialects.postgresql import array

from userservice_core.domain.address_kinds import AddressType
from userservice_core.domain.addresses import Address
from userservice_core.domain.credentials import Credential, LoginState, SignIn, UserOverview
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import RoleId
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.roles import AssignedRole
from userservice_core.domain.sessions import Session
from userservice_core.domain.users import User, UserStatus
from userservice_core.infrastructure.postgres.tables import (
    addresses,
    credentials,
    login_states,
    one_time_tokens,
    roles,
    sessions,
    user_profiles,
    user_roles,
    users,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[Any, ...]


_BY_NAME: Final = roles.c.name.collate("C")
_ROLES: Final = func.array(
    select(array([cast(roles.c.role_id, Text), roles.c.name]))
    .select_from(user_roles.join(roles))
    .where(user_roles.c.user_id == users.c.user_id)
    .order_by(_BY_NAME)
    .correlate(users)
    .scalar_subquery()
)
"""Id and name of each role that the user of the statement around holds, in the order of their names."""

USER_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    users.c.user_id,
    users.c.email,
    users.c.email_key,
    users.c.email_verified,
    users.c.pending_email,
    users.c.email_undeliverable_since,
    users.c.status,
    _ROLES.label("roles"),
    users.c.attributes,
    users.c.created_at,
    users.c.updated_at,
    users.c.mfa_enabled,
    users.c.deleted_at,
    users.c.version,
    users.c.access_version,
)
_USER_END: Final = len(USER_COLUMNS)

SIGN_IN_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    *USER_COLUMNS,
    credentials.c.password_hash,
    credentials.c.changed_at,
    credentials.c.must_change,
    credentials.c.former_hashes,
    login_states.c.last_login_at,
    login_states.c.failed_attempts,
    login_states.c.locked_until,
)

OVERVIEW_COLUMNS: Final[Sequence[ColumnElement[Any]]] = (
    *USER_COLUMNS,
    login_states.c.last_login_at,
    login_states.c.failed_attempts,
    login_states.c.locked_until,
)

SESSION_COLUMNS: Final[Sequence[ColumnElement[Any]]] = tuple(sessions.c)
_SESSION_END: Final = len(SESSION_COLUMNS)

PROFILE_COLUMNS: Final[Sequence[ColumnElement[Any]]] = tuple(user_profiles.c)

ADDRESS_COLUMNS: Final[Sequence[ColumnElement[Any]]] = tuple(addresses.c)

ONE_TIME_TOKEN_COLUMNS: Final[Sequence[ColumnElement[Any]]] = tuple(one_time_tokens.c)


def user_of(row: Row) -> User:
    """Return the user at the beginning of *row*."""
    (
        user_id,
        email,
        email_key,
        email_verified,
        pending_email,
        email_undeliverable_since,
        status,
        held,
        attributes,
        created_at,
        updated_at,
        mfa_enabled,
        deleted_at,
        version,
        access_version,
    ) = row[:_USER_END]
    return User(
        id=user_id,
        email=EmailAddress(address=email, key=email_key),
        email_verified=email_verified,
        pending_email=pending_email,
        email_undeliverable_since=email_undeliverable_since,
        status=UserStatus(status),
        roles=tuple(AssignedRole(RoleId(UUID(role_id)), name) for role_id, name in held),
        attributes=attributes,
        created_at=created_at,
        updated_at=updated_at,
        mfa_enabled=mfa_enabled,
        deleted_at=deleted_at,
        version=version,
        access_version=access_version,
    )


def sign_in_of(row: Row) -> SignIn:
    """Return user, credential and state of a row of :data:`SIGN_IN_COLUMNS`."""
    user = user_of(row)
    password_hash, changed_at, must_change, former, last_login_at, failed_attempts, locked_until = row[_USER_END:]
    credential = None
    if password_hash is not None:
        credential = Credential(
            user_id=user.id,
            password_hash=password_hash,
            changed_at=changed_at,
            must_change=must_change,
            former_hashes=tuple(former),
        )
    state = LoginState(
        user_id=user.id,
        last_login_at=last_login_at,
        failed_attempts=failed_attempts or 0,
        locked_until=locked_until,
    )
    return SignIn(user=user, credential=credential, state=state)


def overview_of(row: Row) -> UserOverview:
    """Return user and state of a row of :data:`OVERVIEW_COLUMNS`."""
    user = user_of(row)
    last_login_at, failed_attempts, locked_until = row[_USER_END:]
    state = LoginState(
        user_id=user.id,
        last_login_at=last_login_at,
        failed_attempts=failed_attempts or 0,
        locked_until=locked_until,
    )
    return UserOverview(user, state)


def session_of(row: Row) -> Session:
    """Return the session at the beginning of *row*."""
    (
        user_id,
        session_id,
        created_at,
        last_used_at,
        expires_at,
        absolute_expires_at,
        ip,
        user_agent,
        auth_time,
        amr,
        generation,
        current_hash,
        previous_hash,
        rotated_at,
        revoked_at,
    ) = row[:_SESSION_END]
    return Session(
        id=session_id,
        user_id=user_id,
        created_at=created_at,
        last_used_at=last_used_at,
        expires_at=expires_at,
        absolute_expires_at=absolute_expires_at,
        ip=ip,
        user_agent=user_agent,
        auth_time=auth_time,
        amr=tuple(amr),
        generation=generation,
        current_hash=current_hash,
        previous_hash=previous_hash,
        rotated_at=rotated_at,
        revoked_at=revoked_at,
    )


def user_after_session(row: Row) -> User:
    """Return the user that follows the session in *row*."""
    return user_of(row[_SESSION_END:])


def one_time_token_of(row: Row) -> OneTimeToken:
    """Return the token of a row of :data:`ONE_TIME_TOKEN_COLUMNS`."""
    user_id, digest, email_key, purpose, created_at, expires_at, used_at, address, failures = row
    return OneTimeToken(
        digest=digest,
        user_id=user_id,
        email_key=email_key,
        address=address,
        purpose=TokenPurpose(purpose),
        created_at=created_at,
        expires_at=expires_at,
        used_at=used_at,
        failures=failures,
    )


def profile_of(row: Row) -> UserProfile:
    """Return the profile of a row of :data:`PROFILE_COLUMNS`."""
    (
        user_id,
        first_name,
        last_name,
        display_name,
        phone_number,
        phone_verified,
        date_of_birth,
        gender,
        profile_picture_url,
        bio,
        language,
        timezone,
        preferences,
        communication_preferences,
        version,
    ) = row
    return UserProfile(
        user_id=user_id,
        first_name=first_name,
        last_name=last_name,
        display_name=display_name,
        phone_number=phone_number,
        phone_verified=phone_verified,
        date_of_birth=date_of_birth,
        gender=gender,
        profile_picture_url=profile_picture_url,
        bio=bio,
        language=language,
        timezone=timezone,
        preferences=preferences,
        communication_preferences=communication_preferences,
        version=version,
    )


def address_of(row: Row) -> Address:
    """Return the address of a row of :data:`ADDRESS_COLUMNS`."""
    (
        user_id,
        address_id,
        address_type,
        address_line1,
        address_line2,
        city,
        state_or_province,
        postal_code,
        country_code,
        contact_name,
        contact_phone,
        company_name,
        additional_notes,
        is_default_shipping,
        is_default_billing,
        version,
    ) = row
    return Address(
        id=address_id,
        user_id=user_id,
        address_type=None if address_type is None else AddressType(address_type),
        address_line1=address_line1,
        address_line2=address_line2,
        city=city,
        state_or_province=state_or_province,
        postal_code=postal_code,
        country_code=country_code,
        contact_name=contact_name,
        contact_phone=contact_phone,
        company_name=company_name,
        additional_notes=additional_notes,
        is_default_shipping=is_default_shipping,
        is_default_billing=is_default_billing,
        version=version,
    )
