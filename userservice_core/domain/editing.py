"""From what is stored, and what a client sends, to what is to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from userservice_core.domain.event_data import camel_case
from userservice_core.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def merge_patch(target: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """
    Return what *patch* makes of *target* (JSON Merge Patch, RFC 7396); neither is changed.

    Members of an object that the patch sets to null are removed, objects are merged, and everything else is replaced.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def read_only_faults(stored: object, given: Mapping[str, Any], members: Iterable[str]) -> tuple[Fault, ...]:
    """Refuse each of the read-only *members* that is *given* with another value than the *stored* one."""
    return tuple(
        Fault((camel_case(name),), "read-only", "This member cannot be set; leave it out, or send it as it is.")
        for name in members
        if name in given and given[name] != getattr(stored, name)
    )
