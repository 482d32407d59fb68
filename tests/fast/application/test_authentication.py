"""Signing in, staying signed in, signing out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.fast.application.conftest import PASSWORD
from userservice_core.errors import (
    EmailNotVerifiedError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    PasswordChangeRequiredError,
)

if TYPE_CHECKING:
    from tests.fast.application.conftest import World


def test_what_is_wrong_with_an_account_is_told_only_to_who_knows_its_password(world: World) -> None:
    """A pending account refuses the right password with its reason, and a wrong one like any other."""
    world.register()

    with pytest.raises(EmailNotVerifiedError):
        world.sign_in()
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password="not this one, I think")


@pytest.mark.asvs("6.3.8")
@pytest.mark.parametrize("email", ["nobody@example.com", "not an address", "", "a" * 300])
def test_nobody_signs_in_like_anybody_with_a_wrong_password(world: World, email: str) -> None:
    """What is no address is no other error than an unknown one."""
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(email=email)

    [(kind, sequence, data)] = world.events()
    assert (kind, sequence) == ("auth.login_failed", None)
    assert data["reason"] == "unknown-email"
    assert email not in data["emailHmac"] or not email


@pytest.mark.asvs("6.3.1")
def test_failures_are_counted_and_a_sign_in_begins_anew(world: World) -> None:
    """The counter is in the login state: neither a failure nor a sign-in changes the user's version."""
    user = world.active_user()
    for _ in range(3):
        with pytest.raises(InvalidCredentialsError):
            world.sign_in(password="not this one, I think")
    assert world.installed.store.rows.login_states[user.id].failed_attempts == 3

    world.sign_in()

    state = world.installed.store.rows.login_states[user.id]
    assert (state.failed_attempts, state.last_login_at) == (0, world.clock.now())
    assert world.installed.store.rows.users[user.id].version == user.version


def test_the_events_of_sign_ins_are_numbered_apart_from_the_users(world: World) -> None:
    """Each key of each topic counts from one without gaps."""
    world.active_user()
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password="not this one, I think")
    signed_in = world.sign_in()
    world.use_cases.authentication.sign_out(access_token=None, refresh_token=signed_in.refresh_token)

    numbered = [(kind, sequence) for kind, sequence, _ in world.events()]
    assert [event for event in numbered if event[0].startswith("user.")] == [
        ("user.registered", 1),
        ("user.email_verified", 2),
    ]
    assert [event for event in numbered if event[0].startswith("auth.")] == [
        ("auth.login_failed", 1),
        ("auth.logged_in", 2),
        ("auth.logged_out", 3),
    ]


def test_spellings_of_an_address_sign_in_to_one_account(world: World) -> None:
    """Case and Unicode form of the address do not matter, as at registration."""
    world.active_user("Zoë@Bücher.example.com")

    assert world.sign_in("ZOË@xn--bcher-kva.example.com").user.email.address == "Zoë@Bücher.example.com"


@pytest.mark.asvs("7.2.4")
def test_the_fifty_first_session_ends_the_one_that_rested_longest(world: World) -> None:
    """At most fifty sessions are open; the access tokens of the one that goes are refused too."""
    world.active_user()
    sessions = []
    for _ in range(50):
        sessions.append(world.sign_in())
        world.clock.advance(timedelta(seconds=1))
    # The oldest one is used, so it is not the one that rested longest.
    refreshed = world.refresh(sessions[0])

    world.sign_in()

    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(sessions[1])
    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=sessions[1].access_token)
    assert world.refresh(refreshed).user == refreshed.user
    assert [data["reason"] for kind, _, data in world.events() if kind == "auth.session_revoked"] == ["session-limit"]


@pytest.mark.asvs("10.4.5")
def test_a_refresh_token_yields_the_same_successor_within_the_grace_window(world: World) -> None:
    """Parallel tabs and lost answers: nobody is signed out, and there is one successor."""
    world.active_user()
    first = world.sign_in()
    second = world.refresh(first)
    world.clock.advance(timedelta(seconds=10))

    assert world.refresh(first).refresh_token == second.refresh_token


@pytest.mark.asvs("10.4.5")
def test_a_superseded_token_within_the_window_is_refused_and_nothing_ends(world: World) -> None:
    """Two generations back: no answer, and no alarm."""
    world.active_user()
    first = world.sign_in()
    third = world.refresh(world.refresh(first))

    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(first)

    assert world.refresh(third).refresh_token != third.refresh_token


