"""Settings that change while processes run: what the database holds of them, and how they came to be so."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from userservice_core.domain.audit import Actor

MAX_REASON_CHARACTERS: Final = 500
MAX_VALUE_CHARACTERS: Final = 8_192


@attrs.frozen(kw_only=True)
class SettingChange:
    """
    One setting that was changed.

    Attributes:
        version: Of all settings together; those that were changed at once have the same.
        name: As in the variable, in small letters and without the prefix.
        before: The text that was there, None for none.
        after: The text that is there since, None for none.
        reason: In the words of whoever did it.
    """

    version: int
    name: str
    before: str | None
    after: str | None
    at: datetime
    actor: Actor
    reason: str


@attrs.frozen(kw_only=True)
class StoredSettings:
    """
    What the database holds.

    Attributes:
        version: Raised by each change; 0 where there was none.
        texts: By name, as variables would hold them. Whoever wrote them may have been of another version, so nothing
            is known of them until they are read by the declarations.
    """

    version: int = 0
    texts: Mapping[str, str] = attrs.field(factory=dict)


class SettingSource(enum.StrEnum):
    """Where the value of a setting comes from, that which goes before others first."""

    ENVIRONMENT = "environment"
    DATABASE = "database"
    DEFAULT = "default"


@attrs.frozen(kw_only=True)
class ShownSetting:
    """
    A setting that may change at run time, as one process sees it.

    Attributes:
        name: In small letters.
        value: What counts, as JSON has it.
        expected: What it may be, in words.
        stored: The text in the database, None for none; it need not be what counts.
        problem: Why what is stored cannot be used, None where it can.
    """

    name: str
    value: Any
    source: SettingSource
    expected: str
    description: str
    stored: str | None = None
    problem: str | None = None
