"""What a profile may say."""

from __future__ import annotations

from datetime import date
from typing import Any, Final
from uuid import UUID

import attrs
import pytest

from userservice_core.domain.editing import merge_patch
from userservice_core.domain.ids import UserId
from userservice_core.domain.profiles import UserProfile

_EMPTY: Final = UserProfile(user_id=UserId(UUID(int=1)))
_TODAY: Final = date(2026, 3, 1)


def _faults(**values: Any) -> list[str]:  # noqa: ANN401 - each member has its type
    profile = _EMPTY.replaced(values)
    return [fault.code for fault in profile.faults(today=_TODAY, timezones={"UTC"})]


def _nested(levels: int) -> dict[str, Any]:
    return {} if levels == 1 else {"a": _nested(levels - 1)}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"first_name": "x" * 100, "last_name": "\u202eright to left", "display_name": " a "},
        {"bio": "line\r\n\tline"},
        {"phone_number": "+442079460958"},
        {"phone_number": "+4930123456"},
        {"date_of_birth": _TODAY},
        {"date_of_birth": date(1906, 3, 1)},
        {"profile_picture_url": "https://example.org:8443/a/../%20b?c=d&e#f"},
        {"profile_picture_url": "https://[2001:db8::1]/"},
        {"profile_picture_url": f"https://example.org/{'x' * 2_028}"},
        {"language": "zh-Hant-TW"},
        {"language": "sgn-BE-FR"},
        {"language": "x-klingon"},
        {"timezone": "UTC"},
        {"preferences": _nested(8), "communication_preferences": {"a": "é" * 8_187}},
    ],
    ids=str,
)
def test_what_keeps_to_the_rules_is_taken(values: dict[str, Any]) -> None:
    """Up to each limit, and it is kept to the letter."""
    assert _faults(**values) == []
    assert attrs.evolve(_EMPTY, **values, version=1 if values else 0) == _EMPTY.replaced(values)


@pytest.mark.asvs("1.2.2", "1.3.3", "2.2.3")
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"first_name": "x" * 101}, "too-long"),
        ({"last_name": ""}, "blank"),
        ({"display_name": "\u00a0\u3000"}, "blank"),
        ({"display_name": "two\nlines"}, "invalid-character"),
        ({"display_name": "two\u2028lines"}, "invalid-character"),
        ({"bio": "\x1b[31m"}, "invalid-character"),
        ({"gender": "\x85x"}, "invalid-character"),
        ({"phone_number": "+44 20 7946 0958"}, "invalid-phone"),
        ({"phone_number": "442079460958"}, "invalid-phone"),
        ({"phone_number": "+44207"}, "invalid-phone"),
        ({"phone_number": "+999123456789"}, "invalid-phone"),
        ({"phone_number": "+٤٤٢٠٧٩٤٦٠٩٥٨"}, "invalid-phone"),
        ({"date_of_birth": date(2026, 3, 2)}, "date-in-future"),
        ({"date_of_birth": date(1906, 2, 28)}, "date-too-early"),
        ({"profile_picture_url": "http://example.org/"}, "invalid-url"),
        ({"profile_picture_url": "javascript:alert(1)//https://x"}, "invalid-url"),
        ({"profile_picture_url": "https://"}, "invalid-url"),
        ({"profile_picture_url": "https:///x"}, "invalid-url"),
        ({"profile_picture_url": "https://user:secret@example.org/"}, "invalid-url"),
        ({"profile_picture_url": "https://example.org:99999/"}, "invalid-url"),
        ({"profile_picture_url": "https://[::1/"}, "invalid-url"),
        ({"profile_picture_url": "https://example.org/a b"}, "invalid-url"),
        ({"profile_picture_url": "https://bücher.example/"}, "invalid-url"),
        ({"profile_picture_url": f"https://example.org/{'x' * 2_029}"}, "invalid-url"),
        ({"language": ""}, "invalid-language"),
        ({"language": "en_US"}, "invalid-language"),
        ({"language": "english"}, "invalid-language"),
        ({"language": "en-" * 30_000}, "invalid-language"),
        ({"timezone": "utc"}, "invalid-timezone"),
        ({"preferences": _nested(9)}, "too-deep"),
        ({"preferences": {"a": [[[[[[[[]]]]]]]]}}, "too-deep"),
        ({"communication_preferences": {"a": "é" * 8_189}}, "too-large"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_breaks_a_rule_is_refused(values: dict[str, Any], code: str) -> None:
    """Just past each limit, with the code of that rule and no other."""
    assert _faults(**values) == [code]


def test_a_birth_on_the_leap_day_has_an_age_in_any_year() -> None:
    """Counting the years back leads to no day that is missing."""
    profile = _EMPTY.replaced({"date_of_birth": date(1908, 2, 29)})

    assert [*profile.faults(today=date(2028, 2, 29), timezones=())] == []
    assert [fault.code for fault in profile.faults(today=date(2028, 3, 1), timezones=())] == ["date-too-early"]


def test_a_new_number_is_not_verified() -> None:
    """Whoever proved that the old one is theirs proved nothing of the new one."""
    verified = attrs.evolve(_EMPTY, phone_number="+442079460958", phone_verified=True, version=4)

    assert verified.patched({"bio": "x"}).phone_verified
    assert not verified.patched({"phone_number": "+442079460959"}).phone_verified
    assert not verified.replaced({}).phone_verified


def test_the_same_again_is_no_change() -> None:
    """The version tells changes; JSON's true is not its 1."""
    profile = _EMPTY.replaced({"preferences": {"a": 1, "b": 0.0}})

    assert profile is profile.patched({"preferences": {"a": 1}})
    assert profile.patched({"preferences": {"a": True}}).version == 2
    assert profile.patched({"preferences": {"b": -0.0}}).version == 2


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_patches_merge_as_the_standard_says(target: object, patch: object, result: object) -> None:
    """The examples of RFC 7396, appendix A."""
    assert merge_patch(target, patch) == result
