"""Fixtures over a database of each test."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pool(database: str) -> Iterator[Database]:
    """The service's connections to the database of the test."""
    with contextlib.closing(Database(database)) as opened:
        yield opened


@pytest.fixture
def uow(pool: Database) -> PostgresUnitOfWork:
    """A unit of work on it."""
    return PostgresUnitOfWork(pool)


@pytest.fixture
def observer(database: str) -> Iterator[psycopg.Connection]:
    """A connection of the test itself, in autocommit."""
    with contextlib.closing(psycopg.connect(database, autocommit=True)) as connection:
        yield connection
