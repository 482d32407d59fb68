"""What users do with their accounts is in the audit log, and what is tried against these."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from tests.fast.application.conftest import ORIGIN
from userservice_core.application.refusals import MAX_REMEMBERED, Refusals
from userservice_core.domain.audit import Actor, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.emails import EmailAddress
from userservice_core.errors import (
    DatabaseUnavailableError,
    EmailNotVerifiedError,
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    UserServiceError,
)
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.system.clock import Uuid7Generator
from userservice_core.ports.context import CallContext, call_context
from userservice_core.testing.samples import sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fast.application.conftest import World
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.unit_of_work import Transaction

SUCCEEDED, REFUSED = Outcome.SUCCEEDED, Outcome.REFUSED
_A_MINUTE: Final = timedelta(minutes=1)


def _log(world: World) -> list[AuditEntry]:
    return [record.entry for record in world.installed.store.rows.audit]


def _told(world: World) -> list[tuple[str, str, str, str | None]]:
    return [(entry.action, entry.actor.kind.value, entry.outcome.value, entry.reason) for entry in _log(world)]


def test_an_account_from_its_beginning(world: World) -> None:
    """Registered, confirmed, signed in, reset: each once, all about the user."""
    user = world.active_user()
    world.sign_in()
    world.use_cases.passwords.request_reset(email="ada@example.com")
    token = world.mailed_token()
    world.use_cases.passwords.reset(token=token, password="another sentence, as long")

    assert _told(world) == [
        ("user.registered", "anonymous", SUCCEEDED, None),
        ("user.email_verified", "user", SUCCEEDED, None),
        ("auth.logged_in", "user", SUCCEEDED, None),
        ("user.password_reset_requested", "anonymous", SUCCEEDED, None),
        ("user.password_changed", "user", SUCCEEDED, None),
    ]
    assert {entry.subject for entry in _log(world)} == {Subject.user(user.id)}
    assert {entry.actor.id for entry in _log(world)} == {None, user.id}
    assert [entry.changed for entry in _log(world)] == [
        ("email", "status"),
        ("emailVerified", "status"),
        (),
        (),
        ("password",),
    ]


def test_a_reset_of_a_pending_account_confirms_its_address(world: World) -> None:
    """Both are told."""
    world.register()
    world.use_cases.passwords.request_reset(email="ada@example.com")
    world.use_cases.passwords.reset(token=world.mailed_token(), password="another sentence, as long")

    assert [kind for kind, *_ in _told(world)][-2:] == ["user.email_verified", "user.password_changed"]


def test_links_that_are_not_mailed(world: World) -> None:
    """Asked for by anybody: nobody has the address, the account wants none, or it had as many as an hour may bring."""
    user = world.active_user()
    before = len(_log(world))
    world.use_cases.passwords.request_reset(email="nobody@example.com")
    for _ in range(3):
        world.use_cases.email_verification.request(email="ada@example.com")
        world.use_cases.passwords.request_reset(email="ada@example.com")

    told = _told(world)[before:]
    asked, reset = "user.email_verification_requested", "user.password_reset_requested"
    assert told[:3] == [
        (reset, "anonymous", REFUSED, "unknown-email"),
        (asked, "anonymous", REFUSED, "not-pending"),
        (reset, "anonymous", SUCCEEDED, None),
    ]
    assert told[-2:] == [(kind, "anonymous", REFUSED, "too-many-requests") for kind in (asked, reset)]
    assert {entry.subject for entry in _log(world)[before + 1 :]} == {Subject.user(user.id)}


def test_another_address(world: World) -> None:
    """Asked for, confirmed and given back: by the user, with the addresses as details, and no token."""
    user = world.active_user()
    before = len(_log(world))
    new = EmailAddress.parse("ada@example.net")
    world.use_cases.email_changes.request(user_id=user.id, revise=lambda _: new)
    world.events()
    confirming = next(mail.token for mail in world.installed.mails.sent if mail.kind == "change_email")
    world.use_cases.email_verification.confirm(token=str(confirming))
    world.events()
    undoing = next(mail.token for mail in world.installed.mails.sent if mail.kind == "email_changed")
    world.use_cases.email_verification.confirm(token=str(undoing))

    entries = _log(world)[before:]
    assert [(entry.action, entry.changed) for entry in entries] == [
        ("user.email_change_requested", ("pendingEmail",)),
        ("user.email_changed", ("email", "pendingEmail")),
        ("user.email_change_undone", ("email",)),
    ]
    assert [entry.after["email"] for entry in entries] == ["ada@example.com", "ada@example.net", "ada@example.com"]
    assert {entry.actor.id for entry in entries} == {user.id}


@pytest.mark.asvs("16.3.1")
def test_refused_sign_ins(world: World) -> None:
    """A wrong password, an address that nobody has, and the right password of an account that is not open yet."""
    user = world.register()
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password="wrong")
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(email="nobody@example.com")
    with pytest.raises(EmailNotVerifiedError):
        world.sign_in()

    assert _told(world)[1:] == [
        ("auth.logged_in", "anonymous", REFUSED, "wrong-password"),
        ("auth.logged_in", "anonymous", REFUSED, "unknown-email"),
        ("auth.logged_in", "anonymous", REFUSED, "email-not-verified"),
    ]
    assert [entry.subject for entry in _log(world)[1:]] == [Subject.user(user.id), None, Subject.user(user.id)]


@pytest.mark.asvs("16.3.1")
def test_sessions_and_their_ends(world: World) -> None:
    """By sign-out of one or all, by the limit, and because a token was copied."""
    user = world.active_user()
    before = len(_log(world))
    copied = world.sign_in()
    world.refresh(world.refresh(copied))
    world.clock.advance(_A_MINUTE)
    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(copied)
    last = [world.sign_in() for _ in range(51)][-1]
    sign_out = world.use_cases.authentication.sign_out
    for _ in range(2):
        sign_out(access_token=None, refresh_token=last.refresh_token)
    world.use_cases.authentication.sign_out_everywhere(access_token=None, refresh_token=last.refresh_token)

    told = [entry for entry in _log(world)[before:] if entry.action != AuditAction.LOGGED_IN]
    assert [(entry.action, entry.outcome, len(entry.after.get("sessionIds", [1]))) for entry in told] == [
        ("auth.refresh_reused", REFUSED, 1),
        ("auth.session_revoked", SUCCEEDED, 1),
        ("auth.logged_out", SUCCEEDED, 1),
        ("auth.logged_out", SUCCEEDED, 49),
    ]
    assert {entry.subject for entry in told} == {Subject.user(user.id)}
    assert told[1].after["cause"] == "session-limit"


def test_the_first_administrator_is_made_by_the_system(world: World) -> None:
    """By an operator's command."""
    world.use_cases.accounts.create_first_administrator(email="root@example.com")

    assert _told(world) == [("user.created", "system", SUCCEEDED, None)]


