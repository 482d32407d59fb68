"""What has been kept long enough is erased."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import World
from userservice_core.application.retention import (
    ERASED_PER_TRANSACTION,
    LEASE_SECONDS,
    Removed,
    Retention,
    RetentionPeriods,
)
from userservice_core.domain.audit import SYSTEM, AuditAction
from userservice_core.domain.users import UserStatus
from userservice_core.errors import DatabaseUnavailableError, UserNotFoundError
from userservice_core.infrastructure import memory
from userservice_core.infrastructure.system.clock import Uuid7Generator
from userservice_core.testing.clocks import NOON, FakeClock
from userservice_core.testing.samples import sample_user

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.users import User

_DAY = timedelta(days=1)


@attrs.frozen
class Keeping:
    """An installation whose time passes."""

    world: World

    def apply(self) -> int:
        """Erase what is due, and return how many users that were."""
        return self.world.use_cases.retention.apply().users

    def is_there(self, user_id: UserId) -> bool:
        """Tell whether anything of the user is stored."""
        return user_id in self.world.installed.store.rows.users

    def deleted(self, count: int) -> list[User]:
        """Store users who are deleted now."""
        users = [sample_user(deleted_at=self.world.clock.now()) for _ in range(count)]
        for user in users:
            self.world.installed.store.rows.users[user.id] = user
            self.world.installed.store.rows.user_by_email[user.email.key] = user.id
        return users


@pytest.fixture
def keeping(world: World) -> Keeping:
    """A new installation."""
    return Keeping(world)


def test_a_pending_account_frees_its_address_after_a_week(keeping: Keeping) -> None:
    """Until then it is taken; who confirmed stays."""
    world = keeping.world
    active = world.active_user("eve@example.com")
    pending = world.register()
    world.clock.advance(7 * _DAY)
    assert (keeping.apply(), keeping.is_there(pending.id)) == (0, True)
    world.clock.advance(timedelta(microseconds=1))

    assert (keeping.apply(), keeping.is_there(pending.id), keeping.is_there(active.id)) == (1, False, True)

    assert world.register().id != pending.id


@pytest.mark.asvs("14.2.7")
def test_a_deleted_account_is_erased_after_thirty_days(keeping: Keeping) -> None:
    """By the system, and everybody is told; a second run has nothing to do."""
    world = keeping.world
    user = world.active_user()
    world.sign_in()
    world.use_cases.own_account.delete(user_id=user.id)
    world.clock.advance(30 * _DAY)
    assert keeping.apply() == 0
    world.clock.advance(timedelta(microseconds=1))

    assert (keeping.apply(), keeping.apply()) == (1, 0)

    with pytest.raises(UserNotFoundError):
        world.use_cases.access.permissions_of(user_id=user.id)
    told = [(number, data) for kind, number, data in world.events() if kind == "user.deleted"]
    assert [(data["erased"], data["by"]) for _, data in told] == [(False, "owner"), (True, "retention")]
    assert told[1][0] == (told[0][0] or 0) + 1
    entry = world.installed.store.rows.audit[-1].entry
    assert (entry.action, entry.actor, entry.before, entry.after) == (AuditAction.USER_ERASED, SYSTEM, {}, {})


def test_a_restored_account_stays(keeping: Keeping) -> None:
    """As long as it is not deleted again."""
    world = keeping.world
    user = world.active_user()
    world.use_cases.own_account.delete(user_id=user.id)
    world.clock.advance(29 * _DAY)
    world.use_cases.passwords.request_reset(email="ada@example.com")
    world.use_cases.own_account.take_up_again(token=world.mailed_token())
    world.clock.advance(2 * _DAY)
    assert (keeping.apply(), keeping.is_there(user.id)) == (0, True)


@pytest.mark.parametrize("status", [UserStatus.ACTIVE, UserStatus.SUSPENDED, UserStatus.DEACTIVATED])
def test_accounts_that_are_not_deleted_stay(keeping: Keeping, status: UserStatus) -> None:
    """However old; the administrator among them."""
    world = keeping.world
    world.use_cases.accounts.create_first_administrator(email="root@example.com")
    user = world.active_user()
    world.installed.store.rows.users[user.id] = attrs.evolve(user, status=status)
    world.clock.advance(4_000 * _DAY)
    assert (keeping.apply(), len(world.installed.store.rows.users)) == (0, 2)


def test_many_are_erased_in_batches(keeping: Keeping) -> None:
    """A run that is stopped keeps what it has done, and the next one does the rest."""
    keeping.deleted(2 * ERASED_PER_TRANSACTION + 1)
    keeping.world.clock.advance(31 * _DAY)
    stops = iter([False, *[True] * 9])

    first = keeping.world.use_cases.retention.apply(is_stopped=lambda: next(stops))

    assert first == Removed(users=2 * ERASED_PER_TRANSACTION, rows=0, is_whole=False)
    assert keeping.apply() == 1


def test_rows_that_expired_go_too(keeping: Keeping) -> None:
    """Sessions, mailed tokens, revocations."""
    world = keeping.world
    world.active_user()
    signed_in = world.sign_in()
    world.use_cases.authentication.sign_out(access_token=signed_in.access_token, refresh_token=None)
    world.clock.advance(200 * _DAY)

    assert world.use_cases.retention.apply() == Removed(users=0, rows=3)

    rows = world.installed.store.rows
    assert (rows.sessions, rows.one_time_tokens, rows.revocations) == ({}, {}, [])


class _Relays:
    """Two relays, with users of whom a batch and one more are due, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.store = memory.InMemoryStore(monotonic=lambda: self.seconds)
        self.lease = memory.InMemoryPurgeLease(self.store)
        self.one, self.other = self._purging("one"), self._purging("other")
        uow = memory.InMemoryUnitOfWork(self.store, clock=FakeClock())
        for _ in range(ERASED_PER_TRANSACTION + 1):
            user = sample_user(deleted_at=NOON - timedelta(days=31))
            uow.run(lambda transaction, user=user: transaction.users.add(user))  # type: ignore[misc]

    def _purging(self, name: str) -> Retention:
        clock = FakeClock()
        return Retention(
            uow=memory.InMemoryUnitOfWork(self.store, clock=clock),
            rows=memory.InMemoryExpiredRows(self.store),
            answers=memory.InMemoryAnswerStore(self.store),
            lease=self.lease,
            holder=name,
            clock=clock,
            ids=Uuid7Generator(),
            periods=RetentionPeriods(),
            remembered_passwords=0,
        )


