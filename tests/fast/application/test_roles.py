"""Who may change what others may do, and that every process hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import World
from userservice_core.application import roles as roles_module
from userservice_core.application.access import access_changed, role_map_changed
from userservice_core.application.authorization import PermissionCheck
from userservice_core.domain.ids import RoleId, UserId
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.permission_sets import EVERYTHING
from userservice_core.domain.revocations import RevocationKind
from userservice_core.domain.roles import ADMIN_ROLE, MAX_PERMISSIONS, USER_ROLE, AssignedRole, Permission, Role
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    AlreadyExistsError,
    GrantNotHeldError,
    InvalidInputError,
    LastAdministratorError,
    LimitReachedError,
    PermissionDeniedError,
    PermissionInUseError,
    RoleInUseError,
    RoleNotFoundError,
    StaleVersionError,
    SystemObjectError,
    TargetOutranksActorError,
    UserNotFoundError,
    WildcardGrantError,
)
from userservice_core.testing.samples import sample_user_id

if TYPE_CHECKING:
    from userservice_core.application.use_cases import UseCases


@attrs.frozen
class Staff:
    """A service with one administrator, and what tests do with it."""

    world: World
    admin: UserId

    @property
    def use_cases(self) -> UseCases:
        """The use cases."""
        return self.world.use_cases

    def role(self, *permissions: str, name: str = "Role") -> Role:
        """Make a role that grants *permissions*."""
        role = self.use_cases.roles.create(actor=self.admin, name=name, description=None)
        ids = [self.permission(permission).id for permission in permissions]
        if ids:
            self.use_cases.roles.assign_permissions(actor=self.admin, role_id=role.id, permission_ids=ids)
        return self.use_cases.roles.get(role_id=role.id)

    def permission(self, name: str) -> Permission:
        """Return the permission of this name; made if there is none."""
        everything = PageRequest(sort=Sort(by="name"), limit=MAX_PERMISSIONS)
        for permission in self.use_cases.permissions.list_page(request=everything).rows:
            if permission.name == name:
                return permission
        resource, _, action = name.partition(":")
        return self.use_cases.permissions.create(
            actor=self.admin, resource=resource, action=action, description=None, group_name=None
        )

    def holder(self, *permissions: str, email: str = "holder@example.com") -> UserId:
        """Register a user whom a role of their own grants *permissions*."""
        user = self.world.active_user(email)
        self.assign(user.id, self.role(*permissions, name=f"of {email}").id)
        return user.id

    def assign(self, user_id: UserId, *role_ids: RoleId, actor: UserId | None = None) -> None:
        """Give roles to a user."""
        self.use_cases.role_assignments.assign(actor=actor or self.admin, user_id=user_id, role_ids=role_ids)

    def remove(self, user_id: UserId, *role_ids: RoleId, actor: UserId | None = None) -> None:
        """Take roles from a user."""
        self.use_cases.role_assignments.remove(actor=actor or self.admin, user_id=user_id, role_ids=role_ids)

    def may(self, user_id: UserId, permission: str) -> bool:
        """Ask as another service would."""
        check = PermissionCheck(user_id=user_id, permissions=(permission,))
        return self.use_cases.authorization.check(check=check).granted

    def news(self, kind: str) -> list[tuple[str, int | None]]:
        """Return the events whose type begins like that, with their numbers."""
        return [(name, sequence) for name, sequence, _ in self.world.events() if name.startswith(kind)]


@pytest.fixture
def staff(world: World) -> Staff:
    """One administrator."""
    world.use_cases.accounts.create_first_administrator(email="root@example.com")
    (admin,) = world.installed.store.rows.users
    return Staff(world, admin)


# --- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("8.3.1", "8.3.2")
def test_a_change_counts_at_once(staff: Staff) -> None:
    """Whatever was cached: assignments, what a role grants, and its deletion."""
    user_id = staff.world.active_user().id
    role = staff.role("invoice:read")
    assert not staff.may(user_id, "invoice:read")
    staff.assign(user_id, role.id)
    assert staff.may(user_id, "invoice:read")
    permission = staff.permission("invoice:read")
    staff.use_cases.roles.remove_permissions(actor=staff.admin, role_id=role.id, permission_ids=[permission.id])
    assert not staff.may(user_id, "invoice:read")
    staff.use_cases.roles.assign_permissions(actor=staff.admin, role_id=role.id, permission_ids=[permission.id])
    assert staff.may(user_id, "invoice:read")
    staff.remove(user_id, role.id)
    assert not staff.may(user_id, "invoice:read")
    staff.assign(user_id, role.id)
    staff.use_cases.roles.delete(actor=staff.admin, role_id=role.id, force=True)
    assert not staff.may(user_id, "invoice:read")


def test_what_another_process_changed_is_forgotten(staff: Staff) -> None:
    """Once its revocation is heard; until then the answer is the one that was kept."""
    user_id = staff.holder("invoice:read")
    rows, access, now = staff.world.installed.store.rows, staff.use_cases.access, staff.world.clock.now()
    assert staff.may(user_id, "invoice:read")
    user = rows.users[user_id].with_roles((), now=now)
    rows.users[user_id] = user
    assert staff.may(user_id, "invoice:read")
    access.forget(access_changed(user, now=now))
    assert not staff.may(user_id, "invoice:read")
    assert not staff.may(user_id, "order:read")
    rows.users[user_id] = user.with_roles((AssignedRole(USER_ROLE.id, USER_ROLE.name),), now=now)
    rows.roles[USER_ROLE.id] = USER_ROLE.granting({"order:read"})
    rows.access_epoch += 1
    access.forget(access_changed(rows.users[user_id], now=now))
    assert not staff.may(user_id, "order:read")
    access.forget(role_map_changed(rows.access_epoch, now=now))
    assert staff.may(user_id, "order:read")


def test_a_sensitive_question_goes_past_what_was_kept(staff: Staff) -> None:
    """What another process took is not there any more, though nobody has heard of it here."""
    user_id = staff.holder("invoice:read")
    access, token = staff.use_cases.access, staff.world.sign_in("holder@example.com").access_token
    rows, now = staff.world.installed.store.rows, staff.world.clock.now()
    principal = access.authenticate(token=token)
    access.require(principal=principal, permission="invoice:read")
    rows.users[user_id] = rows.users[user_id].with_roles((), now=now)
    access.require(principal=principal, permission="invoice:read")

    with pytest.raises(PermissionDeniedError):
        access.require(principal=principal, permission="invoice:read", sensitive=True)


def test_without_news_nothing_that_was_kept_counts(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hears of no change for too long asks the primary each time."""
    user_id = staff.holder("invoice:read")
    rows, access, now = staff.world.installed.store.rows, staff.use_cases.access, staff.world.clock.now()
    assert staff.may(user_id, "invoice:read")
    rows.users[user_id] = rows.users[user_id].with_roles((), now=now)
    assert staff.may(user_id, "invoice:read")

    monkeypatch.setattr(access._revocations, "is_current", lambda: False)  # noqa: SLF001 - as a mirror that is too old

    assert not staff.may(user_id, "invoice:read")


