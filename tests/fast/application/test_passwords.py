"""Choosing a new password by a mailed link."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import PASSWORD
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    InvalidRefreshTokenError,
    OneTimeTokenInvalidError,
)

if TYPE_CHECKING:
    from tests.fast.application.conftest import World

_NEW = "another sentence, as long"


def _reset_token(world: World, email: str = "ada@example.com") -> str:
    world.use_cases.passwords.request_reset(email=email)
    return world.mailed_token()


def test_the_new_password_signs_in_and_the_old_one_does_not(world: World) -> None:
    """The reset itself signs nobody in."""
    user = world.active_user()
    token = _reset_token(world)

    assert world.use_cases.passwords.reset(token=token, password=_NEW).id == user.id

    assert world.installed.store.rows.sessions == {}
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password=PASSWORD)
    assert world.sign_in(password=_NEW).user.id == user.id


def test_every_session_ends_with_the_password(world: World) -> None:
    """Refresh tokens and access tokens of before are refused, and the owner is told by mail."""
    world.active_user()
    sessions = [world.sign_in() for _ in range(3)]

    world.use_cases.passwords.reset(token=_reset_token(world), password=_NEW)

    for session in sessions:
        with pytest.raises(InvalidRefreshTokenError):
            world.refresh(session)
        with pytest.raises(InvalidAccessTokenError):
            world.use_cases.access.authenticate(token=session.access_token)
    told = [(kind, data.get("reason")) for kind, _, data in world.events()]
    assert told.count(("auth.session_revoked", "password-changed")) == 3
    assert [kind for kind, _ in told].count("user.password_changed") == 1
    notice = world.installed.mails.sent[-1]
    assert (notice.kind, notice.to, notice.token) == ("password_changed", "ada@example.com", None)


@pytest.mark.asvs("6.4.1")
def test_a_link_works_once_and_for_an_hour_and_until_a_newer_one(world: World) -> None:
    """Afterwards it is a link like any other that is not ours."""
    world.active_user()
    older, newer = _reset_token(world), _reset_token(world)
    passwords = world.use_cases.passwords

    with pytest.raises(OneTimeTokenInvalidError):
        passwords.reset(token=older, password=_NEW)
    passwords.reset(token=newer, password=_NEW)
    with pytest.raises(OneTimeTokenInvalidError):
        passwords.reset(token=newer, password=f"{_NEW} again")
    world.clock.advance(timedelta(hours=1))
    late = _reset_token(world)
    world.clock.advance(timedelta(hours=1))
    with pytest.raises(OneTimeTokenInvalidError):
        passwords.reset(token=late, password=f"{_NEW} again")


def test_a_password_that_breaks_a_rule_uses_nothing_up(world: World) -> None:
    """The owner tries again with the same link."""
    world.active_user()
    token = _reset_token(world)

    for bad in ("short", "ada@example.com", "x" * 129):
        with pytest.raises(InvalidInputError):
            world.use_cases.passwords.reset(token=token, password=bad)

    assert world.use_cases.passwords.reset(token=token, password=_NEW).email_verified is True


def test_a_link_read_in_the_mail_confirms_the_address(world: World) -> None:
    """A pending account becomes active, and whoever planted its password is out."""
    world.register()

    user = world.use_cases.passwords.reset(token=_reset_token(world), password=_NEW)

    assert (user.status, user.email_verified) == (UserStatus.ACTIVE, True)
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password=PASSWORD)
    assert [kind for kind, _, _ in world.events() if kind.startswith("user.")] == [
        "user.registered",
        "user.password_reset_requested",
        "user.email_verified",
        "user.password_changed",
    ]


@pytest.mark.asvs("2.3.1", "6.6.2")
def test_a_link_for_one_thing_does_nothing_else(world: World) -> None:
    """A token to confirm an address chooses no password, and the other way round."""
    world.register()
    to_verify = world.mailed_token()
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=to_verify, password=_NEW)

    to_reset = _reset_token(world)
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.email_verification.confirm(token=to_reset)


def test_asking_tells_nothing_and_mails_only_to_who_may(world: World) -> None:
    """No account, a suspended one, one that is gone: no difference to see, and no mail."""
    user = world.active_user()
    world.events()
    before = len(world.installed.mails.sent)
    rows = world.installed.store.rows
    rows.users[user.id] = attrs.evolve(rows.users[user.id], status=UserStatus.SUSPENDED)

    for email in ("ada@example.com", "nobody@example.com"):
        world.use_cases.passwords.request_reset(email=email)
    world.events()

    assert len(world.installed.mails.sent) == before


def test_the_first_administrator_chooses_a_password_and_signs_in(world: World) -> None:
    """The one that was issued has to go first; failures of before do not count any more."""
    issued = world.use_cases.accounts.create_first_administrator(email="root@example.com")
    assert issued is not None

    world.use_cases.passwords.reset(token=_reset_token(world, "root@example.com"), password=_NEW)

    signed_in = world.sign_in("root@example.com", _NEW)
    assert "administrator" in signed_in.user.role_names
    # Whoever holds a permission is signed out after an hour of rest.
    assert signed_in.refresh_expires_in_seconds == timedelta(hours=1).total_seconds()
