"""
Texts that break programs, and a way through every text of every body and query.

The places are found by walking the shapes of the route table, so that a new member is covered by itself. A text comes
back as it was sent, or is refused with a pointer to its place.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import UUID

import attrs
import hypothesis
import msgspec
from hypothesis import strategies

from tests.hosts.installation import HOSTS, Installation
from tests.paths import NOBODY, path_of
from userservice_core.http.openapi import openapi_document
from userservice_core.http.problems import CONTENT_TYPE, TYPE_PREFIX, json_pointer
from userservice_core.http.routes import ROUTES, Route
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import HostClient

if TYPE_CHECKING:
    from userservice_core.http.messages import Response

Place = tuple[str | int, ...]

HOSTILE_TEXTS: Final[Mapping[str, str]] = {
    "empty": "",
    "blank": " \t\u00a0\u3000",
    "white space around": "  padded  ",
    "nul": "\x00",
    "nul within": "a\x00b",
    "c0 controls": "".join(map(chr, range(1, 32))),
    "delete and c1 controls": "".join(map(chr, range(0x7F, 0xA0))),
    "line ends": "a\r\nb\nc\rd\u2028e\u2029f\x85g",
    "header injection": "x\r\nSet-Cookie: a=b",
    "terminal escape": "\x1b[2J\x1b]0;title\x07",
    "override of direction": "\u202etxt.exe\u202c",
    "isolates": "\u2066a\u2067b\u2068c\u2069",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e",
    "zero width alone": "\u200b",
    "byte order mark": "\ufeffa",
    "byte order mark within": "a\ufeffb",
    "swapped byte order mark": "\ufffea",
    "replacement": "\ufffd",
    "no characters": "\ufdd0\uffff\U0001fffe\U0010ffff",
    "private use": "\ue000\U000f0000",
    "tags": "a\U000e0041\U000e0042\U000e007f",
    "variation selectors": "\u2764\ufe0f\u2764\ufe0e\U000e0100",
    "combining heap": "Z" + "\u0335\u0322\u0353\u0356\u0347\u0300" * 15,
    "combining first": "\u0301a",
    "composed": "caf\u00e9 \u00c5\u1e69",
    "decomposed": "cafe\u0301 A\u030a\u0073\u0323\u0307",
    "compatibility": "\ufb01\u2460\uff21\u2126\u00bd",
    "hangul in parts": "\u1112\u1161\u11ab",
    "case that grows": "\u00df\u0130\ufb03\u0149",
    "dotless i": "I\u0131i\u0130",
    "final sigma": "\u03a3\u03c3\u03c2",
    "mixed scripts": "p\u0430yp\u0430l",
    "emoji": "\U0001f600\U0001f44d\U0001f3fd",
    "joined emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3f4\u200d\u2620\ufe0f",
    "flags": "\U0001f1e9\U0001f1ea\U0001f1eb",
    "astral": "\U0001d54f\U00020bb7",
    "lone high surrogate": "a\ud800",
    "lone low surrogate": "\udfffa",
    "surrogates in the wrong order": "\udc00\ud800",
    "one very long": "x" * 1_100,
    "very long and wide": "\U0001f600" * 1_100,
    "sql": "'; DROP TABLE users; --",
    "sql comment": "a'/**/OR/**/'1'='1",
    "dollar quotes": "$$; SELECT pg_sleep(10); $$",
    "postgres literals": "E'\\000' {NULL,\"a\"} (1,2) \\N",
    "parameters": "%s %(name)s :name $1 ? {} {0.__class__} ${jndi:ldap://a} #{7*7} {{7*7}}",
    "format": "%n%x%s%d%99999999s",
    "like": "%_\\%\\_",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;&#0;",
    "attribute": '" onload="alert(1)\' javascript:alert(1)',
    "xml": "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>]]>",
    "shell": "$(id) `id` ; id | id && id > /tmp/x",
    "path": "../../../../etc/passwd",
    "windows path": "..\\..\\con.txt:$DATA",
    "encoded path": "%2e%2e%2f%00",
    "address": "http://169.254.169.254/latest/meta-data/",
    "ldap": "*)(uid=*))(|(uid=*",
    "regular expression": "(a+)+$[[:alpha:]]\\1(?R)",
    "quotes": "'\"`\u2018\u2019\u201c\u201d\u00ab\u00bb\\",
    "escapes": "\\u0000 \\x00 \\0 \\n &#x0; %00",
    "json": '{"a": [null, true, 1e999]}',
    "spreadsheet": "=cmd|' /C calc'!A0",
    "yaml": "!!python/object/apply:os.system ['id']",
    "pickle": "cos\nsystem\n(S'id'\ntR.",
    "number": "0x10",
    "huge number": "1e400",
    "infinity": "-Infinity",
    "not a number": "NaN",
    "arabic digits": "\u0661\u0662\u0663",
    "null": "null",
    "undefined": "undefined",
    "true": "true",
    "prototype": "__proto__",
    "attribute of python": "__class__.__mro__",
    "date": "0000-00-00",
    "uuid in capitals": "0192F0C1-2A4B-7C3D-8E5F-60718293A4B5",
    "e-mail of two lines": "a@example.com\nBcc: b@example.com",
    "e-mail with a comment": "a(b)@example.com",
    "e-mail of letters alike": "test\u043e@example.com",
}
"""Each by its class; where the class is one of pairs, both are there."""

_NESTED_DEPTH: Final = 4
_MAX_ROUNDS: Final = 6
_MADE_WITH: Final = frozenset({"postalCode"})
_NOT_LET_IN: Final = frozenset({401, 429})
_NO_ACCESS: Final = frozenset({"authentication-required", "invalid-token", "too-many-requests"})
_REFUSED: Final = 300


@attrs.define(kw_only=True)
class Target:
    """
    A service to try texts on.

    Attributes:
        client: Reaches it.
        sign_in: Waits until no limit is in the way, and gives an access token of somebody who may do everything.
        user_id: Of a user other than the one of the token.
    """

    client: HostClient
    sign_in: Callable[[], str]
    user_id: UUID
    _token: str = ""

    def send(self, method: str, target: str, content: object = None) -> Response:
        """Send *content* as JSON: raw text where UTF-8 has it, escapes where it does not."""
        headers = [] if content is None else [("content-type", "application/json")]
        body = b"" if content is None else _encoded(content)
        authorization = ("authorization", f"Bearer {self._token}")
        response = self.client.request(method, target, headers=[*headers, authorization], body=body)
        if response.status not in _NOT_LET_IN:
            return response
        self._token = self.sign_in()
        authorization = ("authorization", f"Bearer {self._token}")
        return self.client.request(method, target, headers=[*headers, authorization], body=body)


def memory_target(host: str) -> Target:
    """Return a service of its own behind *host*, in which time goes on so that no limit is in the way."""
    installation = Installation.begin(FakeClock())
    installation.administrator_token("root@example.com")
    installation.access_token("robin@example.com")
    users = {user.email.address: user.id for user in installation.stored().users.values()}

    def sign_in() -> str:
        installation.clock.advance(timedelta(minutes=16))
        return installation.token_of_session("root@example.com")

    return Target(client=HOSTS[host](installation.service), sign_in=sign_in, user_id=users["robin@example.com"])


def check_any_text(document: Mapping[str, Any], route: Route, *, examples: int, seed: int) -> None:
    """Send *examples* of texts of all of Unicode, surrogates included, in every place of the body of *route*."""
    target = memory_target("pipeline")

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(text=strategies.text(strategies.characters()))
    def come_back(text: str) -> None:
        try_body(document, route, target, text)

    come_back()


def _encoded(content: object) -> bytes:
    try:
        return json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(content).encode()


def api_document() -> dict[str, Any]:
    """Return the OpenAPI document of the route table."""
    document: dict[str, Any] = json.loads(openapi_document(ROUTES, issuer="https://accounts.example.com"))
    return document


def text_places(document: Mapping[str, Any], route: Route) -> list[Place]:
    """Return where the body of *route* may hold a text."""
    assert route.body is not None
    return list(_places(document, {"$ref": f"#/components/schemas/{route.body.__name__}"}, ()))


def _places(document: Mapping[str, Any], schema: Mapping[str, Any], place: Place) -> Iterator[Place]:
    if len(place) > _NESTED_DEPTH:
        return
    if reference := schema.get("$ref"):
        yield from _places(document, document["components"]["schemas"][reference.rpartition("/")[2]], place)
    for choice in schema.get("anyOf", ()):
        yield from _places(document, choice, place)
    if schema.get("type") == "string" or "enum" in schema:
        yield place
    elif schema.get("type") == "array":
        yield from _places(document, schema.get("items", {}), (*place, 0))
    elif schema.get("type") == "object":
        for name, inner in schema.get("properties", {}).items():
            yield from _places(document, inner, (*place, name))
        if "properties" not in schema:
            yield (*place, "text")


def _example(document: Mapping[str, Any], shape: str, more: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the example of a shape, of what may be left out only *more*."""
    schema = document["components"]["schemas"][shape]
    example = schema["examples"][0]
    wanted = more | frozenset(schema.get("required", ()))
    return {name: copy.deepcopy(value) for name, value in example.items() if name in wanted}


