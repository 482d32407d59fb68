"""No secret is in any table, and none in the logs of what speaks to the database."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from tests.held_connections import HeldConnections
from tests.hosts.leaks import Canaries, Watched, knock_everywhere, live_a_life, logged, require_clean_answers
from userservice_core.bootstrap import bootstrap, new_key_ring
from userservice_core.config import Settings
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.http.routes import ROUTES
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemEntropy, Uuid7Generator
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.host import PipelineClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


def _tables(observer: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """Yield each table with all its rows as text; bytes are in hex there."""
    names = observer.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
    ).fetchall()
    for (name,) in names:
        rows = observer.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name))).fetchall()
        yield name, "\n".join(row for (row,) in rows)


@pytest.mark.asvs("14.2.4", "16.2.5")
def test_no_secret_is_in_a_table(database: str, observer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Passwords, tokens, links and secrets of clients, whatever was done with them, in whatever spelling.

    As every route is called here, it is also looked that none takes a second connection, or holds one while it hashes.
    """
    held = HeldConnections(monkeypatch)
    ring, ids = new_key_ring(), Uuid7Generator()
    environment = {
        "USERSERVICE_PROFILE": "test",
        "USERSERVICE_DATABASE_URL": database,
        "USERSERVICE_DATABASE_POOL_SIZE": "2",
        "USERSERVICE_ISSUER": "https://accounts.example.com",
        "USERSERVICE_KEYRING": ring,
    }
    sealer = AesGcmSecretSealer(KeyRing.parse(ring), SystemEntropy())

    def mailed_token(email: str) -> str:
        (event_id, sealed) = observer.execute(
            "SELECT id, payload ->> 'sealedToken' FROM outbox WHERE payload ->> 'to' = %s"
            " AND payload ->> 'sealedToken' IS NOT NULL ORDER BY seq DESC LIMIT 1",
            (email,),
        ).fetchone() or ("", "")
        return sealer.unseal(sealed, context=f"notification:{event_id}").decode()

    with contextlib.closing(bootstrap(Settings.from_environment(environment), background=False)) as service:
        password = service.use_cases.accounts.create_first_administrator(email="root@example.com")
        row = observer.execute("SELECT user_id FROM users").fetchone()
        assert row is not None
        root = UserId(row[0])

        def administrator() -> str:
            now = datetime.now(UTC)
            claims = AccessClaims(
                user_id=root,
                session_id=SessionId(ids.new()),
                client_id="userservice",
                token_id=str(ids.new()),
                issued_at=now,
                expires_at=now + timedelta(minutes=10),
                auth_time=now,
                amr=("pwd",),
            )
            return service.use_cases.token_issuer.issue(claims)

        watched = Watched(PipelineClient(service.pipeline), Canaries())
        assert password is not None
        watched.canaries.add(password)
        with logged() as lines:
            live_a_life(
                watched,
                mailed_token=mailed_token,
                administrator=administrator(),
                go_on=lambda: None,
                now=lambda: datetime.now(UTC),
            )
            knock_everywhere(watched, administrator=administrator)

    assert {route.operation_id for route in ROUTES} <= {exchange.operation for exchange in watched.seen}
    assert held.wrong == []
    assert held.lent > len(ROUTES)
    assert held.slow > 10
    require_clean_answers(watched)
    assert watched.canaries.found_in("\n".join(lines), and_personal=True) == set()
    tables = dict(_tables(observer))
    assert tables["users"]
    assert tables["credentials"]
    found = {name: watched.canaries.found_in(rows) for name, rows in tables.items()}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
