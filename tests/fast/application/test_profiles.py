"""Profiles and addresses as the use cases keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.errors import InvalidAccessTokenError, InvalidInputError, StaleVersionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fast.application.conftest import World
    from userservice_core.application.use_cases import UseCases
    from userservice_core.domain.ids import UserId

_ADDRESS: Final = {
    "address_line1": "Unter den Linden 77",
    "city": "Berlin",
    "postal_code": "10117",
    "country_code": "DE",
}


@pytest.mark.parametrize(
    "use",
    [
        lambda use_cases, user_id: use_cases.profiles.get(user_id=user_id),
        lambda use_cases, user_id: use_cases.profiles.replace(user_id=user_id, values={}),
        lambda use_cases, user_id: use_cases.profiles.patch(user_id=user_id, patch={"bio": "x"}),
        lambda use_cases, user_id: use_cases.addresses.add(user_id=user_id, values=_ADDRESS),
        lambda use_cases, user_id: use_cases.addresses.remove(user_id=user_id, address_id=user_id),
    ],
)
def test_a_token_outlives_an_erased_account_in_vain(world: World, use: Callable[[UseCases, UserId], object]) -> None:
    """Whoever still has one is told to sign in, and nothing is stored under the id that is gone."""
    user = world.active_user()
    rows = world.installed.store.rows.copy()
    rows.remove_user(user.id)
    world.installed.store.rows = rows

    with pytest.raises(InvalidAccessTokenError):
        use(world.use_cases, user.id)

    assert world.installed.store.rows is rows


@pytest.mark.parametrize(
    ("values", "versions", "error"),
    [({"bio": ""}, None, InvalidInputError), ({"bio": "x"}, {7}, StaleVersionError)],
)
def test_a_change_that_fails_is_told_to_nobody(
    world: World, values: dict[str, Any], versions: set[int] | None, error: type[Exception]
) -> None:
    """Neither event nor version."""
    user = world.active_user()
    before = world.events()

    with pytest.raises(error):
        world.use_cases.profiles.replace(user_id=user.id, values=values, versions=versions)

    assert before == world.events()
    assert world.use_cases.profiles.get(user_id=user.id).version == 0


def test_the_present_day_is_that_of_the_clock(world: World) -> None:
    """A birth of tomorrow is one of today on the next day."""
    user, tomorrow = world.active_user(), datetime(2026, 1, 2, tzinfo=UTC).date()
    with pytest.raises(InvalidInputError):
        world.use_cases.profiles.patch(user_id=user.id, patch={"date_of_birth": tomorrow})

    world.clock.advance(timedelta(days=1))

    assert world.use_cases.profiles.patch(user_id=user.id, patch={"date_of_birth": tomorrow}).version == 1


def test_the_default_again_is_no_change(world: World) -> None:
    """No version, no event."""
    user = world.active_user()
    address = world.use_cases.addresses.add(user_id=user.id, values=_ADDRESS)
    first = world.use_cases.addresses.make_default(user_id=user.id, address_id=address.id, kinds=list(DefaultKind))
    before = world.events()

    again = world.use_cases.addresses.make_default(
        user_id=user.id, address_id=address.id, kinds=[DefaultKind.BILLING], versions={2}
    )

    assert first == again
    assert before == world.events()