def _with(body: dict[str, Any], place: Place, text: str) -> None:
    """Put *text* into *body* at *place*, making what is on the way."""
    node: Any = body
    for step, following in pairwise(place):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(node, list):
            node[:] = node[:1] or [empty]
            node = node[0]
        else:
            if not isinstance(node.get(step), type(empty)):
                node[step] = empty
            node = node[step]
    if isinstance(node, list):
        node[:] = [text]
    else:
        node[place[-1]] = text


def try_body(document: Mapping[str, Any], route: Route, target: Target, text: str) -> list[Place]:
    """
    Send *text* in every place at once, then in those where it was not refused, until what is left is taken.

    Returns:
        The places where it was taken.
    """
    assert route.body is not None
    path = path_of(route, _existing_id(document, route, target))
    left = text_places(document, route)
    needed: frozenset[str] = frozenset()
    for _ in range(_MAX_ROUNDS):
        body = _example(document, route.body.__name__, needed)
        for place in left:
            _with(body, place, text)
        response = target.send(route.method, path, body)
        refused = _refused(route, response)
        if not refused:
            break
        # Part of an object within the body may be refused for what is missing beside it.
        around = {pointer.rpartition("/")[0] for pointer in refused if pointer.count("/") > 1} - {""}
        alone = [place for place in left if not any(_is_about(pointer, json_pointer(place)) for pointer in refused)]
        taken = alone
        if len(alone) == len(left):
            taken = [place for place in left if not any(_is_about(parent, json_pointer(place)) for parent in around)]
        # A rule of the domain may want what the shape lets be left out, as a country its postal codes.
        wanted = {pointer[1:] for pointer in refused} - needed - body.keys()
        assert len(taken) < len(left) or wanted, f"{route.operation_id} refuses what was not sent: {refused}"
        left, needed = taken, needed | wanted
    else:
        raise AssertionError(f"{route.operation_id} refuses something else each time")
    assert _code_of(response) not in _NO_ACCESS, f"{route.operation_id} lets nobody in"
    if response.status >= _REFUSED:
        return []
    if response.body:
        _require_equal(route, json.loads(response.body), left, text)
        shown = response.header("location") or (path if _reader_of(route) else None)
        if shown is not None:
            _require_equal(route, json.loads(target.send("GET", shown).body), left, text)
        if (made := response.header("location")) is not None:
            # The next text meets neither a name that is taken nor as many things as there may be.
            target.send("DELETE", made)
    return left


