"""Hypothesis strategies for the values of the domain: valid ones, as strange as they come."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st

from userservice_core.domain.credentials import Credential, LoginState
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import (
    Event,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    NotificationKind,
    NotificationRequested,
    RefreshReused,
    SessionRevoked,
    UnknownLoginFailed,
    UserEmailVerified,
    UserRegistered,
)
from userservice_core.domain.ids import EventId, RoleId, SessionId, UserId
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.domain.passwords import LEAST_MIN_CHARACTERS, MAX_PASSWORD_CHARACTERS
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import SYSTEM_PERMISSIONS, SYSTEM_ROLES, AssignedRole, Role
from userservice_core.domain.sessions import Session
from userservice_core.domain.users import User, UserStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

_FIRST_MOMENT: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - Hypothesis adds the time zone
_LAST_MOMENT: Final = datetime(2099, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001 - as above
_MAX_EXACT_INTEGER: Final = 2**53
"""RFC 8259 §6: integers up to here are the same in every implementation of JSON."""


# --- what everything is made of ---------------------------------------------------------------------------------------


def texts(*, min_size: int = 0, max_size: int = 40) -> SearchStrategy[str]:
    """Any text that can be stored: without NUL and lone surrogates."""
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=min_size, max_size=max_size)


def moments() -> SearchStrategy[datetime]:
    """Aware times in UTC, to the microsecond."""
    return st.datetimes(_FIRST_MOMENT, _LAST_MOMENT, timezones=st.just(UTC))


def durations(*, max_days: int = 400) -> SearchStrategy[timedelta]:
    """From one microsecond to so many days."""
    return st.timedeltas(timedelta(microseconds=1), timedelta(days=max_days))


@st.composite
def uuids(draw: st.DrawFn) -> UUID:
    """UUIDv7 of any time (RFC 9562 §5.7)."""
    bits = draw(st.integers(0, 2**122 - 1))
    high, middle, low = bits >> 74, (bits >> 62) & 0xFFF, bits & (2**62 - 1)
    return UUID(int=(high << 80) | (0x7 << 76) | (middle << 64) | (0b10 << 62) | low)


def user_ids() -> SearchStrategy[UserId]:
    """Ids of users."""
    return uuids().map(UserId)


def session_ids() -> SearchStrategy[SessionId]:
    """Ids of sessions."""
    return uuids().map(SessionId)


def hashes() -> SearchStrategy[bytes]:
    """SHA-256 of something."""
    return st.binary(min_size=32, max_size=32)


def json_objects() -> SearchStrategy[dict[str, Any]]:
    """JSON that every implementation reads as it was written."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-_MAX_EXACT_INTEGER, _MAX_EXACT_INTEGER),
        # A larger one may come back as an integer with other digits, as PostgreSQL's jsonb does it.
        st.floats(-_MAX_EXACT_INTEGER, _MAX_EXACT_INTEGER),
        texts(),
    )
    values: SearchStrategy[Any] = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3), max_leaves=8
    )
    return st.dictionaries(texts(), values, max_size=4)


# --- users ------------------------------------------------------------------------------------------------------------


@st.composite
def emails(draw: st.DrawFn) -> EmailAddress:
    """Draw an address that mail can be sent to, in ASCII or beyond."""
    atom = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~äöüßñ-]{1,20}"
    local = draw(st.from_regex(rf"{atom}(\.{atom}){{0,2}}", fullmatch=True))
    label = st.from_regex(r"[a-zA-Z]([a-zA-Z0-9]{0,10}[a-zA-Z0-9])?|bücher|例え", fullmatch=True)
    labels = draw(st.lists(label, min_size=1, max_size=2))
    top = draw(st.sampled_from(["org", "com", "Example.NET"]))
    return EmailAddress.parse(f"{local}@{'.'.join(labels)}.{top}")


def passwords() -> SearchStrategy[str]:
    """Passwords of an allowed length; whether they are common is another matter."""
    return st.text(st.characters(codec="utf-8"), min_size=LEAST_MIN_CHARACTERS, max_size=MAX_PASSWORD_CHARACTERS)


