"""
What every list has in common: limit, cursor, page, order, fields, and the answer with its links.

A cursor is what the server would have to remember of a walk, handed to the client with a tag: where to go on, in which
order, and a hash of what the list was asked for. It is not secret, and it cannot be changed.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import attrs
import msgspec
from msgspec import UNSET

from userservice_core.domain.lists import MAX_OFFSET_ROWS, PageRequest, Position, Sort, Start
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.call import json_response
from userservice_core.http.conditional import PRIVATE, etag_of_content
from userservice_core.http.decoding import fields_of
from userservice_core.http.errors import CursorInvalidError, CursorMismatchError
from userservice_core.http.wire import ListQuery, PageItem
from userservice_core.ports.security import CursorSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.domain.lists import Page
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response

T = TypeVar("T")

_VERSION: Final = 1
"""Of what a cursor holds; one of another version is not valid any more."""

_ASKED_BY_ALL: Final = frozenset(ListQuery.__struct_fields__)
_HASH_BYTES: Final = 16


class _Cursor(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What a cursor holds; the key of the row is in the member of its type, and in none if it has no key."""

    version: int
    asked: bytes
    sort: str
    backwards: bool
    inclusive: bool
    id: UUID
    text: str | None = None
    number: int | None = None
    time: datetime | None = None


@attrs.frozen(kw_only=True)
class AskedList:
    """
    A list as a client asked for it.

    Attributes:
        request: Which part of it.
    """

    request: PageRequest
    _query: ListQuery
    _fields: tuple[str, ...] | None
    _asked: bytes = attrs.field(repr=False)
    _cursors: CursorSigner = attrs.field(repr=False)

    def answer(self, page: Page[T], show: Callable[[T], msgspec.Struct]) -> Response:
        """Answer with *page*, each row shown by *show*, and tell where others are (RFC 8288)."""
        following, preceding = self._cursor_to(page.following), self._cursor_to(page.preceding)
        item = PageItem(
            limit=self.request.limit,
            next_cursor=following,
            prev_cursor=preceding,
            total=page.total,
            total_is_estimate=page.total_is_estimate,
        )
        content = {"data": [self._selected(show(row)) for row in page.rows], "page": item}
        links = [("next", following), ("prev", preceding), ("first", None)]
        link = ", ".join(
            f'<?{self._query_of(cursor)}>; rel="{name}"' for name, cursor in links if cursor or name == "first"
        )
        etag = etag_of_content(msgspec.json.encode(content))
        return json_response(200, content, (("etag", etag), ("link", link), *PRIVATE))

    def _selected(self, row: msgspec.Struct) -> msgspec.Struct | dict[str, Any]:
        if self._fields is None:
            return row
        members = {field.encode_name: field.name for field in fields_of(type(row))}
        return {name: getattr(row, members[name]) for name in self._fields}

    def _cursor_to(self, start: Start | None) -> str | None:
        if start is None:
            return None
        key = start.beside.key
        cursor = _Cursor(
            version=_VERSION,
            asked=self._asked,
            sort=self._query.sort,
            backwards=start.backwards,
            inclusive=start.inclusive,
            id=start.beside.id,
            text=key if isinstance(key, str) else None,
            number=key if isinstance(key, int) else None,
            time=key if isinstance(key, datetime) else None,
        )
        return self._cursors.sign(msgspec.json.encode(cursor))

    def _query_of(self, cursor: str | None) -> str:
        """
        Return the query of a link.

        A link that consists of a query is relative to the address of the request (RFC 3986 §5.2.2), whatever proxies
        have made of that.
        """
        asked = msgspec.to_builtins(self._query)
        given = {name: value for name, value in asked.items() if name not in {"cursor", "page"}}
        if cursor is not None:
            given["cursor"] = cursor
        # A link that asks for nothing in particular would be an empty one, which is no reference to a query.
        return urlencode(given or {"limit": self.request.limit}, doseq=True, quote_via=quote)


def asked_list(call: Call, shape: type[ListQuery], *, of: type[msgspec.Struct]) -> AskedList:
    """
    Read what *call* asks for.

    Args:
        call: Its query is a *shape*.
        shape: What the list can be asked for; the members that it adds to those of all lists are its filters.
        of: How a row is shown, for `fields`.

    Raises:
        InvalidInputError: If a page is out of reach, or asked for besides a cursor, or a field is not one of the rows'.
        CursorInvalidError: If the cursor was changed, or its key is gone.
        CursorMismatchError: If it belongs to another list, other filters or another order.
    """
    query = call.query(shape)
    faults = (*_page_faults(query), *_field_faults(query, of))
    if faults:
        raise InvalidInputError(faults)
    cursors = call.services.use_cases.cursors
    asked = _hash_of(call, query, of)
    return AskedList(
        request=PageRequest(
            sort=Sort.parse(query.sort),
            limit=query.limit,
            start=None if query.cursor is UNSET else _start_of(query.cursor, query.sort, asked, cursors),
            offset=0 if query.page is UNSET else (query.page - 1) * query.limit,
        ),
        query=query,
        fields=None if query.fields is UNSET else tuple(dict.fromkeys(query.fields.split(","))),
        asked=asked,
        cursors=cursors,
    )


def _page_faults(query: ListQuery) -> Iterator[Fault]:
    if query.page is UNSET:
        return
    if query.cursor is not UNSET:
        yield Fault(("page",), "conflicting", "Give a page or a cursor, not both.")
    if query.page * query.limit > MAX_OFFSET_ROWS:
        message = f"Page times limit is at most {MAX_OFFSET_ROWS}; go on with cursors from there."
        yield Fault(("page",), "number-out-of-range", message)


def _field_faults(query: ListQuery, shape: type[msgspec.Struct]) -> Iterator[Fault]:
    if query.fields is UNSET:
        return
    known = {field.encode_name for field in fields_of(shape)}
    if not known.issuperset(query.fields.split(",")):
        yield Fault(("fields",), "unknown-field", f"Name some of these: {', '.join(sorted(known))}.")


def _hash_of(call: Call, query: ListQuery, shown: type[msgspec.Struct]) -> bytes:
    """Return a hash of which list it is and of its filters."""
    filters = {name: getattr(query, name) for name in query.__struct_fields__ if name not in _ASKED_BY_ALL}
    given = sorted((name, value) for name, value in filters.items() if value is not UNSET)
    content = msgspec.json.encode((shown.__name__, sorted(call.parameters.items()), given))
    return hashlib.sha256(content).digest()[:_HASH_BYTES]


def _start_of(text: str, sort: str, asked: bytes, cursors: CursorSigner) -> Start:
    content = cursors.verify(text)
    if content is None:
        raise CursorInvalidError
    try:
        cursor = msgspec.json.decode(content, type=_Cursor)
    except msgspec.ValidationError as error:
        raise CursorInvalidError from error
    if cursor.version != _VERSION:
        raise CursorInvalidError
    if (cursor.asked, cursor.sort) != (asked, sort):
        raise CursorMismatchError
    keys = (key for key in (cursor.text, cursor.number, cursor.time) if key is not None)
    return Start(
        beside=Position(key=next(keys, None), id=cursor.id), backwards=cursor.backwards, inclusive=cursor.inclusive
    )
