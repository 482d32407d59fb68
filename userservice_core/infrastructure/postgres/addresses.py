"""Addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Text, bindparam, delete, func, insert, literal, select, update

from userservice_core.errors import AddressNotFoundError, UserNotFoundError
from userservice_core.infrastructure.postgres.errors import ADDRESSES_VERSION
from userservice_core.infrastructure.postgres.rows import ADDRESS_COLUMNS, address_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import addresses, users

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.domain.ids import AddressId, UserId
    from userservice_core.infrastructure.postgres.database import Reads
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_SAVED_COLUMNS: Final = [column.name for column in addresses.c if column.name not in {"user_id", "address_id"}]
_OF_USER: Final = addresses.c.user_id == bindparam("of_user_id", type_=addresses.c.user_id.type)
_ONE: Final = addresses.c.address_id == bindparam("of_address_id", type_=addresses.c.address_id.type)

_GET: Final = Statement(select(*ADDRESS_COLUMNS).where(_OF_USER, _ONE))
_LIST: Final = Statement(select(*ADDRESS_COLUMNS).where(_OF_USER).order_by(addresses.c.address_id))
# Locking the addresses would let two add one at the same time, and pass the number of them that is allowed.
_LOCK: Final = Statement(
    select(users.c.user_id)
    .where(users.c.user_id == bindparam("of_user_id", type_=users.c.user_id.type))
    .with_for_update(key_share=True)
)
_INSERT: Final = Statement(insert(addresses), columns=[column.name for column in addresses.c])
_DELETE: Final = Statement(delete(addresses).where(_OF_USER, _ONE))

_saved = (
    update(addresses)
    .where(_OF_USER, _ONE, addresses.c.version == bindparam("new_version", type_=addresses.c.version.type) - 1)
    .values({name: bindparam(f"new_{name}", type_=addresses.c[name].type) for name in _SAVED_COLUMNS})
    .returning(addresses.c.address_id)
    .cte("saved")
)
_SAVE: Final = Statement(
    select(
        func.require_row(select(func.count()).select_from(_saved).scalar_subquery(), literal(ADDRESSES_VERSION, Text))
    )
)


class PostgresAddressReader:
    """Reads addresses in autocommit; a `ports.addresses.AddressReader`."""

    def __init__(self, database: Reads) -> None:
        self._database = database

    def get(self, user_id: UserId, address_id: AddressId) -> Address:
        row = self._database.fetch_one(_GET, of_user_id=user_id, of_address_id=address_id)
        if row is None:
            raise AddressNotFoundError
        return address_of(row)

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        return tuple(map(address_of, self._database.fetch_all(_LIST, of_user_id=user_id)))


class PostgresAddressRepository:
    """The addresses of one transaction; a `ports.addresses.AddressRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def list_of(self, user_id: UserId) -> tuple[Address, ...]:
        locked, found = self._transaction.read_locked(_LOCK(of_user_id=user_id), _LIST(of_user_id=user_id))
        if locked.fetchone() is None:
            raise UserNotFoundError
        return tuple(map(address_of, found.fetchall()))

    def add(self, address: Address) -> None:
        self._transaction.write(_INSERT(user_id=address.user_id, address_id=address.id, **_values_of(address)))

    def save(self, address: Address) -> None:
        renamed = {f"new_{name}": value for name, value in _values_of(address).items()}
        self._transaction.write(_SAVE(of_user_id=address.user_id, of_address_id=address.id, **renamed))

    def remove(self, user_id: UserId, address_id: AddressId) -> None:
        self._transaction.write(_DELETE(of_user_id=user_id, of_address_id=address_id))


def _values_of(address: Address) -> dict[str, Any]:
    """Return what :data:`_SAVED_COLUMNS` are to hold."""
    return {
        "address_type": None if address.address_type is None else address.address_type.value,
        "address_line1": address.address_line1,
        "address_line2": address.address_line2,
        "city": address.city,
        "state_or_province": address.state_or_province,
        "postal_code": address.postal_code,
        "country_code": address.country_code,
        "contact_name": address.contact_name,
        "contact_phone": address.contact_phone,
        "company_name": address.company_name,
        "additional_notes": address.additional_notes,
        "is_default_shipping": address.is_default_shipping,
        "is_default_billing": address.is_default_billing,
        "version": address.version,
    }
