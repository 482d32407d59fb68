"""The page about the API: complete, sound HTML, and nothing that a browser would run or fetch."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from userservice_core.http.documentation import CONTENT_SECURITY_POLICY, documentation_page
from userservice_core.http.openapi import openapi_document
from userservice_core.http.routes import METRICS_ROUTE, ROUTES

_EMPTY_ELEMENTS: Final = frozenset({"meta", "br"})


class _Page(HTMLParser):
    """What a page has: its elements, and whether each is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY_ELEMENTS:
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.unclosed.pop() == tag

    def all_of(self, attribute: str) -> list[str]:
        return [str(attributes[attribute]) for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description of every route there is."""
    content: dict[str, Any] = json.loads(openapi_document((*ROUTES, METRICS_ROUTE), issuer="https://id.example"))
    return content


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> str:
    """The page about it."""
    return documentation_page(document)


def test_every_operation_and_every_shape_has_its_place(document: dict[str, Any], page: str) -> None:
    """Once, and every link within the page leads to one."""
    shown = _Page(page)
    ids = shown.all_of("id")
    links = {link for link in shown.all_of("href") if link != "openapi.json"}

    assert shown.unclosed == []
    assert len(ids) == len(set(ids))
    assert {route.operation_id for route in (*ROUTES, METRICS_ROUTE)} | document["components"]["schemas"].keys() <= set(
        ids
    )
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert all(link.startswith("#") for link in links)


def test_nothing_is_run_and_nothing_is_fetched(page: str) -> None:
    """No script, no handler, no style of an element, no address but relative ones."""
    shown = _Page(page)
    attributes = {name for _, given in shown.elements for name in given}

    assert {tag for tag, _ in shown.elements} & {"script", "iframe", "img", "link", "object", "form", "base"} == set()
    assert {name for name in attributes if name.startswith("on")} | attributes & {"style", "src", "srcset"} == set()
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_allows_the_style_sheet_and_nothing_else(page: str) -> None:
    """By the hash of what the page holds; a browser ignores a sheet whose hash is another one."""
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"style-src 'sha256-{digest}'" in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none';")
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_text_stays_text(document: dict[str, Any]) -> None:
    """Whatever a description or an example says."""
    hostile = "<script>alert(1)</script>"
    changed = json.loads(json.dumps(document).replace("Create an account", f"Create {hostile} `{hostile}`"))
    changed["components"]["schemas"]["RegisterBody"]["examples"] = [{"email": hostile}]
    page = documentation_page(changed)

    assert hostile not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
