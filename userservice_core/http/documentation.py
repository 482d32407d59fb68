"""
The OpenAPI document as a page to read: HTML and a style sheet, no script, nothing from elsewhere.

Every link is relative, so the page works below any prefix of the path.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

Json = dict[str, Any]

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--accent:#2563eb}
@media (prefers-color-scheme:dark){:root{--accent:#8ab4ff}}
*{box-sizing:border-box}
body{margin:0;font:15px/1.55 system-ui,sans-serif}
a{color:var(--accent)}
code,pre{font:13px/1.5 ui-monospace,monospace}
code{overflow-wrap:anywhere}
pre{padding:.75rem;overflow:auto;background:var(--soft);border-radius:6px}
nav{position:fixed;inset:0 auto 0 0;width:19rem;overflow:auto;padding:1rem;border-right:1px solid var(--line)}
nav ul{list-style:none;margin:.25rem 0 1rem;padding:0}
nav li{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
nav a{text-decoration:none}
main{margin-left:19rem;padding:1rem 2rem;max-width:70rem}
h2{margin-top:3rem;border-bottom:1px solid var(--line)}
details{margin:.5rem 0;border:1px solid var(--line);border-radius:6px}
summary{padding:.5rem .75rem;cursor:pointer}
details>div{padding:0 .75rem .75rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line)}
ul{margin:.25rem 0;padding-left:1.2rem}
.method{display:inline-block;min-width:4.2rem;font-weight:600}
.soft{opacity:.75}
:target{scroll-margin-top:1rem}
@media (max-width:60rem){nav{position:static;width:auto;border:0}main{margin:0;padding:1rem}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows the page its own style sheet, by its hash, and nothing else."""

_CODE: Final = re.compile(r"`([^`]+)`")
_SCHEMAS: Final = "#/components/schemas/"


def documentation_page(document: Json) -> str:
    """Return *document*, which is OpenAPI 3.1, as HTML."""
    by_tag: dict[str, list[tuple[str, str, Json]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    title = escape(document["info"]["title"])
    headings = [(tag["name"], tag["description"]) for tag in document["tags"]]
    return "".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            _navigation(headings, by_tag),
            f"<main><h1>{title}</h1>{_paragraphs(document['info']['description'])}",
            '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
            f'<h2 id="usual-answers">Answers that most operations may give</h2>{_usual(document)}',
            *(_section(name, about, by_tag[name], document) for name, about in headings),
            '<h2 id="shapes">Shapes</h2>',
            *(_schema(name, schema) for name, schema in document["components"]["schemas"].items()),
            "</main></body></html>",
        ]
    )


def _usual(document: Json) -> str:
    rows = {status: {"$ref": reference} for reference, status in _usual_answers(document).items()}
    return _answers(rows, document)


def _navigation(headings: Iterable[tuple[str, str]], by_tag: Mapping[str, Iterable[tuple[str, str, Json]]]) -> str:
    groups = "".join(
        f'<a href="#{_anchor(name)}"><strong>{escape(name)}</strong></a><ul>'
        + "".join(
            f'<li><a href="#{operation["operationId"]}"><code>{method} {escape(path)}</code></a></li>'
            for method, path, operation in by_tag[name]
        )
        + "</ul>"
        for name, _ in headings
    )
    return f'<nav>{groups}<a href="#shapes"><strong>Shapes</strong></a></nav>'


def _section(name: str, about: str, operations: Iterable[tuple[str, str, Json]], document: Json) -> str:
    usual = _usual_answers(document)
    shown = "".join(_operation(method, path, operation, document, usual) for method, path, operation in operations)
    return f'<section><h2 id="{_anchor(name)}">{escape(name)}</h2>{_paragraphs(about)}{shown}</section>'


