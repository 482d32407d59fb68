"""All users, one after the other, with what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from userservice_core.domain.addresses import Address
from userservice_core.domain.credentials import SignIn
from userservice_core.domain.profiles import UserProfile

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId


@attrs.frozen(kw_only=True)
class UserDump:
    """
    A user as they are at one moment, the hash of the password included.

    Attributes:
        addresses: In the order of their ids.
    """

    sign_in: SignIn
    profile: UserProfile
    addresses: tuple[Address, ...]


class UserDumpReader(Protocol):
    """Reads users in the order of their ids, from the primary."""

    def read(self, *, after: UserId | None, limit: int) -> tuple[UserDump, ...]:
        """
        Return the next *limit* users with greater ids than *after*, all as of one moment; deleted ones are left out.

        None for *after* begins at the first. Fewer than *limit* are the last ones.
        """
        ...
