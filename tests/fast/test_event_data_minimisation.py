"""No event holds a secret, and whatever it holds of a person says what consumers need it for."""

from __future__ import annotations

import enum
import types
from datetime import datetime
from typing import Any, Final, Union, get_args, get_origin
from uuid import UUID

import attrs
import pytest

from userservice_core.domain.audit import SECRET_NAMES
from userservice_core.domain.event_schemas import data_members, personal_members
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES, Event, personal

IMPERSONAL: Final = {
    "status": "one of the statuses of an account",
    "previousStatus": "one of the statuses of an account",
    "method": "one of a few ways",
    "by": "one of a few kinds of people, and nobody by name",
    "reason": "the code of a rule, where a class does not say otherwise",
    "amr": "kinds of proof (RFC 8176)",
    "role": "the name of a role",
    "roles": "names of roles",
    "permission": "the name of a permission",
    "name": "of a role or a permission",
    "description": "of a role or a permission",
    "groupName": "of permissions",
    "change": "one of a few changes",
    "requestId": "the id of an event",
    "requestSource": "the name of a service",
    "changedMembers": "names of members without their values",
}
"""Members that are texts and tell nothing of a person, with what they hold."""

SEALED: Final = {("NotificationRequested", "sealedToken"): "sealed under the key ring; the bus never carries it"}
"""Members that are secrets in a form that is of no use to whoever reads the event."""

ALWAYS_PERSONAL: Final = ("user", "email", "phone", "first", "last", "birth", "ip", "agent", "line", "city", "postal")
"""Words in the name of a member that make it personal, whatever its type."""

_MEMBERS: Final = [
    pytest.param(kind, name, annotation, id=f"{kind.__name__}.{name}")
    for kind in (*EVENT_TYPES, *RECEIVED_TYPES)
    for name, annotation, _ in data_members(kind)
]


def _leaves(annotation: Any) -> set[type]:  # noqa: ANN401 - whatever a class is annotated with
    """Return the types that values of an annotation consist of."""
    if hasattr(annotation, "__supertype__"):
        return _leaves(annotation.__supertype__)
    if get_origin(annotation) in {Union, types.UnionType, tuple}:
        return set().union(*(_leaves(part) for part in get_args(annotation) if part is not Ellipsis))
    return {annotation}


def _words(name: str) -> set[str]:
    spaced = "".join(f" {sign.lower()}" if sign.isupper() else sign for sign in name)
    return set(spaced.split())


@pytest.mark.parametrize(("kind", "name", "annotation"), _MEMBERS)
def test_what_is_personal_says_what_for(kind: type[Event], name: str, annotation: Any) -> None:  # noqa: ANN401
    """A member that holds a text, or is named like something of a person, is declared one way or the other."""
    why = personal_members(kind).get(name)

    if _words(name) & set(ALWAYS_PERSONAL):
        assert why
    elif why is None and str in _leaves(annotation) and (kind.__name__, name) not in SEALED:
        assert name in IMPERSONAL


def test_nothing_is_declared_that_is_not_there() -> None:
    """A line that is left over would let the next member of that name pass."""
    names = {name for kind in EVENT_TYPES for name, *_ in data_members(kind) if name not in personal_members(kind)}

    assert set(IMPERSONAL) - names == set()
    assert {(kind.__name__, name) for kind in EVENT_TYPES for name, *_ in data_members(kind)} >= set(SEALED)


@pytest.mark.parametrize(("kind", "name", "annotation"), _MEMBERS)
def test_nothing_is_a_secret(kind: type[Event], name: str, annotation: Any) -> None:  # noqa: ANN401
    """Neither by its name, nor by a type that is not meant to be read, such as bytes."""
    known = {str, int, float, bool, UUID, datetime, type(None)}

    assert {leaf for leaf in _leaves(annotation) if leaf not in known and not issubclass(leaf, enum.Enum)} == set()
    if (kind.__name__, name) not in SEALED:
        assert not any(part in name.lower() for part in (*SECRET_NAMES, "credential", "otp"))


def test_a_reason_is_a_sentence() -> None:
    """An empty one declares nothing."""

    @attrs.frozen(kw_only=True)
    class Probe:
        email: str = attrs.field(metadata=personal("to say hello"))

    assert personal_members(Probe) == {"email": "to say hello"}  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="what for"):
        personal("  ")