def _operation(method: str, path: str, operation: Json, document: Json, usual: Container[str]) -> str:
    parts = [_paragraphs(operation["description"])]
    if parameters := operation.get("parameters"):
        rows = [
            (
                f"<code>{escape(parameter['name'])}</code>",
                f"{parameter['in']}{', required' if parameter.get('required') else ''}",
                _type(parameter["schema"]),
                _inline(parameter.get("description", "")),
            )
            for parameter in parameters
        ]
        parts.append("<h3>Parameters</h3>" + _table(("name", "in", "type", "meaning"), rows))
    if body := operation.get("requestBody"):
        needed = "" if body["required"] else " (may be left out)"
        parts.append(f"<h3>Body{needed}</h3>{_contents(body['content'])}")
    own = {status: answer for status, answer in operation["responses"].items() if answer.get("$ref") not in usual}
    parts.append(f"<h3>Answers</h3>{_answers(own, document)}")
    return (
        f'<details id="{operation["operationId"]}" open><summary><span class="method">{method}</span>'
        f'<code>{escape(path)}</code> <span class="soft">{_inline(operation["summary"])}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _usual_answers(document: Json) -> dict[str, str]:
    """Return the references to answers that more than half of the operations may give, with their status."""
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    counted = Counter(
        (status, answer["$ref"])
        for operation in operations
        for status, answer in operation["responses"].items()
        if "$ref" in answer
    )
    usual = sorted(key for key, times in counted.items() if times * 2 > len(operations))
    return {reference: status for status, reference in usual}


def _answers(answers: Mapping[str, Json], document: Json) -> str:
    rows = [(f"<code>{status}</code>", *_answer(_resolved(answer, document))) for status, answer in answers.items()]
    return _table(("status", "meaning", "body", "headers"), rows)


def _answer(answer: Json) -> tuple[str, str, str]:
    headers = ", ".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", ()))
    return _paragraphs(answer["description"]), _contents(answer.get("content", {})), headers


def _contents(content: Json) -> str:
    shown = (
        f'{_type(details["schema"])} <span class="soft">as {escape(kind)}</span>' for kind, details in content.items()
    )
    return "<br>".join(shown)


def _schema(name: str, schema: Json) -> str:
    parts = [_paragraphs(schema.get("description", ""))]
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{escape(member)}</code>",
            _type(details),
            "yes" if member in required else "",
            _inline(details.get("description", "")),
        )
        for member, details in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(_table(("member", "type", "always there", "meaning"), rows))
    if values := schema.get("enum"):
        parts.append(f"<p>{_values(values)}</p>")
    parts += [
        f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
        for example in schema.get("examples", ())
    ]
    return f'<details id="{name}" open><summary><code>{name}</code></summary><div>{"".join(parts)}</div></details>'


def _type(schema: Json) -> str:
    """Say what a schema allows, in a few words."""
    if reference := schema.get("$ref"):
        name = escape(reference.removeprefix(_SCHEMAS))
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf"):
        return " or ".join(_type(choice) for choice in choices)
    if values := schema.get("enum"):
        return _values(values)
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema)}"
    if form := schema.get("format"):
        kind = f"{kind} ({form})"
    return f"{escape(kind)}{_bounds(schema)}"


def _bounds(schema: Json) -> str:
    names = {
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {}",
        "maxItems": "at most {}",
        "minimum": "at least {}",
        "maximum": "at most {}",
    }
    return "".join(f", {text.format(schema[name])}" for name, text in names.items() if name in schema)


def _values(values: Iterable[object]) -> str:
    return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)


def _resolved(node: Json, document: Json) -> Json:
    reference = node.get("$ref")
    if reference is None:
        return node
    response: Json = document["components"]["responses"][reference.rpartition("/")[2]]
    return response


def _anchor(name: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in name.lower())


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _paragraphs(text: str) -> str:
    return "".join(_blocks(text))


def _blocks(text: str) -> Iterator[str]:
    """Render the little of Markdown that descriptions use: paragraphs, lists and code."""
    for block in filter(None, text.strip().split("\n\n")):
        if block.startswith("- "):
            yield f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in block.splitlines())}</ul>"
        else:
            yield f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
