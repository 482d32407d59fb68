"""The page about the API, over every host and below a stage."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from adapters.lambda_handler.app import create_handler
from tests.hosts.clients import LambdaClient
from tests.lambda_events import http_api_event, rest_api_event
from userservice_core.http.documentation import CONTENT_SECURITY_POLICY
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from typing import Any

    from tests.hosts.installation import Installation
    from tests.lambda_events import EventMaker
    from userservice_core.http.messages import Headers
    from userservice_core.testing.host import HostClient


def test_it_is_a_page_that_may_be_kept(client: HostClient) -> None:
    """HTML under a policy of its own, which no other one contradicts; asked again, it has not changed."""
    page = client.request("GET", "/docs")
    etag = page.header("etag")
    again = client.request("GET", "/docs", headers=[("if-none-match", str(etag))])
    head = client.request("HEAD", "/docs")

    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    assert page.header("content-security-policy") == CONTENT_SECURITY_POLICY
    assert page.header("cache-control") == "public, max-age=300"
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert (again.status, again.body, again.header("etag")) == (304, b"", etag)
    assert (head.status, head.body, head.header("content-length")) == (200, b"", str(len(page.body)))


@pytest.mark.parametrize("make_event", [http_api_event, rest_api_event], ids=["http-api", "rest-api"])
def test_its_link_leads_to_the_document_below_a_stage(installation: Installation, make_event: EventMaker) -> None:
    """A gateway that puts its stage in front of every path."""

    def staged(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
        event = make_event(method, target, headers, body)
        event["requestContext"]["stage"] = "prod"
        return event

    client = LambdaClient(create_handler(installation.service), make_event=staged)
    page = client.request("GET", "/prod/docs")
    document = client.request("GET", urljoin("/prod/docs", "openapi.json"))

    assert b'href="openapi.json"' in page.body
    assert (document.status, json_of(document)["openapi"]) == (200, "3.1.0")
