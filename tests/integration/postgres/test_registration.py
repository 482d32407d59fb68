"""Registering one address many times at once, where nobody is told whether it has an account."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.e2e.processes import settings_for
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg


def test_fifty_hidden_registrations_of_one_address(database: str, tmp_path: Path, observer: psycopg.Connection) -> None:
    """One opens the account, and the others tell its owner, three mails in all; nobody is told anything else."""
    settings = settings_for(
        database,
        tmp_path,
        ARGON2_MEMORY_KIB="8",
        ARGON2_TIME_COST="1",
        DATABASE_POOL_SIZE="16",
        HIDE_REGISTERED_EMAILS="true",
    )
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        registration = service.use_cases.registration
        register = partial(
            registration.register_or_tell_owner, email="ada@example.com", password="correct horse battery staple"
        )
        outcomes = race([register] * 50)

    assert outcomes == [None] * 50
    counted = observer.execute(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM credentials),"
        " (SELECT count(*) FROM outbox WHERE type = 'userservice.user.registered.v1'),"
        " (SELECT count(*) FROM one_time_tokens),"
        " (SELECT count(*) FROM outbox WHERE payload ->> 'kind' = 'already_registered')"
    ).fetchone()
    assert counted == (1, 1, 1, 3, 2)
