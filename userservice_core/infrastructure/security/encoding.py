"""The two text forms that tokens and keys are written in, read without any tolerance: base64url and JSON."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def encode_base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """
    Return the bytes of *text*; each byte string has exactly one text that is taken.

    Raises:
        ValueError: If a character is foreign, padding is present, or bits that encode nothing are set.
    """
    if _ALPHABET.fullmatch(text) is None:
        raise ValueError("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url without padding") from error
    if encode_base64url(data) != text:
        raise ValueError("base64url with stray bits")
    return data


def parse_json_object(data: bytes | str) -> dict[str, Any]:
    """
    Return the JSON object that *data* is.

    Two readers that disagree on a repeated member let one check what the other uses, so repetition is refused.

    Raises:
        ValueError: If it is no JSON in UTF-8, no object, nests too deeply, repeats a member, or holds NaN or Infinity.
    """
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        value = json.loads(text, object_pairs_hook=_unique_members, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - it is the input that is wrong, not the call
    return value


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
