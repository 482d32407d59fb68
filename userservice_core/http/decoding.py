"""
From bytes of a client to checked values: the one way in for every body and query.

The parser is strict where JSON leaves room (RFC 8259 §4, §8): no repeated member, no NUL, no lone surrogate, no number
that this side cannot hold, bounded depth. All faults are reported at once, each with its place.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

import msgspec

from userservice_core.errors import Fault, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

S = TypeVar("S", bound=msgspec.Struct)

MAX_DEPTH: Final = 32
"""Levels of arrays and objects; the deepest value of the contract has ten."""

MAX_FAULTS: Final = 100
"""Faults told of one request, so that an answer stays smaller than what asked for it."""

_MAX_SHOWN_CHARACTERS: Final = 100
_MAX_INTEGER_DIGITS: Final = 19
_MIN_INTEGER: Final = -(2**63)
_MAX_INTEGER: Final = 2**63 - 1

# A string that is not closed matches to the end, so that no text makes this search quadratic.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(rb"[][{}]")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_EXPECTED = re.compile(r"Expected `(?P<types>[^`]+)`, got")
_RANGE = re.compile(r"Expected `(?:int|float)` (?P<relation><=|>=) (?P<limit>-?\d+)")
_LENGTH = re.compile(r"of length (?P<relation><=|>=) (?P<limit>\d+)")
_MEMBER = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>[^`]*)`")
_PLACE = re.compile(r" - at `\$(?P<steps>[^`]*)`")
_STEP = re.compile(r"\.(?P<member>\w+)|\[(?P<index>\d+)\]")
_PLAIN = re.compile(r"[\x01-\x24\x26-\x7f]*")
_INTEGER = re.compile(r"-?[0-9]{1,100}")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

_TYPE_NAMES: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}

_FORMATS: Final = {
    "Invalid RFC3339 encoded date": "Send a day of the calendar such as 1969-07-20.",
    "Invalid RFC3339 encoded datetime": "Send a moment such as 1969-07-20T20:17:40Z.",
    "Expected `datetime` with a timezone component": "Send a moment with its offset, such as 1969-07-20T20:17:40Z.",
    "Invalid UUID": "Send a UUID.",
}
"""What the decoder says of a text that is not in the format wanted, and what we say."""


class _OutOfRange:
    """Stands for a number that cannot be held; never leaves this module."""


class _Repeating(dict[str, Any]):
    """An object some of whose names occur more than once; never leaves this module."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counted = Counter(name for name, _ in pairs)
        self.repeated = frozenset(name for name, times in counted.items() if times > 1)


_OUT_OF_RANGE: Final = _OutOfRange()


def decode_body(body: bytes, shape: type[S]) -> S:
    """
    Read a JSON body as *shape*.

    Raises:
        InvalidInputError: If it is not strict JSON in UTF-8, or not of that shape; names all faults of the first kind
            found.
    """
    return convert_document(read_json(body), shape)


def decode_form(body: bytes, shape: type[S]) -> S:
    """
    Read a body of ``name=value`` pairs as *shape*; those that it does not name, or that are empty, are ignored.

    So OAuth wants it (RFC 6749 §3.2).

    Raises:
        InvalidInputError: If a parameter is missing, repeated or badly encoded.
    """
    given = read_query(body.decode("latin-1"))
    return convert_document({name: value for name, value in given.items() if value}, shape)


def decode_query(query: str, shape: type[S]) -> S:
    """
    Read a query string as *shape*; parameters that it does not name are ignored, since mail programs add their own.

    A member that is an array takes a parameter that occurs once for each item, and one that is an integer its digits.
    A shape that forbids unknown fields refuses parameters that it does not name, after all.

    Raises:
        InvalidInputError: If a parameter is missing, repeated, badly encoded or not of its type.
    """
    arrays, integers = _special_parameters(shape)
    parameters: dict[str, Any] = {**read_query(query, arrays=arrays)}
    for name in parameters.keys() & integers:
        if _INTEGER.fullmatch(parameters[name]):
            parameters[name] = int(parameters[name])
    return convert_document(parameters, shape)


