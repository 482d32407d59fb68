"""What :mod:`userservice_core.ports.embedded_database` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.embedded_database import EmbeddedDatabase


class EmbeddedDatabaseContract:
    """For :class:`~userservice_core.ports.embedded_database.EmbeddedDatabase`."""

    @pytest.fixture
    def server(self) -> EmbeddedDatabase:
        """One of a new folder; the fixture stops it at the end."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def execute(self) -> Callable[[str, str], list[int]]:
        """Run a statement of SQL at a DSN and return the first column of its rows; raises if nobody is there."""
        raise NotImplementedError("override this fixture")

    def test_a_later_start_finds_the_data(
        self, server: EmbeddedDatabase, execute: Callable[[str, str], list[int]]
    ) -> None:
        """By the same DSN, and nobody answers to it in between."""
        first = server.start()
        execute(first, "CREATE TABLE kept (value integer)")
        execute(first, "INSERT INTO kept VALUES (1)")
        server.stop()
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the driver raises
            execute(first, "SELECT value FROM kept")

        second = server.start()

        assert second == first
        assert execute(second, "SELECT value FROM kept") == [1]

    def test_start_and_stop_may_be_called_again(
        self, server: EmbeddedDatabase, execute: Callable[[str, str], list[int]]
    ) -> None:
        """A stop before any start does nothing either."""
        server.stop()
        dsn = server.start()

        assert server.start() == dsn
        assert execute(dsn, "SELECT 1") == [1]
        server.stop()
        server.stop()
