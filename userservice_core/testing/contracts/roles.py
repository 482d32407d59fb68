"""What :mod:`userservice_core.ports.roles` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.events import RoleDeleted, RoleUpdated
from userservice_core.domain.permission_sets import PermissionSet
from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS, SYSTEM_ROLES, AssignedRole
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    AlreadyExistsError,
    PermissionNotFoundError,
    RoleInUseError,
    RoleNotFoundError,
    StaleVersionError,
)
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race, sole
from userservice_core.testing.samples import (
    NOW,
    changed,
    sample_event_id,
    sample_permission,
    sample_role,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from userservice_core.domain.roles import Permission, Role
    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


def _add(backend: Backend, role: Role) -> Role:
    backend.uow.run(lambda transaction: transaction.roles.add(role))
    return role


def _save(backend: Backend, role: Role) -> Role:
    backend.uow.run(lambda transaction: transaction.roles.save(role))
    return role


def _add_permission(backend: Backend, permission: Permission) -> Permission:
    backend.uow.run(lambda transaction: transaction.permissions.add(permission))
    return permission


def _save_permission(backend: Backend, permission: Permission) -> Permission:
    backend.uow.run(lambda transaction: transaction.permissions.save(permission))
    return permission


def _holder(backend: Backend, *roles: Role, **changes: object) -> User:
    held = tuple(sorted((AssignedRole(role.id, role.name) for role in roles), key=lambda role: role.name))
    return backend.add_user(sample_user(roles=held, **changes))


class RolesContract(StoredContract):
    """For :class:`~userservice_core.ports.roles.RoleReader`, ``RoleRepository`` and ``PermissionRepository``."""

    def test_every_role_is_in_the_map(self, backend: Backend) -> None:
        """System roles are there from the start, and one that grants nothing grants nothing."""
        role, idle = _add(backend, sample_role()), _add(backend, sample_role(permissions=frozenset()))

        granted = backend.roles.role_map().permissions

        for each in (*SYSTEM_ROLES, role, idle):
            assert each.permissions == granted[each.id]

    def test_a_role_is_found_by_name(self, backend: Backend) -> None:
        """Regardless of case, each attribute as it was added."""
        role = _add(backend, sample_role(description=None, permissions=frozenset({"user:read", "user:list"})))

        assert role == backend.roles.find_by_name(role.name)
        assert backend.roles.find_by_name(role.name.upper()) == backend.roles.find_by_name(role.name.lower())
        for system_role in SYSTEM_ROLES:
            assert system_role == backend.roles.find_by_name(system_role.name)

    def test_an_unknown_name_is_not_found(self, backend: Backend) -> None:
        """The answer is None."""
        assert backend.roles.find_by_name(sample_role().name) is None

    def test_permissions_come_in_the_order_of_their_names(self, backend: Backend) -> None:
        """Among them those that every installation starts with."""
        listed = backend.roles.list_permissions()

        assert sorted(listed, key=lambda permission: permission.name) == list(listed)
        assert set(SYSTEM_PERMISSIONS) <= set(listed)

    def test_a_role_is_held_by_a_user_who_is_not_deleted(self, backend: Backend) -> None:
        """Whatever their status; an unknown role is not held."""
        role = _add(backend, sample_role())
        held = (AssignedRole(role.id, role.name),)

        assert not backend.roles.is_held(sample_role().id)
        assert not backend.roles.is_held(role.id)
        backend.add_user(sample_user(roles=held, deleted_at=NOW))
        assert not backend.roles.is_held(role.id)
        user = backend.add_user(sample_user(roles=held))
        assert backend.roles.is_held(role.id)
        backend.save_user(changed(user, deleted_at=NOW))
        assert not backend.roles.is_held(role.id)

    def test_each_change_of_a_role_raises_the_epoch(self, backend: Backend) -> None:
        """Adding and saving, so that nobody keeps what was true before."""
        before = backend.roles.role_map().epoch
        role = _add(backend, sample_role())
        added = backend.roles.role_map().epoch
        _save(backend, attrs.evolve(role, version=2))

        assert before < added < backend.roles.role_map().epoch

    def test_a_refused_change_does_not_raise_the_epoch(self, backend: Backend) -> None:
        """Nothing was changed."""
        role = _add(backend, sample_role())
        before = backend.roles.role_map().epoch

        with pytest.raises(AlreadyExistsError):
            _add(backend, role)

        assert before == backend.roles.role_map().epoch

    def test_a_name_belongs_to_one_role(self, backend: Backend) -> None:
        """Regardless of case; so does an id."""
        role = _add(backend, sample_role())

        with pytest.raises(AlreadyExistsError):
            _add(backend, sample_role(name=role.name.upper()))
        with pytest.raises(AlreadyExistsError):
            _add(backend, sample_role(id=role.id))

        assert role == backend.roles.find_by_name(role.name)

    def test_one_of_many_who_want_a_name_gets_it(self, backend: Backend) -> None:
        """The others are told that it is taken."""
        name = sample_role().name
        roles = [sample_role(name=name) for _ in range(4)]

        outcomes = race([lambda role=role: _add(backend, role) for role in roles])  # type: ignore[misc]

        assert sole(outcomes, AlreadyExistsError), outcomes
        assert backend.roles.find_by_name(name) in outcomes

    def test_a_saved_role_is_read_as_it_was_saved(self, backend: Backend) -> None:
        """Permissions are granted and withdrawn, and the old name is free."""
        role = _add(backend, sample_role(permissions=frozenset({"user:read", "user:list"})))
        saved = _save(
            backend,
            attrs.evolve(
                sample_role(), id=role.id, description="Other", permissions=frozenset({"user:list", "*:*"}), version=2
            ),
        )

        assert saved == backend.roles.find_by_name(saved.name)
        assert saved.permissions == backend.roles.role_map().permissions[role.id]
        assert backend.roles.find_by_name(role.name) is None

    @pytest.mark.parametrize("version", [1, 3])
    def test_a_stale_version_is_refused(self, backend: Backend, version: int) -> None:
        """Only the one after the stored one will do; an unknown role has none."""
        role = _add(backend, sample_role())

        with pytest.raises(StaleVersionError):
            _save(backend, attrs.evolve(role, description="Other", version=version))
        with pytest.raises(StaleVersionError):
            _save(backend, sample_role(version=2))

        assert role == backend.roles.find_by_name(role.name)

    def test_one_of_many_changes_of_a_version_succeeds(self, backend: Backend) -> None:
        """All others are told that theirs is stale."""
        role = _add(backend, sample_role())
        changes = [attrs.evolve(role, description=str(number), version=2) for number in range(4)]

        outcomes = race([lambda change=change: _save(backend, change) for change in changes])  # type: ignore[misc]

        assert sole(outcomes, StaleVersionError), outcomes
        assert backend.roles.find_by_name(role.name) in outcomes

    def test_a_saved_name_belongs_to_one_role(self, backend: Backend) -> None:
        """Also against roles that are there already."""
        role, other = _add(backend, sample_role()), _add(backend, sample_role())

        with pytest.raises(AlreadyExistsError):
            _save(backend, attrs.evolve(role, name=other.name.upper(), version=2))

        assert role == backend.roles.get(role.id)

    # --- reading by id ------------------------------------------------------------------------------------------------

    def test_a_role_is_read_by_id(self, backend: Backend) -> None:
        """Inside a transaction and outside; an unknown id is told."""
        role = _add(backend, sample_role(permissions=frozenset({"user:read", "user:list"})))

        assert role == backend.roles.get(role.id)
        assert role == backend.uow.run(lambda transaction: transaction.roles.get(role.id))
        with pytest.raises(RoleNotFoundError):
            backend.roles.get(sample_role().id)
        with pytest.raises(RoleNotFoundError):
            backend.uow.run(lambda transaction: transaction.roles.get(sample_role().id))

    def test_roles_come_in_the_order_of_their_names(self, backend: Backend) -> None:
        """All of them, or those that are asked for, or those that grant something; and they are counted."""
        permission = _add_permission(backend, sample_permission())
        granted = frozenset({permission.name})
        roles = [_add(backend, sample_role(permissions=granted)) for _ in range(3)]
        other = _add(backend, sample_role())
        ids = [role.id for role in reversed(roles)]

        listed = backend.roles.list_roles()
        found, granting, count = backend.uow.run(
            lambda transaction: (
                transaction.roles.get_all(ids),
                transaction.roles.list_granting(permission.id),
                transaction.roles.count(),
            )
        )

        assert sorted(listed, key=lambda role: role.name_key) == list(listed)
        assert {*SYSTEM_ROLES, *roles, other} <= set(listed)
        assert tuple(roles) == found
        assert tuple(roles) == granting
        assert granting == backend.roles.list_roles_granting(permission.id)
        assert backend.roles.list_roles_granting(sample_permission().id) == ()
        assert len(listed) == count
        with pytest.raises(RoleNotFoundError):
            backend.uow.run(lambda transaction: transaction.roles.get_all([*ids, sample_role().id]))

    # --- the lock -----------------------------------------------------------------------------------------------------

    def test_changes_of_access_come_one_after_the_other(self, backend: Backend) -> None:
        """Whoever reads roles or permissions in a transaction has to wait, and sees what was written."""
        role = _add(backend, sample_role())

        def rival() -> Role:
            return backend.uow.run(lambda transaction: transaction.roles.get(role.id))

        saved = attrs.evolve(role, description="Other", version=2)

        def hold(transaction: Transaction) -> None:
            transaction.roles.lock()
            transaction.roles.save(saved)

        assert saved == contend(backend.uow, hold, rival)

    def test_the_lock_tells_the_epoch(self, backend: Backend) -> None:
        """That of the role map."""
        assert backend.roles.role_map().epoch == backend.uow.run(lambda transaction: transaction.roles.lock())

    # --- what users may do --------------------------------------------------------------------------------------------

    def test_what_a_user_may_do_is_the_union_of_their_roles(self, backend: Backend) -> None:
        """For an account that can be used; nobody else may do anything."""
        one = _add(backend, sample_role(permissions=frozenset({"user:read", "user:list"})))
        two = _add(backend, sample_role(permissions=frozenset({"user:read", "role:list"})))
        users = {
            _holder(backend, one, two).id: {"user:read", "user:list", "role:list"},
            _holder(backend).id: set(),
            _holder(backend, one, status=UserStatus.SUSPENDED).id: set(),
            _holder(backend, one, deleted_at=NOW).id: set(),
            sample_user_id(): set(),
        }

        for user_id, permissions in users.items():
            found = backend.uow.run(
                lambda transaction, user_id=user_id: transaction.roles.permissions_of(user_id)  # type: ignore[misc]
            )
            assert PermissionSet(frozenset(permissions)) == found

    def test_an_administrator_is_one_who_would_be_left(self, backend: Backend) -> None:
        """Without roles of one user, or of all; accounts that cannot be used do not count."""
        _holder(backend, ADMIN_ROLE, status=UserStatus.SUSPENDED)
        user = _holder(backend, ADMIN_ROLE)
        other = _holder(backend)

        def has(*, of: User | None = None) -> bool:
            return backend.uow.run(
                lambda transaction: transaction.roles.has_administrator(
                    without=[ADMIN_ROLE.id], of=None if of is None else of.id
                )
            )

        assert has(of=other)
        assert not has()
        _holder(backend, ADMIN_ROLE)
        assert has(of=user)
        assert backend.uow.run(lambda transaction: transaction.roles.has_administrator(without=[]))

    # --- removing -----------------------------------------------------------------------------------------------------

    def test_a_removed_role_is_gone(self, backend: Backend) -> None:
        """Its name is free, the epoch is raised, and its last event is numbered."""
        role = _add(backend, sample_role())
        before = backend.roles.role_map().epoch

        def update(transaction: Transaction) -> None:
            transaction.roles.save(attrs.evolve(role, version=2))
            transaction.record(
                RoleUpdated(id=sample_event_id(), occurred_at=NOW, role_id=role.id, name=role.name, description=None)
            )

        def remove(transaction: Transaction) -> None:
            transaction.roles.remove(role.id)
            transaction.record(RoleDeleted(id=sample_event_id(), occurred_at=NOW, role_id=role.id, name=role.name))

        backend.uow.run(update)
        backend.uow.run(remove)

        assert backend.roles.find_by_name(role.name) is None
        assert role.id not in backend.roles.role_map().permissions
        assert before < backend.roles.role_map().epoch
        assert [record.sequence for record in backend.waiting(str(role.id))] == [1, 2]
        assert _add(backend, sample_role(name=role.name)) == backend.roles.find_by_name(role.name)

    def test_a_role_that_is_held_stays(self, backend: Backend) -> None:
        """Whoever holds it, deleted users too; and what is not there cannot be removed."""
        role = _add(backend, sample_role())
        user = _holder(backend, role, deleted_at=NOW)

        for role_id in (role.id, sample_role().id):
            with pytest.raises(RoleInUseError):
                backend.uow.run(
                    lambda transaction, role_id=role_id: transaction.roles.remove(role_id)  # type: ignore[misc]
                )

        assert role == backend.roles.get(role.id)
        assert user == backend.users.get(user.id)

    def test_one_transaction_takes_a_role_from_its_holders_and_removes_it(self, backend: Backend) -> None:
        """They are read in bounded numbers, in the order of their ids, deleted ones too."""
        role, other = _add(backend, sample_role()), _add(backend, sample_role())
        users = [_holder(backend, role, other), _holder(backend, role, deleted_at=NOW)]
        _holder(backend, other)

        def work(transaction: Transaction) -> tuple[User, ...]:
            first = transaction.users.list_holders(role.id, limit=1)
            assert transaction.users.list_holders(role.id, limit=10) == tuple(users)
            for user in users:
                left = user.with_roles((held for held in user.roles if held.id != role.id), now=NOW)
                transaction.users.save(left)
                transaction.users.save_roles(left)
            transaction.roles.remove(role.id)
            return first

        assert tuple(users[:1]) == backend.uow.run(work)
        assert [[other.id], []] == [[held.id for held in backend.users.get(user.id).roles] for user in users]
        with pytest.raises(RoleNotFoundError):
            backend.roles.get(role.id)

    # --- permissions --------------------------------------------------------------------------------------------------

    def test_a_permission_is_read_as_it_was_added(self, backend: Backend) -> None:
        """By id, in a list, inside a transaction and outside; it raises the epoch and is counted."""
        before, count = backend.roles.role_map().epoch, len(backend.roles.list_permissions())
        permission = _add_permission(backend, sample_permission(description=None, group_name="Samples"))

        assert permission == backend.roles.get_permission(permission.id)
        assert permission in backend.roles.list_permissions()
        assert permission == backend.uow.run(lambda transaction: transaction.permissions.get(permission.id))
        assert count + 1 == backend.uow.run(lambda transaction: transaction.permissions.count())
        assert before < backend.roles.role_map().epoch

    def test_an_unknown_permission_is_told(self, backend: Backend) -> None:
        """However it is asked for."""
        permission, unknown = _add_permission(backend, sample_permission()), sample_permission().id

        with pytest.raises(PermissionNotFoundError):
            backend.roles.get_permission(unknown)
        with pytest.raises(PermissionNotFoundError):
            backend.uow.run(lambda transaction: transaction.permissions.get(unknown))
        with pytest.raises(PermissionNotFoundError):
            backend.uow.run(lambda transaction: transaction.permissions.get_all([permission.id, unknown]))

    def test_permissions_are_read_by_many_ids(self, backend: Backend) -> None:
        """In the order of their names; those of a role, too."""
        permissions = [_add_permission(backend, sample_permission()) for _ in range(3)]
        ids = [permission.id for permission in reversed(permissions)]
        role = _add(backend, sample_role(permissions=frozenset(permission.name for permission in permissions)))
        idle = _add(backend, sample_role(permissions=frozenset()))

        assert tuple(permissions) == backend.uow.run(lambda transaction: transaction.permissions.get_all(ids))
        assert tuple(permissions) == backend.roles.list_permissions_of(role.id)
        assert backend.roles.list_permissions_of(idle.id) == ()
        with pytest.raises(RoleNotFoundError):
            backend.roles.list_permissions_of(sample_role().id)

    def test_a_permission_has_a_name_and_an_id_of_its_own(self, backend: Backend) -> None:
        """Whether it is added or saved."""
        permission, other = _add_permission(backend, sample_permission()), _add_permission(backend, sample_permission())

        for refused in (sample_permission(resource=permission.resource), sample_permission(id=permission.id)):
            with pytest.raises(AlreadyExistsError):
                _add_permission(backend, refused)
        with pytest.raises(AlreadyExistsError):
            _save_permission(backend, attrs.evolve(other, resource=permission.resource, version=2))

    def test_a_renamed_permission_is_granted_under_its_new_name(self, backend: Backend) -> None:
        """By every role that granted it."""
        permission = _add_permission(backend, sample_permission())
        role = _add(backend, sample_role(permissions=frozenset({permission.name, "user:read"})))
        renamed = _save_permission(backend, attrs.evolve(permission, action="write", version=2))

        assert renamed == backend.roles.get_permission(permission.id)
        assert frozenset({renamed.name, "user:read"}) == backend.roles.get(role.id).permissions
        with pytest.raises(StaleVersionError):
            _save_permission(backend, attrs.evolve(permission, description="Other", version=2))
        with pytest.raises(StaleVersionError):
            _save_permission(backend, sample_permission(version=2))

    def test_a_removed_permission_is_granted_by_nobody(self, backend: Backend) -> None:
        """Removing it again has no effect."""
        permission = _add_permission(backend, sample_permission())
        role = _add(backend, sample_role(permissions=frozenset({permission.name, "user:read"})))
        for _ in range(2):
            backend.uow.run(lambda transaction: transaction.permissions.remove(permission.id))

        assert frozenset({"user:read"}) == backend.roles.get(role.id).permissions
        with pytest.raises(PermissionNotFoundError):
            backend.roles.get_permission(permission.id)

    # --- who holds them -----------------------------------------------------------------------------------------------

    def test_a_user_holds_the_roles_that_were_saved(self, backend: Backend) -> None:
        """Some are given, some are taken, and the versions are those of the user that was saved."""
        one, two, three = (_add(backend, sample_role()) for _ in range(3))
        user = _holder(backend, one, two)
        held = user.with_roles((AssignedRole(role.id, role.name) for role in (two, three)), now=NOW)

        def work(transaction: Transaction) -> None:
            transaction.users.save(held)
            transaction.users.save_roles(held)

        backend.uow.run(work)

        assert held == backend.users.get(user.id)

    def test_a_role_that_is_not_there_cannot_be_held(self, backend: Backend) -> None:
        """Nothing of the transaction is done."""
        user, unknown = _holder(backend), sample_role()
        held = user.with_roles((AssignedRole(unknown.id, unknown.name),), now=NOW)

        with pytest.raises(RoleNotFoundError):
            backend.uow.run(lambda transaction: transaction.users.save_roles(held))

        assert user == backend.users.get(user.id)