@pytest.mark.asvs("10.4.5")
def test_a_replay_after_the_window_ends_the_session_and_says_so(world: World) -> None:
    """Somebody holds a copy: both copies are worthless from then on, and the owner is told by event and mail."""
    user = world.active_user()
    first = world.sign_in()
    second = world.refresh(first)
    world.clock.advance(timedelta(seconds=11))

    for stolen_or_not in (first, second):
        with pytest.raises(InvalidRefreshTokenError):
            world.refresh(stolen_or_not)

    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=second.access_token)
    assert [kind for kind, _, _ in world.events()].count("auth.refresh_reused") == 1
    mail = world.installed.mails.sent[-1]
    assert (mail.kind, mail.to, mail.token) == ("refresh_reused", user.email.address, None)


@pytest.mark.asvs("7.3.1", "7.3.2", "10.4.8")
def test_a_session_ends_when_it_rests_too_long_and_at_its_absolute_end(world: World) -> None:
    """Fourteen days of rest are allowed, ninety days in all, however often it is used."""
    world.active_user()
    session = world.sign_in()
    for _ in range(6):
        world.clock.advance(timedelta(days=13))
        session = world.refresh(session)
    assert session.refresh_expires_in_seconds == timedelta(days=90 - 6 * 13).total_seconds()
    world.clock.advance(timedelta(days=12))

    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(session)


def test_access_tokens_last_ten_minutes_less_a_little(world: World) -> None:
    """Up to a twentieth is taken off, so that the tokens of a busy moment are not all renewed in another one."""
    world.active_user()

    lifetimes = {world.sign_in().expires_in_seconds for _ in range(30)}

    assert len(lifetimes) > 1
    assert min(lifetimes) >= 570
    assert max(lifetimes) <= 600


def test_signing_out_needs_one_good_token(world: World) -> None:
    """A good refresh token suffices beside an expired access token; two bad ones are refused; once more is no error."""
    world.active_user()
    signed_in = world.sign_in()
    authentication = world.use_cases.authentication
    world.clock.advance(timedelta(minutes=11))

    with pytest.raises(InvalidAccessTokenError):
        authentication.sign_out(access_token=signed_in.access_token, refresh_token="bent")
    for _ in range(2):
        authentication.sign_out(access_token=signed_in.access_token, refresh_token=signed_in.refresh_token)

    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(signed_in)
    assert [kind for kind, _, _ in world.events()].count("auth.logged_out") == 1


@pytest.mark.asvs("7.4.1")
def test_signing_out_everywhere_ends_every_session_and_no_other_users(world: World) -> None:
    """One event names them all; a sign-in of the same second is not refused afterwards."""
    world.active_user()
    world.active_user("grace@example.com")
    sessions = [world.sign_in() for _ in range(3)]
    other = world.sign_in("grace@example.com")

    world.use_cases.authentication.sign_out_everywhere(access_token=sessions[0].access_token, refresh_token=None)

    later = world.sign_in()
    for session in sessions:
        with pytest.raises(InvalidAccessTokenError):
            world.use_cases.access.authenticate(token=session.access_token)
    for session in (later, other):
        world.use_cases.access.authenticate(token=session.access_token)
    [ended] = [data["sessionIds"] for kind, _, data in world.events() if kind == "auth.logged_out"]
    assert len(ended) == 3


@pytest.mark.asvs("6.3.2")
def test_the_first_administrator_signs_in_only_after_a_change_of_password(world: World) -> None:
    """The issued password is right, and good for nothing else; there is one first administrator."""
    accounts = world.use_cases.accounts
    password = accounts.create_first_administrator(email="root@example.com")
    assert password is not None

    with pytest.raises(PasswordChangeRequiredError):
        world.sign_in("root@example.com", password)
    assert accounts.create_first_administrator(email="another@example.com") is None


def test_who_i_am_ends_with_the_account(world: World) -> None:
    """A user who is gone is an invalid token, not a missing resource."""
    user = world.active_user()
    assert world.use_cases.accounts.who_am_i(user_id=user.id) == user

    world.installed.store.rows.remove_user(user.id)

    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.accounts.who_am_i(user_id=user.id)


@pytest.mark.asvs("6.2.8")
def test_a_password_typed_on_another_keyboard_is_the_same(world: World) -> None:
    """Passwords are compared in NFC, so composed and decomposed letters do not matter."""
    world.use_cases.registration.register(email="ada@example.com", password=f"{PASSWORD} \u00e9")
    world.use_cases.email_verification.confirm(token=world.mailed_token())

    assert world.sign_in(password=f"{PASSWORD} e\u0301").user.email.address == "ada@example.com"