@pytest.mark.asvs("16.2.1")
def test_what_a_call_came_from_is_written(world: World) -> None:
    """Its request id and origin, whatever use case it reaches."""
    with call_context(CallContext(request_id="r-9", origin=ORIGIN)):
        world.register()

    record = world.installed.store.rows.audit[-1]
    assert (record.request_id, record.origin) == ("r-9", ORIGIN)


@pytest.mark.asvs("14.2.4")
def test_no_secret_is_in_the_log(world: World) -> None:
    """Neither passwords nor tokens nor hashes, of all that was done."""
    world.active_user()
    signed_in = world.sign_in()
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password="wrong secret of mine")
    world.use_cases.passwords.request_reset(email="ada@example.com")
    token = world.mailed_token()
    world.use_cases.passwords.reset(token=token, password="another sentence, as long")

    written = repr(world.installed.store.rows.audit)
    for secret in ("correct horse", "wrong secret", "another sentence", token, signed_in.refresh_token):
        assert secret not in written


# --- refusals ---------------------------------------------------------------------------------------------------------


class _FailingOnce:
    """A unit of work that cannot reach its database at first."""

    def __init__(self) -> None:
        self.failures = 1
        self.runs = 0

    def run(self, work: Callable[[Transaction], object]) -> None:
        """Count, and run nothing."""
        del work
        self.runs += 1
        if self.runs <= self.failures:
            raise DatabaseUnavailableError


def _refuse(refusals: Refusals, user_id: UserId) -> None:
    refusals.record(
        actor=Actor.user(user_id),
        operation="list_roles",
        action=AuditAction.ACCESS_DENIED,
        subject=None,
        reason="permission-denied",
    )


@pytest.mark.asvs("16.3.3")
def test_a_refusal_that_could_not_be_written_is_tried_again(world: World) -> None:
    """At once, and not after the quiet minute."""
    uow, user_id = _FailingOnce(), sample_user_id()
    refusals = Refusals(uow=uow, clock=world.clock, ids=Uuid7Generator(), metrics=InMemoryMetrics())  # type: ignore[arg-type]

    with pytest.raises(UserServiceError):
        _refuse(refusals, user_id)
    for _ in range(2):
        _refuse(refusals, user_id)

    assert uow.runs == 2


def test_the_refusals_that_are_remembered_are_bounded(world: World) -> None:
    """The oldest is forgotten, so its caller's next one is written."""
    uow = _FailingOnce()
    uow.failures = 0
    refusals = Refusals(uow=uow, clock=world.clock, ids=Uuid7Generator(), metrics=InMemoryMetrics())  # type: ignore[arg-type]
    users = [sample_user_id() for _ in range(MAX_REMEMBERED + 1)]

    for user_id in users:
        _refuse(refusals, user_id)
    _refuse(refusals, users[1])
    assert uow.runs == MAX_REMEMBERED + 1
    _refuse(refusals, users[0])

    assert uow.runs == MAX_REMEMBERED + 2