@functools.cache
def _special_parameters(shape: type[msgspec.Struct]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the members of a query that are arrays, and of those that are integers."""
    fields = fields_of(shape)
    arrays = frozenset(field.encode_name for field in fields if _is_array(field.type))
    return arrays, frozenset(field.encode_name for field in fields if _is_integer(field.type))


@functools.cache
def fields_of(shape: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return what a shape declares; msgspec evaluates its annotations anew whenever it is asked."""
    return msgspec.structs.fields(shape)


def read_json(body: bytes) -> Any:  # noqa: ANN401 - JSON of any shape
    """
    Parse strict JSON.

    Raises:
        InvalidInputError: If it is anything else.
    """
    if _is_too_deep(body):
        _refuse("too-deep", f"The body is nested deeper than {MAX_DEPTH} levels.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        _refuse("invalid-utf-8", f"The body is not UTF-8: see byte {error.start}.", error)
    watch = _Watch()
    try:
        document = watch.decoder.decode(text)
    except json.JSONDecodeError as error:
        _refuse("malformed-json", f"The body is not JSON: {error.msg}, at character {error.pos}.", error)
    if watch.suspicious or "\\u" in text:
        _raise_if_any(list(_unusable(document, ())))
    return document


def read_query(query: str, *, arrays: frozenset[str] = frozenset()) -> dict[str, str | list[str]]:
    """
    Parse ``name=value`` pairs (WHATWG URL §5.1), strictly.

    Args:
        query: As sent.
        arrays: Names that may occur more than once; their values are lists.

    Raises:
        InvalidInputError: If another name occurs twice, or a part is not percent-encoded UTF-8 without NUL.
    """
    parameters: dict[str, Any] = {}
    faults: list[Fault] = []
    for part in filter(None, query.split("&")):
        raw_name, _, raw_value = part.partition("=")
        name, value = _unquoted(raw_name), _unquoted(raw_value)
        if name is None or value is None:
            place = (_shown(raw_name if name is None else name),)
            faults.append(Fault(place, "invalid-encoding", "Percent-encode UTF-8 text without NUL."))
        elif name in arrays:
            parameters.setdefault(name, []).append(value)
        elif name in parameters:
            faults.append(Fault((_shown(name),), "repeated", "Give this parameter once."))
        else:
            parameters[name] = value
    _raise_if_any(faults)
    return parameters


def _is_array(kind: Any) -> bool:  # noqa: ANN401 - types of any shape
    return get_origin(get_args(kind)[0] if get_origin(kind) is Annotated else kind) is tuple


def _is_integer(kind: Any) -> bool:  # noqa: ANN401 - types of any shape
    if get_origin(kind) is Annotated:
        return _is_integer(get_args(kind)[0])
    return kind is int or (get_origin(kind) in {Union, UnionType} and any(map(_is_integer, get_args(kind))))


def percent_decoded(text: str) -> str | None:
    """
    Return *text* without percent-encoding; None where that is malformed, no UTF-8, or holds NUL.

    Args:
        text: As sent, in latin-1; bytes that ought to have been encoded count as themselves.
    """
    if _PLAIN.fullmatch(text):
        return text
    if _BAD_PERCENT.search(text):
        return None
    try:
        decoded = unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError:
        return None
    return None if "\x00" in decoded else decoded


def _unquoted(text: str) -> str | None:
    return percent_decoded(text.replace("+", " "))


class _Watch:
    """One parse, and whether it met something that has to be looked for again with its place."""

    def __init__(self) -> None:
        self.suspicious = False
        self.decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._integer,
            parse_float=self._number,
            parse_constant=self._constant,
        )

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        self.suspicious = True
        return _Repeating(pairs)

    def _integer(self, digits: str) -> int | _OutOfRange:
        if len(digits) <= _MAX_INTEGER_DIGITS + 1 and _MIN_INTEGER <= (value := int(digits)) <= _MAX_INTEGER:
            return value
        return self._out_of_range()

    def _number(self, digits: str) -> float | _OutOfRange:
        value = float(digits)
        return value if math.isfinite(value) else self._out_of_range()

    def _constant(self, name: str) -> NoReturn:
        _refuse("malformed-json", f"The body is not JSON, which has no {name}.")

    def _out_of_range(self) -> _OutOfRange:
        self.suspicious = True
        return _OUT_OF_RANGE


def _is_too_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _unusable(value: Any, place: tuple[str | int, ...]) -> Iterator[Fault]:  # noqa: ANN401 - JSON of any shape
    """Find what is JSON and yet refused everywhere."""
    match value:
        case str() if _UNUSABLE.search(value):
            yield Fault(place, "invalid-character", "NUL and lone surrogates are not allowed.")
        case _OutOfRange():
            yield Fault(place, "number-out-of-range", "This number is too large.")
        case dict():
            yield from _unusable_members(value, place)
        case list():
            for index, item in enumerate(value):
                yield from _unusable(item, (*place, index))


def _unusable_members(members: dict[str, Any], place: tuple[str | int, ...]) -> Iterator[Fault]:
    repeated = members.repeated if isinstance(members, _Repeating) else frozenset()
    for name, value in members.items():
        within = (*place, _shown(name))
        if _UNUSABLE.search(name):
            yield Fault(within, "invalid-character", "NUL and lone surrogates are not allowed in a name.")
        if name in repeated:
            yield Fault(within, "repeated", "This name occurs more than once.")
        yield from _unusable(value, within)


def convert_document(document: Any, shape: type[S]) -> S:  # noqa: ANN401 - JSON of any shape
    """
    Read what :func:`read_json` returned as *shape*.

    Raises:
        InvalidInputError: If it is not of that shape; names all faults.
    """
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        faults = list(_shape_faults(document, shape))
        raise InvalidInputError(tuple(faults[:MAX_FAULTS])) from error


def _shape_faults(document: Any, shape: type[S]) -> Iterator[Fault]:  # noqa: ANN401 - JSON of any shape
    """Find everything that keeps *document* from being *shape*; the decoder itself stops at the first."""
    if not isinstance(document, dict):
        yield Fault((), "invalid-type", "Send a JSON object.")
        return
    fields = {field.encode_name: field for field in fields_of(shape)}
    for name, field in fields.items():
        if name in document:
            yield from _value_faults(document[name], field.type, name)
        elif field.required:
            yield Fault((name,), "required", "This member is required.")
    if shape.__struct_config__.forbid_unknown_fields:
        for name in document:
            if name not in fields:
                yield Fault((_shown(name),), "unknown-field", "This member is not known here.")


def _value_faults(value: Any, kind: Any, name: str) -> Iterator[Fault]:  # noqa: ANN401 - JSON and types of any shape
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield _fault_of(str(error), name)


def _fault_of(message: str, name: str) -> Fault:
    place = (name, *_steps_within(message))
    if member := _MEMBER.search(message):
        is_missing = member["fault"] == "missing required"
        code, text = ("required", "is required") if is_missing else ("unknown-field", "is not known here")
        return Fault((*place, _shown(member["name"])), code, f"This member {text}.")
    if length := _LENGTH.search(message):
        is_upper = length["relation"] == "<="
        bound = "at most" if is_upper else "at least"
        unit = "items" if "`array`" in message else "characters"
        return Fault(place, "too-long" if is_upper else "too-short", f"Use {bound} {length['limit']} {unit}.")
    if bounds := _RANGE.search(message):
        bound = "at most" if bounds["relation"] == "<=" else "at least"
        return Fault(place, "number-out-of-range", f"Use {bound} {bounds['limit']}.")
    if message in _FORMATS:
        return Fault(place, "invalid-type", _FORMATS[message])
    expected = _EXPECTED.search(message)
    names = [_TYPE_NAMES.get(kind.strip(), kind.strip()) for kind in expected["types"].split("|")] if expected else []
    return Fault(place, "invalid-type", f"Send {' or '.join(names)}." if names else "This value is not valid.")


def _steps_within(message: str) -> Iterator[str | int]:
    """Tell where in the value the fault is."""
    place = _PLACE.search(message)
    for step in _STEP.finditer(place["steps"] if place else ""):
        yield step["member"] if step["index"] is None else int(step["index"])


def _shown(name: str) -> str:
    """Return a name of the client's as it can be told: encodable, and not longer than makes sense."""
    return _UNUSABLE.sub("\ufffd", name)[:_MAX_SHOWN_CHARACTERS]


def _refuse(code: str, message: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidInputError((Fault((), code, message),)) from cause


def _raise_if_any(faults: list[Fault]) -> None:
    if faults:
        raise InvalidInputError(tuple(faults[:MAX_FAULTS]))
