"""How a process follows the settings of the database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.consumer_suite import until
from userservice_core.domain.settings import StoredSettings
from userservice_core.errors import DatabaseUnavailableError
from userservice_core.infrastructure.system import logs
from userservice_core.infrastructure.system.held_settings import POLL_SECONDS, HeldSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Table:
    """What is in the database, and what a process was told of it."""

    def __init__(self) -> None:
        self.stored = StoredSettings()
        self.is_away = False
        self.reads = 0
        self.told: list[int] = []
        self.seconds = 100.0
        self.fails = False

    def load(self) -> StoredSettings:
        """Read it."""
        self.reads += 1
        if self.is_away:
            raise DatabaseUnavailableError
        return self.stored

    def apply(self, stored: StoredSettings) -> None:
        """Note what was told."""
        if self.fails:
            raise ValueError
        self.told.append(stored.version)

    def put(self, version: int) -> None:
        """Change something."""
        self.stored = StoredSettings(version=version)

    def held(self, *, background: bool, poll_seconds: float = POLL_SECONDS) -> HeldSettings:
        """Return what follows it."""
        return HeldSettings(
            self.load,
            self.apply,
            background=background,
            poll_seconds=poll_seconds,
            monotonic=lambda: self.seconds,
        )


@pytest.fixture
def table() -> _Table:
    """A database in which nothing was changed."""
    return _Table()


def test_without_a_thread_it_reads_before_use_when_the_last_read_is_old(table: _Table) -> None:
    """What is read is told where it is another version, also a lower one after a database was restored."""
    held = table.held(background=False)
    held.start()
    for version, seconds in ((0, 0.0), (7, POLL_SECONDS - 0.1), (7, 0.1), (7, POLL_SECONDS), (3, POLL_SECONDS)):
        table.seconds += seconds
        table.put(version)
        held.refresh_if_due()

    assert (table.told, table.reads) == ([0, 7, 3], 4)
    table.put(9)
    held.refresh_soon()
    held.refresh_if_due()
    assert table.told == [0, 7, 3, 9]


def test_what_was_read_last_stays_while_the_database_is_away(table: _Table) -> None:
    """A read that fails, and a change that cannot be done, leave what counted before, and are tried again."""
    held = table.held(background=False)
    held.refresh_if_due()
    for is_away, fails in ((True, False), (False, True)):
        table.is_away, table.fails = is_away, fails
        table.put(1)
        table.seconds += POLL_SECONDS
        held.refresh_if_due()
        assert (held.is_loaded, table.told) == (True, [0])
    table.fails = False
    table.seconds += POLL_SECONDS
    held.refresh_if_due()

    assert table.told == [0, 1]


def test_a_thread_reads_when_it_is_told_and_by_itself(table: _Table) -> None:
    """Until the first read the process is not ready, so it tries often; then each change is heard of."""
    table.is_away = True
    held = table.held(background=True, poll_seconds=3_600)
    held.start()
    until(lambda: table.reads > 1)
    assert not held.is_loaded
    table.is_away = False
    until(lambda: held.is_loaded)

    table.put(1)
    held.refresh_soon()
    until(lambda: table.told == [0, 1])
    held.close()

    polling = table.held(background=True, poll_seconds=0.01)
    polling.start()
    table.put(2)
    until(lambda: 2 in table.told)
    polling.close()


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_logging")
def test_the_level_changes_only_where_the_logging_is_ours() -> None:
    """Whoever embeds the service keeps theirs."""
    root = logging.getLogger()
    root.setLevel(logging.ERROR)
    logs.change_level("DEBUG")
    assert root.level == logging.ERROR

    logs.configure_logging(level="INFO")
    assert not logging.getLogger("userservice.http").isEnabledFor(logging.DEBUG)
    logs.change_level("DEBUG")
    assert logging.getLogger("userservice.http").isEnabledFor(logging.DEBUG)
    assert logging.getLogger("kafka").level == logging.WARNING
    logs.change_level("ERROR")
    assert not logging.getLogger("userservice.http").isEnabledFor(logging.WARNING)
