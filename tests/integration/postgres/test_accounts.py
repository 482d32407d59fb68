"""Accounts that end while something else happens to them, and what is left of those that are erased."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import pytest

from tests.e2e.processes import eventually, settings_for
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import UserService, bootstrap, bootstrap_relay
from userservice_core.config import Settings
from userservice_core.domain.ids import UserId
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import Mover, UserStatus
from userservice_core.errors import (
    AccountSuspendedError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    LastAdministratorError,
    StatusChangeNotAllowedError,
    TargetOutranksActorError,
    UserNotFoundError,
)
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.races import race
from userservice_core.testing.samples import sample_address, sample_profile, sample_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from userservice_core.domain.users import User

_ADMINISTRATOR: Final = AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name)
_PASSWORD: Final = "correct horse battery staple"
_ORIGIN: Final = Origin(ip="198.51.100.77", user_agent="Marker-Agent/1.0")


@attrs.frozen
class House:
    """The use cases on PostgreSQL, and an administrator."""

    service: UserService
    uow: PostgresUnitOfWork
    observer: psycopg.Connection
    admin: UserId

    def add(self, *roles: AssignedRole, **changes: Any) -> User:  # noqa: ANN401 - each attribute has its type
        """Store a user without a password."""
        user = sample_user(roles=(*roles, *INITIAL_ROLES), **changes)
        self.uow.run(lambda transaction: transaction.users.add(user))
        return user

    def register(self, email: str) -> User:
        """Register a user with a password, and let the address be confirmed."""
        user = self.service.use_cases.registration.register(email=email, password=_PASSWORD)
        verified = user.verify_email(now=datetime.now(UTC))
        self.uow.run(lambda transaction: transaction.users.save(verified))
        return verified

    def suspend(self, user_id: UserId, *, actor: UserId | None = None) -> object:
        """Suspend a user."""
        return self.service.use_cases.account_administration.update(
            actor=actor or self.admin,
            user_id=user_id,
            revise=lambda user, now: user.moved_to(UserStatus.SUSPENDED, by=Mover.ADMINISTRATOR, now=now),
            reason="a reason",
        )

    def events(self, user_id: UserId, topic: str = "users") -> list[tuple[str, int]]:
        """Return the events of a user with their numbers."""
        rows = self.observer.execute(
            "SELECT split_part(type, '.', 3), sequence FROM outbox"
            " WHERE aggregateid = %s AND aggregatetype = %s ORDER BY seq",
            (str(user_id), f"userservice.{topic}"),
        )
        return rows.fetchall()


@pytest.fixture
def house(database: str, tmp_path: Path, uow: PostgresUnitOfWork, observer: psycopg.Connection) -> Iterator[House]:
    """One administrator on the database of the test."""
    settings = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1", DATABASE_POOL_SIZE="16")
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        admin = sample_user(roles=(_ADMINISTRATOR, *INITIAL_ROLES))
        uow.run(lambda transaction: transaction.users.add(admin))
        yield House(service, uow, observer, admin.id)


def _kinds(outcomes: list[Any]) -> set[type]:
    return {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)}


def test_of_administrators_who_delete_each_other_one_stays(house: House) -> None:
    """Fifty at once, each by another way; whoever is deleted can delete nobody."""
    others = [house.add(_ADMINISTRATOR).id for _ in range(24)]
    administration, own = house.service.use_cases.account_administration, house.service.use_cases.own_account
    everybody = [house.admin, *others]
    works: list[Callable[[], object]] = []
    for number, user_id in enumerate(everybody):
        actor = everybody[(number + 1) % len(everybody)]
        works.append(
            (
                partial(administration.delete, actor=actor, user_id=user_id),
                partial(administration.erase, actor=actor, user_id=user_id),
                partial(house.suspend, user_id, actor=actor),
            )[number % 3]
        )
        works.append(partial((own.delete, own.deactivate)[number % 2], user_id=user_id))

    outcomes = race(works)

    assert _kinds(outcomes) <= {
        LastAdministratorError,
        TargetOutranksActorError,
        InvalidAccessTokenError,
        UserNotFoundError,
        StatusChangeNotAllowedError,
    }
    left = house.observer.execute(
        "SELECT user_id FROM users JOIN user_roles USING (user_id)"
        " WHERE role_id = %s AND status = 'active' AND deleted_at IS NULL",
        (ADMIN_ROLE.id,),
    ).fetchall()
    assert len(left) == 1


def test_of_two_administrators_who_delete_each_other_one_stays(house: House) -> None:
    """Again and again: exactly one, whoever is quicker."""
    administration = house.service.use_cases.account_administration
    for _ in range(20):
        second = house.add(_ADMINISTRATOR).id
        pair = [
            partial(administration.delete, actor=house.admin, user_id=second),
            partial(administration.delete, actor=second, user_id=house.admin),
        ]
        outcomes = race(pair)
        assert sum(outcome is None for outcome in outcomes) == 1
        assert _kinds(outcomes) <= {LastAdministratorError, TargetOutranksActorError}
        gone = second if outcomes[0] is None else house.admin
        restored = administration.restore(actor=house.admin if gone == second else second, user_id=gone)
        assert restored.is_live
        administration.erase(actor=house.admin, user_id=second)


@pytest.mark.asvs("7.4.2")
def test_no_sign_in_outlives_a_suspension(house: House) -> None:
    """Fifty sign-ins and refreshes and one suspension: no session is left open, and each event has its number."""
    user = house.register("ada@example.com")

    def sign_in() -> SignedIn:
        begun = house.service.use_cases.authentication.sign_in(
            email="ada@example.com", password=_PASSWORD, origin=_ORIGIN
        )
        assert isinstance(begun, SignedIn)
        return begun

    refresh = house.service.use_cases.authentication.refresh
    begun = [sign_in() for _ in range(25)]
    works: list[Callable[[], object]] = []
    for signed_in in begun:
        works += [sign_in, partial(refresh, refresh_token=signed_in.refresh_token, origin=_ORIGIN)]
    works.insert(25, partial(house.suspend, user.id))

    outcomes = race(works)

    assert _kinds(outcomes) <= {AccountSuspendedError, InvalidRefreshTokenError}
    for signed_in in begun:
        with pytest.raises(InvalidRefreshTokenError):
            refresh(refresh_token=signed_in.refresh_token, origin=_ORIGIN)
        with pytest.raises(InvalidAccessTokenError):
            house.service.use_cases.access.authenticate(token=signed_in.access_token)
    open_ones = house.observer.execute(
        "SELECT count(*) FROM sessions WHERE user_id = %s AND revoked_at IS NULL", (user.id,)
    )
    assert open_ones.fetchone() == (0,)
    for topic in ("users", "auth"):
        numbers = [number for _, number in house.events(user.id, topic)]
        assert numbers == list(range(1, len(numbers) + 1))


def test_suspensions_and_grants_lose_nothing_of_each_other(house: House) -> None:
    """Fifty at once: each change is one version, each has its event, and all roles that were given are held."""
    user = house.add()
    use_cases = house.service.use_cases
    roles = [
        use_cases.roles.create(actor=house.admin, name=f"Role {number}", description=None).id for number in range(25)
    ]

    def toggle() -> object:
        def revise(user: User, now: datetime) -> User:
            other = UserStatus.SUSPENDED if user.status is UserStatus.ACTIVE else UserStatus.ACTIVE
            return user.moved_to(other, by=Mover.ADMINISTRATOR, now=now)

        return use_cases.account_administration.update(
            actor=house.admin, user_id=user.id, revise=revise, reason="a reason"
        )

    works: list[Callable[[], object]] = []
    for role_id in roles:
        works += [
            toggle,
            partial(use_cases.role_assignments.assign, actor=house.admin, user_id=user.id, role_ids=[role_id]),
        ]

    assert _kinds(race(works)) == set()

    saved = use_cases.access.permissions_of(user_id=user.id)
    assert saved.names == frozenset()
    row = house.observer.execute(
        "SELECT status, version, access_version, (SELECT count(*) FROM user_roles WHERE user_id = users.user_id)"
        " FROM users WHERE user_id = %s",
        (user.id,),
    ).fetchone()
    assert row == ("suspended", 51, 51, 25 + len(INITIAL_ROLES))
    assert [number for _, number in house.events(user.id)] == list(range(1, 51))


@pytest.mark.parametrize("is_hard", [False, True])
def test_nothing_happens_to_a_user_after_their_deletion(house: House, is_hard: bool) -> None:  # noqa: FBT001
    """Sign-ins, grants and profiles of the time leave no row behind one who is erased, and no event behind the last."""
    user = house.register("ada@example.com")
    use_cases = house.service.use_cases
    end = use_cases.account_administration.erase if is_hard else use_cases.account_administration.delete
    sign_in = partial(use_cases.authentication.sign_in, email="ada@example.com", password=_PASSWORD, origin=_ORIGIN)
    grant = partial(use_cases.role_assignments.assign, actor=house.admin, user_id=user.id, role_ids=[ADMIN_ROLE.id])
    works: list[Callable[[], object]] = [work for _ in range(12) for work in (sign_in, grant)]
    works.insert(12, partial(end, actor=house.admin, user_id=user.id))

    outcomes = race(works)

    assert _kinds(outcomes) <= {InvalidCredentialsError, UserNotFoundError}
    assert outcomes[12] is None
    told = [kind for kind, _ in house.events(user.id)]
    if is_hard:
        assert told[-1] == "deleted"
        for table in ("sessions", "credentials", "login_states", "one_time_tokens", "user_roles"):
            count = house.observer.execute(f"SELECT count(*) FROM {table} WHERE user_id = %s", (user.id,))  # noqa: S608
            assert (table, count.fetchone()) == (table, (0,))
    open_ones = house.observer.execute(
        "SELECT count(*) FROM sessions WHERE user_id = %s AND revoked_at IS NULL", (user.id,)
    )
    assert open_ones.fetchone() == (0,)
    numbers = [number for _, number in house.events(user.id)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.asvs("14.2.7")
@pytest.mark.parametrize("by", ["administrator", "retention"])
def test_nothing_is_left_of_who_is_erased(house: House, by: str) -> None:
    """No column of any table holds anything of theirs but the id; events that wait to be relayed are on their way."""
    user = house.register("marker.ada@example.com")
    use_cases = house.service.use_cases
    house.uow.run(lambda transaction: transaction.profiles.save(sample_profile(user, bio="Marker-Bio")))
    house.uow.run(lambda transaction: transaction.addresses.add(sample_address(user, city="Marker-City")))
    use_cases.authentication.sign_in(email="marker.ada@example.com", password=_PASSWORD, origin=_ORIGIN)
    with pytest.raises(InvalidCredentialsError):
        use_cases.authentication.sign_in(email="marker.ada@example.com", password="wrong", origin=_ORIGIN)
    use_cases.passwords.request_reset(email="marker.ada@example.com")
    use_cases.account_administration.delete(actor=house.admin, user_id=user.id)
    before = _tables_with_markers(house.observer)
    assert {"users", "user_emails", "user_profiles", "addresses", "sessions", "one_time_tokens"} <= before.keys()

    if by == "administrator":
        use_cases.account_administration.erase(actor=house.admin, user_id=user.id)
    else:
        house.observer.execute(
            "UPDATE users SET deleted_at = deleted_at - interval '31 days' WHERE user_id = %s", (user.id,)
        )
        assert use_cases.retention.apply().users == 1

    assert {name: rows for name, rows in _tables_with_markers(house.observer).items() if name != "outbox"} == {}
    last = house.observer.execute(
        "SELECT payload FROM outbox WHERE aggregateid = %s AND aggregatetype = 'userservice.users' ORDER BY seq DESC",
        (str(user.id),),
    ).fetchone()
    assert last is not None
    assert "marker" not in json.dumps(last[0]).lower()
    assert last[0]["erased"] is True


def _tables_with_markers(observer: psycopg.Connection) -> dict[str, list[str]]:
    """Return the rows, as text, that hold anything of the user with the markers, by table."""
    names = observer.execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        " AND NOT relispartition"
    )
    found = {}
    for (name,) in names.fetchall():
        rows = observer.execute(f'SELECT t::text FROM "{name}" AS t')  # noqa: S608 - names of tables
        held = [text for (text,) in rows if "marker" in text.lower() or _ORIGIN.ip in text]
        if held:
            found[name] = held
    return found


def test_a_relay_erases_beside_its_work(house: House, database: str, tmp_path: Path) -> None:
    """From time to time, until it is stopped."""
    user = house.add(deleted_at=datetime.now(UTC) - timedelta(days=31))
    settings = settings_for(database, tmp_path, RETENTION_INTERVAL_SECONDS="0.05")
    stop = threading.Event()
    with bootstrap_relay(Settings.from_environment(settings)) as relay:
        running = threading.Thread(target=relay.run, args=(stop,))
        running.start()
        try:
            eventually(lambda: _count(house, user) == 0, what="the user to be erased")
        finally:
            stop.set()
            running.join()


def _count(house: House, user: User) -> int:
    row = house.observer.execute("SELECT count(*) FROM users WHERE user_id = %s", (user.id,)).fetchone()
    return -1 if row is None else int(row[0])


def test_runs_at_the_same_time_share_the_work(house: House) -> None:
    """Each user is erased once, and one who is restored meanwhile is either back or gone, never half."""
    long_ago = datetime.now(UTC) - timedelta(days=31)
    users = [house.add(deleted_at=long_ago) for _ in range(130)]
    use_cases = house.service.use_cases
    works: list[Callable[[], object]] = [use_cases.retention.apply for _ in range(4)]
    works += [
        partial(use_cases.account_administration.restore, actor=house.admin, user_id=user.id) for user in users[:20]
    ]

    outcomes = race(works)
    use_cases.retention.apply()

    assert _kinds(outcomes) <= {UserNotFoundError}
    for user, outcome in zip(users, [*outcomes[4:], *[UserNotFoundError()] * 110], strict=True):
        told = [kind for kind, _ in house.events(user.id)]
        is_back = not isinstance(outcome, Exception)
        assert told == (["restored"] if is_back else ["deleted"])
        assert _count(house, user) == int(is_back)
