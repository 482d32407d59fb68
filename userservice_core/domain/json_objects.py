"""Objects of any shape that are kept for somebody else: how large they may be, and when two say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from userservice_core.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

JsonObject = Mapping[str, Any]

MAX_OBJECT_BYTES: Final = 16 * 1024
"""Of JSON in UTF-8 without insignificant white space."""
MAX_OBJECT_DEPTH: Final = 8
"""Levels of objects and arrays, the object itself included."""


def object_faults(field: str, content: JsonObject) -> Iterator[Fault]:
    """Yield what is wrong with *content* as the member *field*."""
    if len(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_OBJECT_BYTES:
        yield Fault((field,), "too-large", f"Use at most {MAX_OBJECT_BYTES // 1024} KiB of JSON.")
    if _depth(content) > MAX_OBJECT_DEPTH:
        yield Fault((field,), "too-deep", f"Nest objects and arrays at most {MAX_OBJECT_DEPTH} levels deep.")


def are_equal(one: object, other: object) -> bool:
    """Compare as JSON does, to which 1, 1.0 and true are three values."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    return one == other


def _depth(value: object) -> int:
    if isinstance(value, Mapping):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0
