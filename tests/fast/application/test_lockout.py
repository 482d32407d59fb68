"""An account is locked against strangers and never against its owner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.fast.application.conftest import PASSWORD
from userservice_core.application.authentication import SignedIn
from userservice_core.application.known_devices import DEVICE_TOKEN_LIFETIME
from userservice_core.domain.credentials import LOCKED_FOR_GOOD
from userservice_core.domain.sessions import Origin
from userservice_core.errors import (
    CurrentPasswordWrongError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidRefreshTokenError,
)

if TYPE_CHECKING:
    from tests.fast.application.conftest import World
    from userservice_core.domain.credentials import LoginState
    from userservice_core.domain.users import User

_STRANGER = Origin(ip="203.0.113.9", user_agent="a script")


def _fail(world: World, times: int, email: str = "ada@example.com") -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentialsError):
            world.use_cases.authentication.sign_in(email=email, password="not this one", origin=_STRANGER)


def _sign_in(world: World, device_token: str | None, password: str = PASSWORD) -> SignedIn:
    signed_in = world.use_cases.authentication.sign_in(
        email="ada@example.com", password=password, origin=_STRANGER, device_token=device_token
    )
    assert isinstance(signed_in, SignedIn)
    return signed_in


def _state(world: World, user: User) -> LoginState:
    return world.installed.store.rows.login_states[user.id]


def test_the_hundredth_failure_in_a_row_locks(world: World) -> None:
    """Ninety-nine do not; from then on the right password is one more wrong one."""
    user = world.active_user()
    _fail(world, 99)
    world.sign_in()
    _fail(world, 99)
    assert _state(world, user).locked_until is None

    _fail(world, 1)

    assert (_state(world, user).failed_attempts, _state(world, user).locked_until) == (100, LOCKED_FOR_GOOD)
    with pytest.raises(InvalidCredentialsError):
        world.sign_in()
    assert _state(world, user).failed_attempts == 101


def test_a_lock_is_told_of_once(world: World) -> None:
    """By event, by mail to the owner and in the audit log; what follows is told as failures."""
    user = world.active_user()

    _fail(world, 103)
    with pytest.raises(InvalidCredentialsError):
        world.sign_in()

    events = world.events()
    [locked] = [data for kind, _, data in events if kind == "auth.locked"]
    assert (locked["userId"], locked["failedAttempts"], locked["ip"]) == (str(user.id), 100, _STRANGER.ip)
    assert [data["reason"] for kind, _, data in events if kind == "auth.login_failed"][-1] == "account-locked"
    assert [(mail.to, mail.token) for mail in world.installed.mails.sent if mail.kind == "account_locked"] == [
        (user.email.address, None)
    ]


def test_a_hundred_at_once_are_counted_exactly(world: World) -> None:
    """No failure is lost, and the lock is told of once."""
    user = world.active_user()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: _fail(world, 1), range(100)))

    assert (_state(world, user).failed_attempts, _state(world, user).locked_until) == (100, LOCKED_FOR_GOOD)
    assert [kind for kind, _, _ in world.events()].count("auth.locked") == 1


def test_the_owner_gets_in_on_a_known_device_and_that_ends_the_lock(world: World) -> None:
    """The device says so by its token, from wherever it is."""
    user = world.active_user()
    token = world.sign_in().device_token
    _fail(world, 150)

    with pytest.raises(InvalidCredentialsError):
        _sign_in(world, token, password="mistyped")
    assert _sign_in(world, token).user.id == user.id

    assert (_state(world, user).failed_attempts, _state(world, user).locked_until) == (0, None)
    world.sign_in()


def test_the_owner_gets_in_by_a_reset(world: World) -> None:
    """Whoever reads the mail of the address chooses a new password."""
    world.active_user()
    _fail(world, 100)

    world.use_cases.passwords.request_reset(email="ada@example.com")
    while world.installed.relay.wave():
        pass
    token = world.installed.mails.sent[-1].token
    assert token is not None
    world.use_cases.passwords.reset(token=token, password="another sentence, as long")

    assert world.sign_in(password="another sentence, as long").user.email.address == "ada@example.com"


def test_a_device_token_is_its_users_and_ends(world: World) -> None:
    """Another user's, a bent one, and one of more than ninety days ago are none; each sign-in renews it."""
    world.active_user()
    world.active_user("grace@example.com")
    of_grace = world.sign_in("grace@example.com").device_token
    first = world.sign_in().device_token
    assert first is not None
    world.clock.advance(DEVICE_TOKEN_LIFETIME - timedelta(days=1))
    renewed = _sign_in(world, first).device_token
    assert renewed is not None
    world.clock.advance(timedelta(days=2))
    _fail(world, 100)

    for token in (of_grace, first, renewed[:-2], "s1.x.y", "", None):
        with pytest.raises(InvalidCredentialsError):
            _sign_in(world, token)

    assert _sign_in(world, renewed).user.email.address == "ada@example.com"


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_new_password_ends_the_trust_in_devices(world: World, is_reset: bool) -> None:  # noqa: FBT001 - a parameter
    """Whoever took one guesses past the lock no more; the device that the password was changed on is known on."""
    world.active_user()
    stolen, here = world.sign_in().device_token, world.sign_in()
    new, known = "another sentence, as long", None
    world.clock.advance(timedelta(minutes=1))
    if is_reset:
        world.use_cases.passwords.request_reset(email="ada@example.com")
        while world.installed.relay.wave():
            pass
        token = world.installed.mails.sent[-1].token
        assert token is not None
        world.use_cases.passwords.reset(token=token, password=new)
    else:
        caller = world.use_cases.access.authenticate_user(token=here.access_token)
        changed = world.use_cases.passwords.change(caller=caller, current=PASSWORD, new=new, origin=_STRANGER)
        known = changed.device_token
    _fail(world, 100)

    for token in (stolen, here.device_token):
        with pytest.raises(InvalidCredentialsError):
            _sign_in(world, token, password=new)
    if known is not None:
        signed_in = _sign_in(world, known, password=new)
        _fail(world, 100)
        _sign_in(world, signed_in.device_token, password=new)