def assigned_roles(choices: Sequence[Role] = SYSTEM_ROLES) -> SearchStrategy[tuple[AssignedRole, ...]]:
    """Draw some of *choices*, in any order."""
    held = [AssignedRole(role.id, role.name) for role in choices]
    return st.lists(st.sampled_from(held), unique=True).map(tuple)


def users(
    *,
    ids: SearchStrategy[UserId] | None = None,
    addresses: SearchStrategy[EmailAddress] | None = None,
    roles: SearchStrategy[tuple[AssignedRole, ...]] | None = None,
) -> SearchStrategy[User]:
    """Users of every kind; each argument says where a part of them comes from."""
    return st.builds(
        User,
        id=_given(ids, user_ids()),
        email=_given(addresses, emails()),
        email_verified=st.booleans(),
        pending_email=st.none() | texts(min_size=1),
        email_undeliverable_since=st.none() | moments(),
        status=st.sampled_from(UserStatus),
        roles=_given(roles, assigned_roles()),
        attributes=json_objects(),
        created_at=moments(),
        updated_at=moments(),
        mfa_enabled=st.booleans(),
        deleted_at=st.none() | moments(),
        version=st.integers(1, 2**40),
        access_version=st.integers(1, 2**40),
    )


def credentials(*, ids: SearchStrategy[UserId] | None = None) -> SearchStrategy[Credential]:
    """Credentials; their hashes are of no password."""
    return st.builds(
        Credential,
        user_id=_given(ids, user_ids()),
        password_hash=hashes().map(lambda value: f"$only-for-testing$v=1$0${value.hex()}"),
        changed_at=moments(),
        must_change=st.booleans(),
        former_hashes=st.lists(hashes().map(lambda value: f"$former$v=1$0${value.hex()}"), max_size=3).map(tuple),
    )


def login_states(*, ids: SearchStrategy[UserId] | None = None) -> SearchStrategy[LoginState]:
    """Login states after any number of failures."""
    return st.builds(
        LoginState,
        user_id=_given(ids, user_ids()),
        last_login_at=st.none() | moments(),
        failed_attempts=st.integers(0, 2**30),
        locked_until=st.none() | moments(),
    )


# --- sessions and tokens ----------------------------------------------------------------------------------------------


@st.composite
def sessions(
    draw: st.DrawFn,
    *,
    user_ids: SearchStrategy[UserId] | None = None,
    ids: SearchStrategy[SessionId] | None = None,
) -> Session:
    """Sessions at any point of their life."""
    created_at = draw(moments())
    last_used_at = created_at + draw(st.just(timedelta()) | durations())
    absolute_expires_at = last_used_at + draw(durations())
    generation = draw(st.integers(0, 2**31 - 2))
    return Session(
        id=draw(_given(ids, session_ids())),
        user_id=draw(_given(user_ids, uuids().map(UserId))),
        created_at=created_at,
        last_used_at=last_used_at,
        expires_at=min(last_used_at + draw(durations(max_days=30)), absolute_expires_at),
        absolute_expires_at=absolute_expires_at,
        ip=draw(st.none() | st.ip_addresses().map(str)),
        user_agent=draw(st.none() | texts(max_size=200)),
        auth_time=created_at,
        amr=draw(st.lists(st.sampled_from(["pwd", "otp", "mfa"]), min_size=1, unique=True).map(tuple)),
        generation=generation,
        current_hash=draw(hashes()),
        previous_hash=draw(hashes()) if generation else None,
        rotated_at=last_used_at if generation else None,
        revoked_at=draw(st.none() | durations().map(partial(_add, last_used_at))),
    )


