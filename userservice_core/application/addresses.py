"""Where users live and work, and want things and bills sent to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.domain.addresses import (
    MAX_ADDRESSES,
    READ_ONLY_MEMBERS,
    Address,
    displaced_by,
    find_address,
    find_default,
)
from userservice_core.domain.editing import read_only_faults
from userservice_core.domain.event_data import camel_case
from userservice_core.domain.events import AddressAdded, AddressDefaultChanged, AddressDeleted, AddressUpdated
from userservice_core.domain.ids import AddressId, EventId, UserId
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidInputError,
    StaleVersionError,
    TooManyAddressesError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
    from datetime import datetime

    from userservice_core.domain.addresses import AddressFormat
    from userservice_core.domain.events import Event
    from userservice_core.ports.addresses import AddressReader
    from userservice_core.ports.clock import Clock, IdGenerator
    from userservice_core.ports.places import AddressFormats
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

    Book = Sequence[Address]

T = TypeVar("T")

_DEFAULTS = frozenset({"is_default_shipping", "is_default_billing"})


class Addresses:
    """
    Reading and writing one's own addresses.

    All changes of one user's addresses wait for each other, so that their number and their defaults hold.
    """

    def __init__(
        self, *, uow: UnitOfWork, addresses: AddressReader, formats: AddressFormats, clock: Clock, ids: IdGenerator
    ) -> None:
        self._uow = uow
        self._addresses = addresses
        self._formats = formats
        self._clock = clock
        self._ids = ids

    def list_all(self, *, user_id: UserId) -> tuple[Address, ...]:
        """Return the caller's addresses, the oldest first."""
        return self._addresses.list_of(user_id)

    def get(self, *, user_id: UserId, address_id: AddressId) -> Address:
        """
        Return one of the caller's addresses.

        Raises:
            AddressNotFoundError: If it is none of theirs.
        """
        return self._addresses.get(user_id, address_id)

    def add(self, *, user_id: UserId, values: Mapping[str, Any]) -> Address:
        """
        Store a new address of *values*, members by name; it takes the defaults that it is to be.

        Raises:
            InvalidInputError: If a value breaks a rule, or a read-only member is given; names every fault.
            TooManyAddressesError: If the caller has as many as anybody may have.
            InvalidAccessTokenError: If the account was erased.
        """
        now = self._clock.now()
        address = Address(id=AddressId(self._ids.new()), user_id=user_id, **_writable(values))
        _require_valid(address, self._formats.find(address.country_code), stored=address, values=values)

        def work(transaction: Transaction) -> Address:
            book = transaction.addresses.list_of(user_id)
            if len(book) >= MAX_ADDRESSES:
                raise TooManyAddressesError(limit=MAX_ADDRESSES)
            displaced = _displace(transaction, address, book)
            transaction.addresses.add(address)
            added = AddressAdded(
                id=EventId(self._ids.new()),
                occurred_at=now,
                user_id=user_id,
                address_id=address.id,
                country_code=address.country_code,
            )
            self._record(transaction, added, *self._moved_defaults(book, (*displaced, address), now=now))
            return address

        return self._run(work)

    def replace(
        self,
        *,
        user_id: UserId,
        address_id: AddressId,
        values: Mapping[str, Any],
        versions: Container[int] | None = None,
    ) -> Address:
        """
        Let an address consist of *values*; what is not given becomes empty, and no default.

        Args:
            user_id: The caller.
            address_id: Of one of their addresses.
            values: Members by name.
            versions: Those that the change is meant for, None for any.

        Returns:
            The address as it is now; unchanged where it said the same already.

        Raises:
            AddressNotFoundError: If it is none of the caller's.
            InvalidInputError: If a value breaks a rule, or a read-only member is given another one; names every fault.
            StaleVersionError: If the address has another version by now.
            InvalidAccessTokenError: If the account was erased.
        """
        # Looked up before the transaction: the first look reads files.
        form = self._formats.find(values["country_code"])

        def edit(before: Address) -> Address:
            after = before.replaced(_writable(values))
            _require_valid(after, form, stored=before, values=values)
            return after

        return self._edit(user_id, address_id, versions, edit)

    def make_default(
        self,
        *,
        user_id: UserId,
        address_id: AddressId,
        kinds: Collection[DefaultKind],
        versions: Container[int] | None = None,
    ) -> Address:
        """
        Make an address the default of *kinds*, instead of those that were.

        Raises:
            AddressNotFoundError: If it is none of the caller's.
            StaleVersionError: If the address has another version by now.
            InvalidAccessTokenError: If the account was erased.
        """
        return self._edit(user_id, address_id, versions, lambda before: before.as_default(kinds))

    def remove(self, *, user_id: UserId, address_id: AddressId, versions: Container[int] | None = None) -> None:
        """
        Erase an address; no other one becomes the default for it.

        Raises:
            AddressNotFoundError: If it is none of the caller's.
            StaleVersionError: If the address has another version by now.
            InvalidAccessTokenError: If the account was erased.
        """
        now = self._clock.now()

        def work(transaction: Transaction) -> None:
            book = transaction.addresses.list_of(user_id)
            address = _found(book, address_id, versions)
            transaction.addresses.remove(user_id, address_id)
            deleted = AddressDeleted(
                id=EventId(self._ids.new()), occurred_at=now, user_id=user_id, address_id=address_id
            )
            gone = address.without_default(DefaultKind)
            self._record(transaction, deleted, *self._moved_defaults(book, (gone,), now=now))

        self._run(work)

    def _edit(
        self,
        user_id: UserId,
        address_id: AddressId,
        versions: Container[int] | None,
        edit: Callable[[Address], Address],
    ) -> Address:
        now = self._clock.now()

        def work(transaction: Transaction) -> Address:
            book = transaction.addresses.list_of(user_id)
            before = _found(book, address_id, versions)
            after = edit(before)
            if after.version != before.version:
                displaced = _displace(transaction, after, book)
                transaction.addresses.save(after)
                updated = self._updated(before, after, now=now)
                self._record(transaction, *updated, *self._moved_defaults(book, (*displaced, after), now=now))
            return after

        return self._run(work)

    def _run(self, work: Callable[[Transaction], T]) -> T:
        try:
            return self._uow.run(work)
        except UserNotFoundError as error:
            raise InvalidAccessTokenError from error

    @staticmethod
    def _record(transaction: Transaction, *events: Event) -> None:
        for event in events:
            transaction.record(event)

    def _updated(self, before: Address, after: Address, *, now: datetime) -> Iterator[AddressUpdated]:
        changed = tuple(camel_case(name) for name in after.changed_members(before) if name not in _DEFAULTS)
        if changed:
            yield AddressUpdated(
                id=EventId(self._ids.new()),
                occurred_at=now,
                user_id=after.user_id,
                address_id=after.id,
                version=after.version,
                changed_members=changed,
            )

    def _moved_defaults(self, book: Book, changed: Book, *, now: datetime) -> Iterator[AddressDefaultChanged]:
        """Tell which defaults are others once *changed* are stored over *book*."""
        later = {address.id: address for address in (*book, *changed)}.values()
        for kind in DefaultKind:
            before, after = find_default(book, kind), find_default(later, kind)
            if before != after:
                yield AddressDefaultChanged(
                    id=EventId(self._ids.new()),
                    occurred_at=now,
                    user_id=changed[0].user_id,
                    kind=kind,
                    address_id=after,
                    previous_address_id=before,
                )


def _writable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in READ_ONLY_MEMBERS}


def _require_valid(address: Address, form: AddressFormat | None, *, stored: Address, values: Mapping[str, Any]) -> None:
    faults = read_only_faults(stored, values, READ_ONLY_MEMBERS) + tuple(address.faults(form))
    if faults:
        raise InvalidInputError(faults)


def _found(book: Book, address_id: AddressId, versions: Container[int] | None) -> Address:
    address = find_address(book, address_id)
    if versions is not None and address.version not in versions:
        raise StaleVersionError
    return address


def _displace(transaction: Transaction, address: Address, book: Book) -> tuple[Address, ...]:
    """Take from other addresses the defaults that *address* is to be, before it is stored."""
    displaced = displaced_by(address, book)
    for other in displaced:
        transaction.addresses.save(other)
    return displaced
