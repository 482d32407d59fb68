"""What :mod:`userservice_core.ports.addresses` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.errors import (
    AddressNotFoundError,
    AlreadyExistsError,
    DeadlineExceededError,
    StaleVersionError,
    UserNotFoundError,
)
from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race, sole
from userservice_core.testing.samples import sample_address, sample_user, sample_user_id

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


class AddressesContract(StoredContract):
    """For :class:`~userservice_core.ports.addresses.AddressReader` and ``AddressRepository``."""

    # --- reading ------------------------------------------------------------------------------------------------------

    def test_an_address_is_read_as_it_was_added(self, backend: Backend) -> None:
        """Each member, alone and in the list, from reader and transaction; without those that may be missing too."""
        user = backend.add_user()
        full = backend.add_address(sample_address(user, is_default_shipping=True, version=3))
        sparse = backend.add_address(
            sample_address(
                user,
                address_type=None,
                address_line2=None,
                state_or_province=None,
                postal_code=None,
                contact_name=None,
                contact_phone=None,
                company_name=None,
                additional_notes=None,
                is_default_billing=True,
            )
        )

        assert [full, sparse] == [backend.addresses.get(user.id, each.id) for each in (full, sparse)]
        assert (full, sparse) == backend.addresses.list_of(user.id)
        assert (full, sparse) == _list(backend, user.id)

    def test_addresses_are_listed_in_the_order_of_their_ids(self, backend: Backend) -> None:
        """Whatever the order they were stored in."""
        user = backend.add_user()
        addresses = [sample_address(user) for _ in range(5)]
        for address in reversed(addresses):
            backend.add_address(address)

        assert tuple(addresses) == backend.addresses.list_of(user.id) == _list(backend, user.id)

    def test_an_address_of_another_user_is_none(self, backend: Backend) -> None:
        """To the reader, in the list, and to whoever removes it."""
        user, other = backend.add_user(), backend.add_user()
        address = backend.add_address(sample_address(user))

        with pytest.raises(AddressNotFoundError):
            backend.addresses.get(other.id, address.id)
        backend.uow.run(lambda transaction: transaction.addresses.remove(other.id, address.id))
        assert backend.addresses.list_of(other.id) == _list(backend, other.id) == ()
        assert address == backend.addresses.get(user.id, address.id)

    def test_nobody_has_no_addresses(self, backend: Backend) -> None:
        """The reader finds none; a transaction has nobody to lock."""
        assert backend.addresses.list_of(sample_user_id()) == ()
        with pytest.raises(UserNotFoundError):
            _list(backend, sample_user_id())

    def test_nothing_is_read_past_the_deadline(self, backend: Backend) -> None:
        """An answer would come too late for anybody."""
        address = backend.add_address(sample_address(backend.add_user()))

        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.addresses.get(address.user_id, address.id)
        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.addresses.list_of(address.user_id)

    # --- writing ------------------------------------------------------------------------------------------------------

    def test_an_address_is_somebodys(self, backend: Backend) -> None:
        """Nobody's cannot be stored."""
        with pytest.raises(UserNotFoundError):
            backend.add_address(sample_address(sample_user()))

    def test_an_id_is_used_once(self, backend: Backend) -> None:
        """By one user; nothing is stored over it."""
        address = backend.add_address(sample_address(backend.add_user()))

        with pytest.raises(AlreadyExistsError):
            backend.add_address(attrs.evolve(address, city="Québec"))

        assert (address,) == backend.addresses.list_of(address.user_id)

    def test_a_saved_address_replaces_the_stored_one(self, backend: Backend) -> None:
        """All of it, and no other."""
        user = backend.add_user()
        first, other = backend.add_address(sample_address(user)), backend.add_address(sample_address(user))

        second = backend.save_address(
            sample_address(user, id=first.id, city="Québec", company_name=None, is_default_billing=True, version=2)
        )

        assert (second, other) == backend.addresses.list_of(user.id)

    @pytest.mark.parametrize("version", [1, 3])
    def test_another_version_than_the_next_is_stale(self, backend: Backend, version: int) -> None:
        """Then nothing is stored."""
        address = backend.add_address(sample_address(backend.add_user()))

        with pytest.raises(StaleVersionError):
            backend.save_address(attrs.evolve(address, city="Québec", version=version))

        assert (address,) == backend.addresses.list_of(address.user_id)

    def test_an_address_that_is_gone_is_stale(self, backend: Backend) -> None:
        """Saving does not bring it back."""
        address = backend.add_address(sample_address(backend.add_user()))
        backend.uow.run(lambda transaction: transaction.addresses.remove(address.user_id, address.id))

        with pytest.raises(StaleVersionError):
            backend.save_address(attrs.evolve(address, version=2))

        assert backend.addresses.list_of(address.user_id) == ()

    def test_removing_takes_one_address(self, backend: Backend) -> None:
        """Once or twice."""
        user = backend.add_user()
        gone, left = backend.add_address(sample_address(user)), backend.add_address(sample_address(user))

        for _ in range(2):
            backend.uow.run(lambda transaction: transaction.addresses.remove(user.id, gone.id))

        assert (left,) == backend.addresses.list_of(user.id)

    def test_addresses_go_with_their_user(self, backend: Backend) -> None:
        """Erasing leaves nothing, and nothing of others goes."""
        mine, others = (backend.add_address(sample_address(backend.add_user())) for _ in range(2))

        backend.uow.run(lambda transaction: transaction.users.remove(mine.user_id))

        assert backend.addresses.list_of(mine.user_id) == ()
        assert (others,) == backend.addresses.list_of(others.user_id)

    # --- defaults -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", DefaultKind)
    def test_a_user_has_one_default_of_a_kind(self, backend: Backend, kind: DefaultKind) -> None:
        """A second one is refused, added or saved; of the other kind, or of another user, it is not."""
        user = backend.add_user()
        first = backend.add_address(sample_address(user).as_default([kind]))
        second = backend.add_address(sample_address(user))
        (other_kind,) = set(DefaultKind) - {kind}

        with pytest.raises(AlreadyExistsError):
            backend.save_address(second.as_default([kind]))
        with pytest.raises(AlreadyExistsError):
            backend.add_address(sample_address(user).as_default([kind]))
        second = backend.save_address(second.as_default([other_kind]))
        backend.add_address(sample_address(backend.add_user()).as_default(DefaultKind))

        assert (first, second) == backend.addresses.list_of(user.id)

    def test_a_default_moves_in_one_transaction(self, backend: Backend) -> None:
        """From the old one, which is saved first, to the new one."""
        user = backend.add_user()
        old = backend.add_address(sample_address(user).as_default(DefaultKind))
        new = backend.add_address(sample_address(user))

        def move(transaction: Transaction) -> None:
            transaction.addresses.save(old.without_default(DefaultKind))
            transaction.addresses.save(new.as_default(DefaultKind))

        backend.uow.run(move)

        assert (old.without_default(DefaultKind), new.as_default(DefaultKind)) == backend.addresses.list_of(user.id)

    # --- many at once -------------------------------------------------------------------------------------------------

    def test_addresses_in_use_are_locked(self, backend: Backend) -> None:
        """Also where there are none yet: whoever comes later counts the new one."""
        user = backend.add_user()
        address = sample_address(user)

        def hold(transaction: Transaction) -> None:
            transaction.addresses.list_of(user.id)
            transaction.addresses.add(address)

        assert contend(backend.uow, hold, lambda: _list(backend, user.id)) == (address,)

    def test_of_defaults_at_once_one_is_stored(self, backend: Backend) -> None:
        """Also for those who do not look first."""
        user = backend.add_user()
        addresses = [sample_address(user).as_default(DefaultKind) for _ in range(6)]

        outcomes = race([lambda address=address: backend.add_address(address) for address in addresses])  # type: ignore[misc]

        assert sole(outcomes, AlreadyExistsError), outcomes
        assert len(backend.addresses.list_of(user.id)) == 1


def _list(backend: Backend, user_id: UserId) -> tuple[Address, ...]:
    return backend.uow.run(lambda transaction: transaction.addresses.list_of(user_id))
