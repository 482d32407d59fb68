"""Passwords that were used before are no new ones, where the settings say so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from tests.fast.application.conftest import ORIGIN, PASSWORD, World
from userservice_core.application.authentication import SignedIn
from userservice_core.application.password_history import PasswordHistory
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.domain.passwords import MAX_REMEMBERED, PasswordPolicy
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.domain.users import User
from userservice_core.errors import CurrentPasswordWrongError, InvalidInputError, OverloadedError
from userservice_core.infrastructure.memory import InMemorySignInReader
from userservice_core.testing.passwords import FakePasswordHasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.domain.credentials import Credential

_SENTENCES: Final = [PASSWORD, *(f"sentence number {number}, long enough" for number in range(1, 6))]


@attrs.frozen
class Remembering:
    """An installation that remembers passwords, and what its hasher has done."""

    world: World
    hasher: FakePasswordHasher
    user: User

    def credential(self) -> Credential:
        """What is stored of the user's passwords."""
        return self.world.installed.store.rows.credentials[self.user.id]

    def change(self, old: str, new: str) -> None:
        """Sign in by one password and replace it by another."""
        signed_in = self.world.sign_in(password=old)
        caller = self.world.use_cases.access.authenticate_user(token=signed_in.access_token)
        self.world.use_cases.passwords.change(caller=caller, current=old, new=new, origin=ORIGIN)

    def reset(self, new: str) -> None:
        """Choose a password by a mailed link."""
        self.world.use_cases.passwords.request_reset(email="ada@example.com")
        self.world.use_cases.passwords.reset(token=self.world.mailed_token(), password=new)


def _begin(world: World, *, remembered: int) -> Remembering:
    hasher = FakePasswordHasher()
    installed = bootstrap_in_memory(
        clock=world.clock, hasher=hasher, rates=RatePolicy.without_limits(), password_history=remembered
    )
    begun = attrs.evolve(world, installed=installed)
    return Remembering(begun, hasher, begun.active_user())


@pytest.fixture
def remembering(world: World) -> Iterator[Remembering]:
    """Two passwords are remembered beside the present one."""
    begun = _begin(world, remembered=2)
    with begun.world.installed.service:
        yield begun


def _codes(call: Callable[[], object]) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidInputError) as refused:
        call()
    return [(fault.field, fault.code) for fault in refused.value.faults]


def test_a_password_comes_back_only_after_so_many_others(remembering: Remembering) -> None:
    """By a change; the oldest one beyond the number is forgotten, and may be used."""
    first, second, third, fourth = _SENTENCES[:4]
    remembering.change(first, second)
    remembering.change(second, third)

    for used in (first, second):
        assert _codes(partial(remembering.change, third, used)) == [(("newPassword",), "password-reused")]
    assert len(remembering.credential().former_hashes) == 2

    remembering.change(third, fourth)
    remembering.change(fourth, first)

    assert len(remembering.credential().former_hashes) == 2


def test_a_reset_takes_neither_the_present_password_nor_one_before(remembering: Remembering) -> None:
    """The link stays good for another one."""
    first, second, third = _SENTENCES[:3]
    remembering.change(first, second)
    remembering.world.use_cases.passwords.request_reset(email="ada@example.com")
    token = remembering.world.mailed_token()
    reset = remembering.world.use_cases.passwords.reset

    for used in (second, first):
        assert _codes(partial(reset, token=token, password=used)) == [(("password",), "password-reused")]

    reset(token=token, password=third)

    assert remembering.world.sign_in(password=third).user.id == remembering.user.id
    assert _codes(lambda: remembering.change(third, first)) == [(("newPassword",), "password-reused")]


def test_spellings_of_one_phrase_are_one_password(remembering: Remembering) -> None:
    """A former password in another normal form of Unicode is a former password."""
    remembering.change(PASSWORD, "caf\u00e9 au lait every morning")
    remembering.change("caf\u00e9 au lait every morning", _SENTENCES[1])

    codes = _codes(lambda: remembering.change(_SENTENCES[1], "cafe\u0301 au lait every morning"))

    assert codes == [(("newPassword",), "password-reused")]


def test_an_issued_password_is_a_former_one(world: World) -> None:
    """It was printed somewhere, so it does not come back later."""
    begun = _begin(world, remembered=1)
    use_cases = begun.world.use_cases
    issued = use_cases.accounts.create_first_administrator(email="root@example.com")
    assert issued is not None
    signed_in = use_cases.authentication.sign_in(
        email="root@example.com", password=issued, new_password=_SENTENCES[1], origin=ORIGIN
    )
    assert isinstance(signed_in, SignedIn)
    caller = use_cases.access.authenticate_user(token=signed_in.access_token)

    codes = _codes(lambda: use_cases.passwords.change(caller=caller, current=_SENTENCES[1], new=issued, origin=ORIGIN))

    assert codes == [(("newPassword",), "password-reused")]


