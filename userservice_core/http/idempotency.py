"""
The header `Idempotency-Key`: a POST that is repeated with it is answered as before, and does nothing again.

The header is that of the draft of the IETF (draft-ietf-httpapi-idempotency-key-header); its value may stand in quotes,
as there, or not, as nearly everybody sends it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from userservice_core.application.idempotency import KeyedCall
from userservice_core.errors import IdempotencyKeyInvalidError, UserServiceError
from userservice_core.http.messages import Response

if TYPE_CHECKING:
    from uuid import UUID

    from userservice_core.http.messages import Request

KEY_HEADER: Final = "idempotency-key"
REPLAYED: Final = ("idempotency-replayed", "true")
"""Marks an answer that was given before."""

# Neither quotes nor commas: repeated headers are joined by commas, and must not pass for one key.
_KEY: Final = re.compile(r'(")?([\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,255})(?(1)")')
# What a character says at most where it is not known how the key was made; entropy itself cannot be seen.
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f-]+")
_BITS_A_DIGIT: Final = 4
_BITS_A_CHARACTER: Final = 6
_LEAST_BITS: Final = 128
_KEPT_STATUSES: Final = range(200, 300)


def keyed_call(request: Request, *, owner_id: UUID | None, cookie_token: str | None = None) -> KeyedCall | None:
    """
    Return the call that *request* names by its key, None where it has none.

    Args:
        request: A POST.
        owner_id: Who is calling; None where that was not asked.
        cookie_token: The refresh token that is sent beside the body; another one makes it another request.

    Raises:
        IdempotencyKeyInvalidError: If it is no key, or is for a call of anyone and could be met by chance.
    """
    value = request.header(KEY_HEADER)
    if value is None:
        return None
    match = _KEY.fullmatch(value.strip())
    if match is None or (owner_id is None and not _is_long(match[2])):
        raise IdempotencyKeyInvalidError
    parts = [request.query.encode("latin-1", "replace"), request.body]
    if cookie_token is not None:
        parts.append(cookie_token.encode("latin-1", "replace"))
    return KeyedCall(
        owner_id=owner_id,
        purpose=f"{request.method} {request.path}",
        key=match[2],
        content=b"\0".join(parts),
    )


def _is_long(key: str) -> bool:
    """Tell whether *key* has room for 128 random bits: a UUID has, and 22 characters of base64url have."""
    if _HEXADECIMAL.fullmatch(key):
        return _BITS_A_DIGIT * len(key.replace("-", "")) >= _LEAST_BITS
    return _BITS_A_CHARACTER * len(key) >= _LEAST_BITS


class _KeptResponse(msgspec.Struct, array_like=True):
    """How an answer is written down."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def encode_answer(outcome: Response | UserServiceError) -> bytes | None:
    """Return *outcome* as bytes if it is to be given again: answers that tell of success are."""
    if isinstance(outcome, UserServiceError) or outcome.status not in _KEPT_STATUSES:
        return None
    return msgspec.msgpack.encode(_KeptResponse(outcome.status, outcome.headers, outcome.body))


def decode_answer(content: bytes) -> Response:
    """Return the answer that was kept, and mark it as a repeated one."""
    kept = msgspec.msgpack.decode(content, type=_KeptResponse)
    return Response(status=kept.status, headers=(*kept.headers, REPLAYED), body=kept.body)
