"""What all lists have in common, over every host, by the example of roles and permissions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from userservice_core.domain.roles import ADMIN_ROLE, SYSTEM_PERMISSIONS
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient, PipelineClient

_NAMES = sorted(permission.name for permission in SYSTEM_PERMISSIONS)


class _Reader:
    """An administrator who reads lists."""

    def __init__(self, client: HostClient, installation: Installation) -> None:
        self._client = client
        self._token = installation.administrator_token("root@example.com")

    def get(self, target: str, *, if_none_match: str | None = None) -> Response:
        """Send the request."""
        headers = [] if if_none_match is None else [("if-none-match", if_none_match)]
        return send_json(self._client, "GET", target, token=self._token, headers=headers)

    def page(self, target: str) -> dict[str, Any]:
        """Return an answer of 200."""
        response = self.get(target)
        assert response.status == 200, response.body
        return json_of(response)

    def create_role(self, name: str) -> str:
        """Make a role and return its id."""
        response = send_json(self._client, "POST", "/admin/roles", {"name": name}, token=self._token)
        return str(json_of(response)["id"])

    def delete_role(self, role_id: str) -> None:
        """Delete a role that nobody holds."""
        send_json(self._client, "DELETE", f"/admin/roles/{role_id}", token=self._token)


def _links(response: Response, target: str) -> dict[str, str]:
    """Return the targets of the links by their relations (RFC 8288 §3), as a client resolves them."""
    header = response.header("link") or ""
    found = re.findall(r'<([^>]*)>; rel="(\w+)"', header)
    resolved = {name: urlsplit(urljoin(f"https://accounts.example.com{target}", link)) for link, name in found}
    return {name: f"{url.path}?{url.query}" for name, url in resolved.items()}


def _faults(response: Response) -> list[tuple[str, str]]:
    assert response.status == 400
    return [(fault["pointer"], fault["code"]) for fault in json_of(response)["errors"]]


def _code(response: Response) -> tuple[int, str]:
    return response.status, json_of(response)["type"].rpartition(":")[2]


@pytest.fixture
def reader(client: HostClient, installation: Installation) -> _Reader:
    """At each host in turn."""
    return _Reader(client, installation)


@pytest.fixture
def piped(pipeline_client: PipelineClient, installation: Installation) -> _Reader:
    """Without a host."""
    return _Reader(pipeline_client, installation)


@pytest.fixture
def cursor(piped: _Reader) -> str:
    """Of the second row."""
    return str(piped.page("/admin/permissions?limit=1")["page"]["nextCursor"])


def test_a_list_says_which_part_it_is(reader: _Reader) -> None:
    """Twenty rows unless asked otherwise, how many there are, and where the others are."""
    target = "/admin/permissions"
    response = reader.get(target)
    first = json_of(response)
    assert [row["name"] for row in first["data"]] == _NAMES[:20]
    assert first["page"] == {
        "limit": 20,
        "nextCursor": first["page"]["nextCursor"],
        "prevCursor": None,
        "total": len(_NAMES),
        "totalIsEstimate": False,
    }
    links = _links(response, target)
    assert links.keys() == {"next", "first"}

    second = reader.page(links["next"])
    assert [row["name"] for row in second["data"]] == _NAMES[20:40]
    assert reader.page(f"{target}?cursor={second['page']['prevCursor']}") == first
    assert reader.page(links["first"]) == first


@pytest.mark.asvs("1.2.2")
def test_links_lead_to_the_end_and_back(piped: _Reader) -> None:
    """With everything that was asked for: limit, order and fields."""
    target = "/admin/permissions?limit=17&sort=-name&fields=name"
    pages = []
    links = {"next": target}
    while "next" in links:
        response = piped.get(links["next"])
        pages.append(json_of(response)["data"])
        links = _links(response, target)
    assert [row for page in pages for row in page] == [{"name": name} for name in reversed(_NAMES)]

    back = []
    while "prev" in links:
        response = piped.get(links["prev"])
        back.append(json_of(response)["data"])
        links = _links(response, target)
    assert back == pages[-2::-1]


def test_a_page_has_a_number_too(piped: _Reader) -> None:
    """As far as is sensible."""
    page = piped.page("/admin/permissions?page=2&limit=15")
    assert [row["name"] for row in page["data"]] == _NAMES[15:30]
    following = piped.page(f"/admin/permissions?limit=15&cursor={page['page']['nextCursor']}")
    assert [row["name"] for row in following["data"]] == _NAMES[30:45]
    assert piped.page("/admin/permissions?page=100&limit=100")["data"] == []


@pytest.mark.asvs("1.2.4", "1.4.2")
@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("limit=0", ("/limit", "number-out-of-range")),
        ("limit=-1", ("/limit", "number-out-of-range")),
        ("limit=101", ("/limit", "number-out-of-range")),
        ("limit=99999999999999999999", ("/limit", "number-out-of-range")),
        ("limit=1e9", ("/limit", "invalid-type")),
        ("limit=NaN", ("/limit", "invalid-type")),
        ("limit=", ("/limit", "invalid-type")),
        ("limit=10&limit=10", ("/limit", "repeated")),
        ("page=0", ("/page", "number-out-of-range")),
        ("page=9223372036854775807", ("/page", "number-out-of-range")),
        ("page=501", ("/page", "number-out-of-range")),
        ("page=101&limit=100", ("/page", "number-out-of-range")),
        ("sort=id", ("/sort", "invalid-type")),
        ("sort=%2Bname", ("/sort", "invalid-type")),
        ("fields=id,nme", ("/fields", "unknown-field")),
        ("fields=id,", ("/fields", "unknown-field")),
        ("fields=", ("/fields", "too-short")),
        ("cursor=", ("/cursor", "too-short")),
        ("nmae=x", ("/nmae", "unknown-field")),
    ],
)
def test_what_makes_no_sense_is_refused(piped: _Reader, query: str, fault: tuple[str, str]) -> None:
    """Nothing is clamped, and nothing ignored."""
    assert _faults(piped.get(f"/admin/roles?{query}")) == [fault]


def test_all_faults_are_told_at_once(piped: _Reader) -> None:
    """Each with the parameter that it is of."""
    cursor = piped.page("/admin/permissions?limit=1")["page"]["nextCursor"]

    assert _faults(piped.get("/admin/permissions?limit=x&page=0")) == [
        ("/limit", "invalid-type"),
        ("/page", "number-out-of-range"),
    ]
    assert _faults(piped.get(f"/admin/permissions?limit=100&page=101&fields=no&cursor={cursor}")) == [
        ("/page", "conflicting"),
        ("/page", "number-out-of-range"),
        ("/fields", "unknown-field"),
    ]


def test_a_cursor_belongs_to_its_list(reader: _Reader) -> None:
    """And to its order; the limit and the fields may change on the way."""
    cursor = reader.page("/admin/permissions?limit=1")["page"]["nextCursor"]

    for other in (
        "/admin/permissions?sort=-name&",
        "/admin/roles?",
        f"/admin/roles/{ADMIN_ROLE.id}/permissions?",
    ):
        assert _code(reader.get(f"{other}cursor={cursor}")) == (400, "cursor-mismatch")
    assert reader.page(f"/admin/permissions?limit=2&fields=name&cursor={cursor}")["data"] == [
        {"name": name} for name in _NAMES[1:3]
    ]


@given(data=st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cursor_cannot_be_changed(piped: _Reader, cursor: str, data: st.DataObject) -> None:
    """Not in one character, and not made up."""
    place = data.draw(st.integers(0, len(cursor) - 1))
    letters = st.sampled_from("abcXYZ019-_.").filter(lambda other: other != cursor[place])
    changed = f"{cursor[:place]}{data.draw(letters)}{cursor[place + 1 :]}"

    assert _code(piped.get(f"/admin/permissions?cursor={changed}")) == (400, "cursor-invalid")


def test_rows_may_come_and_go_during_a_walk(piped: _Reader) -> None:
    """Names are in order regardless of case."""
    ids = {name: piped.create_role(name) for name in ("b", "D", "f", "H")}
    first = piped.page("/admin/roles?limit=3&fields=name")
    assert [row["name"] for row in first["data"]] == ["administrator", "b", "D"]

    piped.delete_role(ids["D"])
    piped.delete_role(ids["f"])
    for name in ("a", "E", "z"):
        piped.create_role(name)
    rest = piped.page(f"/admin/roles?fields=name&cursor={first['page']['nextCursor']}")
    assert [row["name"] for row in rest["data"]] == ["E", "H", "user", "z"]
    before = piped.page(f"/admin/roles?fields=name&cursor={rest['page']['prevCursor']}")
    assert [row["name"] for row in before["data"]] == ["a", "administrator", "b"]


def test_a_list_that_did_not_change_is_not_sent_again(reader: _Reader) -> None:
    """By its content, since it has no version."""
    etag = reader.get("/admin/roles").header("etag")
    assert reader.get("/admin/roles", if_none_match=etag).status == 304

    reader.create_role("Clerk")
    assert reader.get("/admin/roles", if_none_match=etag).status == 200


def test_what_a_role_grants_and_who_grants_it_are_lists(reader: _Reader) -> None:
    """Of those that are there; a role that grants nothing has an empty one."""
    role_id = reader.create_role("Clerk")
    (everything,) = reader.page(f"/admin/roles/{ADMIN_ROLE.id}/permissions")["data"]
    empty = {"limit": 20, "nextCursor": None, "prevCursor": None, "total": 0, "totalIsEstimate": False}

    assert everything["name"] == "*:*"
    assert reader.page(f"/admin/roles/{role_id}/permissions") == {"data": [], "page": empty}
    granting = reader.page(f"/admin/permissions/{everything['id']}/roles?fields=id,name")
    assert granting["data"] == [{"id": str(ADMIN_ROLE.id), "name": "administrator"}]
