"""Valid values of the domain to begin a test with; none of them collides with another one of this or an earlier run."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import attrs

from userservice_core.domain.address_kinds import AddressType
from userservice_core.domain.addresses import Address
from userservice_core.domain.audit import SYSTEM, AuditAction, AuditEntry, Subject
from userservice_core.domain.clients import ClientSecret, ServiceClient
from userservice_core.domain.credentials import Credential
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import LoginFailed, NotificationKind, NotificationRequested, UserRegistered
from userservice_core.domain.ids import (
    AddressId,
    AuditEntryId,
    ClientId,
    ClientSecretId,
    EventId,
    PermissionId,
    RoleId,
    SessionId,
    UserId,
)
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.roles import Permission, Role
from userservice_core.domain.sessions import Origin, Session, SessionLifetime
from userservice_core.domain.users import User, UserStatus
from userservice_core.testing.clocks import NOON, SequentialIds

NOW: Final = NOON + timedelta(microseconds=123_456)
"""When samples come to be: to the microsecond, since that is how exactly times are kept."""

_ids: Final = SequentialIds(datetime.now(UTC))


def sample_user_id() -> UserId:
    """Return an id that no user has."""
    return UserId(_ids.new())


def sample_session_id() -> SessionId:
    """Return an id that no session has."""
    return SessionId(_ids.new())


def sample_hash() -> bytes:
    """Return 32 bytes, such as the SHA-256 of a token."""
    return hashlib.sha256(_ids.new().bytes).digest()


def sample_email() -> EmailAddress:
    """Return an address that nobody holds."""
    return EmailAddress.parse(f"{_ids.new().hex}@example.org")


def sample_user(**changes: Any) -> User:  # noqa: ANN401 - each attribute has its type
    """Return a user who may sign in, with *changes*."""
    user = User.register(user_id=sample_user_id(), email=sample_email(), now=NOW)
    return attrs.evolve(user, **{"status": UserStatus.ACTIVE, "email_verified": True, **changes})


def changed(user: User, **changes: Any) -> User:  # noqa: ANN401 - as above
    """Return *user* with *changes*, and with the version that saving takes."""
    return attrs.evolve(user, **{"version": user.version + 1, **changes})


def sample_credential(user: User, **changes: Any) -> Credential:  # noqa: ANN401 - as above
    """Return a credential of *user*; nobody knows its password."""
    credential = Credential(
        user_id=user.id, password_hash=f"$only-for-testing$v=1$0${sample_hash().hex()}", changed_at=NOW
    )
    return attrs.evolve(credential, **changes)


def sample_session(user: User, *, now: datetime = NOW, **changes: Any) -> Session:  # noqa: ANN401 - as above
    """Return a session that *user* begins at *now*."""
    session = Session.start(
        session_id=sample_session_id(),
        user_id=user.id,
        now=now,
        lifetime=SessionLifetime(),
        first_hash=sample_hash(),
        origin=Origin(ip="192.0.2.1", user_agent="sample"),
    )
    return attrs.evolve(session, **changes)


def sample_one_time_token(user: User, *, now: datetime = NOW, **changes: Any) -> OneTimeToken:  # noqa: ANN401 - as above
    """Return a token that was mailed to *user* at *now*."""
    token = OneTimeToken.issue(
        digest=sample_hash(),
        user_id=user.id,
        email_key=user.email.key,
        address=user.email.address,
        purpose=TokenPurpose.VERIFY_EMAIL,
        now=now,
    )
    return attrs.evolve(token, **changes)


def sample_profile(user: User, **changes: Any) -> UserProfile:  # noqa: ANN401 - as above
    """Return the first profile of *user*, with a value in every member."""
    profile = UserProfile(
        user_id=user.id,
        first_name="Zoë",
        last_name="O'Neill \U0001f600",
        display_name="zoë",
        phone_number="+442079460958",
        phone_verified=True,
        date_of_birth=date(1996, 2, 29),
        gender="woman",
        profile_picture_url="https://example.org/zoë.png?size=1",
        bio="Two\nlines.",
        language="pt-BR",
        timezone="Europe/Lisbon",
        preferences={"b": 1, "a": [1.0, -0.0, 1e300, None, True, "é\U0001f600"], "": {}},
        communication_preferences={"email": {"news": False}},
        version=1,
    )
    return attrs.evolve(profile, **changes)


def sample_address(user: User, **changes: Any) -> Address:  # noqa: ANN401 - as above
    """Return a new address of *user*, with a value in every member and no default."""
    address = Address(
        id=AddressId(_ids.new()),
        user_id=user.id,
        address_type=AddressType.HOME,
        address_line1="1 Rue de l'Église",
        address_line2="c/o Zoë \U0001f600",
        city="Montréal",
        state_or_province="QC",
        postal_code="H2Y 1A1",
        country_code="CA",
        contact_name="Zoë O'Neill",
        contact_phone="(514) 872-0311",
        company_name="Église & Co.",
        additional_notes="Ring\ntwice.",
    )
    return attrs.evolve(address, **changes)


def sample_role(**changes: Any) -> Role:  # noqa: ANN401 - as above
    """Return a role of a name that no other has."""
    role_id = RoleId(_ids.new())
    role = Role(id=role_id, name=f"Role {role_id.hex}", description="A sample.", permissions=frozenset({"user:read"}))
    return attrs.evolve(role, **changes)


def sample_permission(**changes: Any) -> Permission:  # noqa: ANN401 - as above
    """Return a permission of a name that no other has."""
    permission_id = PermissionId(_ids.new())
    permission = Permission(
        id=permission_id, resource=f"sample_{permission_id.hex}", action="read", description="A sample."
    )
    return attrs.evolve(permission, **changes)


def sample_client_secret(**changes: Any) -> ClientSecret:  # noqa: ANN401 - as above
    """Return a secret that nobody knows."""
    secret = ClientSecret(id=ClientSecretId(_ids.new()), digest=sample_hash(), created_at=NOW)
    return attrs.evolve(secret, **changes)


def sample_client(**changes: Any) -> ServiceClient:  # noqa: ANN401 - as above
    """Return a client with one secret, which may read users."""
    client = ServiceClient(
        id=ClientId(_ids.new()),
        name="Invoices",
        permissions=frozenset({"user:read"}),
        secrets=(sample_client_secret(),),
        created_at=NOW,
    )
    return attrs.evolve(client, **changes)


def sample_audit_entry(subject: Subject | None, **changes: Any) -> AuditEntry:  # noqa: ANN401 - as above
    """Return an entry of a change by the system, of an id that no other has."""
    entry = AuditEntry(
        id=AuditEntryId(_ids.new()),
        at=NOW,
        action=AuditAction.ROLE_UPDATED,
        actor=SYSTEM,
        subject=subject,
        before={"name": "é", "description": None},
        after={"name": "e", "description": None},
    )
    return attrs.evolve(entry, **changes)


def sample_event_id() -> EventId:
    """Return an id that no event has."""
    return EventId(_ids.new())


def registered(user: User) -> UserRegistered:
    """Return the event of a registration, numbered by the user's row."""
    return UserRegistered(
        id=sample_event_id(),
        occurred_at=NOW,
        user_id=user.id,
        email=user.email.address,
        status=user.status.value,
        roles=user.role_names,
    )


def login_failed(user: User, *, reason: str = "wrong-password") -> LoginFailed:
    """Return the event of a refused sign-in, numbered by the row of the login state."""
    return LoginFailed(
        id=sample_event_id(), occurred_at=NOW, user_id=user.id, reason=reason, ip="192.0.2.1", user_agent=None
    )


def notification_requested(user: User) -> NotificationRequested:
    """Return the event of a mail that is to be sent, which is not numbered."""
    return NotificationRequested(
        id=sample_event_id(),
        occurred_at=NOW,
        user_id=user.id,
        kind=NotificationKind.VERIFY_EMAIL,
        to=user.email.address,
    )