def test_one_relay_at_a_time_purges() -> None:
    """The other does nothing, and nothing either until the rest after a whole run is over."""
    relays = _Relays()
    during: list[Removed] = []

    def look() -> bool:
        during.append(relays.other.apply())
        return False

    assert relays.one.apply(is_stopped=look) == Removed(users=ERASED_PER_TRANSACTION + 1)
    assert during == [Removed(is_whole=False)] * 2
    assert relays.other.apply(rest_seconds=60) == Removed(is_whole=False)
    relays.seconds += 60
    assert relays.other.apply(rest_seconds=60) == Removed()


def test_a_run_that_freezes_is_followed_and_ends() -> None:
    """Another takes over when the lease has ended; who thaws then has finished its batch, and does no more."""
    relays = _Relays()

    def freeze() -> bool:
        relays.seconds += LEASE_SECONDS
        assert relays.lease.take(holder="other", seconds=LEASE_SECONDS)
        return False

    assert relays.one.apply(is_stopped=freeze) == Removed(users=ERASED_PER_TRANSACTION, is_whole=False)
    assert relays.other.apply() == Removed(users=1)


def test_a_run_that_fails_gives_the_lease_back() -> None:
    """And counts for nothing: the next need not rest."""
    relays = _Relays()

    def fail() -> bool:
        raise DatabaseUnavailableError

    with pytest.raises(DatabaseUnavailableError):
        relays.one.apply(is_stopped=fail)

    assert relays.other.apply(rest_seconds=3_600) == Removed(users=1)
