"""Tokens for service clients, and what clients may ask about tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.application.client_tokens import ClientCredentials
from userservice_core.errors import Fault, InvalidClientError, InvalidInputError
from userservice_core.http.call import json_response
from userservice_core.http.errors import UnsupportedGrantTypeError
from userservice_core.http.handlers.system import cacheable
from userservice_core.http.messages import Response
from userservice_core.http.wire import (
    AuthorizationServerAnswer,
    ClientTokenAnswer,
    Form,
    IntrospectionAnswer,
    PresentedTokenForm,
    TokenForm,
)

if TYPE_CHECKING:
    from userservice_core.application.client_tokens import ClientTokens
    from userservice_core.http.call import Call

_GRANT_TYPE: Final = "client_credentials"


def issue_token(call: Call) -> Response:
    """Give a client an access token."""
    form = call.body(TokenForm)
    if form.grant_type != _GRANT_TYPE:
        raise UnsupportedGrantTypeError
    token = _tokens(call).issue(credentials=_credentials(call, form), scope=form.scope)
    answer = ClientTokenAnswer(
        access_token=token.access_token, expires_in=token.expires_in_seconds, scope=" ".join(token.scope)
    )
    return json_response(200, answer)


def introspect_token(call: Call) -> Response:
    """Tell of an access token."""
    form = call.body(PresentedTokenForm)
    claims = _tokens(call).introspect(credentials=_credentials(call, form), token=form.token)
    if claims is None:
        return json_response(200, IntrospectionAnswer(active=False))
    return json_response(200, IntrospectionAnswer.of(claims, issuer=call.services.issuer))


def revoke_token(call: Call) -> Response:
    """End a token."""
    form = call.body(PresentedTokenForm)
    _tokens(call).revoke(credentials=_credentials(call, form), token=form.token)
    return Response(status=200)


def get_authorization_server(call: Call) -> Response:
    """Tell where tokens are issued, and how."""
    issuer = call.services.issuer
    return cacheable(
        AuthorizationServerAnswer(
            issuer=issuer,
            token_endpoint=f"{issuer}/oauth/token",
            introspection_endpoint=f"{issuer}/oauth/introspect",
            revocation_endpoint=f"{issuer}/oauth/revoke",
            jwks_uri=f"{issuer}/.well-known/jwks.json",
        )
    )


def get_openid_configuration(call: Call) -> Response:
    """Tell the same."""
    return get_authorization_server(call)


def _tokens(call: Call) -> ClientTokens:
    return call.services.use_cases.client_tokens


def _credentials(call: Call, form: Form) -> ClientCredentials:
    """
    Return what the client shows of itself, in the header or in the form (RFC 6749 §2.3.1).

    Raises:
        InvalidClientError: If it shows nothing.
        InvalidInputError: If it does so in both, or names two ids.
    """
    in_header = call.credentials
    if in_header is not None:
        if form.client_secret is not None:
            raise _twice("client_secret")
        if form.client_id not in {None, in_header.client_id}:
            raise _twice("client_id")
        return in_header
    if form.client_id is None or form.client_secret is None:
        raise InvalidClientError
    return ClientCredentials(client_id=form.client_id, secret=form.client_secret)


def _twice(member: str) -> InvalidInputError:
    return InvalidInputError((Fault((member,), "repeated", "Authenticate in the header or in the body, not in both."),))
