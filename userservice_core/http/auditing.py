"""Which refusals the audit log is told of, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.domain.audit import Subject, SubjectKind
from userservice_core.errors import LastAdministratorError
from userservice_core.http.problems import status_of
from userservice_core.http.routes import Holder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from userservice_core.errors import UserServiceError
    from userservice_core.http.routes import Route

_FORBIDDEN: Final = 403
_ID: Final = "{id}"
_KINDS: Final = {
    "users": SubjectKind.USER,
    "roles": SubjectKind.ROLE,
    "permissions": SubjectKind.PERMISSION,
    "clients": SubjectKind.CLIENT,
}


def is_audited(route: Route, error: UserServiceError) -> bool:
    """Tell whether *error* says that the caller may not do what *route* is for, on a route that wants a permission."""
    is_refusal = status_of(error) == _FORBIDDEN or isinstance(error, LastAdministratorError)
    return is_refusal and isinstance(route.who, Holder)


def subject_of(route: Route, parameters: Mapping[str, UUID]) -> Subject | None:
    """Return what a call of *route* is about, by the collection that the id in its path is of."""
    segments = route.path.split("/")
    if _ID not in segments:
        return None
    kind = _KINDS.get(segments[segments.index(_ID) - 1])
    return None if kind is None else Subject(kind, parameters["id"])
