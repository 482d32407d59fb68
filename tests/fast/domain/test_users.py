"""What status an account may be given, and by whom."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.domain.users import STATUS_MOVES, Mover, User, UserStatus
from userservice_core.errors import OneTimeTokenInvalidError, StatusChangeNotAllowedError
from userservice_core.testing.samples import NOW, sample_user

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = Path(__file__).parents[3] / "docs/explanation/accounts.md"
_LATER = NOW + timedelta(hours=1)
_VERIFIED = {status: status is not UserStatus.PENDING_VERIFICATION for status in UserStatus}


def _user(status: UserStatus, **changes: Any) -> User:  # noqa: ANN401 - each attribute has its type
    return sample_user(status=status, email_verified=_VERIFIED[status], **changes)


@pytest.mark.asvs("2.3.1")
@pytest.mark.parametrize(("before", "after", "mover"), list(product(UserStatus, UserStatus, Mover)))
def test_the_table_of_moves_is_all_there_is(before: UserStatus, after: UserStatus, mover: Mover) -> None:
    """A move raises the version by one, none changes nothing, and any other is refused."""
    user = _user(before)

    if before is after:
        assert user.moved_to(after, by=mover, now=_LATER) is user
    elif mover in STATUS_MOVES.get((before, after), ()):
        moved = user.moved_to(after, by=mover, now=_LATER)
        assert (moved.status, moved.updated_at, moved.version) == (after, _LATER, 2)
        assert moved.email_verified
    else:
        with pytest.raises(StatusChangeNotAllowedError) as caught:
            user.moved_to(after, by=mover, now=_LATER)
        assert caught.value.params == {"status": before.value}


def test_the_page_shows_the_table_of_moves() -> None:
    """No more, and no less."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([a-z, ]+) \|$", _PAGE.read_text(), re.MULTILINE)

    shown = {(before, after): set(movers.split(", ")) for before, after, movers in rows}
    assert shown == {
        (before.value, after.value): {mover.value for mover in movers}
        for (before, after), movers in STATUS_MOVES.items()
    }


@pytest.mark.parametrize("status", UserStatus)
def test_a_confirmation_makes_the_moves_that_the_table_has_for_it(status: UserStatus) -> None:
    """Only from pending; a deleted account is not confirmed at all."""
    user = _user(status)

    if status is UserStatus.PENDING_VERIFICATION:
        assert Mover.OWNER in STATUS_MOVES[status, user.verify_email(now=_LATER).status]
    elif status is UserStatus.ACTIVE:
        assert user.verify_email(now=_LATER) is user
    else:
        with pytest.raises(OneTimeTokenInvalidError):
            user.verify_email(now=_LATER)
    with pytest.raises(OneTimeTokenInvalidError):
        user.deleted(now=_LATER).verify_email(now=_LATER)


_STEPS: dict[str, Callable[[User], User]] = {
    "verify": lambda user: user.verify_email(now=_LATER),
    "delete": lambda user: user.deleted(now=_LATER),
    "restore": lambda user: user.restored(now=_LATER),
    **{
        f"{mover} {status}": lambda user, status=status, mover=mover: user.moved_to(status, by=mover, now=_LATER)  # type: ignore[misc]
        for status, mover in product(UserStatus, Mover)
    },
}


@pytest.mark.asvs("2.3.1")
@given(steps=st.lists(st.sampled_from(sorted(_STEPS)), max_size=20))
def test_whatever_is_done_in_whatever_order(steps: list[str]) -> None:
    """Deletion and status do not touch each other, each change is one version, and what is refused changes nothing."""
    user = _user(UserStatus.PENDING_VERIFICATION)
    for step in steps:
        try:
            after = _STEPS[step](user)
        except (StatusChangeNotAllowedError, OneTimeTokenInvalidError):
            continue
        is_changed = after is not user
        assert after.version == user.version + is_changed
        if step in {"delete", "restore"}:
            assert after.status is user.status
            assert (after.deleted_at is None) == (step == "restore")
        else:
            assert after.deleted_at == user.deleted_at
            if is_changed:
                assert (user.status, after.status) in STATUS_MOVES
        if user.is_live and not after.is_live:
            assert after.access_version == user.access_version + 1
        user = after
