"""Nobody changes the audit log: by rights where the service has a role of its own, and by triggers in any case."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.integration.contracts.postgres_backend import backend_of
from userservice_core.domain.audit import Subject
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.errors import ConfigurationError, SchemaMismatchError
from userservice_core.infrastructure.postgres import migrate
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.rights import grant_rights
from userservice_core.ports.audit import AuditFilter
from userservice_core.testing.samples import sample_audit_entry, sample_event_id, sample_session

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE: Final = PageRequest(sort=Sort(by="at"))
_CHANGES: Final = [
    f"{change} {table}{rest}"
    for table, column in (("audit_entries", "reason"), ("audit_details", "ip"))
    for change, rest in (("UPDATE", f" SET {column} = 'x'"), ("DELETE FROM", ""), ("TRUNCATE", ""))
]


@pytest.fixture
def roles(database: str, observer: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """DSNs of a role that serves and of one that erases, neither of which owns anything."""
    names = [f"{kind}_{sample_event_id().hex}" for kind in ("app", "eraser")]
    for name in names:
        observer.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-for-testing'")
    grant_rights(database, service_role=names[0], erasure_role=names[1])
    app, eraser = (make_conninfo(database, user=name, password="only-for-testing") for name in names)
    yield app, eraser
    for name in names:
        observer.execute(f"DROP OWNED BY {name}")
        observer.execute(f"DROP ROLE {name}")


@pytest.mark.asvs("13.2.2", "16.4.2")
@pytest.mark.parametrize("change", _CHANGES)
def test_the_role_that_serves_cannot_change_the_log(roles: tuple[str, str], change: str) -> None:
    """It is a matter of rights, before any trigger is asked."""
    app, _ = roles

    with (
        contextlib.closing(psycopg.connect(app)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table"),
    ):
        connection.execute(change.encode())


@pytest.mark.asvs("16.4.2")
@pytest.mark.parametrize("change", _CHANGES)
@pytest.mark.usefixtures("audited")
def test_the_owner_cannot_change_the_log_by_mistake(observer: psycopg.Connection, change: str) -> None:
    """Where one role does everything, a trigger is what there is."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is append-only"):
        observer.execute(change.encode())


@pytest.fixture
def audited(database: str) -> Subject:
    """A user of whom the log tells."""
    with contextlib.closing(Database(database)) as opened:
        backend = backend_of(opened)
        subject = Subject.user(backend.add_user().id)
        backend.uow.run(lambda transaction: transaction.audit.add(sample_audit_entry(subject)))
    return subject


@pytest.mark.asvs("13.2.2")
def test_the_role_that_serves_can_do_its_work(roles: tuple[str, str]) -> None:
    """Register, sign in, relay, read and write the log: its rights suffice for that, and to see the schema's age."""
    app, _ = roles
    migrate.require_current(app)
    with contextlib.closing(Database(app)) as opened:
        backend = backend_of(opened)
        user = backend.register()
        backend.add_session(sample_session(user))
        entry = sample_audit_entry(Subject.user(user.id))
        backend.uow.run(lambda transaction: transaction.audit.add(entry))

        assert len(backend.waiting(str(user.id))) == 1
        assert [each.entry for each in backend.audit.list_page(AuditFilter(), _PAGE).rows] == [entry]


def test_the_role_that_serves_cannot_erase_details(roles: tuple[str, str], audited: Subject) -> None:
    """Nor by a name of its own for the setting that lets the function through."""
    app, _ = roles
    with contextlib.closing(Database(app)) as opened:
        backend = backend_of(opened)
        with pytest.raises(SchemaMismatchError):
            backend.uow.run(lambda transaction: transaction.audit.erase_details(audited.id))  # type: ignore[arg-type]

        assert [each.is_erased for each in backend.audit.list_page(AuditFilter(), _PAGE).rows] == [False]
    with contextlib.closing(psycopg.connect(app)) as connection:
        connection.execute("SET userservice.erasing = 'on'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM audit_details")


def test_the_role_that_erases_can_do_that_alone(
    roles: tuple[str, str], audited: Subject, observer: psycopg.Connection
) -> None:
    """It calls the function, and sees nothing; the entry stays."""
    _, eraser = roles
    with contextlib.closing(psycopg.connect(eraser, autocommit=True)) as connection:
        connection.execute("SELECT erase_audit_details(%s)", (audited.id,))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM audit_details")

    counts = observer.execute("SELECT (SELECT count(*) FROM audit_entries), (SELECT count(*) FROM audit_details)")
    assert counts.fetchone() == (1, 0)


def test_rights_are_given_to_roles_that_exist(database: str) -> None:
    """A mistyped name is told."""
    with pytest.raises(ConfigurationError, match="nobody_of_this_name"):
        grant_rights(database, service_role="nobody_of_this_name")
