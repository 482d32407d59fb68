"""What every text that people write into their own data has to keep to; what is accepted is kept to the letter."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from userservice_core.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def text_faults(field: str, text: str | None, *, max_characters: int, several_lines: bool = False) -> Iterator[Fault]:
    """
    Yield what is wrong with *text* as the member *field*; None, which stands for nothing, is always right.

    Args:
        field: The member's name on the wire.
        text: As given.
        max_characters: Code points, which is what PostgreSQL and JSON Schema count too.
        several_lines: Whether line breaks and tabs are allowed.
    """
    if text is None:
        return
    if not text.strip():
        yield Fault((field,), "blank", "Send null, or leave it out, where there is nothing to say.")
    if len(text) > max_characters:
        yield Fault((field,), "too-long", f"Use at most {max_characters} characters.")
    if (_CONTROL_BUT_LINES if several_lines else _CONTROL).search(text):
        yield Fault((field,), "invalid-character", "Control characters are not allowed here.")
