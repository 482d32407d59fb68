"""What a sign-in writes into: no row of the users, and no index of a session that is refreshed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.e2e.processes import settings_for
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.sessions import Origin

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

_TIMES: Final = 5
_PASSWORD: Final = "correct horse battery staple"


def test_a_sign_in_touches_no_index_of_the_users(database: str, tmp_path: Path, observer: psycopg.Connection) -> None:
    """Nor does it write into `users` at all; and a refresh finds room beside the row that it updates."""
    settings = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1")
    email = "ada@example.com"
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        service.use_cases.registration.register(email=email, password=_PASSWORD)
        observer.execute("UPDATE users SET status = 'active', email_verified = true")
    before = _writes(observer, "users")
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        authentication = service.use_cases.authentication
        for _ in range(_TIMES):
            signed_in = authentication.sign_in(email=email, password=_PASSWORD, origin=Origin())
            assert isinstance(signed_in, SignedIn)
            authentication.refresh(refresh_token=signed_in.refresh_token, origin=Origin())
    users, sessions = _writes(observer, "users"), _writes(observer, "sessions")

    assert users == before
    assert sessions["n_tup_ins"] == _TIMES
    assert sessions["n_tup_upd"] == sessions["n_tup_hot_upd"] == _TIMES


def _writes(connection: psycopg.Connection, table: str) -> dict[str, int]:
    """Return how many rows were inserted, updated, and updated without touching an index, by processes that ended."""
    names = ("n_tup_ins", "n_tup_upd", "n_tup_hot_upd")
    for process, *_ in connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ):
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        f"SELECT {', '.join(names)} FROM pg_stat_user_tables WHERE relname = %s".encode(),  # noqa: S608
        (table,),
    ).fetchone()
    assert row is not None
    return dict(zip(names, row, strict=True))
