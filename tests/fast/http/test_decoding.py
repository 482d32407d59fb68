"""Whatever bytes arrive: a checked value, or every fault with its place."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http import wire
from userservice_core.http.decoding import MAX_DEPTH, MAX_FAULTS, decode_body, decode_query, read_json

_SHAPES = [
    wire.RegisterBody,
    wire.LoginBody,
    wire.RefreshTokenBody,
    wire.LogoutBody,
    wire.RequestEmailVerificationBody,
    wire.VerifyEmailBody,
]


class _Sample(wire.Body, frozen=True, kw_only=True):
    first_name: Annotated[str, msgspec.Meta(min_length=2, max_length=5)]
    count: int = 0
    note: str | None = None


def _faults(body: bytes, shape: type[msgspec.Struct] = wire.LoginBody) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidInputError) as caught:
        decode_body(body, shape)
    return [(fault.field, fault.code) for fault in caught.value.faults]


def test_a_good_body_is_read() -> None:
    """Members in camelCase become attributes; optional ones may be missing."""
    assert decode_body(b'{"firstName": "Ada", "count": 3}', _Sample) == _Sample(first_name="Ada", count=3)


@pytest.mark.asvs("15.3.3", "15.3.5")
def test_all_faults_of_the_shape_are_told_at_once() -> None:
    """Wrong types, missing and unknown members in one answer, each with its place."""
    body = b'{"count": "3", "note": 7, "x": 1}'

    assert _faults(body, _Sample) == [
        (("firstName",), "required"),
        (("count",), "invalid-type"),
        (("note",), "invalid-type"),
        (("x",), "unknown-field"),
    ]


def test_what_was_expected_is_said() -> None:
    """A message says what to send, and never repeats what was sent."""
    with pytest.raises(InvalidInputError) as caught:
        decode_body(b'{"firstName": "secret", "note": 7}', _Sample)

    assert caught.value.faults == (
        Fault(("firstName",), "too-long", "Use at most 5 characters."),
        Fault(("note",), "invalid-type", "Send a string or null."),
    )


_CHECK = b'{"userId": "01900000-0000-7000-8000-000000000001", "permissions": %b}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed-json"),
        (b" ", "malformed-json"),
        (b"{", "malformed-json"),
        (b'{"email": "a"', "malformed-json"),
        (b'{"email": "a",}', "malformed-json"),
        (b"{'email': 'a'}", "malformed-json"),
        (b'{"email": NaN}', "malformed-json"),
        (b'{"email": -Infinity}', "malformed-json"),
        (b'{"email": 01}', "malformed-json"),
        (b'{"email": "a\x00"}', "malformed-json"),
        (b'{"email": "a\nb"}', "malformed-json"),
        (b"\xef\xbb\xbf{}", "malformed-json"),
        (b"{} {}", "malformed-json"),
        ("{}".encode("utf-16"), "invalid-utf-8"),
        (b'{"email": "\xff"}', "invalid-utf-8"),
        (b'{"email": "\xed\xa0\x80"}', "invalid-utf-8"),
        (b"null", "invalid-type"),
        (b"[]", "invalid-type"),
        (b'"text"', "invalid-type"),
        (b"12", "invalid-type"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":' * 100_000, "too-deep"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too-deep"),
    ],
    ids=repr,
)
def test_what_is_no_object_is_a_fault_of_the_whole(body: bytes, code: str) -> None:
    """Not JSON, not UTF-8, too deep, or not an object: the pointer is the root."""
    assert _faults(body) == [((), code)]


@pytest.mark.asvs("1.1.1")
@pytest.mark.parametrize("text", ["\\u0000", "a\\u0000b", "\\ud800", "\\udfff x", "\\ude00\\ud83d"])
def test_nul_and_lone_surrogates_are_refused_everywhere(text: str) -> None:
    """In values, in names and in depth: what PostgreSQL and UTF-8 cannot hold does not get in."""
    assert _faults(f'{{"email": "{text}", "password": "p"}}'.encode()) == [(("email",), "invalid-character")]
    assert _faults(f'{{"email": ["x", {{"y": "{text}"}}]}}'.encode()) == [(("email", 1, "y"), "invalid-character")]
    assert _faults(f'{{"{text}": 1}}'.encode())[0][1] == "invalid-character"


def test_a_pair_of_surrogates_is_a_character() -> None:
    """An escaped emoji is text like any other."""
    assert read_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}


@pytest.mark.asvs("15.3.7")
def test_a_repeated_member_is_refused_wherever_it_is() -> None:
    """Two readers of one document could each believe another value (RFC 8259 §4)."""
    body = b'{"email": {"a": 1, "b": 2, "a": 3}, "password": "x", "password": "y"}'

    assert _faults(body) == [(("email", "a"), "repeated"), (("password",), "repeated")]


@pytest.mark.asvs("1.4.2")
@pytest.mark.parametrize("number", ["1e999", "-1e999", "9223372036854775808", "-9223372036854775809", "9" * 50_000])
def test_numbers_that_cannot_be_held_are_refused(number: str) -> None:
    """Never rounded, never clamped, and never a matter of how long the digits take to read."""
    assert _faults(f'{{"email": {number}}}'.encode()) == [(("email",), "number-out-of-range")]


def test_the_greatest_numbers_are_numbers() -> None:
    """The bounds themselves are within."""
    assert read_json(b"[9223372036854775807, -9223372036854775808, 1e308]") == [2**63 - 1, -(2**63), 1e308]


def test_brackets_in_strings_are_no_depth() -> None:
    """Depth is counted outside of strings, whatever these escape."""
    text = '[{"\\' * 200

    assert read_json(json.dumps({"a": text}).encode()) == {"a": text}


def test_a_string_without_end_is_scanned_once() -> None:
    """An unclosed string full of escaped quotes takes no quadratic time."""
    assert _faults(b"[" * (MAX_DEPTH + 1) + b'"' + b'\\"' * 30_000) == [((), "too-deep")]


def test_the_answer_to_many_faults_is_bounded() -> None:
    """Thousands of unknown members are not told one by one."""
    body = json.dumps({f"x{number}": 1 for number in range(5_000)}).encode()

    assert len(_faults(body)) == MAX_FAULTS


def test_a_long_name_is_not_repeated_in_full() -> None:
    """The answer is smaller than what asked for it."""
    assert _faults(json.dumps({"email": "a", "password": "b", "x" * 60_000: 1}).encode()) == [
        (("x" * 100,), "unknown-field")
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
_MEMBERS = st.sampled_from(["email", "password", "refreshToken", "token", "\x00", "x"])


@given(shape=st.sampled_from(_SHAPES), document=_JSON | st.dictionaries(_MEMBERS, _JSON, max_size=4))
def test_any_json_is_read_or_faulted(shape: type[msgspec.Struct], document: Any) -> None:  # noqa: ANN401
    """Whatever JSON is sent, nothing but the documented error is raised, and it names at least one fault."""
    _read_or_fault(json.dumps(document).encode(), shape)


@pytest.mark.asvs("2.2.1")
@given(shape=st.sampled_from(_SHAPES), body=st.binary(max_size=80))
def test_any_bytes_are_read_or_faulted(shape: type[msgspec.Struct], body: bytes) -> None:
    """The same holds for bytes that are nothing in particular."""
    _read_or_fault(body, shape)


def _read_or_fault(body: bytes, shape: type[msgspec.Struct]) -> None:
    try:
        decode_body(body, shape)
    except InvalidInputError as error:
        assert error.faults  # noqa: PT017 - success is as good
        json.dumps([fault.field for fault in error.faults]).encode("utf-8", "strict")


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (b"1", (("checks", 1), "invalid-type")),
        (b"{}", (("checks", 1, "userId"), "required")),
        (b'{"userId": "x"}', (("checks", 1, "userId"), "invalid-type")),
        (_CHECK % b'["a:b", 1]', (("checks", 1, "permissions", 1), "invalid-type")),
        (_CHECK % b"[]", (("checks", 1, "permissions"), "too-short")),
        (_CHECK % b'["a:b"], "x": 1', (("checks", 1, "x"), "unknown-field")),
    ],
)
def test_a_fault_within_a_list_has_its_place(check: bytes, expected: tuple[tuple[str | int, ...], str]) -> None:
    """Down to the member of the item."""
    good = _CHECK % b'["a:b"]'
    with pytest.raises(InvalidInputError) as caught:
        decode_body(b'{"checks": [%b, %b]}' % (good, check), wire.CheckPermissionsBatchBody)

    assert [(fault.field, fault.code) for fault in caught.value.faults] == [expected]


def test_a_query_is_read() -> None:
    """Parameters that are not known are ignored: mail programs add some to links."""
    assert decode_query("utm_source=mail&token=a%20b+c", wire.VerifyEmailQuery).token == "a b c"


def test_a_parameter_that_is_a_list_may_be_repeated() -> None:
    """Once or more often, in the order given; only where the shape says so."""
    first, second = UUID(int=1), UUID(int=2)

    assert decode_query(f"roleId={first}", wire.RoleIdsQuery).role_id == (first,)
    assert decode_query(f"roleId={second}&roleId={first}", wire.RoleIdsQuery).role_id == (second, first)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (("roleId",), "required")),
        (f"roleId={UUID(int=1)}&roleId=x", (("roleId", 1), "invalid-type")),
        ("&".join(f"roleId={UUID(int=1)}" for _ in range(101)), (("roleId",), "too-long")),
    ],
)
def test_a_bad_list_is_faulted(query: str, expected: tuple[tuple[str | int, ...], str]) -> None:
    """Its bounds count items."""
    with pytest.raises(InvalidInputError) as caught:
        decode_query(query, wire.RoleIdsQuery)

    assert [(fault.field, fault.code) for fault in caught.value.faults] == [expected]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [(("token",), "required")]),
        ("token", [(("token",), "too-short")]),
        ("token=", [(("token",), "too-short")]),
        ("token=a&token=b", [(("token",), "repeated")]),
        ("token=%00", [(("token",), "invalid-encoding")]),
        ("token=%ff", [(("token",), "invalid-encoding")]),
        ("token=%ed%a0%80", [(("token",), "invalid-encoding")]),
        ("token=%2", [(("token",), "invalid-encoding")]),
        ("%zz=1", [(("%zz",), "invalid-encoding")]),
        ("token=\xff", [(("token",), "invalid-encoding")]),
    ],
)
def test_a_bad_query_is_faulted(query: str, expected: list[tuple[tuple[str, ...], str]]) -> None:
    """Missing, empty, repeated and badly encoded parameters are each told with their name."""
    with pytest.raises(InvalidInputError) as caught:
        decode_query(query, wire.VerifyEmailQuery)

    assert [(fault.field, fault.code) for fault in caught.value.faults] == expected