def test_a_warm_question_asks_nothing_of_the_store(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the caller's own permission nor for those asked about."""
    user_id = staff.holder("invoice:read")
    assert staff.may(user_id, "invoice:read")

    def fail() -> None:
        pytest.fail("the store was read")

    monkeypatch.setattr(staff.world.installed.store, "read", fail)

    assert staff.may(user_id, "invoice:read")
    assert not staff.may(user_id, "invoice:write")
    effective = staff.use_cases.authorization.effective_permissions(user_id=user_id)
    assert effective == ("invoice:read",)


def test_an_owner_may_do_what_owners_may(staff: Staff) -> None:
    """`resource:action_own` counts where the resource is the user's, and nowhere else."""
    user_id = staff.holder("invoice:read_own")

    outcomes = {
        owner_id: staff.use_cases.authorization.check(
            check=PermissionCheck(user_id=user_id, permissions=("invoice:read",), resource_owner_id=owner_id)
        ).granted
        for owner_id in (user_id, staff.admin, None)
    }

    assert outcomes == {user_id: True, staff.admin: False, None: False}


def test_effective_permissions_of_a_resource_include_wildcards(staff: Staff) -> None:
    """They are what a user may do with it."""
    user_id = staff.holder("invoice:read", "order:read")
    authorization = staff.use_cases.authorization

    assert authorization.effective_permissions(user_id=user_id) == ("invoice:read", "order:read")
    assert authorization.effective_permissions(user_id=user_id, resource="order") == ("order:read",)
    assert authorization.effective_permissions(user_id=staff.admin, resource="order") == (EVERYTHING,)
    with pytest.raises(UserNotFoundError):
        authorization.effective_permissions(user_id=sample_user_id())


def test_nobody_may_do_anything_with_an_account_that_cannot_be_used(staff: Staff) -> None:
    """Neither one that is not there; one that is confirmed may from then on."""
    pending = staff.world.register("late@example.com")
    staff.assign(pending.id, staff.role("invoice:read").id)

    assert not staff.may(pending.id, "invoice:read")
    assert not staff.may(sample_user_id(), "invoice:read")
    assert staff.use_cases.authorization.effective_permissions(user_id=pending.id) == ()
    staff.use_cases.email_verification.confirm(token=staff.world.mailed_token())
    assert staff.may(pending.id, "invoice:read")


# --- nobody gives what they do not hold -------------------------------------------------------------------------------


@pytest.mark.asvs("8.3.1")
def test_nobody_grants_what_they_do_not_hold(staff: Staff) -> None:
    """Neither through a role nor to a role, neither to others nor to themselves."""
    actor = staff.holder("role:assign_permissions", "user:assign_roles", "invoice:read")
    role = staff.role(name="Plain")
    invoice, order = staff.permission("invoice:read"), staff.permission("order:read")
    grant = staff.use_cases.roles.assign_permissions
    mighty = staff.role("order:read", name="Mighty")
    user_id = staff.world.active_user().id

    grant(actor=actor, role_id=role.id, permission_ids=[invoice.id])
    with pytest.raises(GrantNotHeldError):
        grant(actor=actor, role_id=role.id, permission_ids=[order.id])
    with pytest.raises(GrantNotHeldError):
        grant(actor=sample_user_id(), role_id=staff.role(name="Other").id, permission_ids=[invoice.id])
    for target in (user_id, actor):
        with pytest.raises(GrantNotHeldError):
            staff.assign(target, mighty.id, actor=actor)
        with pytest.raises(GrantNotHeldError):
            staff.assign(target, ADMIN_ROLE.id, actor=actor)
    staff.assign(user_id, role.id, actor=actor)

    assert {"invoice:read"} == staff.use_cases.roles.get(role_id=role.id).permissions
    assert staff.may(user_id, "invoice:read")
    assert not staff.may(user_id, "order:read")


def test_nobody_changes_what_outranks_them(staff: Staff) -> None:
    """A user or a role that holds a permission which the actor lacks."""
    actor = staff.holder("invoice:read")
    role, mighty = staff.role(name="Plain"), staff.role("order:read", name="Mighty")
    user_id = staff.holder("order:read", email="mighty@example.com")
    roles, order = staff.use_cases.roles, staff.permission("order:read")

    for change in (
        lambda: staff.assign(user_id, role.id, actor=actor),
        lambda: staff.remove(user_id, mighty.id, actor=actor),
        lambda: staff.remove(staff.admin, ADMIN_ROLE.id, actor=actor),
        lambda: roles.delete(actor=actor, role_id=mighty.id, force=True),
        lambda: roles.remove_permissions(actor=actor, role_id=mighty.id, permission_ids=[order.id]),
        lambda: roles.change(
            actor=actor, role_id=mighty.id, revise=lambda role: role.revised(name="Less", description=None)
        ),
        lambda: staff.use_cases.permissions.delete(actor=actor, permission_id=order.id, force=True),
        lambda: staff.use_cases.permissions.change(
            actor=actor,
            permission_id=order.id,
            revise=lambda each: each.revised(resource="order", action="look", description=None, group_name=None),
        ),
    ):
        with pytest.raises(TargetOutranksActorError):
            change()


def test_a_permission_is_not_renamed_to_what_its_editor_lacks(staff: Staff) -> None:
    """Whoever holds it would get the other one."""
    actor = staff.holder("invoice:read")
    permission = staff.permission("invoice:read")

    with pytest.raises(GrantNotHeldError):
        staff.use_cases.permissions.change(
            actor=actor,
            permission_id=permission.id,
            revise=lambda each: each.revised(resource="order", action="read", description=None, group_name=None),
        )

    assert permission == staff.use_cases.permissions.get(permission_id=permission.id)


def test_wildcards_are_granted_by_system_roles_only(staff: Staff) -> None:
    """And cover what they stand for."""
    wildcard = staff.permission("invoice:*")
    role = staff.role(name="Plain")
    user_id = staff.world.active_user().id

    with pytest.raises(WildcardGrantError):
        staff.use_cases.roles.assign_permissions(actor=staff.admin, role_id=role.id, permission_ids=[wildcard.id])
    staff.use_cases.roles.assign_permissions(actor=staff.admin, role_id=USER_ROLE.id, permission_ids=[wildcard.id])

    assert staff.may(user_id, "invoice:read")
    assert not staff.may(user_id, "order:read")


# --- somebody can always do everything --------------------------------------------------------------------------------


def test_the_last_administrator_stays(staff: Staff) -> None:
    """Neither their role nor what it grants can be taken, unless another active account holds it."""
    everything = staff.permission(EVERYTHING)
    withdraw = staff.use_cases.roles.remove_permissions
    with pytest.raises(LastAdministratorError):
        staff.remove(staff.admin, ADMIN_ROLE.id)
    pending = staff.world.register("late@example.com")
    staff.assign(pending.id, ADMIN_ROLE.id)
    with pytest.raises(LastAdministratorError):
        staff.remove(staff.admin, ADMIN_ROLE.id)
    with pytest.raises(LastAdministratorError):
        withdraw(actor=staff.admin, role_id=ADMIN_ROLE.id, permission_ids=[everything.id])
    staff.use_cases.email_verification.confirm(token=staff.world.mailed_token())
    staff.remove(staff.admin, ADMIN_ROLE.id)
    with pytest.raises(LastAdministratorError):
        staff.remove(pending.id, ADMIN_ROLE.id, actor=pending.id)

    assert staff.may(pending.id, "anything:at_all")
    assert not staff.may(staff.admin, "anything:at_all")


def test_system_objects_stay(staff: Staff) -> None:
    """They can be described, but neither deleted nor renamed."""
    roles, permissions = staff.use_cases.roles, staff.use_cases.permissions
    permission = staff.permission("user:read")

    with pytest.raises(SystemObjectError):
        roles.delete(actor=staff.admin, role_id=USER_ROLE.id, force=True)
    with pytest.raises(SystemObjectError):
        roles.change(
            actor=staff.admin, role_id=USER_ROLE.id, revise=lambda role: role.revised(name="x", description=None)
        )
    with pytest.raises(SystemObjectError):
        permissions.delete(actor=staff.admin, permission_id=permission.id, force=True)
    with pytest.raises(SystemObjectError):
        permissions.change(
            actor=staff.admin,
            permission_id=permission.id,
            revise=lambda each: each.revised(resource="user", action="look", description=None, group_name=None),
        )
    described = roles.change(
        actor=staff.admin, role_id=USER_ROLE.id, revise=lambda role: role.revised(name=role.name, description="All.")
    )

    assert described == attrs.evolve(USER_ROLE, description="All.", version=2)


# --- roles ------------------------------------------------------------------------------------------------------------


def test_what_happens_to_a_role_is_told_in_order(staff: Staff) -> None:
    """Each event has its number, and what changes nothing has none."""
    role = staff.role("invoice:read", "order:read")
    roles, invoice = staff.use_cases.roles, staff.permission("invoice:read")
    for _ in range(2):
        roles.change(actor=staff.admin, role_id=role.id, revise=lambda role: role.revised(name="New", description=None))
        roles.remove_permissions(actor=staff.admin, role_id=role.id, permission_ids=[invoice.id])
    roles.delete(actor=staff.admin, role_id=role.id)

    assert staff.news("role.") == [
        ("role.created", 1),
        ("role.permission_assigned", 2),
        ("role.permission_assigned", 3),
        ("role.updated", 4),
        ("role.permission_removed", 5),
        ("role.deleted", 6),
    ]
    with pytest.raises(RoleNotFoundError):
        roles.get(role_id=role.id)


def test_a_role_in_use_is_deleted_by_force_only(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holders lose it in batches, each with an event; nobody else does, and deleted accounts are no hindrance."""
    monkeypatch.setattr(roles_module, "HOLDERS_PER_TRANSACTION", 2)
    role, other = staff.role(name="Gone"), staff.role(name="Kept")
    users = [staff.world.active_user(f"user{number}@example.com").id for number in range(5)]
    for user_id in users:
        staff.assign(user_id, role.id, other.id)
    rows = staff.world.installed.store.rows
    rows.users[users[0]] = attrs.evolve(
        rows.users[users[0]], deleted_at=staff.world.clock.now(), status=UserStatus.SUSPENDED
    )

    with pytest.raises(RoleInUseError):
        staff.use_cases.roles.delete(actor=staff.admin, role_id=role.id)
    with pytest.raises(StaleVersionError):
        staff.use_cases.roles.delete(actor=staff.admin, role_id=role.id, force=True, expected={7})
    staff.use_cases.roles.delete(actor=staff.admin, role_id=role.id, force=True, expected={1})

    held = [staff.use_cases.role_assignments.list_roles(user_id=user_id) for user_id in users]
    assert [[role.name for role in roles] for roles in held] == [["Kept", "user"]] * 5
    assert len(staff.news("user.role_removed")) == 5
    revoked = [row.revocation for row in staff.world.installed.store.rows.revocations]
    assert {str(user_id) for user_id in users} <= {
        each.subject for each in revoked if each.kind is RevocationKind.USER_ACCESS and each.version == 3
    }


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("", ["invalid-name"]),
        (" a", ["invalid-name"]),
        ("a\n", ["invalid-name", "invalid-character"]),
        ("a\u200bb", ["invalid-character"]),
        ("x" * 101, ["too-long"]),
    ],
)
def test_a_name_that_cannot_be_read_is_refused(staff: Staff, name: str, codes: list[str]) -> None:
    """Whether a role is made or renamed."""
    role = staff.role()
    with pytest.raises(InvalidInputError) as caught:
        staff.use_cases.roles.create(actor=staff.admin, name=name, description=None)
    with pytest.raises(InvalidInputError):
        staff.use_cases.roles.change(
            actor=staff.admin, role_id=role.id, revise=lambda role: role.revised(name=name, description=None)
        )

    assert [fault.code for fault in caught.value.faults] == codes


def test_there_are_only_so_many_roles_and_permissions(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process holds what all of them grant."""
    monkeypatch.setattr(roles_module, "MAX_ROLES", 3)
    monkeypatch.setattr("userservice_core.application.permissions.MAX_PERMISSIONS", 2)
    staff.role()

    with pytest.raises(LimitReachedError):
        staff.role(name="Other")
    with pytest.raises(LimitReachedError):
        staff.permission("invoice:read")


# --- permissions ------------------------------------------------------------------------------------------------------


def test_what_happens_to_a_permission_is_told_in_order(staff: Staff) -> None:
    """Each event has its number; a role that granted it says that it does not any more."""
    permission = staff.permission("invoice:read")
    role = staff.role("invoice:read")
    permissions = staff.use_cases.permissions
    for _ in range(2):
        permissions.change(
            actor=staff.admin,
            permission_id=permission.id,
            revise=lambda each: each.revised(resource="invoice", action="see", description=None, group_name="Sales"),
        )
    with pytest.raises(PermissionInUseError):
        permissions.delete(actor=staff.admin, permission_id=permission.id)
    with pytest.raises(StaleVersionError):
        permissions.delete(actor=staff.admin, permission_id=permission.id, force=True, expected={1})
    permissions.delete(actor=staff.admin, permission_id=permission.id, force=True, expected={2})

    assert staff.news("permission.") == [
        ("permission.created", 1),
        ("permission.updated", 2),
        ("permission.deleted", 3),
    ]
    assert staff.news("role.")[-1] == ("role.permission_removed", 3)
    assert staff.use_cases.roles.get(role_id=role.id) == attrs.evolve(role, permissions=frozenset(), version=3)


@pytest.mark.parametrize(
    ("resource", "action"), [("", "a"), ("a", ""), ("A", "a"), ("a", "b:c"), ("*", "a"), ("*", "*"), ("a\n", "a")]
)
def test_a_permission_is_named_in_lower_case_words(staff: Staff, resource: str, action: str) -> None:
    """So that it can be part of `resource:action`, and a wildcard is never one by accident."""
    with pytest.raises(InvalidInputError):
        staff.use_cases.permissions.create(
            actor=staff.admin, resource=resource, action=action, description=None, group_name=None
        )


def test_a_permission_has_one_name(staff: Staff) -> None:
    """Also after a change."""
    staff.permission("invoice:read")
    permission = staff.permission("order:read")

    with pytest.raises(AlreadyExistsError):
        staff.use_cases.permissions.change(
            actor=staff.admin,
            permission_id=permission.id,
            revise=lambda each: each.revised(resource="invoice", action="read", description=None, group_name=None),
        )
    with pytest.raises(InvalidInputError):
        staff.use_cases.permissions.change(
            actor=staff.admin,
            permission_id=permission.id,
            revise=lambda each: each.revised(resource="order", action="*", description=None, group_name=None),
        )


# --- who holds them ---------------------------------------------------------------------------------------------------


def test_what_is_held_already_changes_nothing(staff: Staff) -> None:
    """No event, no version; neither does what is taken and was not held."""
    user_id = staff.world.active_user().id
    role = staff.role()
    for _ in range(2):
        staff.assign(user_id, role.id)
    version = staff.world.installed.store.rows.users[user_id].version
    for _ in range(2):
        staff.remove(user_id, role.id)

    assert staff.news("user.role_") == [("user.role_assigned", 3), ("user.role_removed", 4)]
    assert staff.world.installed.store.rows.users[user_id].version == version + 1


def test_unknown_users_and_roles_are_told(staff: Staff) -> None:
    """Nothing is done then, not even what could be."""
    user_id = staff.world.active_user().id
    role, unknown = staff.role(), RoleId(sample_user_id())
    for change in (staff.assign, staff.remove):
        with pytest.raises(RoleNotFoundError):
            change(user_id, role.id, unknown)
        with pytest.raises(UserNotFoundError):
            change(sample_user_id(), role.id)

    assert staff.news("user.role_") == []
