"""What the repositories rely on PostgreSQL for: conditions that decide between rivals, and statements that see both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import attrs
import pytest

from tests.integration.postgres.building import NOW, new_session, new_user, register
from userservice_core.domain.ids import RoleId
from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, USER_ROLE, AssignedRole, Role
from userservice_core.domain.users import UserStatus
from userservice_core.errors import AlreadyExistsError, RoleNotFoundError, StaleVersionError
from userservice_core.infrastructure.postgres.revocations import PostgresRevocationLog
from userservice_core.infrastructure.postgres.roles import PostgresRoleReader
from userservice_core.infrastructure.postgres.sessions import PostgresSessionStore
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.ports.sessions import Rotation

if TYPE_CHECKING:
    import psycopg

    from userservice_core.domain.sessions import Session
    from userservice_core.domain.users import User
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
    from userservice_core.ports.unit_of_work import Transaction


def _signed_in(uow: PostgresUnitOfWork) -> tuple[User, Session]:
    active = attrs.evolve(new_user(), status=UserStatus.ACTIVE, email_verified=True)
    user = uow.run(lambda transaction: register(transaction, active))
    session = new_session(user)
    uow.run(lambda transaction: transaction.sessions.add(session))
    return user, session


def _rotation(session: Session, *, successor: int) -> Rotation:
    return Rotation(
        user_id=session.user_id,
        session_id=session.id,
        generation=session.generation,
        secret_hash=session.current_hash,
        next_hash=bytes([successor] * 32),
        now=session.created_at + timedelta(hours=1),
    )


@pytest.mark.asvs("10.4.5")
def test_one_of_many_rotations_at_once_wins(pool: Database, uow: PostgresUnitOfWork) -> None:
    """The others find their condition gone when they have waited for the row."""
    user, session = _signed_in(uow)
    store = PostgresSessionStore(pool)
    with ThreadPoolExecutor(8) as threads:
        rotated = list(threads.map(lambda number: store.rotate(_rotation(session, successor=number)), range(1, 51)))

    winners = [outcome for outcome in rotated if outcome is not None]
    assert len(winners) == 1
    assert winners[0].user == user
    assert winners[0] == store.find(user.id, session.id)
    assert winners[0].session.generation == 1


@pytest.mark.asvs("7.4.2")
def test_a_rotation_that_waited_for_a_suspension_sees_it(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """Whoever suspends a user ends the sessions, and that row decides."""
    user, session = _signed_in(uow)
    store = PostgresSessionStore(pool)
    with observer.transaction(), ThreadPoolExecutor(1) as thread:
        observer.execute("UPDATE sessions SET revoked_at = now()")
        observer.execute("UPDATE users SET status = 'suspended'")
        waiting = thread.submit(store.rotate, _rotation(session, successor=1))
        while observer.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            assert not waiting.done()
        observer.execute("COMMIT")

        assert waiting.result() is None
    found = store.find(user.id, session.id)
    assert found is not None
    assert found.session.generation == 0


@pytest.mark.parametrize("status", [status for status in UserStatus if status is not UserStatus.ACTIVE])
def test_a_session_rotates_only_for_a_live_user(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection, status: UserStatus
) -> None:
    """The user's row is looked at by the same statement."""
    _, session = _signed_in(uow)
    observer.execute("UPDATE users SET status = %s", (status.value,))

    assert PostgresSessionStore(pool).rotate(_rotation(session, successor=1)) is None


def test_of_changes_to_one_version_one_succeeds(pool: Database, uow: PostgresUnitOfWork) -> None:
    """A lost update is refused, although the writes are sent together with their COMMIT."""
    user = uow.run(lambda transaction: register(transaction, new_user()))

    def save(number: int) -> bool:
        changed = attrs.evolve(user, attributes={"number": number}, version=2)
        try:
            uow.run(lambda transaction: transaction.users.save(changed))
        except StaleVersionError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(save, range(24)))

    assert outcomes.count(True) == 1
    assert PostgresUserReader(pool).get(user.id).attributes == {"number": outcomes.index(True)}


def test_a_change_of_a_user_who_is_gone_is_refused(uow: PostgresUnitOfWork) -> None:
    """It would have no effect, which is no success."""
    ghost = attrs.evolve(new_user(), version=2)

    with pytest.raises(StaleVersionError):
        uow.run(lambda transaction: transaction.users.save(ghost))


