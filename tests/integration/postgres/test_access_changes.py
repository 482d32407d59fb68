"""Changes of who may do what at the same time: each result is exact, no row is orphaned, and nothing is a fault."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from userservice_core.application.permissions import Permissions
from userservice_core.application.role_assignments import RoleAssignments
from userservice_core.application.roles import Roles
from userservice_core.domain.ids import UserId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole, Role
from userservice_core.errors import (
    LastAdministratorError,
    PermissionNotFoundError,
    RoleNotFoundError,
    StaleVersionError,
    TargetOutranksActorError,
)
from userservice_core.infrastructure.postgres.roles import PostgresRoleReader
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.infrastructure.system.clock import SystemClock, Uuid7Generator
from userservice_core.testing.contracts.races import race
from userservice_core.testing.samples import sample_user

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from userservice_core.infrastructure.postgres.database import Database

_ADMINISTRATOR: Final = AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name)


@attrs.frozen
class Staff:
    """The use cases on PostgreSQL, and an administrator."""

    uow: PostgresUnitOfWork
    users: PostgresUserReader
    roles: Roles
    permissions: Permissions
    assignments: RoleAssignments
    admin: UserId

    def add_user(self, *roles: AssignedRole) -> UserId:
        """Store a user who may sign in."""
        user = sample_user(roles=(*roles, *INITIAL_ROLES))
        self.uow.run(lambda transaction: transaction.users.add(user))
        return user.id

    def add_role(self, name: str = "Role") -> Role:
        """Make a role."""
        return self.roles.create(actor=self.admin, name=name, description=None)

    def add_permission(self, action: str) -> Any:  # noqa: ANN401 - the id of a permission
        """Make a permission."""
        return self.permissions.create(
            actor=self.admin, resource="invoice", action=action, description=None, group_name=None
        ).id


@pytest.fixture
def staff(pool: Database) -> Staff:
    """One administrator on the database of the test."""
    uow, clock, ids = PostgresUnitOfWork(pool), SystemClock(), Uuid7Generator()
    users, reader = PostgresUserReader(pool), PostgresRoleReader(pool)
    admin = sample_user(roles=(_ADMINISTRATOR, *INITIAL_ROLES))
    uow.run(lambda transaction: transaction.users.add(admin))
    return Staff(
        uow,
        users,
        Roles(uow=uow, roles=reader, clock=clock, ids=ids),
        Permissions(uow=uow, roles=reader, clock=clock, ids=ids),
        RoleAssignments(uow=uow, users=users, clock=clock, ids=ids),
        admin.id,
    )


def _events(observer: psycopg.Connection, key: object) -> list[tuple[str, int]]:
    rows = observer.execute(
        "SELECT split_part(type, '.', 3), sequence FROM outbox WHERE aggregateid = %s ORDER BY seq", (str(key),)
    )
    return rows.fetchall()


def test_one_of_fifty_edits_of_a_version_succeeds(staff: Staff, observer: psycopg.Connection) -> None:
    """The others are told that theirs is stale, and there is one event."""
    role = staff.add_role()

    def edit(number: int) -> Role:
        return staff.roles.change(
            actor=staff.admin,
            role_id=role.id,
            revise=lambda each: each.revised(name=f"Role {number}", description=None),
            expected={1},
        )

    outcomes = race([partial(edit, number) for number in range(50)])

    (won,) = (outcome for outcome in outcomes if isinstance(outcome, Role))
    assert {type(outcome) for outcome in outcomes} == {Role, StaleVersionError}
    assert won == staff.roles.get(role_id=role.id)
    assert _events(observer, role.id) == [("created", 1), ("updated", 2)]


def test_fifty_edits_without_a_version_are_all_made(staff: Staff, observer: psycopg.Connection) -> None:
    """One after the other: versions and numbers of events have no gap, permissions none too many."""
    role = staff.add_role()
    ids = [staff.add_permission(f"do_{number}") for number in range(25)]

    def rename(number: int) -> object:
        return staff.roles.change(
            actor=staff.admin,
            role_id=role.id,
            revise=lambda each: each.revised(name=f"Role {number}", description=None),
        )

    def grant(number: int) -> object:
        return staff.roles.assign_permissions(actor=staff.admin, role_id=role.id, permission_ids=[ids[number]])

    works = [partial(work, number) for number in range(25) for work in (rename, grant)]
    failed = [outcome for outcome in race(works) if isinstance(outcome, Exception)]

    saved = staff.roles.get(role_id=role.id)
    assert failed == []
    assert (saved.version, len(saved.permissions)) == (51, 25)
    assert [sequence for _, sequence in _events(observer, role.id)] == list(range(1, 52))


def test_a_role_is_given_or_deleted(staff: Staff, observer: psycopg.Connection) -> None:
    """Whoever came before the deletion lost the role again, whoever came after is told; nobody holds what is gone."""
    role = staff.add_role()
    users = [staff.add_user() for _ in range(24)]

    def give(user_id: UserId) -> object:
        return staff.assignments.assign(actor=staff.admin, user_id=user_id, role_ids=[role.id])

    works: list[Callable[[], object]] = [partial(give, user_id) for user_id in users]
    works.insert(12, lambda: staff.roles.delete(actor=staff.admin, role_id=role.id, force=True))
    outcomes = race(works)
    del outcomes[12]

    assert {type(outcome) for outcome in outcomes} <= {tuple, RoleNotFoundError}
    for user_id, outcome in zip(users, outcomes, strict=True):
        expected = [] if isinstance(outcome, Exception) else [("role_assigned", 1), ("role_removed", 2)]
        assert _events(observer, user_id) == expected
        assert staff.users.get(user_id).roles == INITIAL_ROLES
    assert observer.execute("SELECT count(*) FROM user_roles WHERE role_id = %s", (role.id,)).fetchone() == (0,)
    assert _events(observer, role.id)[-1] == ("deleted", 2)


def test_a_permission_is_granted_or_deleted(staff: Staff, observer: psycopg.Connection) -> None:
    """As for roles."""
    permission_id = staff.add_permission("read")
    roles = [staff.add_role(f"Role {number}") for number in range(12)]

    def grant(role: Role) -> object:
        return staff.roles.assign_permissions(actor=staff.admin, role_id=role.id, permission_ids=[permission_id])

    works: list[Callable[[], object]] = [partial(grant, role) for role in roles]
    works.insert(6, lambda: staff.permissions.delete(actor=staff.admin, permission_id=permission_id, force=True))
    outcomes = race(works)
    del outcomes[6]

    assert {type(outcome) for outcome in outcomes} <= {tuple, PermissionNotFoundError}
    for role, outcome in zip(roles, outcomes, strict=True):
        granted = [] if isinstance(outcome, Exception) else [("permission_assigned", 2), ("permission_removed", 3)]
        assert _events(observer, role.id) == [("created", 1), *granted]
        assert staff.roles.get(role_id=role.id).permissions == frozenset()


def test_administrators_who_depose_each_other_leave_one(staff: Staff, observer: psycopg.Connection) -> None:
    """Whatever the order: each is judged by what holds when it is their turn."""
    admins = [staff.admin, *(staff.add_user(_ADMINISTRATOR) for _ in range(7))]

    def depose(number: int) -> object:
        actor, user_id = admins[number], admins[(number + 1) % len(admins)]
        return staff.assignments.remove(actor=actor, user_id=user_id, role_ids=[ADMIN_ROLE.id])

    outcomes = race([partial(depose, number) for number in range(len(admins))])

    held = observer.execute("SELECT count(*) FROM user_roles WHERE role_id = %s", (ADMIN_ROLE.id,)).fetchone()
    deposed = sum(isinstance(outcome, tuple) for outcome in outcomes)
    assert held == (len(admins) - deposed,)
    assert held > (0,)
    assert {type(outcome) for outcome in outcomes} <= {tuple, LastAdministratorError, TargetOutranksActorError}


def test_many_holders_lose_a_role_in_batches(staff: Staff, observer: psycopg.Connection) -> None:
    """More than one transaction takes; each of them has an event and a row that tells other processes."""
    role = staff.add_role()
    users = [staff.add_user(AssignedRole(role.id, role.name)) for _ in range(450)]
    staff.roles.delete(actor=staff.admin, role_id=role.id, force=True)

    counted = observer.execute(
        "SELECT (SELECT count(*) FROM outbox WHERE type = 'userservice.user.role_removed.v1'),"
        " (SELECT count(*) FROM revocations WHERE kind = 'access' AND version = 2),"
        " (SELECT count(*) FROM user_roles)"
    ).fetchone()
    assert counted == (len(users), len(users), len(users) + 2)


def test_a_role_that_ten_thousand_hold_is_deleted_while_it_is_given(staff: Staff, observer: psycopg.Connection) -> None:
    """Deleted users among them; each has their event, no transaction writes many, and nobody holds what is gone."""
    role = staff.add_role()
    observer.execute(
        "INSERT INTO users SELECT (jsonb_populate_record(users, jsonb_build_object('user_id', gen_random_uuid(),"
        " 'deleted_at', CASE WHEN number %% 100 = 0 THEN now() END))).*"
        " FROM users, generate_series(1, 10000) AS number WHERE user_id = %s",
        (staff.admin,),
    )
    observer.execute("INSERT INTO user_roles (user_id, role_id) SELECT user_id, %s FROM users", (role.id,))
    late = [staff.add_user() for _ in range(10)]

    def give(user_id: UserId) -> object:
        return staff.assignments.assign(actor=staff.admin, user_id=user_id, role_ids=[role.id])

    works: list[Callable[[], object]] = [partial(give, user_id) for user_id in late]
    works.append(lambda: staff.roles.delete(actor=staff.admin, role_id=role.id, force=True))
    *outcomes, deleted = race(works)

    given = sum(isinstance(outcome, tuple) for outcome in outcomes)
    assert {type(outcome) for outcome in outcomes} <= {tuple, RoleNotFoundError}
    assert deleted is None
    holders = observer.execute("SELECT count(*) FROM user_roles WHERE role_id = %s", (role.id,)).fetchone()
    told = observer.execute(
        "SELECT count(*), count(DISTINCT aggregateid) FROM outbox WHERE type = 'userservice.user.role_removed.v1'"
    ).fetchone()
    largest = observer.execute(
        "SELECT max(number) FROM (SELECT count(*) AS number FROM outbox"
        " WHERE type = 'userservice.user.role_removed.v1' GROUP BY xmin::text) AS transactions"
    ).fetchone()
    # The administrator holds it, too.
    assert (holders, told) == ((0,), (10_001 + given,) * 2)
    assert largest is not None
    assert largest[0] <= 500
    assert _events(observer, role.id)[-1] == ("deleted", 2)


def test_wildcards_in_other_roles_are_a_setting(staff: Staff, pool: Database) -> None:
    """Whoever may do everything by such a role counts as an administrator, and the last one stays."""
    reader = PostgresRoleReader(pool)
    roles = Roles(uow=staff.uow, roles=reader, clock=SystemClock(), ids=Uuid7Generator(), wildcards_in_any_role=True)
    role, (everything,) = staff.add_role(), reader.list_permissions_of(ADMIN_ROLE.id)
    staff.assignments.assign(actor=staff.admin, user_id=staff.admin, role_ids=[role.id])
    roles.assign_permissions(actor=staff.admin, role_id=role.id, permission_ids=[everything.id])
    staff.assignments.remove(actor=staff.admin, user_id=staff.admin, role_ids=[ADMIN_ROLE.id])

    with pytest.raises(LastAdministratorError):
        staff.roles.delete(actor=staff.admin, role_id=role.id, force=True)


def test_the_process_that_makes_a_change_hears_of_it_at_its_commit(staff: Staff, pool: Database) -> None:
    """And of none that was not committed."""
    heard: list[Revocation] = []
    uow = PostgresUnitOfWork(pool, on_revocation=heard.append)
    role = staff.add_role()
    roles = Roles(uow=uow, roles=PostgresRoleReader(pool), clock=SystemClock(), ids=Uuid7Generator())
    with pytest.raises(StaleVersionError):
        roles.delete(actor=staff.admin, role_id=role.id, expected={2})
    before = PostgresRoleReader(pool).role_map().epoch
    roles.delete(actor=staff.admin, role_id=role.id)

    assert [(each.kind, each.version) for each in heard] == [(RevocationKind.ROLE_MAP, before + 1)]
    assert PostgresRoleReader(pool).role_map().epoch == before + 1
