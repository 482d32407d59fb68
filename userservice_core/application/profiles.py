"""What users say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from userservice_core.application.account_changes import AccountChange
from userservice_core.domain.audit import AuditAction
from userservice_core.domain.editing import read_only_faults
from userservice_core.domain.event_data import camel_case
from userservice_core.domain.events import ProfileUpdated
from userservice_core.domain.ids import EventId, UserId
from userservice_core.domain.profiles import READ_ONLY_MEMBERS
from userservice_core.errors import InvalidAccessTokenError, InvalidInputError, StaleVersionError, UserNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from datetime import datetime, timedelta

    from userservice_core.application.access_changes import Agent
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.places import TimeZones
    from userservice_core.ports.profiles import ProfileReader
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork


class Profiles:
    """Reading and writing one's own profile, and writing that of somebody else."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        profiles: ProfileReader,
        time_zones: TimeZones,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._profiles = profiles
        self._time_zones = time_zones
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def get(self, *, user_id: UserId) -> UserProfile:
        """
        Return the caller's profile.

        Raises:
            InvalidAccessTokenError: If the account was erased.
        """
        try:
            return self._profiles.get(user_id)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def replace(
        self, *, user_id: UserId, values: Mapping[str, Any], versions: Container[int] | None = None
    ) -> UserProfile:
        """
        Let the caller's profile consist of *values*, members by name; what is not given becomes empty.

        Args:
            user_id: The caller.
            values: Of the types that the profile has.
            versions: Those that the caller's change is meant for, None for any.

        Returns:
            The profile as it is now; unchanged where it said the same already.

        Raises:
            InvalidInputError: If a value breaks a rule, or a read-only member is given another one; names every fault.
            StaleVersionError: If the profile has another version by now.
            InvalidAccessTokenError: If the account was erased.
        """
        return self._edit_own(user_id, values, versions, lambda profile, writable: profile.replaced(writable))

    def patch(
        self, *, user_id: UserId, patch: Mapping[str, Any], versions: Container[int] | None = None
    ) -> UserProfile:
        """
        Change the members that *patch* gives, as :meth:`replace` does, and merge its objects (RFC 7396).

        Raises:
            InvalidInputError: As :meth:`replace`.
            StaleVersionError: As :meth:`replace`.
            InvalidAccessTokenError: As :meth:`replace`.
        """
        return self._edit_own(user_id, patch, versions, lambda profile, writable: profile.patched(writable))

    def replace_for(
        self, *, actor: Agent, user_id: UserId, values: Mapping[str, Any], versions: Container[int] | None = None
    ) -> UserProfile:
        """
        Do to the profile of somebody else what :meth:`replace` does to one's own.

        Raises:
            InvalidInputError: As :meth:`replace`.
            StaleVersionError: As :meth:`replace`.
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
        """

        def begin(transaction: Transaction) -> AccountChange:
            account = AccountChange.begin(
                transaction,
                actor=actor,
                user_id=user_id,
                clock=self._clock,
                ids=self._ids,
                access_lifetime=self._access_lifetime,
            )
            account.require_outranked()
            return account

        return self._uow.run(
            self._edit(user_id, values, versions, lambda profile, writable: profile.replaced(writable), begin=begin)
        )

    def _edit_own(
        self,
        user_id: UserId,
        values: Mapping[str, Any],
        versions: Container[int] | None,
        edit: Callable[[UserProfile, Mapping[str, Any]], UserProfile],
    ) -> UserProfile:
        try:
            return self._uow.run(self._edit(user_id, values, versions, edit))
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    def _edit(
        self,
        user_id: UserId,
        values: Mapping[str, Any],
        versions: Container[int] | None,
        edit: Callable[[UserProfile, Mapping[str, Any]], UserProfile],
        *,
        begin: Callable[[Transaction], AccountChange | None] = lambda _: None,
    ) -> Callable[[Transaction], UserProfile]:
        """Return what is to be done in a transaction; *begin* is done first, and told of what is done."""
        now, event_id = self._clock.now(), EventId(self._ids.new())
        # Looked up before the transaction: the first look reads files.
        timezones = self._time_zones.names()
        writable = {name: value for name, value in values.items() if name not in READ_ONLY_MEMBERS}

        def work(transaction: Transaction) -> UserProfile:
            account = begin(transaction)
            before = transaction.profiles.get(user_id)
            if versions is not None and before.version not in versions:
                raise StaleVersionError
            after = edit(before, writable)
            # Read-only members are compared with what is stored, which is what whoever sends them back has read.
            faults = read_only_faults(before, values, READ_ONLY_MEMBERS)
            faults += tuple(after.faults(today=now.date(), timezones=timezones))
            if faults:
                raise InvalidInputError(faults)
            if after.version == before.version:
                return after
            transaction.profiles.save(after)
            transaction.record(profile_updated(before, after, event_id=event_id, now=now))
            if account is not None:
                names = after.changed_members(before)
                account.audit(
                    AuditAction.USER_PROFILE_UPDATED,
                    before={camel_case(name): getattr(before, name) for name in names},
                    after={camel_case(name): getattr(after, name) for name in names},
                )
            return after

        return work


def profile_updated(before: UserProfile, after: UserProfile, *, event_id: EventId, now: datetime) -> ProfileUpdated:
    """Say which members of a profile are different."""
    return ProfileUpdated(
        id=event_id,
        occurred_at=now,
        user_id=after.user_id,
        version=after.version,
        changed_members=tuple(camel_case(name) for name in after.changed_members(before)),
        display_name=after.shown_name,
    )
