"""Another address for an account: asked for, confirmed by mail, undone from the old one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import ORIGIN, PASSWORD
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import NotificationKind
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    EmailTakenError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    OneTimeTokenInvalidError,
    StaleVersionError,
    TooManyRequestsError,
)

if TYPE_CHECKING:
    from tests.fast.application.conftest import World
    from userservice_core.domain.users import User

_OLD, _NEW, _THIRD = "ada@example.com", "ada@example.net", "ada@example.org"
_HOUR = timedelta(hours=1)


def _ask(world: World, user: User, email: str, *, expected: set[int] | None = None) -> User:
    address = EmailAddress.parse(email)
    return world.use_cases.email_changes.request(user_id=user.id, revise=lambda _: address, expected=expected)


def _mails(world: World) -> list[tuple[str, str]]:
    world.events()
    return [(mail.kind, mail.to) for mail in world.installed.mails.sent]


def _token(world: World, kind: NotificationKind, to: str) -> str:
    """Return the token of the last mail of this kind to this address."""
    world.events()
    [*_, token] = [mail.token for mail in world.installed.mails.sent if (mail.kind, mail.to) == (kind, to)]
    assert token is not None
    return token


def _confirm(world: World, token: str) -> User:
    return world.use_cases.email_verification.confirm(token=token)


def _change(world: World, user: User, email: str) -> str:
    """Change the address, and return the token that undoes it."""
    old = world.installed.store.rows.users[user.id].email.address
    _ask(world, user, email)
    _confirm(world, _token(world, NotificationKind.CHANGE_EMAIL, email))
    return _token(world, NotificationKind.EMAIL_CHANGED, old)


# --- asking -----------------------------------------------------------------------------------------------------------


def test_an_address_waits_until_it_is_confirmed(world: World) -> None:
    """Mails go to both, the link to the new one alone; until then the old one signs in."""
    user = world.active_user()
    before = len(_mails(world))

    waiting = _ask(world, user, "Ada@Example.NET ")

    assert (waiting.email.address, waiting.pending_email) == (_OLD, "Ada@Example.NET")
    assert waiting.version == user.version + 1
    assert sorted(_mails(world)[before:]) == [("change_email", "Ada@Example.NET"), ("email_change_requested", _OLD)]
    assert [mail.token is None for mail in world.installed.mails.sent[before:]].count(True) == 1
    assert world.sign_in().user.id == user.id


def test_a_taken_address_is_asked_for_like_any_other(world: World) -> None:
    """The caller learns nothing; what they see, and what is stored, is the same but for the address."""
    user, other = world.active_user(), world.active_user(_NEW)
    before = len(_mails(world))

    waiting = _ask(world, user, _NEW)
    taken = _mails(world)[before:]
    world.use_cases.email_changes.request(user_id=user.id, revise=lambda _: None)
    free = _ask(world, user, _THIRD)

    assert attrs.evolve(waiting, pending_email=_THIRD, version=waiting.version + 2) == free
    assert [(kind, to.replace(_NEW, _THIRD)) for kind, to in taken] == _mails(world)[before + 2 :]
    assert world.installed.store.rows.users[other.id].email == other.email


def test_the_present_address_is_no_change(world: World) -> None:
    """Not even of one that waits, so that what was read can be sent back; only another version is refused."""
    user = world.active_user()
    waiting = _ask(world, user, _NEW, expected={user.version})
    mails = _mails(world)

    assert _ask(world, user, _OLD, expected={waiting.version}) == waiting
    assert _mails(world) == mails
    with pytest.raises(StaleVersionError):
        _ask(world, user, _OLD, expected={user.version})


def test_asking_again_ends_the_earlier_link(world: World) -> None:
    """For the same address or another one; withdrawing ends it too."""
    user = world.active_user()
    _ask(world, user, _NEW)
    first = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)
    _ask(world, user, _NEW)
    second = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)
    _ask(world, user, _THIRD)
    third = _token(world, NotificationKind.CHANGE_EMAIL, _THIRD)
    world.use_cases.email_changes.request(user_id=user.id, revise=lambda _: None)

    for token in (first, second, third):
        assert not world.use_cases.email_verification.inspect(token=token).valid
        with pytest.raises(OneTimeTokenInvalidError):
            _confirm(world, token)
    assert world.installed.store.rows.users[user.id].pending_email is None


def test_three_mails_an_hour_may_be_asked_for(world: World) -> None:
    """Whoever holds a session does not fill the mailboxes of others."""
    user = world.active_user()
    for number in range(3):
        _ask(world, user, f"ada{number}@example.net")

    with pytest.raises(TooManyRequestsError):
        _ask(world, user, _NEW)

    world.clock.advance(_HOUR)
    assert _ask(world, user, _NEW).pending_email == _NEW


def test_an_account_that_cannot_be_used_asks_for_nothing(world: World) -> None:
    """Suspended after its token was looked at, or erased."""
    user = world.active_user()
    rows = world.installed.store.rows
    rows.users[user.id] = attrs.evolve(rows.users[user.id], status=UserStatus.SUSPENDED)
    with pytest.raises(InvalidAccessTokenError):
        _ask(world, user, _NEW)
    world.installed.store.rows.remove_user(user.id)
    with pytest.raises(InvalidAccessTokenError):
        _ask(world, user, _NEW)


# --- confirming -------------------------------------------------------------------------------------------------------


def test_the_confirmed_address_signs_in_and_the_old_one_does_not(world: World) -> None:
    """Sessions go on; event and mail tell of it; the old address is free."""
    user = world.active_user()
    session = world.sign_in()
    _ask(world, user, _NEW)
    token = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)
    inspection = world.use_cases.email_verification.inspect(token=token)
    assert (inspection.purpose, inspection.valid) == (TokenPurpose.CHANGE_EMAIL, True)

    changed = _confirm(world, token)

    assert (changed.email.address, changed.pending_email, changed.email_verified) == (_NEW, None, True)
    assert world.sign_in(_NEW).user.id == user.id
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(_OLD)
    assert world.refresh(session).user.id == user.id
    told = [data for kind, _, data in world.events() if kind == "user.email_changed"]
    assert told == [{"userId": str(user.id), "email": _NEW, "method": "confirmed"}]
    assert world.active_user(_OLD).id != user.id


def test_a_link_opened_twice_is_no_error_and_changes_nothing_more(world: World) -> None:
    """It signs nobody in either."""
    user = world.active_user()
    _ask(world, user, _NEW)
    token = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)
    first = _confirm(world, token)
    events = world.events()

    assert _confirm(world, token) == first
    assert world.events() == events
    assert world.installed.store.rows.sessions == {}


def test_a_taken_address_shows_at_the_confirmation(world: World) -> None:
    """Nothing changes, and the link stays good for the case that the address becomes free."""
    user, other = world.active_user(), world.active_user(_NEW)
    _ask(world, user, _NEW)
    token = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)

    with pytest.raises(EmailTakenError):
        _confirm(world, token)

    assert world.installed.store.rows.users[user.id].email.address == _OLD
    world.installed.store.rows.remove_user(other.id)
    assert _confirm(world, token).email.address == _NEW


@pytest.mark.parametrize("typed", ["ADA@Example.com", "\uff41da@example.com"], ids=["case", "compatible form"])
def test_another_spelling_of_the_same_address_is_confirmed_like_any_other(world: World, typed: str) -> None:
    """Servers may tell them apart, so mail goes to no spelling that was not confirmed."""
    user = world.active_user()

    assert _ask(world, user, typed).email.address == _OLD
    changed = _confirm(world, _token(world, NotificationKind.CHANGE_EMAIL, typed))

    assert (changed.email.address, changed.email.key) == (typed, user.email.key)
    assert world.sign_in(_OLD).user.id == user.id


@pytest.mark.parametrize("other", ["ada+1@example.com", "a.da@example.com", "\u0430da@example.com"])
def test_what_only_looks_like_it_is_another_address(world: World, other: str) -> None:
    """Dots, plus-tags and letters of other scripts tell addresses apart, here as at registration."""
    user = world.active_user()
    _change(world, user, other)

    assert world.active_user(_OLD).id != user.id
    assert world.sign_in(other).user.id == user.id


def test_a_change_ends_other_links(world: World) -> None:
    """One to choose a password that was mailed to the old address is good no more."""
    user = world.active_user()
    world.use_cases.passwords.request_reset(email=_OLD)
    reset = _token(world, NotificationKind.RESET_PASSWORD, _OLD)
    _change(world, user, _NEW)

    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=reset, password="another sentence, as long")


def test_a_new_password_withdraws_a_change_that_waits(world: World) -> None:
    """By reset or by change: whoever asked for it may have been somebody else."""
    user = world.active_user()
    session = world.sign_in()
    for replace in ("reset", "change"):
        _ask(world, user, _NEW)
        token = _token(world, NotificationKind.CHANGE_EMAIL, _NEW)
        if replace == "reset":
            world.use_cases.passwords.request_reset(email=_OLD)
            reset = _token(world, NotificationKind.RESET_PASSWORD, _OLD)
            world.use_cases.passwords.reset(token=reset, password="another sentence, as long")
            session = world.sign_in(password="another sentence, as long")
        else:
            caller = world.use_cases.access.authenticate_user(token=session.access_token)
            world.use_cases.passwords.change(
                caller=caller, current="another sentence, as long", new=PASSWORD, origin=ORIGIN
            )

        assert world.installed.store.rows.users[user.id].pending_email is None
        with pytest.raises(OneTimeTokenInvalidError):
            _confirm(world, token)


def test_a_link_is_good_for_a_day(world: World) -> None:
    """Then it has to be asked for again."""
    user = world.active_user()
    _ask(world, user, _NEW)
    world.clock.advance(timedelta(hours=24))

    with pytest.raises(OneTimeTokenInvalidError):
        _confirm(world, _token(world, NotificationKind.CHANGE_EMAIL, _NEW))


# --- undoing ----------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("6.3.7")
def test_the_old_address_takes_the_account_back(world: World) -> None:
    """Every session and link ends; it signs nobody in, and the address in between is told and free."""
    user = world.active_user()
    undo = _change(world, user, _NEW)
    session = world.sign_in(_NEW)
    world.use_cases.passwords.request_reset(email=_NEW)
    reset = _token(world, NotificationKind.RESET_PASSWORD, _NEW)
    inspection = world.use_cases.email_verification.inspect(token=undo)
    assert (inspection.purpose, inspection.valid) == (TokenPurpose.UNDO_EMAIL_CHANGE, True)
    sessions = len(world.installed.store.rows.sessions)

    restored = _confirm(world, undo)

    assert (restored.email.address, restored.email_verified) == (_OLD, True)
    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(session)
    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=session.access_token)
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=reset, password="another sentence, as long")
    assert _mails(world)[-1] == ("email_change_undone", _NEW)
    told = [data["method"] for kind, _, data in world.events() if kind == "user.email_changed"]
    assert told == ["confirmed", "undone"]
    assert len(world.installed.store.rows.sessions) == sessions
    assert world.sign_in(_OLD).user.id == user.id
    with pytest.raises(OneTimeTokenInvalidError):
        _confirm(world, undo)


def test_a_second_change_does_not_take_the_first_owners_link_away(world: World) -> None:
    """Nor does a new password, nor undoing the second change: whoever took the account over tries all of these."""
    user = world.active_user()
    first = _change(world, user, _NEW)
    world.clock.advance(_HOUR)
    second = _change(world, user, _THIRD)
    world.clock.advance(_HOUR)
    world.use_cases.passwords.request_reset(email=_THIRD)
    reset = _token(world, NotificationKind.RESET_PASSWORD, _THIRD)
    world.use_cases.passwords.reset(token=reset, password="another sentence, as long")
    assert _confirm(world, second).email.address == _NEW

    assert _confirm(world, first).email.address == _OLD

    assert world.sign_in(_OLD, "another sentence, as long").user.id == user.id


def test_undoing_the_first_change_ends_the_link_of_the_second(world: World) -> None:
    """The address in between has no claim any more."""
    user = world.active_user()
    first = _change(world, user, _NEW)
    world.clock.advance(_HOUR)
    second = _change(world, user, _THIRD)

    assert _confirm(world, first).email.address == _OLD

    with pytest.raises(OneTimeTokenInvalidError):
        _confirm(world, second)


def test_an_old_address_that_was_taken_meanwhile_is_not_taken_back(world: World) -> None:
    """Nothing ends, and the link stays good."""
    user = world.active_user()
    undo = _change(world, user, _NEW)
    session = world.sign_in(_NEW)
    other = world.active_user(_OLD)

    with pytest.raises(EmailTakenError):
        _confirm(world, undo)

    assert world.refresh(session).user.email.address == _NEW
    world.installed.store.rows.remove_user(other.id)
    assert _confirm(world, undo).email.address == _OLD


def test_a_change_can_be_undone_for_seven_days(world: World) -> None:
    """Not longer, and not where there is nothing to undo any more."""
    user = world.active_user()
    undo = _change(world, user, _NEW)
    world.clock.advance(_HOUR)
    _change(world, user, _OLD)
    with pytest.raises(OneTimeTokenInvalidError):
        _confirm(world, undo)
    late = _change(world, user, _THIRD)
    world.clock.advance(timedelta(days=7))

    with pytest.raises(OneTimeTokenInvalidError):
        _confirm(world, late)


@pytest.mark.parametrize("status", [UserStatus.SUSPENDED, UserStatus.DEACTIVATED])
def test_links_of_an_account_that_cannot_be_used_do_nothing(world: World, status: UserStatus) -> None:
    """They bring nobody back in."""
    user = world.active_user()
    undo = _change(world, user, _NEW)
    _ask(world, user, _THIRD)
    token = _token(world, NotificationKind.CHANGE_EMAIL, _THIRD)
    rows = world.installed.store.rows
    rows.users[user.id] = attrs.evolve(rows.users[user.id], status=status)

    for each in (undo, token):
        assert not world.use_cases.email_verification.inspect(token=each).valid
        with pytest.raises(OneTimeTokenInvalidError):
            _confirm(world, each)


# --- mails that anyone may ask for ------------------------------------------------------------------------------------


def test_strangers_have_three_mails_an_hour_sent_to_an_owner(world: World) -> None:
    """That to confirm the address counts, and the last link stays good."""
    world.active_user()
    for _ in range(5):
        world.use_cases.passwords.request_reset(email=_OLD)
    assert [kind for kind, _ in _mails(world)] == ["verify_email", "reset_password", "reset_password"]

    token = _token(world, NotificationKind.RESET_PASSWORD, _OLD)
    world.use_cases.passwords.reset(token=token, password="another sentence, as long")

    world.clock.advance(_HOUR)
    world.use_cases.passwords.request_reset(email=_OLD)
    assert _mails(world)[-1] == ("reset_password", _OLD)


def test_links_to_confirm_an_address_are_counted_alike(world: World) -> None:
    """Of a pending account, with those to choose a password."""
    world.register()
    for _ in range(3):
        world.use_cases.email_verification.request(email=_OLD)
        world.use_cases.passwords.request_reset(email=_OLD)

    assert [kind for kind, _ in _mails(world)] == ["verify_email", "verify_email", "reset_password"]
