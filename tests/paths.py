"""Paths of routes as a client sends them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

if TYPE_CHECKING:
    from userservice_core.http.routes import Route

NOBODY: Final = UUID("01900000-0000-7000-8000-00000000dead")
"""An id that nothing has."""


def path_of(route: Route, value: UUID = NOBODY) -> str:
    """Return the path of *route* with *value* in the place of each parameter."""
    return re.sub(r"\{[^}]*\}", str(value), route.path)
