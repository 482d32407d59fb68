"""One's own addresses, over every host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.testing.host import HostClient, json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response

_PATH: Final = "/users/me/addresses"
_NEEDED: Final = {
    "addressLine1": "Unter den Linden 77",
    "city": "Berlin",
    "postalCode": "10117",
    "countryCode": "DE",
}
_FULL: Final[dict[str, Any]] = {
    "addressType": "work",
    "addressLine1": "1 Rue de l'Église",
    "addressLine2": "c/o Zoë 😀",
    "city": "Montréal",
    "stateOrProvince": "QC",
    "postalCode": "H2Y 1A1",
    "countryCode": "CA",
    "contactName": "Zoë",
    "contactPhone": "(514) 872-0311",
    "companyName": "Église & Co.",
    "additionalNotes": "Ring\ntwice.",
    "isDefaultShipping": True,
    "isDefaultBilling": False,
}


@attrs.frozen
class _Owner:
    """Somebody with addresses."""

    client: HostClient
    token: str

    def send(
        self, method: str, path: str = "", content: dict[str, Any] | None = None, *, if_match: str | None = None
    ) -> Response:
        """Send a request about the addresses, or one of them."""
        headers = [] if if_match is None else [("if-match", if_match)]
        return send_json(self.client, method, f"{_PATH}{path}", content, token=self.token, headers=headers)

    def add(self, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - each member has its type
        """Add an address to the needed members of which others are added."""
        answer = self.send("POST", content={**_NEEDED, **members})
        assert answer.status == 201
        return json_of(answer)

    def listed(self) -> list[dict[str, Any]]:
        """Return all addresses."""
        data: list[dict[str, Any]] = json_of(self.send("GET"))["data"]
        return data

    def defaults(self) -> tuple[list[str], list[str]]:
        """Return which addresses are the defaults for shipping and for billing."""
        listed = self.listed()
        return (
            [address["id"] for address in listed if address["isDefaultShipping"]],
            [address["id"] for address in listed if address["isDefaultBilling"]],
        )


def _problem(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].removeprefix(TYPE_PREFIX)


def _faults(response: Response) -> list[tuple[str, str]]:
    assert response.status == 400
    return [(fault["pointer"], fault["code"]) for fault in json_of(response)["errors"]]


@pytest.fixture
def owner(installation: Installation, client: HostClient) -> _Owner:
    """Somebody without addresses."""
    return _Owner(client, installation.access_token("owner@example.com"))


def test_an_address_comes_back_as_it_was_sent(owner: _Owner) -> None:
    """Added, read by its location, listed, and sent back as it was read, which changes nothing."""
    added = owner.send("POST", content=_FULL)
    address = json_of(added)
    location = added.header("location")
    assert (added.status, location, added.header("etag")) == (201, f"{_PATH}/{address['id']}", '"1-address1"')
    assert list(address) == ["id", "userId", *_FULL]
    assert {**_FULL, "id": address["id"], "userId": address["userId"]} == address

    got = owner.send("GET", f"/{address['id']}")
    assert (got.status, got.body, got.header("etag")) == (200, added.body, '"1-address1"')
    assert got.header("cache-control") == "no-store"
    assert owner.listed() == [address]
    again = owner.send("PUT", f"/{address['id'].upper()}", address)
    assert (again.status, again.body, again.header("etag")) == (200, added.body, '"1-address1"')


def test_the_list_is_one_page(owner: _Owner) -> None:
    """The oldest first, with all of it told, and not sent again while nothing changes."""
    added = [owner.add() for _ in range(3)]
    answer = owner.send("GET")

    assert json_of(answer) == {
        "data": added,
        "page": {"limit": 50, "nextCursor": None, "prevCursor": None, "total": 3, "totalIsEstimate": False},
    }
    etag = answer.header("etag")
    assert etag is not None
    headers = [("if-none-match", etag)]
    assert send_json(owner.client, "GET", _PATH, token=owner.token, headers=headers).status == 304
    owner.add()
    assert send_json(owner.client, "GET", _PATH, token=owner.token, headers=headers).status == 200


def test_put_empties_what_it_leaves_out(owner: _Owner) -> None:
    """The defaults too."""
    address = owner.add(**_FULL)

    replaced = json_of(owner.send("PUT", f"/{address['id']}", _NEEDED))

    assert dict.fromkeys(_FULL) | {"isDefaultShipping": False, "isDefaultBilling": False} | _NEEDED == {
        name: value for name, value in replaced.items() if name not in {"id", "userId"}
    }


def test_a_default_moves(owner: _Owner) -> None:
    """By a new address, by PUT, by PATCH, and to nowhere when it is deleted."""
    first = owner.add(isDefaultShipping=True, isDefaultBilling=True)["id"]
    second = owner.add(isDefaultShipping=True)["id"]
    assert owner.defaults() == ([second], [first])
    third = owner.add()["id"]

    moved = owner.send("PATCH", f"/{third}/default", {"shipping": True, "billing": True})
    assert (moved.status, json_of(moved)["isDefaultShipping"], moved.header("etag")) == (200, True, '"2-address1"')
    assert owner.defaults() == ([third], [third])
    assert owner.send("PUT", f"/{first}", {**_NEEDED, "isDefaultBilling": True}).status == 200
    assert owner.defaults() == ([third], [first])
    assert owner.send("DELETE", f"/{third}").status == 204
    assert owner.defaults() == ([], [first])
    assert owner.send("GET", f"/{second}").header("etag") == '"2-address1"'


def test_a_default_is_chosen_and_not_given_up(owner: _Owner) -> None:
    """False, nothing, or something else is refused."""
    address = owner.add(isDefaultShipping=True)["id"]

    assert _faults(owner.send("PATCH", f"/{address}/default", {})) == [("", "required")]
    assert _faults(owner.send("PATCH", f"/{address}/default", {"shipping": False})) == [("/shipping", "invalid-type")]
    assert _faults(owner.send("PATCH", f"/{address}/default", {"billing": None})) == [("/billing", "invalid-type")]
    assert owner.defaults() == ([address], [])


def test_changes_are_told_in_events(installation: Installation, owner: _Owner) -> None:
    """Of the user, numbered without gaps; who the default was before, and no street or name."""
    first = owner.add(isDefaultShipping=True)["id"]
    second = owner.add(isDefaultShipping=True)["id"]
    owner.send("PUT", f"/{first}", {**_NEEDED, "city": "Bonn", "isDefaultBilling": True})
    owner.send("PATCH", f"/{second}/default", {"shipping": True})
    owner.send("DELETE", f"/{first}")
    installation.mails()

    published = [
        record for record in installation.in_memory.publisher.published if record.type.startswith("userservice.address")
    ]
    told = [(record.type.split(".")[2], json.loads(record.payload)) for record in published]
    user_id = told[0][1]["userId"]
    # After the registration and the confirmation of the address.
    assert [record.sequence for record in published] == list(range(3, 11))
    assert all(record.key == user_id for record in published)
    assert [(kind, {name: value for name, value in data.items() if name != "userId"}) for kind, data in told] == [
        ("added", {"addressId": first, "countryCode": "DE"}),
        ("default_changed", {"kind": "shipping", "addressId": first, "previousAddressId": None}),
        ("added", {"addressId": second, "countryCode": "DE"}),
        ("default_changed", {"kind": "shipping", "addressId": second, "previousAddressId": first}),
        ("updated", {"addressId": first, "version": 3, "changedMembers": ["city"]}),
        ("default_changed", {"kind": "billing", "addressId": first, "previousAddressId": None}),
        ("deleted", {"addressId": first}),
        ("default_changed", {"kind": "billing", "addressId": None, "previousAddressId": first}),
    ]


def test_a_change_may_be_meant_for_one_version(owner: _Owner) -> None:
    """Any other is refused, and the address stays as it is."""
    address = owner.add()["id"]
    requests: list[tuple[str, str, dict[str, Any] | None]] = [
        ("PUT", f"/{address}", {**_NEEDED, "city": "Bonn"}),
        ("PATCH", f"/{address}/default", {"billing": True}),
        ("DELETE", f"/{address}", None),
    ]

    for method, path, content in requests:
        assert _problem(owner.send(method, path, content, if_match='"7-address1"')) == (412, "stale-version")
    assert owner.send("GET", f"/{address}").header("etag") == '"1-address1"'
    for number, (method, path, content) in enumerate(requests, start=1):
        assert owner.send(method, path, content, if_match=f'"{number}-address1"').status < 300
    assert owner.listed() == []


@pytest.mark.asvs("8.2.2")
def test_another_users_address_is_none(installation: Installation, client: HostClient, owner: _Owner) -> None:
    """As one that never was, and as what is no id; nobody's are anybody's."""
    address = owner.add()["id"]
    other = _Owner(client, installation.access_token("other@example.com"))

    for path in (f"/{address}", "/0190f5fe-7c00-7a00-8abc-def012345678"):
        for method, suffix, content in (
            ("GET", "", None),
            ("PUT", "", _NEEDED),
            ("DELETE", "", None),
            ("PATCH", "/default", {"shipping": True}),
        ):
            assert _problem(other.send(method, f"{path}{suffix}", content)) == (404, "address-not-found")
    assert _problem(other.send("GET", "/1")) == (404, "route-not-found")
    assert other.listed() == []
    assert len(owner.listed()) == 1
    assert send_json(client, "GET", f"{_PATH}/{address}").status == 401


def test_nobody_has_more_than_fifty(owner: _Owner) -> None:
    """The next one is refused until one is deleted."""
    address = [owner.add() for _ in range(50)][-1]["id"]

    refused = owner.send("POST", content=_NEEDED)
    assert _problem(refused) == (409, "too-many-addresses")
    assert json_of(refused)["params"] == {"limit": 50}
    assert owner.send("DELETE", f"/{address}").status == 204
    assert owner.send("POST", content=_NEEDED).status == 201


def test_all_faults_are_told_at_once(owner: _Owner) -> None:
    """Of the shape first, then of the content; by POST and PUT alike."""
    address = owner.add()["id"]
    misshapen = {"addressType": "castle", "addressLine1": None, "isDefaultBilling": "yes", "version": 1}
    wrong = {
        "id": "0190f5fe-7c00-7a00-8abc-def012345678",
        "userId": "0190f5fe-7c00-7a00-8abc-def012345678",
        "addressLine1": "",
        "city": "a\u0007",
        "countryCode": "US",
        "stateOrProvince": "Bavaria",
        "postalCode": "1",
        "contactPhone": "call me",
    }

    for method, path in (("POST", ""), ("PUT", f"/{address}")):
        assert _faults(owner.send(method, path, misshapen)) == [
            ("/addressType", "invalid-type"),
            ("/addressLine1", "invalid-type"),
            ("/city", "required"),
            ("/countryCode", "required"),
            ("/isDefaultBilling", "invalid-type"),
            ("/version", "unknown-field"),
        ]
        assert _faults(owner.send(method, path, wrong)) == [
            ("/id", "read-only"),
            ("/userId", "read-only"),
            ("/addressLine1", "blank"),
            ("/city", "invalid-character"),
            ("/stateOrProvince", "invalid-state"),
            ("/postalCode", "invalid-postal-code"),
            ("/contactPhone", "invalid-phone"),
        ]
    assert len(owner.listed()) == 1
