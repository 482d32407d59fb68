"""What is told of accounts that administrators open and change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.audit import Actor, AuditAction, Subject
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.errors import InvalidInputError, OneTimeTokenInvalidError

if TYPE_CHECKING:
    from tests.fast.application.conftest import World
    from userservice_core.domain.ids import UserId
    from userservice_core.domain.users import User

PASSWORD = "another long enough password"
_NOTICES = {"notification.requested"}


@pytest.fixture
def admin(world: World) -> UserId:
    """Somebody who may do everything."""
    world.use_cases.accounts.create_first_administrator(email="root@example.com")
    world.events()
    (user,) = world.installed.store.rows.users.values()
    return user.id


def _told(world: World, before: int) -> list[str]:
    """Return the types of the events since then, mails left out."""
    return [kind for kind, _, _ in world.events()[before:] if kind not in _NOTICES]


def _audited(world: World, user: User) -> list[str]:
    """Return what the log says was done to the user."""
    entries = [record.entry for record in world.installed.store.rows.audit]
    return [entry.action for entry in entries if entry.subject == Subject.user(user.id)]


def test_an_invitation_is_a_registration_by_somebody_else(world: World, admin: UserId) -> None:
    """Consumers hear of it as of any other, and the log says who it was."""
    before = len(world.events())
    user = world.use_cases.invitations.invite(
        actor=admin, email="ada@example.com", role_ids=[ADMIN_ROLE.id], names={"first_name": "Ada", "last_name": None}
    )

    assert _told(world, before) == ["user.registered", "profile.updated"]
    assert world.events()[before][2]["roles"] == ["administrator", "user"]
    assert _audited(world, user) == [AuditAction.USER_CREATED]
    assert world.installed.store.rows.audit[-1].entry.actor == Actor.user(admin)
    before, token = len(world.events()), world.mailed_token()
    inspection = world.use_cases.email_verification.inspect(token=token)
    assert (inspection.purpose, inspection.valid) == (TokenPurpose.INVITE, True)
    verified = world.use_cases.passwords.reset(token=token, password=PASSWORD)
    assert verified.is_live
    assert not world.use_cases.email_verification.inspect(token=token).valid
    told = {kind: data for kind, _, data in world.events()[before:]}
    assert told["user.password_changed"]["method"] == "invitation"
    assert "user.email_verified" in told
    assert world.sign_in(password=PASSWORD).user.id == user.id


def test_a_profile_without_names_is_not_written(world: World, admin: UserId) -> None:
    """There is nothing to tell of it."""
    before = len(world.events())
    user = world.use_cases.invitations.invite(actor=admin, email="ada@example.com")

    assert _told(world, before) == ["user.registered"]
    assert user.id not in world.installed.store.rows.profiles


def test_the_link_of_a_confirmation_does_not_end_an_invitation(world: World, admin: UserId) -> None:
    """The address is confirmed, and there is still no password; the invitation brings one."""
    world.use_cases.invitations.invite(actor=admin, email="ada@example.com")
    invitation = world.mailed_token()
    world.use_cases.email_verification.request(email="ada@example.com")
    assert world.use_cases.email_verification.confirm(token=world.mailed_token()).is_live

    world.use_cases.passwords.reset(token=invitation, password=PASSWORD)
    assert world.sign_in(password=PASSWORD).user.is_live
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=invitation, password=PASSWORD)


def test_attributes_are_told_by_name(world: World, admin: UserId) -> None:
    """With a change of the status they are one version, and each has its event."""
    user = world.active_user()
    before = len(world.events())
    administration = world.use_cases.account_administration
    changed = administration.update(
        actor=admin, user_id=user.id, revise=lambda user, now: user.with_attributes({"a": 1}, now=now)
    )
    same = administration.update(
        actor=admin, user_id=user.id, revise=lambda user, now: user.with_attributes({"a": 1}, now=now)
    )

    assert (changed.version, same) == (user.version + 1, attrs.evolve(changed))
    ((kind, _, data),) = world.events()[before:]
    assert (kind, data["version"], data["changedMembers"]) == ("user.updated", changed.version, ["attributes"])
    assert _audited(world, user)[-1] == AuditAction.USER_UPDATED
    with pytest.raises(InvalidInputError):
        administration.update(
            actor=admin, user_id=user.id, revise=lambda user, now: user.with_attributes({"a": "x" * 17_000}, now=now)
        )


def test_a_profile_written_by_somebody_else_is_in_the_log(world: World, admin: UserId) -> None:
    """What its owner writes is not."""
    user = world.active_user()
    world.use_cases.profiles.replace(user_id=user.id, values={"first_name": "Ada"})
    own = _audited(world, user)
    world.use_cases.profiles.replace_for(actor=admin, user_id=user.id, values={"first_name": "Augusta"})

    assert _audited(world, user) == [*own, AuditAction.USER_PROFILE_UPDATED]
    entry = world.installed.store.rows.audit[-1].entry
    assert (entry.before, entry.after) == ({"firstName": "Ada"}, {"firstName": "Augusta"})
