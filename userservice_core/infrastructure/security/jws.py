"""
Signed tokens in compact form (RFC 7515 §7.1), taken apart without any tolerance before a signature is looked at.

PyJWT does the signatures. What is checked here it leaves open or leaves to its caller: the algorithm follows from the
key, never from the token (RFC 8725 §3.1), `typ` is compared as a whole (§3.11), and a header that asks for something
critical, or brings its own key, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import jwt

from userservice_core.infrastructure.security.encoding import decode_base64url, parse_json_object

if TYPE_CHECKING:
    from userservice_core.infrastructure.security.jwk import VerificationKey
    from userservice_core.infrastructure.security.keys import SigningKey

MAX_TOKEN_CHARACTERS: Final = 8_192

_REFUSED_MEMBERS: Final = frozenset({"crit", "b64", "zip", "jwk", "jku", "x5c", "x5u"})
_SIGNER: Final = jwt.PyJWS()


class TokenRefusedError(ValueError):
    """A token is not one of ours; the message is for tests and logs, never for the caller."""


class UnknownKeyError(TokenRefusedError):
    """A token names a key that is not known; perhaps it is newer than what is known."""


@attrs.frozen
class ParsedToken:
    """A token in its parts; nothing of it is to be believed before :func:`require_signature`."""

    header: Mapping[str, Any]
    payload: bytes
    signed: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)


def parse_token(text: str) -> ParsedToken:
    """
    Take a token apart.

    Raises:
        TokenRefusedError: If it is not exactly three segments of canonical base64url, is too long, or its header is no
            JSON object, repeats a member or holds one that is never taken.
    """
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise TokenRefusedError("too long")
    segments = text.split(".")
    if len(segments) != 3:  # noqa: PLR2004 - header, payload, signature
        raise TokenRefusedError("not three segments")
    try:
        header_data, payload, signature = (decode_base64url(segment) for segment in segments)
        header = parse_json_object(header_data)
    except ValueError as error:
        raise TokenRefusedError(str(error)) from error
    if _REFUSED_MEMBERS & header.keys():
        raise TokenRefusedError("a header member that is never taken")
    return ParsedToken(header, payload, f"{segments[0]}.{segments[1]}".encode(), signature)


def require_signature(token: ParsedToken, key: VerificationKey) -> None:
    """
    Check that *key* signed the token.

    Raises:
        TokenRefusedError: If it did not, or the header names another key or algorithm.
    """
    if token.header.get("kid") != key.id:
        raise TokenRefusedError("another key")
    if token.header.get("alg") != key.algorithm.value:
        raise TokenRefusedError("another algorithm")
    if not jwt.get_algorithm_by_name(key.algorithm.value).verify(token.signed, key.public, token.signature):
        raise TokenRefusedError("not signed by its key")


def open_token(text: str, keys: Mapping[str, VerificationKey], *, typ: str) -> tuple[VerificationKey, bytes]:
    """
    Return the payload of a token of type *typ*, and the one of *keys* that signed it.

    Raises:
        TokenRefusedError: If it is none.
    """
    token = parse_token(text)
    if token.header.get("typ") != typ:
        raise TokenRefusedError("another type")
    key_id = token.header.get("kid")
    key = keys.get(key_id) if isinstance(key_id, str) else None
    if key is None:
        raise UnknownKeyError("unknown key")
    require_signature(token, key)
    return key, token.payload


def sign_token(payload: bytes, key: SigningKey, *, typ: str) -> str:
    """Return *payload* as a token of type *typ*."""
    algorithm = key.verification.algorithm.value
    return _SIGNER.encode(payload, key.private, algorithm=algorithm, headers={"typ": typ, "kid": key.id})
