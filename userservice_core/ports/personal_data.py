"""Everything that is held about one user, as it is at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

from userservice_core.domain.addresses import Address
from userservice_core.domain.credentials import SignIn
from userservice_core.domain.one_time_tokens import OneTimeToken
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.sessions import Session
from userservice_core.ports.audit import AuditRecord

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId


@attrs.frozen(kw_only=True)
class PersonalData:
    """
    What is held about a user, hashes of secrets included: whoever shows it leaves these out.

    Attributes:
        sign_in: The account with roles, credential and state of sign-ins.
        addresses: The oldest first.
        sessions: Ended ones too, the oldest first.
        one_time_tokens: Mailed ones, used ones too, the oldest first.
        done_to: What the audit log says about the user, the newest first.
        done_by: What it says they did to others, the newest first.
        log_is_complete: Whether the log says no more than that.
    """

    sign_in: SignIn
    profile: UserProfile
    addresses: tuple[Address, ...]
    sessions: tuple[Session, ...]
    one_time_tokens: tuple[OneTimeToken, ...]
    done_to: tuple[AuditRecord, ...]
    done_by: tuple[AuditRecord, ...]
    log_is_complete: bool


class PersonalDataReader(Protocol):
    """Reads all of it in one round trip on the primary. Safe to use from many threads."""

    def read(self, user_id: UserId, *, max_entries: int) -> PersonalData:
        """
        Return what is held about a user, all of it as of one moment: no change is seen in part.

        Args:
            user_id: Whose.
            max_entries: Of the audit log, for each of its two parts.

        Raises:
            UserNotFoundError: If no user has this id, or it was erased.
            DeadlineExceededError: If the call's deadline passed.
        """
        ...
