"""One's own profile, over every host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.testing.host import json_of, send_json

if TYPE_CHECKING:
    from tests.hosts.installation import Installation
    from userservice_core.http.messages import Response
    from userservice_core.testing.host import HostClient

_PATH: Final = "/users/me/profile"
_EMPTY: Final[dict[str, Any]] = {
    "firstName": None,
    "lastName": None,
    "displayName": None,
    "phoneNumber": None,
    "phoneVerified": False,
    "dateOfBirth": None,
    "gender": None,
    "profilePictureUrl": None,
    "bio": None,
    "language": None,
    "timezone": None,
    "preferences": {},
    "communicationPreferences": {},
}
_FULL: Final[dict[str, Any]] = {
    "firstName": "Zoë",
    "lastName": "O’Neill 😀",
    "displayName": "<script>alert(1)</script>",
    "phoneNumber": "+442079460958",
    "dateOfBirth": "1996-02-29",
    "gender": "woman",
    "profilePictureUrl": "https://example.org/zoe.png?size=1#face",
    "bio": "Two\nlines, and\ta tab.",
    "language": "pt-BR",
    "timezone": "Europe/Lisbon",
    "preferences": {"theme": {"dark": True, "accent": "red"}, "list": [1, 1.0, -0.0, 1e300, None]},
    "communicationPreferences": {"email": {"news": False}},
}


class _Owner:
    """Somebody with a profile."""

    def __init__(self, client: HostClient, token: str) -> None:
        self._client = client
        self._token = token

    def get(self) -> Response:
        """Read it."""
        return send_json(self._client, "GET", _PATH, token=self._token)

    def put(self, content: dict[str, Any], *, if_match: str | None = None) -> Response:
        """Replace it."""
        return send_json(self._client, "PUT", _PATH, content, token=self._token, headers=_condition(if_match))

    def put_raw(self, body: bytes) -> Response:
        """Replace it with what may be no JSON."""
        headers = [("content-type", "application/json"), ("authorization", f"Bearer {self._token}")]
        return self._client.request("PUT", _PATH, headers=headers, body=body)

    def patch(self, content: dict[str, Any], *, if_match: str | None = None) -> Response:
        """Change it, as a merge patch."""
        headers = [
            ("content-type", "application/merge-patch+json"),
            ("authorization", f"Bearer {self._token}"),
            *_condition(if_match),
        ]
        return self._client.request("PATCH", _PATH, headers=headers, body=json.dumps(content).encode())


def _condition(if_match: str | None) -> list[tuple[str, str]]:
    return [] if if_match is None else [("if-match", if_match)]


def _faults(response: Response) -> list[tuple[str, str]]:
    assert response.status == 400
    return [(fault["pointer"], fault["code"]) for fault in json_of(response)["errors"]]


@pytest.fixture
def owner(installation: Installation, client: HostClient) -> _Owner:
    """Somebody who never wrote anything."""
    return _Owner(client, installation.access_token("owner@example.com"))


def test_everybody_has_an_empty_profile(owner: _Owner) -> None:
    """Of version 0, with every member of the contract, in its order."""
    answer = owner.get()
    profile = json_of(answer)

    assert (answer.status, answer.header("etag"), answer.header("cache-control")) == (
        200,
        '"0-profile1"',
        "no-store",
    )
    assert list(profile) == ["userId", *_EMPTY]
    assert {**_EMPTY, "userId": profile["userId"]} == profile


def test_a_profile_comes_back_as_it_was_sent(owner: _Owner) -> None:
    """To the letter and to the digit; sent back as it was read it changes nothing."""
    put = owner.put(_FULL)
    got = owner.get()

    assert (put.status, put.header("etag"), got.body) == (200, '"1-profile1"', put.body)
    assert {**_FULL, "phoneVerified": False, "userId": json_of(put)["userId"]} == json_of(put)
    again = owner.put(json_of(got))
    assert (again.status, again.body, again.header("etag")) == (200, got.body, '"1-profile1"')


def test_put_empties_what_it_leaves_out(owner: _Owner) -> None:
    """It replaces all of the profile."""
    owner.put(_FULL)
    profile = json_of(owner.put({"bio": "All that is left."}))

    assert {**_EMPTY, "userId": profile["userId"], "bio": "All that is left."} == profile


def test_patch_changes_what_it_names(owner: _Owner) -> None:
    """Objects are merged, null removes, and what is left out stays (RFC 7396)."""
    owner.put(_FULL)
    patched = json_of(
        owner.patch({"bio": None, "preferences": {"theme": {"accent": None}}, "communicationPreferences": None})
    )

    assert patched["bio"] is None
    assert {"theme": {"dark": True}, "list": _FULL["preferences"]["list"]} == patched["preferences"]
    assert patched["communicationPreferences"] == {}
    assert patched["firstName"] == "Zoë"
    assert owner.patch({}).header("etag") == '"2-profile1"'


def test_a_change_says_which_members_it_changed(installation: Installation, owner: _Owner) -> None:
    """In an event of the user, and none where nothing changed; 1 and true are two values."""
    owner.put({"bio": "Hello.", "preferences": {"a": 1}})
    owner.patch({"bio": "Hello."})
    owner.patch({"preferences": {"a": True}})
    installation.mails()

    events = [
        (record.sequence, json.loads(record.payload))
        for record in installation.in_memory.publisher.published
        if record.type == "userservice.profile.updated.v1"
    ]
    assert [(sequence, event["version"], event["changedMembers"]) for sequence, event in events] == [
        # After the registration and the confirmation of the address.
        (3, 1, ["bio", "preferences"]),
        (4, 2, ["preferences"]),
    ]


def test_a_change_may_be_meant_for_one_version(owner: _Owner) -> None:
    """Any other is refused, and so is a validator that is weak or not ours; `*` is any."""
    for if_match in ('"1-profile1"', 'W/"0-profile1"', "0", '"x"', ""):
        for refused in (owner.put(_FULL, if_match=if_match), owner.patch({"bio": "x"}, if_match=if_match)):
            assert (refused.status, json_of(refused)["type"]) == (412, f"{TYPE_PREFIX}stale-version"), if_match
    assert json_of(owner.get())["bio"] is None

    assert owner.put({"bio": "1"}, if_match='"7-profile1", "0-profile1"').status == 200
    assert owner.patch({"bio": "2"}, if_match='"1-other"').status == 200
    assert owner.patch({"bio": "3"}, if_match="*").header("etag") == '"3-profile1"'


def test_all_faults_are_told_at_once(owner: _Owner) -> None:
    """Each with its pointer, by PUT and PATCH alike, and nothing is stored."""
    wrong = {
        "userId": "00000000-0000-0000-0000-000000000000",
        "firstName": "x" * 101,
        "lastName": " ",
        "displayName": "a\u0007b",
        "phoneNumber": "020 7946 0958",
        "phoneVerified": True,
        "dateOfBirth": "2999-01-01",
        "gender": "x" * 51,
        "profilePictureUrl": "http://example.org/",
        "bio": "x" * 501,
        "language": "english",
        "timezone": "Mars/Olympus",
        "preferences": {"a": "x" * 16_384},
        "communicationPreferences": {"1": {"2": {"3": {"4": {"5": {"6": {"7": [[]]}}}}}}},
    }
    expected = [
        ("/userId", "read-only"),
        ("/phoneVerified", "read-only"),
        ("/firstName", "too-long"),
        ("/lastName", "blank"),
        ("/displayName", "invalid-character"),
        ("/gender", "too-long"),
        ("/bio", "too-long"),
        ("/phoneNumber", "invalid-phone"),
        ("/dateOfBirth", "date-in-future"),
        ("/profilePictureUrl", "invalid-url"),
        ("/language", "invalid-language"),
        ("/preferences", "too-large"),
        ("/communicationPreferences", "too-deep"),
        ("/timezone", "invalid-timezone"),
    ]

    assert expected == _faults(owner.put(wrong))
    assert expected == _faults(owner.patch(wrong))
    assert owner.get().header("etag") == '"0-profile1"'


def test_values_of_the_wrong_type_are_told(owner: _Owner) -> None:
    """Null is no value where there is no nothing, and a date is one of the calendar."""
    wrong: dict[str, Any] = {
        "userId": None,
        "phoneVerified": None,
        "dateOfBirth": "2001-02-29",
        "preferences": [],
        "version": 3,
    }

    assert _faults(owner.put(wrong)) == [
        ("/userId", "invalid-type"),
        ("/phoneVerified", "invalid-type"),
        ("/dateOfBirth", "invalid-type"),
        ("/preferences", "invalid-type"),
        ("/version", "unknown-field"),
    ]


def test_a_profile_is_for_its_owner(client: HostClient) -> None:
    """Nobody else reads or writes it."""
    for method, content in (("GET", None), ("PUT", {}), ("PATCH", {})):
        assert send_json(client, method, _PATH, content).status == 401


@given(text=st.text(max_size=60))
@example("\ufeff")
@example("\u202etest\u202c \u2066 \u200b")
@example("Ω≈ç√∫˜µ≤≥÷ 田中さん ﷽ Z̮̞̠͙͔ͅ 👨‍👩‍👧‍👦")
@example("1;DROP TABLE users -- ' OR 1=1 <svg/onload=alert(1)> %s%n ${jndi:ldap://x} {{7*7}}")
@example("\x00")
@example("\ud800")
@example("\x7f\x85\u2028\ufffe")
@settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
def test_any_text_comes_back_or_is_refused(owner: _Owner, text: str) -> None:
    """To the letter in every member, or with a pointer to each one that cannot hold it."""
    members = ("firstName", "lastName", "displayName", "gender", "bio")
    sent = {**dict.fromkeys(members, text), "preferences": {text: [text]}}
    answer = owner.put_raw(json.dumps(sent).encode())

    if answer.status == 200:
        got = json_of(owner.get())
        assert sent == {name: got[name] for name in sent}
    else:
        assert {pointer.split("/")[1] for pointer, _ in _faults(answer)} <= {*members, "preferences"}
