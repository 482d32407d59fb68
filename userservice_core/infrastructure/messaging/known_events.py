"""The data that the events have which the user service publishes or takes: others of their types are not handled."""

from __future__ import annotations

import enum
import functools
import operator
import types
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import attrs
import msgspec

from userservice_core.domain.event_data import camel_case
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES, Event

_ENVELOPE_MEMBERS: Final = frozenset({"id", "occurred_at"})


def fault_of(event_type: str, data: object) -> str | None:
    """
    Say what is wrong with the data of *event_type*; None where nothing is, and for events that it does not know.

    As their schemas do, it lets members pass that are not known yet, and values where more may come to be.
    """
    fault = None
    for shape in _shapes_of(event_type):
        try:
            msgspec.convert(data, shape)
        except (msgspec.ValidationError, RecursionError) as error:
            fault = str(error)
        else:
            return None
    return fault


@functools.cache
def _shapes_of(event_type: str) -> tuple[type[msgspec.Struct], ...]:
    """Return the alternatives: several classes may be one type on the wire."""
    return tuple(
        _shape_of(known)
        for known in (*EVENT_TYPES, *RECEIVED_TYPES)
        if f"userservice.{known.type}.v{known.schema_version}" == event_type
    )


def _shape_of(event_class: type[Event]) -> type[msgspec.Struct]:
    hints = get_type_hints(event_class)
    members: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in attrs.fields(event_class):
        if field.name not in _ENVELOPE_MEMBERS:
            member = (field.name, _open(hints[field.name]))
            members.append(member if field.default is attrs.NOTHING else (*member, field.default))
    return msgspec.defstruct(event_class.__name__, members, rename=camel_case, kw_only=True, frozen=True)


def _open(annotation: Any) -> Any:  # noqa: ANN401 - whatever a class is annotated with
    """Return the type that values have on the wire, with no end to those of an enumeration."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return functools.reduce(operator.or_, map(_open, arguments))
    if origin is tuple:
        return types.GenericAlias(tuple, (_open(arguments[0]), ...))
    return str if isinstance(annotation, type) and issubclass(annotation, enum.Enum) else annotation
