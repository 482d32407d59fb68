"""The caller's own addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from userservice_core.domain.address_kinds import DefaultKind
from userservice_core.domain.addresses import MAX_ADDRESSES, chosen_kinds
from userservice_core.domain.ids import AddressId
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import PRIVATE, etag_of, etag_of_content
from userservice_core.http.wire import (
    AddressAnswer,
    AddressBody,
    AddressListAnswer,
    DefaultAddressBody,
    PageItem,
    given_members,
)

if TYPE_CHECKING:
    from userservice_core.domain.addresses import Address
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "address1"
"""Names the shape of the answer; raised whenever the same version of an address is shown differently."""


def list_addresses(call: Call) -> Response:
    """Show all of the caller's addresses."""
    addresses = call.services.use_cases.addresses.list_all(user_id=call.require_caller().user_id)
    answer = AddressListAnswer(
        data=tuple(map(AddressAnswer.of, addresses)),
        page=PageItem(limit=MAX_ADDRESSES, total=len(addresses)),
    )
    return json_response(200, answer, (("etag", etag_of_content(msgspec.json.encode(answer))), *PRIVATE))


def add_address(call: Call) -> Response:
    """Give the caller a new address."""
    values = given_members(call.body(AddressBody))
    address = call.services.use_cases.addresses.add(user_id=call.require_caller().user_id, values=values)
    return _shown(201, address, (("location", f"/users/me/addresses/{address.id}"),))


def get_address(call: Call) -> Response:
    """Show one of the caller's addresses."""
    address = call.services.use_cases.addresses.get(user_id=call.require_caller().user_id, address_id=_id(call))
    return _shown(200, address, PRIVATE)


def replace_address(call: Call) -> Response:
    """Replace one of the caller's addresses."""
    address = call.services.use_cases.addresses.replace(
        user_id=call.require_caller().user_id,
        address_id=_id(call),
        values=given_members(call.body(AddressBody)),
        versions=call.versions,
    )
    return _shown(200, address)


def delete_address(call: Call) -> Response:
    """Erase one of the caller's addresses."""
    call.services.use_cases.addresses.remove(
        user_id=call.require_caller().user_id, address_id=_id(call), versions=call.versions
    )
    return empty_response(204)


def make_address_default(call: Call) -> Response:
    """Make one of the caller's addresses a default."""
    choices = {DefaultKind(name): value for name, value in given_members(call.body(DefaultAddressBody)).items()}
    address = call.services.use_cases.addresses.make_default(
        user_id=call.require_caller().user_id,
        address_id=_id(call),
        kinds=chosen_kinds(choices),
        versions=call.versions,
    )
    return _shown(200, address)


def _id(call: Call) -> AddressId:
    return AddressId(call.parameter("id"))


def _shown(status: int, address: Address, headers: Headers = ()) -> Response:
    etag = ("etag", etag_of(address.version, _VARIANT))
    return json_response(status, AddressAnswer.of(address), (etag, *headers))
