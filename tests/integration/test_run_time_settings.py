"""Settings that change while processes run, on PostgreSQL: who hears of it how, and what the table may hold."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import pytest
import structlog

from userservice_core.bootstrap import bootstrap, bootstrap_relay, bootstrap_run_time_settings, configure_logging
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.errors import StaleVersionError
from userservice_core.testing.contracts.races import eventually, race
from userservice_core.testing.host import PipelineClient, json_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from userservice_core.bootstrap import UserService

_ROWS: Final = (
    ("of_tomorrow", "1"),
    ("password_min_characters", "7"),
    ("require_if_match", "perhaps"),
    ("rate_limits", "{"),
    ("session_idle_days", "300"),
    ("keyring", "secret"),
    ("registration_open", "false"),
)
"""What another version, or a hand, may have left in the table; the last one is as it should be."""


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Those of an installation on the database of the test."""
    values = {
        "PROFILE": "test",
        "DATABASE_URL": database,
        "DATABASE_DIRECT_URL": database,
        "DATA_DIR": str(tmp_path),
        "ISSUER": "https://accounts.example.com",
    }
    return Settings.from_environment({f"USERSERVICE_{name}": value for name, value in values.items()})


def _change(settings: Settings, **values: Any) -> int:  # noqa: ANN401 - of any setting
    with bootstrap_run_time_settings(settings) as run_time:
        return run_time.change(actor=OPERATOR, values=values, reason="a test").version


def _least(service: UserService) -> int:
    return int(json_of(PipelineClient(service.pipeline).request("GET", "/auth/password-policy"))["minCharacters"])


def _is_ready(service: UserService) -> bool:
    return PipelineClient(service.pipeline).request("GET", "/health/ready").status == 200


def test_a_change_on_one_instance_reaches_the_others(settings: Settings) -> None:
    """By NOTIFY and by polling; one that is frozen between requests knows it at its first one; pinned ones stay."""
    polling = attrs.evolve(settings, database_direct_url=None)
    pinned = attrs.evolve(settings, password_min_characters=12, given=settings.given | {"password_min_characters"})
    with bootstrap(settings) as one, bootstrap(settings) as told, bootstrap(polling) as polls, bootstrap(pinned) as own:
        services = (one, told, polls, own)
        assert eventually(lambda: all(_is_ready(service) for service in services))

        one.use_cases.run_time_settings.change(actor=OPERATOR, values={"password_min_characters": 20}, reason="a test")

        assert eventually(lambda: [_least(service) for service in services] == [20, 20, 20, 12])
        with bootstrap(settings, background=False) as frozen:
            assert _least(frozen) == 20
        assert _change(settings, password_min_characters=None) == 2
        assert eventually(lambda: [_least(service) for service in services] == [15, 15, 15, 12])


def test_whatever_is_in_the_table_processes_start(settings: Settings, database: str) -> None:
    """What cannot be used is refused setting by setting, and counted; the rest counts."""
    with psycopg.connect(database) as connection:
        for name, text in _ROWS:
            connection.execute(
                "INSERT INTO setting_changes VALUES (%s, 1, NULL, %s, now(), 'system', NULL, 'x')", (name, text)
            )

    with bootstrap(settings) as service:
        assert eventually(lambda: _is_ready(service))
        shown = service.use_cases.run_time_settings.show()
        counted = service.metrics.render()[0].decode()

    found = {setting.name: (setting.value, setting.problem is None) for setting in shown.settings}
    assert found["registration_open"] == (False, True)
    assert found["password_min_characters"] == (15, False)
    assert found["session_idle_days"] == (14.0, False)
    assert (found["require_if_match"], found["rate_limits"]) == ((False, False), (None, False))
    assert shown.unusable.keys() == {"of_tomorrow", "keyring"}
    line = 'userservice_occurrences_total{outcome="refused",what="stored_setting"} '
    assert f"{line}{len(_ROWS) - 1}.0" in counted


def test_what_was_read_last_stays_while_the_table_is_away(settings: Settings, database: str) -> None:
    """Until it is there again; then what changed meanwhile counts."""
    _change(settings, password_min_characters=20)
    with (
        bootstrap(settings) as service,
        structlog.testing.capture_logs() as lines,
        psycopg.connect(database, autocommit=True) as connection,
    ):
        assert eventually(lambda: _is_ready(service) and _least(service) == 20)
        connection.execute("ALTER TABLE setting_changes RENAME TO away")
        _tell(connection, version=2)
        assert eventually(lambda: any(line["event"] == "settings cannot be read" for line in lines))
        assert _least(service) == 20

        connection.execute("UPDATE away SET version = 2, after = '22'")
        connection.execute("ALTER TABLE away RENAME TO setting_changes")
        _tell(connection, version=3)
        assert eventually(lambda: _least(service) == 22)


def _tell(connection: psycopg.Connection, *, version: int) -> None:
    connection.execute(
        "INSERT INTO revocations (kind, subject, not_before, version, expires_at)"
        " VALUES ('settings', '', now(), %s, now() + interval '1 minute')",
        (version,),
    )


def test_of_changes_at_once_for_one_version_one_is_done(settings: Settings) -> None:
    """The others are told that it is another version by now."""

    def change(number: int) -> bool:
        with bootstrap_run_time_settings(settings) as run_time:
            try:
                run_time.change(
                    actor=OPERATOR, values={"password_min_characters": 10 + number}, reason="a race", expected={0}
                )
            except StaleVersionError:
                return False
            return True

    done = race([partial(change, number) for number in range(4)])

    assert sorted(map(str, done)) == ["False"] * 3 + ["True"]


@pytest.fixture
def _own_logging(settings: Settings) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging(settings)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_logging")
def test_a_relay_logs_by_the_level_of_the_database(settings: Settings) -> None:
    """It serves nobody, and follows nevertheless."""
    _change(settings, log_level="ERROR")
    stop = threading.Event()
    with bootstrap_relay(settings) as relay:
        thread = threading.Thread(target=relay.run, args=(stop,))
        thread.start()
        try:
            assert eventually(lambda: logging.getLogger().level == logging.ERROR)
        finally:
            stop.set()
            thread.join()
