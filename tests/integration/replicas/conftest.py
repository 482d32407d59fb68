"""Fixtures over a primary and two replicas."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.integration.replicas.instances import Installation, address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.replication import ReplicatedPostgres


@pytest.fixture(autouse=True)
def _few_words() -> Iterator[None]:
    """Log what is of interest: thousands of requests are made here."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.fixture
def replicated(replicated_postgres: ReplicatedPostgres, replicated_database: str, tmp_path: Path) -> Installation:
    """An installation over the servers of the run, with a database of its own."""
    return Installation(
        primary=replicated_postgres.primary.dsn(replicated_database),
        replicas=tuple(address(replica, replicated_database) for replica in replicated_postgres.replicas),
        folder=tmp_path,
    )
