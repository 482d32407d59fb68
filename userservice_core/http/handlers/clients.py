"""Service clients and their secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from userservice_core.domain.ids import ClientId, ClientSecretId
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.conditional import etag_of
from userservice_core.http.lists import asked_list
from userservice_core.http.read_only import require_unchanged
from userservice_core.http.wire import (
    ClientAnswer,
    ClientPatchBody,
    NamedQuery,
    NewClientAnswer,
    NewClientBody,
    NewClientSecretAnswer,
)

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.application.service_clients import ServiceClients
    from userservice_core.domain.clients import ServiceClient
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "client1"
"""Names the shape of the answer; raised whenever the same version of a client is shown differently."""

_READ_ONLY: Final = ("id", "secrets", "created_at", "disabled_at", "version")


def list_clients(call: Call) -> Response:
    """Show some of the clients."""
    asked = asked_list(call, NamedQuery, of=ClientAnswer)
    return asked.answer(_clients(call).list_page(request=asked.request), ClientAnswer.of)


def create_client(call: Call) -> Response:
    """Make a client with its first secret."""
    body = call.body(NewClientBody)
    new = _clients(call).create(actor=call.require_actor(), name=body.name, permissions=body.permissions)
    headers = (("location", f"/admin/clients/{new.client.id}"), _etag(new.client))
    return json_response(201, NewClientAnswer.showing(new), headers)


def get_client(call: Call) -> Response:
    """Show a client."""
    return _shown(_clients(call).get(client_id=_id(call)))


def update_client(call: Call) -> Response:
    """Change a client; what is not sent stays."""
    body = call.body(ClientPatchBody)

    def revise(client: ServiceClient, now: datetime) -> ServiceClient:
        require_unchanged(body, ClientAnswer.of(client), _READ_ONLY)
        return client.revised(
            name=client.name if body.name is UNSET else body.name,
            permissions=client.permissions if body.permissions is UNSET else frozenset(body.permissions),
            is_disabled=client.is_disabled if body.disabled is UNSET else body.disabled,
            now=now,
        )

    changed = _clients(call).change(
        actor=call.require_actor(), client_id=_id(call), revise=revise, expected=call.versions
    )
    return _shown(changed)


def delete_client(call: Call) -> Response:
    """Erase a client."""
    _clients(call).delete(actor=call.require_actor(), client_id=_id(call), expected=call.versions)
    return empty_response(204)


def create_client_secret(call: Call) -> Response:
    """Make a second secret."""
    new = _clients(call).create_secret(actor=call.require_actor(), client_id=_id(call), expected=call.versions)
    return json_response(201, NewClientSecretAnswer(id=new.id, secret=new.text), (_etag(new.client),))


def delete_client_secret(call: Call) -> Response:
    """Erase a secret."""
    _clients(call).delete_secret(
        actor=call.require_actor(),
        client_id=_id(call),
        secret_id=ClientSecretId(call.parameter("secretId")),
        expected=call.versions,
    )
    return empty_response(204)


def _clients(call: Call) -> ServiceClients:
    return call.services.use_cases.service_clients


def _id(call: Call) -> ClientId:
    return ClientId(call.parameter("id"))


def _etag(client: ServiceClient) -> tuple[str, str]:
    return ("etag", etag_of(client.version, _VARIANT))


def _shown(client: ServiceClient) -> Response:
    headers: Headers = (_etag(client),)
    return json_response(200, ClientAnswer.of(client), headers)
