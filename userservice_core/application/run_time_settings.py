"""Changing settings while processes run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from userservice_core.application.access_changes import as_audited, require_version
from userservice_core.domain.audit import SETTINGS, AuditAction, AuditEntry
from userservice_core.domain.event_data import camel_case
from userservice_core.domain.ids import AuditEntryId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.domain.settings import (
    MAX_REASON_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    SettingChange,
    ShownSetting,
    StoredSettings,
)
from userservice_core.errors import Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from userservice_core.application.access_changes import Agent
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.settings import SettingCatalogue, SettingReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

_KEPT_FOR: Final = timedelta(minutes=10)
"""How long it is told that settings changed; whoever does not hear it reads them again within seconds."""

MAX_HISTORY: Final = 1_000


@attrs.frozen(kw_only=True)
class ShownSettings:
    """
    What may change at run time, as one process sees it.

    Attributes:
        unusable: What is stored besides, by name, and why it is of no use here: another version may know it.
    """

    version: int
    settings: tuple[ShownSetting, ...]
    unusable: Mapping[str, str]


class RunTimeSettings:
    """
    The settings that the database holds.

    A change is a row a setting, and is told to every process in the same transaction. Each value is checked by the
    declaration that checks the environment, so that nothing can be stored that could not be given there.
    """

    def __init__(
        self, *, uow: UnitOfWork, reader: SettingReader, catalogue: SettingCatalogue, clock: Clock, ids: IdGenerator
    ) -> None:
        self._uow = uow
        self._reader = reader
        self._catalogue = catalogue
        self._clock = clock
        self._ids = ids

    def show(self) -> ShownSettings:
        """Return all that may change, as it is now."""
        return self._shown(self._reader.read())

    def history(self, *, limit: int = 100) -> tuple[SettingChange, ...]:
        """
        Return the last changes, the newest first.

        Raises:
            InvalidInputError: If *limit* is not from 1 to 1,000.
        """
        if not 1 <= limit <= MAX_HISTORY:
            raise InvalidInputError((Fault(("limit",), "number-out-of-range", f"Expected 1 to {MAX_HISTORY}."),))
        return self._reader.history(limit=limit)

    def change(
        self, *, actor: Agent, values: Mapping[str, object], reason: str, expected: Collection[int] | None = None
    ) -> ShownSettings:
        """
        Change settings, all of them or none; what is as it is to be already is left alone.

        Args:
            actor: Who does it.
            values: By the names of settings, as JSON has them; None takes away what the database holds.
            reason: Why, for whoever reads the history.
            expected: Versions that the client takes the settings to have; None for any.

        Raises:
            InvalidInputError: Naming every setting that cannot have its value, alone or beside the others.
            StaleVersionError: If the settings have none of the versions expected.
        """
        now = self._clock.now()
        doer, texts = as_audited(actor), self._texts_of(values, reason)

        def work(transaction: Transaction) -> StoredSettings:
            stored = transaction.settings.read_locked()
            require_version(stored.version, expected)
            wanted = _with(stored, texts)
            self._require_usable(wanted, texts)
            changed = sorted(name for name, text in texts.items() if stored.texts.get(name) != text)
            if not changed:
                return stored
            for name in changed:
                transaction.settings.add(
                    SettingChange(
                        version=wanted.version,
                        name=name,
                        before=stored.texts.get(name),
                        after=texts[name],
                        at=now,
                        actor=doer,
                        reason=reason,
                    )
                )
            transaction.revocations.add(
                Revocation(
                    kind=RevocationKind.SETTINGS,
                    subject="",
                    not_before=now,
                    version=wanted.version,
                    expires_at=now + _KEPT_FOR,
                )
            )
            transaction.audit.add(
                AuditEntry(
                    id=AuditEntryId(self._ids.new()),
                    at=now,
                    action=AuditAction.SETTINGS_CHANGED,
                    actor=doer,
                    subject=SETTINGS,
                    before={"values": {camel_case(name): stored.texts.get(name) for name in changed}},
                    after={
                        "values": {camel_case(name): texts[name] for name in changed},
                        "version": wanted.version,
                        "reason": reason,
                    },
                    changed=tuple(map(camel_case, changed)),
                )
            )
            return wanted

        return self._shown(self._uow.run(work))

    def _texts_of(self, values: Mapping[str, object], reason: str) -> dict[str, str | None]:
        faults: list[Fault] = []
        texts: dict[str, str | None] = {}
        if not reason.strip():
            faults.append(Fault(("reason",), "blank", "Say why the settings change."))
        elif len(reason) > MAX_REASON_CHARACTERS:
            faults.append(Fault(("reason",), "too-long", f"At most {MAX_REASON_CHARACTERS} characters."))
        if not values:
            faults.append(Fault(("values",), "required", "Name at least one setting."))
        for name, value in values.items():
            text = None if value is None else self._catalogue.text_of(name, value)
            if isinstance(text, Fault):
                faults.append(text)
            elif text is not None and len(text) > MAX_VALUE_CHARACTERS:
                at = ("values", camel_case(name))
                faults.append(Fault(at, "too-long", f"At most {MAX_VALUE_CHARACTERS} characters."))
            else:
                texts[name] = text
        if faults:
            raise InvalidInputError(tuple(faults))
        return texts

    def _require_usable(self, wanted: StoredSettings, texts: Mapping[str, str | None]) -> None:
        faults = tuple(self._beside_others(self._catalogue.refused(wanted.texts), texts))
        if faults:
            raise InvalidInputError(faults)

    @staticmethod
    def _beside_others(refused: Mapping[str, str], texts: Mapping[str, str | None]) -> Iterator[Fault]:
        """Each text was taken by itself, so what refuses it is another setting."""
        for name, problem in refused.items():
            if texts.get(name) is not None:
                yield Fault(("values", camel_case(name)), "setting-value", f"{problem}.")

    def _shown(self, stored: StoredSettings) -> ShownSettings:
        known = set(self._catalogue.names)
        refused = self._catalogue.refused(stored.texts)
        return ShownSettings(
            version=stored.version,
            settings=self._catalogue.show(stored.texts),
            unusable={name: problem for name, problem in refused.items() if name not in known},
        )


def _with(stored: StoredSettings, texts: Mapping[str, str | None]) -> StoredSettings:
    after = {name: text for name, text in {**stored.texts, **texts}.items() if text is not None}
    return StoredSettings(version=stored.version + 1, texts=after)
