"""What :mod:`userservice_core.ports.settings` promises."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
import pytest

from userservice_core.domain.audit import SYSTEM, Actor, ActorKind
from userservice_core.domain.settings import SettingChange, SettingSource
from userservice_core.errors import ConflictError, Fault
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend
from userservice_core.testing.samples import NOW

if TYPE_CHECKING:
    from userservice_core.domain.settings import StoredSettings
    from userservice_core.ports.settings import SettingCatalogue
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_numbers = itertools.count(1)
_SOMEBODY = Actor(ActorKind.USER, UUID("0192f0c1-2a4b-7c3d-8e5f-60718293a4b5"))


def _name() -> str:
    return f"contract_{next(_numbers)}"


def _change(name: str, *, version: int, **changes: Any) -> SettingChange:  # noqa: ANN401 - each attribute has its type
    change = SettingChange(
        version=version, name=name, before=None, after="1", at=NOW, actor=SYSTEM, reason="a contract"
    )
    return attrs.evolve(change, **changes)


def _locked(transaction: Transaction) -> StoredSettings:
    return transaction.settings.read_locked()


class SettingsContract(StoredContract):
    """For :class:`~userservice_core.ports.settings.SettingReader` and ``SettingRepository``."""

    def test_what_was_changed_last_is_there(self, backend: Backend) -> None:
        """Outside a transaction and in it; what was taken away is not there, and the version only rises."""
        first, second = _name(), _name()
        version = backend.settings.read().version

        def begin(transaction: Transaction) -> None:
            transaction.settings.add(_change(first, version=version + 1))
            transaction.settings.add(_change(second, version=version + 1, after=""))

        def change(transaction: Transaction) -> None:
            transaction.settings.add(_change(first, version=version + 2, before="1", after="2"))

        def take_away(transaction: Transaction) -> None:
            transaction.settings.add(_change(first, version=version + 3, before="2", after=None))

        for work, expected in (
            (begin, {first: "1", second: ""}),
            (change, {first: "2", second: ""}),
            (take_away, {second: ""}),
        ):
            backend.uow.run(work)
            for stored in (backend.settings.read(), backend.uow.run(_locked)):
                assert {name: stored.texts[name] for name in (first, second) if name in stored.texts} == expected
        assert backend.settings.read().version == version + 3

    def test_every_change_stays(self, backend: Backend) -> None:
        """The newest first, those of one version by name, as many as are asked for, as they were written."""
        names = sorted(_name() for _ in range(2))
        version = backend.settings.read().version
        changes = [
            _change(names[0], version=version + 2, before="1", after=None, actor=_SOMEBODY, reason="Ünterm Strich"),
            *(_change(name, version=version + 1) for name in names),
        ]

        for number in (version + 1, version + 2):

            def work(transaction: Transaction, number: int = number) -> None:
                for change in changes:
                    if change.version == number:
                        transaction.settings.add(change)

            backend.uow.run(work)

        assert list(backend.settings.history(limit=3)) == changes
        assert list(backend.settings.history(limit=1)) == changes[:1]

    def test_a_version_changes_a_setting_once(self, backend: Backend) -> None:
        """A change of one that was written already is refused."""
        name, version = _name(), backend.settings.read().version + 1
        backend.uow.run(lambda transaction: transaction.settings.add(_change(name, version=version)))

        with pytest.raises(ConflictError):
            backend.uow.run(lambda transaction: transaction.settings.add(_change(name, version=version)))

    def test_whoever_reads_in_a_transaction_keeps_others_from_changing(self, backend: Backend) -> None:
        """So that of two changes the second sees the first, though neither finds a row of the other to lock."""
        name = _name()

        def hold(transaction: Transaction) -> None:
            version = transaction.settings.read_locked().version
            transaction.settings.add(_change(name, version=version + 1, after="held"))

        seen = contend(backend.uow, hold, rival=lambda: backend.uow.run(_locked))

        assert seen.texts[name] == "held"


class SettingCatalogueContract:
    """For :class:`~userservice_core.ports.settings.SettingCatalogue`."""

    @pytest.fixture
    def catalogue(self) -> SettingCatalogue:
        """What knows the settings; nothing is given by the environment."""
        raise NotImplementedError("override this fixture")

    def test_all_settings_are_shown_in_their_order(self, catalogue: SettingCatalogue) -> None:
        """With the default where nothing is stored; what is stored is shown, and where it comes from."""
        assert tuple(setting.name for setting in catalogue.show({})) == catalogue.names
        assert {setting.source for setting in catalogue.show({})} == {SettingSource.DEFAULT}

        shown = {setting.name: setting for setting in catalogue.show({"log_level": "DEBUG"})}

        assert (shown["log_level"].value, shown["log_level"].source) == ("DEBUG", SettingSource.DATABASE)

    def test_a_value_that_is_taken_is_not_refused(self, catalogue: SettingCatalogue) -> None:
        """What is shown can be stored as it is shown."""
        values = {setting.name: setting.value for setting in catalogue.show({}) if setting.value is not None}

        texts = {name: catalogue.text_of(name, value) for name, value in values.items()}

        assert {name: text for name, text in texts.items() if isinstance(text, Fault)} == {}
        assert catalogue.refused({name: str(text) for name, text in texts.items()}) == {}

    def test_what_is_unknown_or_out_of_bounds_is_refused(self, catalogue: SettingCatalogue) -> None:
        """When it is to be stored and when it is read; what is read counts as not there."""
        wrong = {"database_url": "postgresql://x/y", "nothing": "1", "log_level": "LOUD"}

        assert all(isinstance(catalogue.text_of(name, value), Fault) for name, value in wrong.items())
        assert catalogue.refused(wrong).keys() == wrong.keys()
        (level,) = (setting for setting in catalogue.show(wrong) if setting.name == "log_level")
        assert (level.source, level.stored, level.problem is None) == (SettingSource.DEFAULT, "LOUD", False)
