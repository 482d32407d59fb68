"""Where settings live that change while processes run, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from userservice_core.domain.settings import SettingChange, ShownSetting, StoredSettings
    from userservice_core.errors import Fault


class SettingReader(Protocol):
    """Reads settings from the primary, outside a transaction."""

    def read(self) -> StoredSettings:
        """Return what is there now; version 0 and nothing where nothing was ever changed."""
        ...

    def history(self, *, limit: int) -> tuple[SettingChange, ...]:
        """Return the last *limit* changes, the newest first, and those of one version by their names."""
        ...


class SettingRepository(Protocol):
    """The settings of one transaction."""

    def read_locked(self) -> StoredSettings:
        """Return what is there; nobody else changes any until the end."""
        ...

    def add(self, change: SettingChange) -> None:
        """Write *change*, whose version is one more than the one that was read; earlier changes stay as they are."""
        ...


class SettingCatalogue(Protocol):
    """Knows which settings may change at run time, and what each may be. Safe for many threads."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that may change, in the order of the reference."""
        ...

    def text_of(self, name: str, value: object) -> str | Fault:
        """Return the text of *value*, which is of JSON, or why the setting cannot have it in this process."""
        ...

    def refused(self, stored: Mapping[str, str]) -> Mapping[str, str]:
        """Return which of the *stored* texts cannot be used, also beside each other, and why; never raises."""
        ...

    def show(self, stored: Mapping[str, str]) -> tuple[ShownSetting, ...]:
        """Return all settings that may change, as they are where *stored* is in the database."""
        ...
