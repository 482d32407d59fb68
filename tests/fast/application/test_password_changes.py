"""Replacing a password by knowing it, and proving again who one is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import ORIGIN, PASSWORD
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.errors import (
    CurrentPasswordWrongError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    InvalidRefreshTokenError,
    OneTimeTokenInvalidError,
    PasswordChangeRequiredError,
)
from userservice_core.testing.passwords import FakePasswordHasher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fast.application.conftest import World
    from userservice_core.application.access import Principal
    from userservice_core.application.authentication import Reauthenticated

_NEW = "another sentence, as long"
_WRONG = "not this one, I think"


class _InterruptedHasher(FakePasswordHasher):
    """Lets something else happen while it verifies."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def verify(self, password_hash: str, password: str) -> bool:
        self.meanwhile()
        return super().verify(password_hash, password)


def _caller(world: World, signed_in: SignedIn) -> Principal:
    return world.use_cases.access.authenticate_user(token=signed_in.access_token)


def _change(world: World, signed_in: SignedIn, *, current: str = PASSWORD, new: str = _NEW) -> None:
    world.use_cases.passwords.change(caller=_caller(world, signed_in), current=current, new=new, origin=ORIGIN)


def _reauthenticate(world: World, signed_in: SignedIn, password: str = PASSWORD) -> Reauthenticated:
    return world.use_cases.authentication.reauthenticate(
        caller=_caller(world, signed_in), password=password, origin=ORIGIN
    )


# --- changing ---------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("7.4.3")
def test_the_session_that_changes_the_password_goes_on_and_others_end(world: World) -> None:
    """The new password signs in, the old one does not; the owner is told by event and mail."""
    user = world.active_user()
    here, elsewhere = world.sign_in(), world.sign_in()

    _change(world, here)

    assert world.refresh(here).user.id == user.id
    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(elsewhere)
    with pytest.raises(InvalidAccessTokenError):
        _caller(world, elsewhere)
    with pytest.raises(InvalidCredentialsError):
        world.sign_in()
    world.sign_in(password=_NEW)
    events = world.events()
    assert [data["method"] for kind, _, data in events if kind == "user.password_changed"] == ["change"]
    assert [data["reason"] for kind, _, data in events if kind == "auth.session_revoked"] == ["password-changed"]
    assert [mail.to for mail in world.installed.mails.sent if mail.kind == "password_changed"] == ["ada@example.com"]


@pytest.mark.asvs("6.2.3", "6.3.1")
def test_a_wrong_current_password_changes_nothing_and_counts(world: World) -> None:
    """As it does at a sign-in: whoever took over a session may not guess on."""
    user = world.active_user()
    session = world.sign_in()

    with pytest.raises(CurrentPasswordWrongError):
        _change(world, session, current=_WRONG)

    assert world.installed.store.rows.login_states[user.id].failed_attempts == 1
    assert [data["reason"] for kind, _, data in world.events() if kind == "auth.login_failed"] == ["wrong-password"]
    assert world.sign_in().user.id == user.id


@pytest.mark.parametrize(
    ("new", "codes"),
    [
        ("short", ["password-too-short"]),
        ("ada@example.com", ["password-too-obvious"]),
        ("x" * 129, ["password-too-long"]),
        (PASSWORD, ["password-unchanged"]),
    ],
)
def test_a_new_password_follows_the_rules(world: World, new: str, codes: list[str]) -> None:
    """With a pointer to it; and the current one is no new one."""
    world.active_user()
    session = world.sign_in()

    with pytest.raises(InvalidInputError) as refused:
        _change(world, session, new=new)

    assert [(fault.field, fault.code) for fault in refused.value.faults] == [(("newPassword",), code) for code in codes]


def test_a_change_ends_mailed_links(world: World) -> None:
    """A link to choose a password, asked for by whoever read the mail, is good no more."""
    world.active_user()
    session = world.sign_in()
    world.use_cases.passwords.request_reset(email="ada@example.com")
    token = world.mailed_token()

    _change(world, session)

    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=token, password="yet another sentence, as long")


def test_an_ended_session_changes_no_password(world: World) -> None:
    """Also one that ended after its token was looked at."""
    world.active_user()
    session = world.sign_in()
    caller = _caller(world, session)
    world.use_cases.authentication.sign_out(access_token=None, refresh_token=session.refresh_token)

    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.passwords.change(caller=caller, current=PASSWORD, new=_NEW, origin=ORIGIN)
    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.authentication.reauthenticate(caller=caller, password=PASSWORD, origin=ORIGIN)


