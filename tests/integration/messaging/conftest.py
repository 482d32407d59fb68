"""Fixtures: an outbox in a database of each test, topics of its own, and what arrived there."""

from __future__ import annotations

import contextlib
import gc
import logging
import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.messaging.topics import Topics
from userservice_core.infrastructure.postgres.database import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.kafka import KafkaBroker


@pytest.fixture
def pool(database: str) -> Iterator[Database]:
    """The service's connections to the database of the test."""
    with contextlib.closing(Database(database)) as opened:
        yield opened


@pytest.fixture
def observer(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the test itself, in autocommit."""
    with contextlib.closing(psycopg.connect(database, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def refused_connections() -> Iterator[None]:
    """
    Make up for the sockets that the library leaves to the garbage collector when they are refused.

    What it logs of them would keep them until after the test.
    """
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
    gc.collect()


@pytest.fixture
def topics(kafka_broker: KafkaBroker) -> Topics:
    """Names of topics that no other test uses."""
    return Topics(kafka_broker, prefix=f"t{uuid.uuid4().hex}.")
