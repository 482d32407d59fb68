"""Replicas show one history, and decide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.replicas.histories import long_forks, roles_taken_away

if TYPE_CHECKING:
    from tests.integration.replicas.instances import Installation
    from tests.servers.replication import ReplicatedPostgres


def test_two_who_read_different_replicas_see_one_history(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """Neither sees a write without another that the other one saw it after."""
    replicated_postgres.catch_up()
    long_forks(replicated, seconds=2).require_clean()


def test_a_role_that_was_taken_away_is_not_used_again(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """Whatever the replicas still show, which replay nothing meanwhile."""
    roles_taken_away(replicated, replicated_postgres.replicas, rounds=5).require_clean()