# --- a password that was issued ---------------------------------------------------------------------------------------


def _issued(world: World) -> str:
    issued = world.use_cases.accounts.create_first_administrator(email="root@example.com")
    assert issued is not None
    return issued


def _first_sign_in(world: World, password: str, new: str | None) -> SignedIn:
    begun = world.use_cases.authentication.sign_in(
        email="root@example.com", password=password, new_password=new, origin=ORIGIN
    )
    assert isinstance(begun, SignedIn)
    return begun


def test_an_issued_password_is_replaced_at_the_first_sign_in(world: World) -> None:
    """Without a new one it signs nobody in, and afterwards it is no password any more."""
    issued = _issued(world)
    with pytest.raises(PasswordChangeRequiredError):
        _first_sign_in(world, issued, None)

    signed_in = _first_sign_in(world, issued, _NEW)

    assert "administrator" in signed_in.user.role_names
    with pytest.raises(InvalidCredentialsError):
        _first_sign_in(world, issued, "one more sentence, as long")
    assert _first_sign_in(world, _NEW, None).user.id == signed_in.user.id
    events = world.events()
    assert [data["method"] for kind, _, data in events if kind == "user.password_changed"] == ["first-sign-in"]


def test_rules_of_the_new_password_are_told_only_to_who_knows_the_issued_one(world: World) -> None:
    """And nothing is used up by one that breaks them."""
    issued = _issued(world)

    for new in ("short", issued):
        with pytest.raises(InvalidInputError) as refused:
            _first_sign_in(world, issued, new)
        assert {fault.field for fault in refused.value.faults} == {("newPassword",)}
    with pytest.raises(InvalidCredentialsError):
        _first_sign_in(world, _WRONG, "short")

    assert _first_sign_in(world, issued, _NEW).user.email.address == "root@example.com"


def test_a_password_that_was_chosen_is_not_replaced_at_a_sign_in(world: World) -> None:
    """There is another way to, which needs a session."""
    world.active_user()

    with pytest.raises(InvalidInputError):
        world.use_cases.authentication.sign_in(
            email="ada@example.com", password=PASSWORD, new_password=_NEW, origin=ORIGIN
        )


def test_a_password_that_has_to_go_meanwhile_is_not_kept_by_a_sign_in(world: World) -> None:
    """Whoever issued it did so while the old one was being verified."""
    hasher = _InterruptedHasher()
    installed = bootstrap_in_memory(clock=world.clock, hasher=hasher)
    interrupted = attrs.evolve(world, installed=installed)
    with installed.service:
        user = interrupted.active_user()

        def meanwhile() -> None:
            rows = installed.store.rows
            rows.credentials[user.id] = attrs.evolve(rows.credentials[user.id], must_change=True)

        hasher.meanwhile = meanwhile
        with pytest.raises(PasswordChangeRequiredError):
            interrupted.sign_in()


# --- proving it again -------------------------------------------------------------------------------------------------


@pytest.mark.asvs("7.2.4")
def test_a_proof_renews_the_time_of_the_session(world: World) -> None:
    """Of this session and its later tokens; a refresh does not, and another session stays as it was."""
    world.active_user()
    session, other = world.sign_in(), world.sign_in()
    began = world.clock.now()
    world.clock.advance(timedelta(minutes=6))
    refreshed = world.refresh(session)
    assert _caller(world, refreshed).claims.auth_time == began

    again = _reauthenticate(world, refreshed)

    caller = world.use_cases.access.authenticate_user(token=again.access_token)
    assert (caller.claims.auth_time, caller.session_id) == (world.clock.now(), _caller(world, session).session_id)
    assert 570 <= again.expires_in_seconds <= 600
    proved = world.clock.now()
    world.clock.advance(timedelta(minutes=1))
    assert _caller(world, world.refresh(refreshed)).claims.auth_time == proved
    assert _caller(world, world.refresh(other)).claims.auth_time == began


def test_a_wrong_password_proves_nothing_and_counts(world: World) -> None:
    """Like one at a sign-in."""
    user = world.active_user()
    session = world.sign_in()
    began = world.clock.now()
    world.clock.advance(timedelta(minutes=1))

    with pytest.raises(InvalidCredentialsError):
        _reauthenticate(world, session, _WRONG)

    assert world.installed.store.rows.login_states[user.id].failed_attempts == 1
    assert _caller(world, world.refresh(session)).claims.auth_time == began
