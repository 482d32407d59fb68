"""Settings that the database holds: who wins, what is refused, and what a change leaves behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.application.run_time_settings import RunTimeSettings
from userservice_core.config import RunTimeCatalogue, Settings, declaration_of, setting_fields
from userservice_core.domain.audit import SETTINGS, SYSTEM, AuditAction
from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.rate_limits import Limit
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.settings import SettingSource
from userservice_core.errors import Fault, InvalidInputError, StaleVersionError
from userservice_core.infrastructure import memory
from userservice_core.infrastructure.system.clock import Uuid7Generator
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.contracts.settings import SettingCatalogueContract

if TYPE_CHECKING:
    from userservice_core.ports.settings import SettingCatalogue

_LEAST = {
    "USERSERVICE_PROFILE": "test",
    "USERSERVICE_DATABASE_URL": "postgresql://x/y",
    "USERSERVICE_ISSUER": "http://x",
}


class _Desk:
    """Settings of one process, and the database they are in."""

    def __init__(self, **environ: str) -> None:
        clock = FakeClock()
        self.store = memory.InMemoryStore()
        self.reader = memory.InMemorySettingReader(self.store)
        self.catalogue = RunTimeCatalogue(Settings.from_environment({**_LEAST, **environ}))
        self.settings = RunTimeSettings(
            uow=memory.InMemoryUnitOfWork(self.store, clock=clock),
            reader=self.reader,
            catalogue=self.catalogue,
            clock=clock,
            ids=Uuid7Generator(),
        )

    def change(self, expected: set[int] | None = None, **values: Any) -> int:  # noqa: ANN401 - of any setting
        """Change settings, and return their version."""
        return self.settings.change(actor=OPERATOR, values=values, reason="a test", expected=expected).version

    def refusals(self, **values: Any) -> dict[str, str]:  # noqa: ANN401 - as above
        """Return the codes of what is refused, by the last member of the pointer."""
        with pytest.raises(InvalidInputError) as raised:
            self.change(**values)
        return {str(fault.field[-1]): fault.code for fault in raised.value.faults}

    @property
    def now(self) -> Settings:
        """What counts."""
        return self.catalogue.effective(self.reader.read().texts)[0]


class TestCatalogue(SettingCatalogueContract):
    """The declarations of the settings."""

    @pytest.fixture
    def catalogue(self) -> SettingCatalogue:
        """Nothing is given by the environment but what has no default."""
        return RunTimeCatalogue(Settings.from_environment(_LEAST))


def test_no_secret_may_change_at_run_time() -> None:
    """Secrets never get into the table; nor does what a process only reads as it starts."""
    declared = {field.name: declaration_of(field) for field in setting_fields()}

    assert {name for name, known in declared.items() if known.is_secret and known.at_run_time} == set()
    assert {name for name, known in declared.items() if known.at_run_time} == {
        *("log_level", "rate_limits", "require_if_match", "registration_open", "hide_registered_emails"),
        *("password_min_characters", "password_context_words", "session_idle_days", "session_absolute_days"),
    }


def test_a_change_counts_is_told_and_can_be_taken_back() -> None:
    """One version for all that change at once; a row each, an entry in the audit log, and word to every process."""
    desk = _Desk()

    assert desk.change(log_level="debug", password_min_characters=20) == 1
    assert (desk.now.log_level, desk.now.password_min_characters) == ("DEBUG", 20)
    assert desk.change(log_level=None) == 2
    assert (desk.now.log_level, desk.now.password_min_characters) == ("INFO", 20)

    history = [(change.version, change.name, change.before, change.after) for change in desk.settings.history()]
    assert history == [
        (2, "log_level", "debug", None),
        (1, "log_level", None, "debug"),
        (1, "password_min_characters", None, "20"),
    ]
    told = [(row.revocation.kind, row.revocation.version) for row in desk.store.rows.revocations]
    assert told == [(RevocationKind.SETTINGS, 1), (RevocationKind.SETTINGS, 2)]
    entry = desk.store.rows.audit[0].entry
    assert (entry.action, entry.actor, entry.subject) == (AuditAction.SETTINGS_CHANGED, SYSTEM, SETTINGS)
    assert entry.changed == ("logLevel", "passwordMinCharacters")
    assert entry.after["values"] == {"logLevel": "debug", "passwordMinCharacters": "20"}


def test_what_is_so_already_is_no_change() -> None:
    """No version, no row, and nobody is told."""
    desk = _Desk()
    desk.change(log_level="DEBUG")

    assert desk.change(log_level="DEBUG", require_if_match=None) == 1
    assert len(desk.settings.history()) == len(desk.store.rows.audit) == len(desk.store.rows.revocations) == 1


def test_all_that_is_wrong_is_said_and_nothing_is_stored() -> None:
    """By the declaration that checks the environment: bounds, types, other settings, and what is no such setting."""
    desk = _Desk(USERSERVICE_REQUIRE_IF_MATCH="false")

    assert desk.refusals(
        password_min_characters=7,
        registration_open="perhaps",
        require_if_match=True,
        database_url="postgresql://x/z",
        access_token_seconds=60,
        rate_limits={"sign-in": {"email": {"times": 0, "seconds": 900}}},
        log_level="x" * 10_000,
        session_idle_days=1,
    ) == {
        "passwordMinCharacters": "setting-value",
        "registrationOpen": "setting-value",
        "requireIfMatch": "setting-pinned",
        "databaseUrl": "setting-not-at-run-time",
        "accessTokenSeconds": "setting-not-at-run-time",
        "rateLimits": "setting-value",
        "logLevel": "setting-value",
    }
    assert desk.refusals(session_idle_days=100) == {"sessionIdleDays": "setting-value"}
    assert desk.refusals() == {"values": "required"}
    with pytest.raises(InvalidInputError):
        desk.settings.change(actor=OPERATOR, values={"log_level": "DEBUG"}, reason=" ")
    assert desk.settings.show().version == 0
    assert desk.change(session_idle_days=100, session_absolute_days=120) == 1


def test_what_the_environment_gives_goes_before() -> None:
    """Also where the database held something else before; processes without it follow the database."""
    free, pinned = _Desk(), _Desk(USERSERVICE_LOG_LEVEL="WARNING")
    free.change(log_level="DEBUG")

    settings, refused = pinned.catalogue.effective(free.reader.read().texts)

    assert (settings.log_level, refused) == ("WARNING", {})
    (shown,) = (shown for shown in pinned.catalogue.show({"log_level": "DEBUG"}) if shown.name == "log_level")
    assert (shown.value, shown.source, shown.stored) == ("WARNING", SettingSource.ENVIRONMENT, "DEBUG")


def test_rate_limits_are_laid_over_those_that_are_declared() -> None:
    """What is named takes the place of the declared limit, and nothing else changes."""
    desk = _Desk()
    before = desk.now.rate_policy

    desk.change(rate_limits={"account-failures": 5, "sign-in": {"email": {"times": 3, "seconds": 60}}})

    after = desk.now.rate_policy
    assert (after.account_failures, after.limits["sign-in.email"]) == (5, Limit(3, 60))
    assert {**after.limits, "sign-in.email": None} == {**before.limits, "sign-in.email": None}


@given(st.dictionaries(st.text() | st.sampled_from([field.name for field in setting_fields()]), st.text()))
def test_whatever_is_in_the_table_nothing_fails(texts: dict[str, str]) -> None:
    """What cannot be used counts as not there, and everything that counts is within its bounds."""
    catalogue = RunTimeCatalogue(Settings.from_environment(_LEAST))

    settings, refused = catalogue.effective(texts)

    used = {name: text for name, text in texts.items() if name not in refused}
    assert settings == catalogue.effective(used)[0]
    assert settings.session_idle_days <= settings.session_absolute_days
    assert all(not isinstance(catalogue.text_of(name, text), Fault) for name, text in used.items())
    assert {shown.name: shown.problem for shown in catalogue.show(texts) if shown.problem} == {
        name: problem for name, problem in refused.items() if name in catalogue.names
    }


def test_of_many_changes_at_once_none_is_lost() -> None:
    """Each for the version that it saw: one succeeds, and the others are told to read again."""
    desk = _Desk()

    def attempt(number: int) -> bool:
        try:
            desk.change({0}, password_min_characters=10 + number)
        except StaleVersionError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(attempt, range(20)))

    assert (sum(done), desk.settings.show().version) == (1, 1)


def test_what_is_stored_by_another_version_can_be_taken_away() -> None:
    """It is shown as unusable until then."""
    desk = _Desk()
    desk.change(log_level="DEBUG")
    change = attrs.evolve(desk.settings.history()[0], version=2, name="of_tomorrow", before=None, after="1")
    desk.settings._uow.run(lambda transaction: transaction.settings.add(change))  # noqa: SLF001 - by another version

    assert desk.settings.show().unusable.keys() == {"of_tomorrow"}
    assert desk.change(of_tomorrow=None) == 3
    assert desk.settings.show().unusable == {}


def test_limits_are_the_same_from_the_environment() -> None:
    """The variable takes the same JSON, and says what is wrong with it."""
    limits = {"sign-in": {"email": {"times": 3, "seconds": 60}}}
    settings = Settings.from_environment({**_LEAST, "USERSERVICE_RATE_LIMITS": json.dumps(limits)})

    assert settings.rate_policy.limits["sign-in.email"] == Limit(3, 60)
    for wrong in ("[]", "{", '{"sign-in": {"emial": false}}'):
        with pytest.raises(Exception, match="USERSERVICE_RATE_LIMITS has a value"):
            Settings.from_environment({**_LEAST, "USERSERVICE_RATE_LIMITS": wrong})
