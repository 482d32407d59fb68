"""All that can be run at length; each area keeps its parts in a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.soak import data, events, http, lifecycle, lists, memory, overload, timing

if TYPE_CHECKING:
    from tests.soak.outcomes import Part

PARTS: Final[tuple[Part, ...]] = (
    *http.PARTS,
    *events.PARTS,
    *timing.PARTS,
    *data.PARTS,
    *lists.PARTS,
    *lifecycle.PARTS,
    *memory.PARTS,
    *overload.PARTS,
)
