"""What users may do, for those who decide about it elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from userservice_core.domain.ids import UserId
from userservice_core.domain.permission_sets import PermissionSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.application.access import Access

NOTHING = PermissionSet(frozenset())


@attrs.frozen(kw_only=True)
class PermissionCheck:
    """
    A question: may this user do all of that?

    Attributes:
        permissions: Names, `resource:action`.
        resource_owner_id: Whose the resource is that it is about; an owner may do what `resource:action_own` says, too.
    """

    user_id: UserId
    permissions: tuple[str, ...]
    resource_owner_id: UserId | None = None


@attrs.frozen(kw_only=True)
class CheckedPermissions:
    """The answer, permission by permission, in the order in which they were asked for."""

    user_id: UserId
    outcomes: tuple[tuple[str, bool], ...]

    @property
    def granted(self) -> bool:
        """Whether the user may do all of it."""
        return all(granted for _, granted in self.outcomes)


class Authorization:
    """Answers from the cache; once that is warm, nothing is asked of the database."""

    def __init__(self, *, access: Access) -> None:
        self._access = access

    def check(self, *, check: PermissionCheck) -> CheckedPermissions:
        """Tell what a user may do; one who does not exist, or cannot use their account, may do nothing."""
        (checked,) = self.check_all(checks=(check,))
        return checked

    def check_all(self, *, checks: Sequence[PermissionCheck]) -> tuple[CheckedPermissions, ...]:
        """Tell the same for several questions, in their order; users and what roles grant are looked up once."""
        held = self._access.permissions_of_each(user_ids=(check.user_id for check in checks))
        return tuple(_checked(check, held.get(check.user_id, NOTHING)) for check in checks)

    def effective_permissions(self, *, user_id: UserId, resource: str | None = None) -> tuple[str, ...]:
        """
        Return the names of all that a user may do through their roles, sorted; wildcards as they are.

        Args:
            user_id: Whose.
            resource: Only what concerns this one, wildcards included.

        Raises:
            UserNotFoundError: If there is no such user.
        """
        held = self._access.permissions_of(user_id=user_id)
        return tuple(sorted((held if resource is None else held.on(resource)).names))


def _checked(check: PermissionCheck, held: PermissionSet) -> CheckedPermissions:
    is_owner = check.resource_owner_id == check.user_id
    return CheckedPermissions(
        user_id=check.user_id,
        outcomes=tuple(
            (permission, held.allows(permission) or (is_owner and held.allows(f"{permission}_own")))
            for permission in check.permissions
        ),
    )
