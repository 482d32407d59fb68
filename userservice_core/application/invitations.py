"""Accounts that administrators open for others: their owners take them up by a mailed link, and choose the password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs

from userservice_core.application.access_changes import AccessChange, Agent
from userservice_core.application.account_changes import AccountChange
from userservice_core.application.profiles import profile_updated
from userservice_core.application.registration import user_registered
from userservice_core.domain.audit import AuditAction, Subject
from userservice_core.domain.credentials import LoginState
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import NotificationKind, UserPasswordResetRequested
from userservice_core.domain.ids import UserId
from userservice_core.domain.json_objects import JsonObject, object_faults
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.profiles import UserProfile
from userservice_core.domain.roles import INITIAL_ROLES, AssignedRole
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import AccountStatusError, EmailTakenError, Fault, InvalidInputError, PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from userservice_core.application.access_changes import Agent
    from userservice_core.application.mailed_tokens import MailedTokens
    from userservice_core.domain.ids import RoleId
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

ASSIGN_ROLES: Final = "user:assign_roles"
"""The permission to give roles; to open an account gives nobody more than this does."""


@attrs.frozen(kw_only=True)
class _Invited:
    """What an account is to begin with, checked."""

    email: EmailAddress
    attributes: JsonObject
    names: Mapping[str, Any]


class Invitations:
    """No administrator ever knows a password of somebody else."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        mailed_tokens: MailedTokens,
        clock: Clock,
        ids: IdGenerator,
        access_lifetime: timedelta,
    ) -> None:
        self._uow = uow
        self._mailed_tokens = mailed_tokens
        self._clock = clock
        self._ids = ids
        self._access_lifetime = access_lifetime

    def invite(
        self,
        *,
        actor: Agent,
        email: str,
        role_ids: Collection[RoleId] = (),
        attributes: JsonObject | None = None,
        names: Mapping[str, Any] | None = None,
    ) -> User:
        """
        Open an account without a password, and mail a link to its owner that lets them choose one.

        Args:
            actor: Who does it.
            email: Of the owner; it counts as confirmed once they have taken up the account.
            role_ids: To be held beside those that every account starts with.
            attributes: What administrators note about the user.
            names: Members of the profile to begin with.

        Raises:
            InvalidInputError: If something breaks a rule; names every fault.
            EmailTakenError: If an account holds the address, also a deleted one.
            RoleNotFoundError: If one of the roles is not there.
            PermissionDeniedError: If roles are to be given, and the actor may not give any.
            GrantNotHeldError: If one of the roles grants what the actor does not hold.
        """
        invited = _checked(email, attributes or {}, names or {})

        def work(transaction: Transaction) -> User:
            change = AccessChange.begin(transaction, actor=actor, clock=self._clock, ids=self._ids)
            roles = transaction.roles.get_all(role_ids)
            initial_ids = {role.id for role in INITIAL_ROLES}
            added = [role for role in roles if role.id not in initial_ids]
            if added and not change.held.allows(ASSIGN_ROLES):
                raise PermissionDeniedError(permission=ASSIGN_ROLES)
            change.require_held(permission for role in added for permission in role.permissions)
            if transaction.users.find_by_email(invited.email.key) is not None:
                raise EmailTakenError
            held = (*INITIAL_ROLES, *(AssignedRole(role.id, role.name) for role in added))
            user = attrs.evolve(
                User.register(user_id=UserId(self._ids.new()), email=invited.email, now=change.now),
                roles=tuple(sorted(held, key=lambda role: role.name)),
                attributes=invited.attributes,
            )
            self._store(change, user, invited)
            return user

        return self._uow.run(work)

    def _store(self, change: AccessChange, user: User, invited: _Invited) -> None:
        transaction = change.transaction
        transaction.users.add(user)
        transaction.sign_ins.add_state(LoginState(user_id=user.id))
        transaction.record(user_registered(user, event_id=change.event_id()))
        nothing = UserProfile(user_id=user.id)
        profile = nothing.patched(invited.names)
        if profile.version != nothing.version:
            transaction.profiles.save(profile)
            transaction.record(profile_updated(nothing, profile, event_id=change.event_id(), now=change.now))
        self._mailed_tokens.issue(
            user, purpose=TokenPurpose.INVITE, kind=NotificationKind.INVITE, now=change.now
        ).write_into(transaction)
        change.audit(
            AuditAction.USER_CREATED,
            Subject.user(user.id),
            after={"email": user.email.address, "status": user.status, "roles": list(user.role_names)},
        )

    def invite_again(self, *, actor: Agent, user_id: UserId) -> None:
        """
        Mail a new link to the owner of an account that was not taken up yet; the earlier one ends.

        Raises:
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            AccountStatusError: If the account was taken up already, or is deleted.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id)
            user = account.user
            if user.deleted_at is not None or user.status is not UserStatus.PENDING_VERIFICATION:
                raise AccountStatusError(status=user.status.value)
            self._mailed_tokens.issue(
                user, purpose=TokenPurpose.INVITE, kind=NotificationKind.INVITE, now=account.now
            ).write_into(transaction)
            account.audit(AuditAction.USER_INVITED)

        self._uow.run(work)

    def mail_password_reset(self, *, actor: Agent, user_id: UserId) -> None:
        """
        Mail a link to the owner of an account that lets them choose a new password; the present one stays until then.

        Raises:
            UserNotFoundError: If there is no such user.
            TargetOutranksActorError: If the user holds a permission that the actor lacks.
            AccountStatusError: If the account is suspended, deactivated or deleted.
        """

        def work(transaction: Transaction) -> None:
            account = self._begin(transaction, actor, user_id)
            user = account.user
            if not user.may_choose_password:
                raise AccountStatusError(status=user.status.value)
            self._mailed_tokens.issue(
                user, purpose=TokenPurpose.RESET_PASSWORD, kind=NotificationKind.RESET_PASSWORD, now=account.now
            ).write_into(transaction)
            transaction.record(
                UserPasswordResetRequested(id=account.event_id(), occurred_at=account.now, user_id=user.id)
            )
            account.audit(AuditAction.USER_PASSWORD_RESET_REQUESTED)

        self._uow.run(work)

    def _begin(self, transaction: Transaction, actor: Agent, user_id: UserId) -> AccountChange:
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


def _checked(email: str, attributes: JsonObject, names: Mapping[str, Any]) -> _Invited:
    """
    Return what an account is to begin with.

    Raises:
        InvalidInputError: Naming every fault.
    """
    address = None
    faults: tuple[Fault, ...] = ()
    try:
        address = EmailAddress.parse(email)
    except InvalidInputError as error:
        faults = error.faults
    faults += tuple(object_faults("attributes", attributes))
    faults += tuple(
        attrs.evolve(fault, field=("profile", *fault.field))
        for fault in UserProfile(user_id=UserId(UUID(int=0)), **names).faults_of_texts()
    )
    if address is None or faults:
        raise InvalidInputError(faults)
    return _Invited(email=address, attributes=attributes, names=names)
