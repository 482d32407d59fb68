"""The answer to whoever has a session now: the same after a sign-in, a second factor and a refresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.http.call import json_response
from userservice_core.http.wire import SignedInAnswer, SignedInByCookieAnswer

if TYPE_CHECKING:
    from userservice_core.application.authentication import SignedIn
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def signed_in_response(call: Call, signed_in: SignedIn) -> Response:
    """Give the tokens of *signed_in*, the refresh token in the way that the installation has chosen."""
    cookie = call.services.refresh_cookie
    if cookie is None:
        return json_response(200, SignedInAnswer.of(signed_in))
    kept = cookie.keeping(signed_in.refresh_token, seconds=signed_in.refresh_expires_in_seconds)
    return json_response(200, SignedInByCookieAnswer.of(signed_in), kept)