def test_clocks_that_differ_end_no_trust(world: World) -> None:
    """The process of the sign-in may be half a minute behind that of the new password."""
    world.active_user()
    token = world.sign_in().device_token
    world.clock.advance(timedelta(seconds=30))
    here = world.sign_in()
    caller = world.use_cases.access.authenticate_user(token=here.access_token)
    world.use_cases.passwords.change(caller=caller, current=PASSWORD, new="another sentence, as long", origin=_STRANGER)
    _fail(world, 100)

    assert _sign_in(world, token, password="another sentence, as long").device_token is not None


def test_whoever_is_signed_in_is_asked_for_the_password_in_spite_of_the_lock(world: World) -> None:
    """Strangers do not keep the owner from what wants a recent proof."""
    world.active_user()
    signed_in = world.sign_in()
    principal = world.use_cases.access.authenticate_user(token=signed_in.access_token)
    _fail(world, 100)

    again = world.use_cases.authentication.reauthenticate(caller=principal, password=PASSWORD, origin=_STRANGER)

    assert again.access_token


def _guess(world: World, signed_in: SignedIn, *, by_change: bool = False) -> None:
    """Give a wrong password for a proof, by either of the operations that ask for one."""
    caller = world.use_cases.access.authenticate_user(token=signed_in.access_token)
    if by_change:
        change = world.use_cases.passwords.change
        with pytest.raises(CurrentPasswordWrongError):
            change(caller=caller, current="not this one", new="another sentence, as long", origin=_STRANGER)
        return
    with pytest.raises(InvalidCredentialsError):
        world.use_cases.authentication.reauthenticate(caller=caller, password="not this one", origin=_STRANGER)


@pytest.mark.asvs("6.3.1")
@pytest.mark.parametrize("by_change", [False, True])
def test_whoever_took_over_a_session_cannot_guess_on(world: World, by_change: bool) -> None:  # noqa: FBT001
    """The wrong password that locks the account ends their session, and each further one another session."""
    user = world.active_user()
    first, second, unharmed = world.sign_in(), world.sign_in(), world.sign_in()
    for _ in range(99):
        _guess(world, first, by_change=by_change)
    world.use_cases.access.authenticate_user(token=first.access_token)

    for taken_over in (first, second):
        _guess(world, taken_over, by_change=by_change)
        with pytest.raises(InvalidAccessTokenError):
            world.use_cases.access.authenticate_user(token=taken_over.access_token)
        with pytest.raises(InvalidRefreshTokenError):
            world.refresh(taken_over)

    assert world.refresh(unharmed).user.id == user.id
    assert (_state(world, user).failed_attempts, _state(world, user).locked_until) == (101, LOCKED_FOR_GOOD)
    events = world.events()
    assert [kind for kind, _, _ in events].count("auth.locked") == 1
    assert [data["reason"] for kind, _, data in events if kind == "auth.session_revoked"] == ["wrong-passwords"] * 2
    causes = [record.entry.after.get("cause") for record in world.installed.store.rows.audit if record.entry.after]
    assert causes.count("wrong-passwords") == 2


def test_strangers_end_nobodys_session(world: World) -> None:
    """Wrong passwords at sign-ins lock the account, and whoever is signed in stays so."""
    user = world.active_user()
    signed_in = world.sign_in()

    _fail(world, 120)

    assert world.refresh(signed_in).user.id == user.id