def try_query(route: Route, target: Target, text: str) -> None:
    """Send *text* in each parameter of the query."""
    assert route.query is not None
    for name in (field.encode_name for field in msgspec.structs.fields(route.query)):
        value = quote(text.encode("utf-8", "surrogatepass"))
        response = target.send(route.method, f"{path_of(route, target.user_id)}?{name}={value}")
        refused = _refused(route, response)
        # Other parameters may be missing; they are told as well.
        assert not refused or any(pointer.startswith(f"/{name}") for pointer in refused) or "\ufffd" in str(refused)


def _refused(route: Route, response: Response) -> list[str]:
    """Return the pointers of an answer that refuses input; any other answer is one the route may give."""
    assert response.status < 500, f"{route.operation_id} answers {response.status}"
    if response.header("content-type") != CONTENT_TYPE or not response.body:
        return []
    problem = json.loads(response.body)
    return [fault["pointer"] for fault in problem["errors"]] if problem["type"] == f"{TYPE_PREFIX}invalid-input" else []


def _code_of(response: Response) -> str | None:
    if response.header("content-type") != CONTENT_TYPE or not response.body:
        return None
    code: str = json.loads(response.body)["type"]
    return code.removeprefix(TYPE_PREFIX)


def _is_about(pointer: str, place: str) -> bool:
    """Tell whether what *pointer* names is the place, in it, or around it."""
    return f"{place}/".startswith(f"{pointer}/") or f"{pointer}/".startswith(f"{place}/")


def _require_equal(route: Route, shown: Mapping[str, Any], places: list[Place], text: str) -> None:
    for place in places:
        if place == ("email",) and shown.get("pendingEmail") == text:
            continue  # It takes effect when it is confirmed.
        node: Any = shown
        for step in place:
            node = node.get(step) if isinstance(node, dict) else node
        if place[0] in shown and isinstance(node, str):
            assert node in {text, _canonical(text)}, f"{route.operation_id} shows another text at {json_pointer(place)}"


def _canonical(text: str) -> str:
    """Return *text* as it is shown where it is an id: in small letters."""
    try:
        return str(UUID(text)) if len(text) == len(str(NOBODY)) else text
    except ValueError:
        return text


def _reader_of(route: Route) -> bool:
    return any(other.method == "GET" and other.path == route.path for other in ROUTES)


def _existing_id(document: Mapping[str, Any], route: Route, target: Target) -> UUID:
    """Return the id of something that the path of *route* is about, made for it where it can be."""
    before, found, _ = route.path.partition("/{")
    if not found:
        return NOBODY
    maker = next(
        (other for other in ROUTES if (other.method, other.path) == ("POST", before) and 201 in other.answers), None
    )
    if maker is None or maker.body is None or "users" in before.split("/")[-1]:
        return target.user_id
    response = target.send("POST", before, _example(document, maker.body.__name__, _MADE_WITH))
    if response.status == 201:
        return UUID(json.loads(response.body)["id"])
    listed = json.loads(target.send("GET", before).body)["data"]
    return UUID(listed[-1]["id"])
