"""Another server becomes the primary: what was told to be done is there, and the old one gets nothing more."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.replicas.failing_over import SYNCHRONOUS, Ledger, fail_over, own_servers, restart_primary
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.testing.contracts.races import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import ReplicatedPostgres
    from tests.servers.run import ServersOfRun


@pytest.mark.postgres
def test_a_promoted_replica_takes_over_and_the_old_primary_gets_nothing_more(
    servers_of_run: ServersOfRun, tmp_path: Path
) -> None:
    """Writes go on within three seconds, and none that was told to be done is lost."""
    with own_servers(servers_of_run.folder) as servers:
        fail_over(servers, tmp_path).require_clean()


def test_the_primary_comes_back(replicated: Installation, replicated_postgres: ReplicatedPostgres) -> None:
    """The first write is done within a second of when it accepts, and no dead connection is met after that."""
    restart_primary(replicated, replicated_postgres.primary, times=2).require_clean()


def test_a_commit_that_no_replica_confirms_is_never_told_to_be_done(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """It is cancelled at the deadline, and the server says that it succeeded, with a warning: nobody knows."""
    user = replicated.add_administrator()
    with contextlib.ExitStack() as opened:
        observer = opened.enter_context(psycopg.connect(replicated.primary, autocommit=True))
        service = opened.enter_context(replicated.instance(REQUEST_TIMEOUT_SECONDS="1"))
        ledger = Ledger(service, user)
        assert ledger.write("before") == 201
        observer.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{SYNCHRONOUS}'".encode())
        opened.callback(_without_synchronous, replicated.primary)
        observer.execute("SELECT pg_reload_conf()")
        eventually(lambda: ledger.write("confirmed") == 201)
        with replicated_postgres.replicas[0].frozen(), replicated_postgres.replicas[1].frozen():
            told = [ledger.write("cut") for _ in range(3)]
        eventually(lambda: ledger.write("confirmed again") == 201)

    assert told == [503, 503, 503]
    assert [answer["type"] for _, answer in ledger.refused[:3]] == [f"{TYPE_PREFIX}outcome-unknown"] * 3


def _without_synchronous(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as observer:
        observer.execute("ALTER SYSTEM RESET synchronous_standby_names")
        observer.execute("SELECT pg_reload_conf()")
