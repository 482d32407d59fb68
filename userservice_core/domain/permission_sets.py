"""What a principal may do, wildcards counted; apart from roles, since those who only check need no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYTHING = "*:*"


@attrs.frozen
class PermissionSet:
    """What a principal may do; wildcards count."""

    names: frozenset[str]

    def allows(self, permission: str) -> bool:
        """Tell whether *permission* (``resource:action``) is held, by name or through ``resource:*`` or ``*:*``."""
        names = self.names
        return permission in names or EVERYTHING in names or f"{permission.partition(':')[0]}:*" in names

    def covers(self, permissions: Iterable[str]) -> bool:
        """Tell whether each of *permissions* is held."""
        return all(self.allows(permission) for permission in permissions)

    def within(self, bounds: PermissionSet) -> PermissionSet:
        """Return what both this and *bounds* allow; of two wildcards that meet, the narrower one is left."""
        ours = (name for name in self.names if bounds.allows(name))
        theirs = (name for name in bounds.names if self.allows(name))
        return PermissionSet(frozenset((*ours, *theirs)))

    def on(self, resource: str) -> PermissionSet:
        """Return those that concern *resource*, wildcards included."""
        return PermissionSet(frozenset(name for name in self.names if name.partition(":")[0] in {resource, "*"}))