def test_whoever_does_not_know_the_password_learns_nothing_of_former_ones(remembering: Remembering) -> None:
    """A session that was taken over cannot be used to try which passwords there were."""
    first, second = _SENTENCES[:2]
    remembering.change(first, second)
    caller = remembering.world.use_cases.access.authenticate_user(
        token=remembering.world.sign_in(password=second).access_token
    )

    with pytest.raises(CurrentPasswordWrongError):
        remembering.world.use_cases.passwords.change(caller=caller, current="wrong", new=first, origin=ORIGIN)


def test_nothing_is_kept_or_compared_where_nothing_is_remembered(world: World) -> None:
    """A reset may then even choose the same password again."""
    begun = _begin(world, remembered=0)
    begun.change(PASSWORD, _SENTENCES[1])
    begun.change(_SENTENCES[1], PASSWORD)

    begun.reset(PASSWORD)

    assert begun.credential().former_hashes == ()


def test_a_new_form_of_the_same_hash_is_no_new_password(world: World) -> None:
    """Where parameters change, the sign-in replaces the hash, and what is remembered stays."""
    begun = _begin(world, remembered=3)
    begun.change(PASSWORD, _SENTENCES[1])
    former = begun.credential().former_hashes
    renewing = bootstrap_in_memory(
        clock=world.clock, hasher=FakePasswordHasher(version=2), rates=RatePolicy.without_limits(), password_history=3
    )
    renewing.store.rows = begun.world.installed.store.rows
    begun = attrs.evolve(begun, world=attrs.evolve(begun.world, installed=renewing))

    begun.world.sign_in(password=_SENTENCES[1])

    assert begun.credential().password_hash.startswith("$only-for-testing$v=2")
    assert begun.credential().former_hashes == former


def test_each_comparison_is_made_whatever_comes_of_it(remembering: Remembering) -> None:
    """The work says how many there are, and not which of them it was."""
    first, second, third = _SENTENCES[:3]
    remembering.change(first, second)
    remembering.change(second, third)
    history = PasswordHistory(
        remembered=2, sign_ins=InMemorySignInReader(remembering.world.installed.store), hasher=remembering.hasher
    )

    def work(new: str) -> int:
        before = remembering.hasher.work
        history.faults(new, instead_of=remembering.credential())
        return remembering.hasher.work - before

    assert [work(first), work(second), work(_SENTENCES[4])] == [2, 2, 2]


def test_a_lowered_number_is_obeyed_at_once_and_forgotten_by_retention(remembering: Remembering) -> None:
    """Nothing past it is compared, and the next run of retention drops it."""
    first, second, third = _SENTENCES[:3]
    remembering.change(first, second)
    remembering.change(second, third)
    lowered = bootstrap_in_memory(
        clock=remembering.world.clock, hasher=remembering.hasher, rates=RatePolicy.without_limits(), password_history=1
    )
    lowered.store.rows = remembering.world.installed.store.rows
    begun = attrs.evolve(remembering, world=attrs.evolve(remembering.world, installed=lowered))

    assert _codes(lambda: begun.change(third, second)) == [(("newPassword",), "password-reused")]
    kept = begun.credential().former_hashes[:1]
    assert begun.world.use_cases.retention.apply().rows == 1
    assert begun.credential().former_hashes == kept
    assert begun.world.use_cases.retention.apply().rows == 0
    begun.change(third, first)


def test_a_full_queue_stores_nothing(remembering: Remembering) -> None:
    """Each comparison waits for a hash slot like a sign-in, and may find none."""
    remembering.change(PASSWORD, _SENTENCES[1])
    remembering.world.use_cases.passwords.request_reset(email="ada@example.com")
    token = remembering.world.mailed_token()
    before = remembering.credential()
    remembering.hasher.failure = OverloadedError()

    with pytest.raises(OverloadedError):
        remembering.world.use_cases.passwords.reset(token=token, password=_SENTENCES[2])

    assert remembering.credential() == before


@pytest.mark.parametrize("remembered", [-1, MAX_REMEMBERED + 1])
def test_the_number_is_bounded(remembered: int) -> None:
    """Each of them costs as much as a sign-in."""
    with pytest.raises(ValueError, match="remembered"):
        PasswordPolicy(remembered=remembered)