@st.composite
def one_time_tokens(
    draw: st.DrawFn, *, user_ids: SearchStrategy[UserId] | None = None, digests: SearchStrategy[bytes] | None = None
) -> OneTimeToken:
    """Mailed tokens, used or not."""
    created_at = draw(moments())
    return OneTimeToken(
        digest=draw(_given(digests, hashes())),
        user_id=draw(_given(user_ids, uuids().map(UserId))),
        email_key=draw(emails()).key,
        purpose=draw(st.sampled_from(TokenPurpose)),
        created_at=created_at,
        expires_at=created_at + draw(durations(max_days=2)),
        used_at=draw(st.none() | durations(max_days=2).map(partial(_add, created_at))),
    )


def revocations(*, subjects: SearchStrategy[tuple[RevocationKind, str]] | None = None) -> SearchStrategy[Revocation]:
    """Revocations that expire long ago or far in the future; *subjects* are kinds with what they name."""
    pairs = _given(
        subjects,
        st.tuples(
            st.sampled_from([RevocationKind.SESSION, RevocationKind.USER, RevocationKind.USER_ACCESS]), uuids().map(str)
        ),
    )
    ends = st.sampled_from([_FIRST_MOMENT.replace(tzinfo=UTC), _LAST_MOMENT.replace(tzinfo=UTC)])
    return st.builds(
        lambda pair, **members: Revocation(kind=pair[0], subject=pair[1], **members),
        pairs,
        not_before=moments(),
        version=st.integers(0, 2**40),
        expires_at=ends,
    )


# --- roles ------------------------------------------------------------------------------------------------------------


def roles(
    *, ids: SearchStrategy[RoleId] | None = None, names: SearchStrategy[str] | None = None
) -> SearchStrategy[Role]:
    """Roles that grant some of the permissions that every installation has."""
    granted = st.frozensets(st.sampled_from([permission.name for permission in SYSTEM_PERMISSIONS]), max_size=5)
    return st.builds(
        Role,
        id=_given(ids, uuids().map(RoleId)),
        name=_given(names, texts(min_size=1, max_size=100)),
        description=st.none() | texts(),
        is_system_role=st.booleans(),
        permissions=granted,
        version=st.integers(1, 2**40),
    )


# --- events -----------------------------------------------------------------------------------------------------------


def events(*, user_ids: SearchStrategy[UserId] | None = None) -> SearchStrategy[Event]:
    """Events of every type."""
    origin: dict[str, SearchStrategy[Any]] = {"ip": st.none() | texts(), "user_agent": st.none() | texts()}
    session: dict[str, SearchStrategy[Any]] = {"session_id": session_ids()}
    event = partial(_event, _given(user_ids, uuids().map(UserId)))
    return st.one_of(
        event(UserRegistered, email=texts(), status=texts(), roles=st.lists(texts(), max_size=3).map(tuple)),
        event(UserEmailVerified, email=texts()),
        event(LoggedIn, amr=st.lists(texts(), max_size=3).map(tuple), **session, **origin),
        event(LoginFailed, reason=texts(), **origin),
        event(LoggedOut, session_ids=st.lists(session_ids(), max_size=3).map(tuple)),
        event(RefreshReused, **session, **origin),
        event(SessionRevoked, reason=texts(), **session),
        event(
            NotificationRequested,
            kind=st.sampled_from(NotificationKind),
            to=emails().map(lambda email: email.address),
            sealed_token=st.none() | texts(),
        ),
        st.builds(
            UnknownLoginFailed,
            id=uuids().map(EventId),
            occurred_at=moments(),
            email_hmac=hashes().map(bytes.hex),
            reason=texts(),
            **origin,
        ),
    )


def _event(
    user_ids: SearchStrategy[UserId], event_type: Callable[..., Event], /, **members: SearchStrategy[Any]
) -> SearchStrategy[Event]:
    return st.builds(event_type, id=uuids().map(EventId), occurred_at=moments(), user_id=user_ids, **members)


def _given(strategy: SearchStrategy[T] | None, otherwise: SearchStrategy[T]) -> SearchStrategy[T]:
    """Return *strategy* where there is one; the truth of a strategy is not its presence."""
    return otherwise if strategy is None else strategy


def _add(moment: datetime, duration: timedelta) -> datetime:
    return moment + duration