def test_roles_of_a_user_come_in_the_order_of_their_names(pool: Database, uow: PostgresUnitOfWork) -> None:
    """By code point, whatever the language of the server; a role that does not exist cannot be held."""
    both = (AssignedRole(USER_ROLE.id, USER_ROLE.name), AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name))
    user = uow.run(lambda transaction: register(transaction, attrs.evolve(new_user(), roles=both)))
    unknown = attrs.evolve(new_user(), roles=(AssignedRole(RoleId(UUID(int=1)), "unknown"),))

    reader = PostgresRoleReader(pool)
    assert PostgresUserReader(pool).get(user.id).roles == both[::-1]
    assert (reader.is_held(ADMIN_ROLE.id), reader.is_held(RoleId(UUID(int=1)))) == (True, False)
    with pytest.raises(RoleNotFoundError):
        uow.run(lambda transaction: transaction.users.add(unknown))


def test_each_change_of_a_role_raises_the_epoch(pool: Database, uow: PostgresUnitOfWork) -> None:
    """It is read with what it vouches for, in one statement."""
    reader = PostgresRoleReader(pool)
    role = Role(id=RoleId(UUID(int=7)), name="Straße", permissions=frozenset({"user:read", "user:list"}))
    narrowed = attrs.evolve(role, permissions=frozenset({"user:read"}), version=2)

    uow.run(lambda transaction: transaction.roles.add(role))
    added = reader.role_map()
    uow.run(lambda transaction: transaction.roles.save(narrowed))
    saved = reader.role_map()

    assert (added.epoch, added.permissions[role.id]) == (2, role.permissions)
    assert (saved.epoch, saved.permissions[role.id]) == (3, narrowed.permissions)
    assert saved.permissions[ADMIN_ROLE.id] == {EVERYTHING}
    assert reader.list_permissions() == tuple(sorted(SYSTEM_PERMISSIONS, key=lambda permission: permission.name))
    assert reader.find_by_name("STRASSE") == narrowed
    with pytest.raises(StaleVersionError):
        uow.run(lambda transaction: transaction.roles.save(narrowed))
    with pytest.raises(AlreadyExistsError):
        uow.run(lambda transaction: transaction.roles.add(attrs.evolve(role, id=RoleId(UUID(int=8)))))


def test_the_log_of_revocations_is_read_with_the_servers_clock(
    pool: Database, uow: PostgresUnitOfWork, observer: psycopg.Connection
) -> None:
    """What was written since the last read is found by the time that the server gave then."""
    log = PostgresRevocationLog(pool)
    row = observer.execute("SELECT now() + interval '1 hour'").fetchone()
    assert row is not None
    expires_at = row[0]

    def revoke(kind: RevocationKind, subject: str) -> Revocation:
        return Revocation(kind=kind, subject=subject, not_before=NOW, expires_at=expires_at)

    def write(transaction: Transaction) -> None:
        transaction.revocations.add(session_ended)
        transaction.revocations.add(user_ended)

    user, other = new_user(), new_user()
    session_ended = revoke(RevocationKind.SESSION, str(user.id))
    user_ended = revoke(RevocationKind.USER, str(other.id))
    before = log.read_since(None)
    uow.run(write)
    after = log.read_since(before.read_at)

    assert before.revocations == ()
    assert after.revocations == (session_ended, user_ended)
    assert log.read_since(after.read_at).revocations == ()
    assert log.read_since(None).revocations == after.revocations
    for issued_at, is_revoked in ((NOW - timedelta(seconds=1), True), (NOW, False)):
        assert log.is_revoked(user_id=other.id, session_id=None, key_id="k", issued_at=issued_at) is is_revoked


def test_everything_of_a_removed_user_goes(uow: PostgresUnitOfWork, observer: psycopg.Connection) -> None:
    """The rows under the id go with the user, and the address is free."""
    user, _ = _signed_in(uow)
    uow.run(lambda transaction: transaction.users.remove(user.id))

    for table in ("users", "user_emails", "credentials", "login_states", "sessions", "user_roles"):
        assert observer.execute(f"TABLE {table}".encode()).fetchone() is None
    uow.run(lambda transaction: register(transaction, new_user(user.email.address)))
