"""Opening an account and confirming its address."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.fast.application.conftest import PASSWORD
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.users import UserStatus
from userservice_core.errors import EmailTakenError, InvalidInputError, OneTimeTokenInvalidError

if TYPE_CHECKING:
    from tests.fast.application.conftest import World


def test_a_new_user_is_pending_and_has_the_first_role(world: World) -> None:
    """What was typed is kept for display; the event and the mail are recorded with the user."""
    user = world.register("Ada@Example.com")

    assert (user.email.address, user.email.key) == ("Ada@Example.com", "ada@example.com")
    assert (user.status, user.email_verified, user.role_names) == (UserStatus.PENDING_VERIFICATION, False, ("user",))
    [(kind, sequence, data)] = world.events()
    assert (kind, sequence) == ("user.registered", 1)
    assert data == {
        "userId": str(user.id),
        "email": "Ada@Example.com",
        "status": "pending_verification",
        "roles": ["user"],
    }
    [mail] = world.installed.mails.sent
    assert mail.to == "Ada@Example.com"
    assert mail.link == f"https://accounts.example.com/auth/verify-email?token={mail.token}"


def test_every_fault_is_named_at_once(world: World) -> None:
    """A bad address and a bad password are two faults, and nothing is stored."""
    with pytest.raises(InvalidInputError) as refused:
        world.use_cases.registration.register(email="nowhere", password="short")

    assert [(fault.field, fault.code) for fault in refused.value.faults] == [
        (("email",), "invalid-email"),
        (("password",), "password-too-short"),
    ]
    assert world.installed.store.rows.users == {}


@pytest.mark.asvs("6.2.1", "6.2.9", "6.2.11")
@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("fourteen chars", "password-too-short"),
        ("x" * 129, "password-too-long"),
        ("\U0001f511" * 128 + "x" * 513, "password-too-long"),
        ("Ada.Lovelace@Example.com", "password-too-obvious"),
    ],
)
def test_a_password_that_breaks_a_rule_is_refused(world: World, password: str, code: str) -> None:
    """Too short, too long in characters or bytes, or what everybody knows of the account."""
    with pytest.raises(InvalidInputError) as refused:
        world.use_cases.registration.register(email="ada.lovelace@example.com", password=password)

    assert code in {fault.code for fault in refused.value.faults}


def test_an_address_is_taken_in_any_spelling(world: World) -> None:
    """The key decides, and dots and plus-tags belong to it."""
    world.register("ada+news@example.com")

    with pytest.raises(EmailTakenError):
        world.register("ADA+News@EXAMPLE.com")
    world.register("ada@example.com")
    world.register("a.da@example.com")
    assert len(world.installed.store.rows.users) == 3


def test_a_link_works_until_a_newer_one_is_asked_for(world: World) -> None:
    """The newest mail counts."""
    world.register()
    older = world.mailed_token()
    world.use_cases.email_verification.request(email="ADA@example.com")
    newer = world.mailed_token()

    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.email_verification.confirm(token=older)
    assert world.use_cases.email_verification.confirm(token=newer).status is UserStatus.ACTIVE


def test_looking_at_a_link_uses_nothing_up(world: World) -> None:
    """A scanner that follows links does no harm, and is told the truth."""
    world.register()
    token = world.mailed_token()
    verification = world.use_cases.email_verification
    for _ in range(2):
        inspection = verification.inspect(token=token)
        assert (inspection.purpose, inspection.valid) == (TokenPurpose.VERIFY_EMAIL, True)
    world.clock.advance(timedelta(hours=24))

    assert verification.inspect(token=token).valid is False
    with pytest.raises(OneTimeTokenInvalidError):
        verification.confirm(token=token)


@pytest.mark.asvs("6.3.6", "6.4.1")
def test_a_link_opened_twice_confirms_once(world: World) -> None:
    """The second time succeeds and changes nothing."""
    world.register()
    token = world.mailed_token()

    first = world.use_cases.email_verification.confirm(token=token)
    second = world.use_cases.email_verification.confirm(token=token)

    assert second == first
    assert [kind for kind, _, _ in world.events()] == ["user.registered", "user.email_verified"]


@pytest.mark.parametrize("token", ["", "x", "é" * 64, "A" * 64, "=" * 64, "A" * 10_000])
def test_what_is_no_token_of_ours_is_refused(world: World, token: str) -> None:
    """By the same error, whatever it is."""
    inspection = world.use_cases.email_verification.inspect(token=token)

    assert (inspection.purpose, inspection.valid) == (None, False)
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.email_verification.confirm(token=token)


@pytest.mark.asvs("6.6.2", "6.6.3")
def test_a_token_opens_no_other_users_account(world: World) -> None:
    """The user's id is part of what is hashed."""
    world.register()
    token = world.mailed_token()
    other = world.register("grace@example.com")
    world.mailed_token()
    bent = world.use_cases.email_verification.inspect(token=token[:4] + ("B" if token[4] == "A" else "A") + token[5:])

    assert bent.valid is False
    assert world.installed.store.rows.users[other.id].email_verified is False


@pytest.mark.asvs("6.3.8")
def test_asking_for_a_link_tells_nothing(world: World) -> None:
    """Unknown, confirmed or pending: the caller sees no difference, and only the pending one gets a mail."""
    world.active_user()
    world.events()
    before = len(world.installed.mails.sent)

    for email in ("ada@example.com", "nobody@example.com"):
        world.use_cases.email_verification.request(email=email)
    world.events()

    assert len(world.installed.mails.sent) == before


def test_a_verified_user_signs_in_with_the_password_of_the_registration(world: World) -> None:
    """Confirming an address signs nobody in; the password does."""
    world.active_user()

    assert world.installed.store.rows.sessions == {}
    assert world.sign_in(password=PASSWORD).user.email_verified is True
