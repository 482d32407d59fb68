"""Values for the tests of PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import uuid_utils.compat as uuid_utils

from userservice_core.domain.credentials import Credential
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import LoginFailed, UserRegistered
from userservice_core.domain.ids import EventId, SessionId, UserId
from userservice_core.domain.sessions import Origin, Session, SessionLifetime
from userservice_core.domain.users import User

if TYPE_CHECKING:
    from userservice_core.ports.unit_of_work import Transaction

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def new_user_id() -> UserId:
    """Return an id that no other user has."""
    return UserId(uuid_utils.uuid7())


def new_user(email: str = "") -> User:
    """Return a user who has just registered."""
    user_id = new_user_id()
    address = email or f"{user_id.hex}@example.org"
    return User.register(user_id=user_id, email=EmailAddress.parse(address), now=NOW)


def credential_of(user: User) -> Credential:
    """Return a credential; nobody verifies it here."""
    return Credential(user_id=user.id, password_hash="$argon2id$v=19$none", changed_at=NOW)


def new_session(user: User, *, session_hash: bytes = bytes(32)) -> Session:
    """Return a session that is open for years, so that the clocks of the tests do not matter."""
    return Session.start(
        session_id=SessionId(uuid_utils.uuid7()),
        user_id=user.id,
        now=NOW,
        lifetime=SessionLifetime(),
        first_hash=session_hash,
        origin=Origin(ip="192.0.2.1", user_agent="test"),
    )


def registered(user: User) -> UserRegistered:
    """Return the event of a registration."""
    return UserRegistered(
        id=EventId(uuid_utils.uuid7()),
        occurred_at=NOW,
        user_id=user.id,
        email=user.email.address,
        status=user.status.value,
        roles=user.role_names,
    )


def login_failed(user: User) -> LoginFailed:
    """Return the event of a wrong password."""
    return LoginFailed(
        id=EventId(uuid_utils.uuid7()),
        occurred_at=NOW,
        user_id=user.id,
        reason="wrong-password",
        ip=None,
        user_agent=None,
    )


def register(transaction: Transaction, user: User) -> User:
    """Write what a registration writes."""
    transaction.users.add(user)
    transaction.sign_ins.add(credential_of(user))
    transaction.record(registered(user))
    return user
