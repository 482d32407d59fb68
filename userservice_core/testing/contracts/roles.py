"""What :mod:`userservice_core.ports.roles` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.roles import SYSTEM_PERMISSIONS, SYSTEM_ROLES, AssignedRole
from userservice_core.errors import AlreadyExistsError, StaleVersionError
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import race, sole
from userservice_core.testing.samples import NOW, changed, sample_role, sample_user

if TYPE_CHECKING:
    from userservice_core.domain.roles import Role
    from userservice_core.testing.contracts.backend import Backend


def _add(backend: Backend, role: Role) -> Role:
    backend.uow.run(lambda transaction: transaction.roles.add(role))
    return role


def _save(backend: Backend, role: Role) -> Role:
    backend.uow.run(lambda transaction: transaction.roles.save(role))
    return role


class RolesContract(StoredContract):
    """For :class:`~userservice_core.ports.roles.RoleReader` and ``RoleRepository``."""

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
        """Those that every installation starts with."""
        expected = sorted(SYSTEM_PERMISSIONS, key=lambda permission: permission.name)

        assert tuple(expected) == backend.roles.list_permissions()

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
