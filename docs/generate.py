"""
Make what the reference pages say of the code: ``python -m docs.generate``, which ``make docs`` runs.

A page is written by hand except for what stands between its two marks, which is made here. A test compares the pages
with what this makes, so they cannot fall behind the code.
"""

from __future__ import annotations

import ast
import enum
import inspect
import json
import re
import types
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import click
import msgspec

import userservice_core.http.errors as http_errors
from benchmarks.report import read_document, result_of, told
from docs.asvs import asvs_reference
from docs.asyncapi import written_asyncapi
from docs.event_schemas import breaking_changes, event_schemas, schema_file, written
from userservice_core import errors
from userservice_core.cli import main as userservice
from userservice_core.config import declaration_of, setting_fields, variable
from userservice_core.domain.event_schemas import data_members, key_of, personal_members, wire_name
from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES, Event, ReceivedTopic, SequencedBy
from userservice_core.http.openapi import openapi_document
from userservice_core.http.possible_problems import possible_problems
from userservice_core.http.problems import INTERNAL_STATUS, STATUS_BY_CODE
from userservice_core.http.routes import METRICS_ROUTE, ROUTES, Caller, Holder, Route, shapes_of
from userservice_core.http.vocabulary import term_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER: Final = Path(__file__).parent / "reference"
SCHEMAS: Final = FOLDER / "events"
OPENAPI: Final = FOLDER / "openapi.json"
ASYNCAPI: Final = FOLDER / "asyncapi.json"
BASELINE: Final = Path(__file__).parents[1] / "benchmarks" / "results" / "baseline.json"
CODE: Final = Path(__file__).parents[1] / "userservice_core"

_BEGIN: Final = "<!-- From here to the end mark: made by `make docs` from the code. -->"
_END: Final = "<!-- The end mark -->"


# --- settings ---------------------------------------------------------------------------------------------------------

_GROUPS: Final = {
    "profile": "The installation",
    "database_url": "The database",
    "kafka_bootstrap_servers": "Events and cache",
    "mail_url": "Mail",
    "host": "HTTP",
    "password_min_characters": "Passwords, sessions, tokens",
    "log_level": "Logs",
}
"""The headings, each before its first setting."""


def settings_reference() -> str:
    """Describe every setting."""
    lines = []
    for field in setting_fields():
        if field.name in _GROUPS:
            lines.append(f"## {_GROUPS[field.name]}")
        lines.append(_setting(field))
    return _blocks(lines)


def _setting(field: attrs.Attribute[Any]) -> str:
    declaration = declaration_of(field)
    lock = " 🔒" if declaration.is_secret else ""
    lock += " ⟳" if declaration.at_run_time else ""
    return (
        f"### {variable(field)}{lock}\n\n{declaration.description}\n\n"
        f"- Value: {declaration.expected}\n- Default: {_default(field.default)}"
    )


def _default(default: object) -> str:
    match default:
        case attrs.NOTHING:
            return "none; it must be given"
        case None | ():
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case _:
            return f"`{default}`"


# --- errors -----------------------------------------------------------------------------------------------------------

FAULT_CODES: Final = {
    "required": "A member that is needed is missing.",
    "unknown-field": "A member or parameter is not known here.",
    "invalid-type": "A value has another JSON type than is expected, or is none of the values allowed.",
    "invalid-character": "A text or a name holds NUL or a lone surrogate, or, in a name, what does not show.",
    "invalid-name": "A name has another form than is wanted.",
    "invalid-encoding": "A parameter of the query is not percent-encoded UTF-8.",
    "number-out-of-range": "A number is too large or too small.",
    "wrong-code": "A one-time password is wrong, or its time is over.",
    "conflicting": "Two parameters or members exclude each other.",
    "repeated": "A member or parameter is given more than once.",
    "too-deep": "The JSON is nested too deeply.",
    "too-long": "A text or a list is longer than allowed.",
    "too-short": "A text or a list is shorter than allowed.",
    "read-only": "A member that cannot be changed here is not as it was read.",
    "without-status": "The reason of another status was sent without one.",
    "wildcard": "A new name would change what a permission stands for.",
    "malformed-json": "The body is not JSON.",
    "invalid-utf-8": "The body is not text in UTF-8.",
    "invalid-email": "The text is not an address that mail can be sent to.",
    "setting-not-at-run-time": "There is no such setting, or it cannot change while processes run.",
    "setting-pinned": "The environment gives the setting, and goes before what the database holds.",
    "setting-value": "The setting cannot have that value, by itself or beside the others.",
    "blank": "A text consists of white space, or of nothing.",
    "too-large": "An object is larger than allowed.",
    "invalid-phone": "The text is not a telephone number in the form that is asked for.",
    "invalid-url": "The text is not an address that begins with `https://`.",
    "invalid-language": "The text is not a language tag (BCP 47).",
    "invalid-timezone": "The text is not the name of a time zone (IANA).",
    "invalid-country": "The text is not a country code of ISO 3166-1 in capitals.",
    "invalid-state": "The country has no state or province of this name.",
    "invalid-postal-code": "Postal codes of the country are written otherwise.",
    "date-in-future": "The date has yet to come.",
    "date-too-early": "The date is too long ago.",
    "password-too-short": "The password has fewer characters than the settings demand.",
    "password-too-long": "The password has more than 128 characters, or more than 1,024 bytes in UTF-8.",
    "password-too-common": "The password is on lists that attackers try first.",
    "password-breached": "The password was found in data that leaked elsewhere.",
    "password-unchanged": "The new password is the current one.",
    "password-reused": "The account had this password before, and the settings remember it.",
    "password-not-issued": "Only a password that was issued is replaced at a sign-in.",
    "unknown-hash": "A password hash from another system has a form or parameters that cannot be verified.",
    "password-too-obvious": "The password repeats what is known of the account.",
}
"""What each code in `errors` means; a test compares the names with the code."""


def errors_reference() -> str:
    """Describe every code of an error and of a fault."""
    faults = _table(("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in FAULT_CODES.items()))
    kinds = sorted(kinds_of_errors().items(), key=_by_status)
    return _blocks(["## Codes of faults", faults, "## Codes of errors", *(_error(code, kind) for code, kind in kinds)])


def _by_status(item: tuple[str, type[errors.UserServiceError]]) -> tuple[int, str]:
    code, _ = item
    return STATUS_BY_CODE[code], code


def kinds_of_errors() -> dict[str, type[errors.UserServiceError]]:
    """Return the classes that clients, operators or embedding programs can meet, by code."""
    return {
        kind.code: kind
        for module in (errors, http_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, errors.UserServiceError) and kind.__module__ == module.__name__
    }


def _error(code: str, kind: type[errors.UserServiceError]) -> str:
    status = STATUS_BY_CODE[code]
    meaning = kind.default_detail if kind is errors.UserServiceError else _prose(kind)
    shown = f"{status}" if status != INTERNAL_STATUS or code == "internal-error" else f"{status} as `internal-error`"
    return (
        f"### {code}\n\n{meaning}\n\n- Status: {shown}\n- Detail: {kind.default_detail}\n- In Python: "
        f"`{kind.__module__}.{kind.__name__}`"
    )


def fault_codes_in_code() -> set[str]:
    """Return the codes of faults that occur in the domain, the HTTP core and the declarations of settings."""
    folders = (CODE / "domain", CODE / "http")
    files = [CODE / "config.py", *(file for folder in folders for file in folder.rglob("*.py"))]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return {code for tree in trees for node in ast.walk(tree) for code in _codes_of(node)}


def _codes_of(node: ast.AST) -> Iterator[str]:
    """
    Yield the codes that *node* makes faults of.

    These are the second argument of `Fault(…)`, the first of `_refuse(…)`, and the first of a pair of code and message
    that is appended to what was `found`.
    """
    match node:
        case (
            ast.Call(func=ast.Name(id="Fault"), args=[_, code, _])
            | ast.Call(func=ast.Name(id="_refuse"), args=[code, *_])
        ):
            yield from _texts(code)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="found"), attr="append"), args=[ast.Tuple(elts=[code, _])]):
            yield from _texts(code)


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)


# --- events -----------------------------------------------------------------------------------------------------------

_SEQUENCES: Final = {
    SequencedBy.USER: "counts the events of the user in this topic, from 1 without gaps",
    SequencedBy.LOGIN_STATE: "counts the events of the user in this topic, from 1 without gaps",
    SequencedBy.ROLE: "counts the events of the role, from 1 without gaps",
    SequencedBy.PERMISSION: "counts the events of the permission, from 1 without gaps",
    SequencedBy.NOTHING: "absent: this key promises no order",
}


def events_reference() -> str:
    """Describe every event, by topic; those of others come last."""
    lines = []
    kinds = (*EVENT_TYPES, *RECEIVED_TYPES)
    for topic in dict.fromkeys(kind.topic for kind in kinds):
        lines.append(f"## userservice.{topic}")
        if isinstance(topic, ReceivedTopic):
            lines.append(
                "Read by the service, and written by others: see [how they do](../how-to/tell-the-service.md)."
            )
        lines += [_event(kind) for kind in kinds if kind.topic is topic]
    return _blocks(lines)


def _sequence(kind: type[Event]) -> str:
    return "not looked at" if isinstance(kind.topic, ReceivedTopic) else _SEQUENCES[kind.sequenced_by]


def _event(kind: type[Event]) -> str:
    personal = personal_members(kind)
    rows = [
        (
            f"`{name}`",
            _json_type(annotation) if default is attrs.NOTHING else f"{_json_type(annotation)}; may be missing",
            personal.get(name, ""),
        )
        for name, annotation, default in data_members(kind)
    ]
    return (
        f"### {wire_name(kind)}\n\n{_prose(kind)}\n\n"
        f"- Key: {key_of(kind)}\n- `ce_sequence`: {_sequence(kind)}\n"
        f"- Schema: [{schema_file(kind)}]({SCHEMAS.name}/{schema_file(kind)})\n"
        f"- In Python: `{kind.__name__}`\n\n{_table(('member', 'JSON', 'personal: why'), rows)}"
    )


# --- HTTP -------------------------------------------------------------------------------------------------------------


def http_reference() -> str:
    """Describe every route."""
    routes = (*ROUTES, METRICS_ROUTE)
    overview = _table(
        ("route", "who may call it"),
        ((f"[{route.method} {route.path}](#{_anchor(route)})", _who(route)) for route in routes),
    )
    return _blocks([overview, *(_route(route) for route in routes)])


def _anchor(route: Route) -> str:
    return heading_anchor(f"{route.method} {route.path}")


def _who(route: Route) -> str:
    match route.who:
        case Holder(permission=permission):
            return f"users {'and clients ' if route.takes_clients else ''}with `{permission}`"
        case Caller.USER:
            return "users"
        case Caller.BEARER:
            return "who has the token it takes"
        case Caller.CLIENT:
            return "clients, by their secret"
        case Caller.ANYONE:
            return "anyone"


def _route(route: Route) -> str:
    parts = [f"## {route.method} {route.path}", f"{route.summary}.\nOperation id: `{route.operation_id}`."]
    if route is METRICS_ROUTE:
        parts.append("Served on this port only with `USERSERVICE_EXPOSE_METRICS=true`; see [metrics](metrics.md).")
    if route.conditional:
        parts.append("Honours `If-Match`.")
    if route.replica_ok:
        parts.append(
            "May be served by a replica; honours `Consistency-Token` ([replicas](../explanation/replicas.md))."
        )
    if route.query is not None:
        parts.append(f"Query:\n\n{_shape(route.query, is_input=True)}")
    if route.body is not None:
        needed = "Body" if route.body_required else "Body, which may be left out"
        parts.append(f"{needed}:\n\n{_shape(route.body, is_input=True)}")
    for status, shape in route.answers.items():
        if shape is None:
            content = f" with a body of `{route.content_type}`" if route.content_type != "application/json" else ""
            parts.append(f"Answers {status}{content or ' without a body'}.")
        else:
            shapes = "\n\nor\n\n".join(map(_shape, shapes_of(shape)))
            parts.append(f"Answers {status}:\n\n{shapes}")
    parts.append(f"Refuses with {_refusals(route)}.")
    return "\n\n".join(parts)


def _refusals(route: Route) -> str:
    return ", ".join(
        f"{status} {' or '.join(f'[{kind.code}](errors.md#{heading_anchor(kind.code)})' for kind in kinds)}"
        for status, kinds in possible_problems(route).items()
    )


def _shape(shape: type[msgspec.Struct], *, is_input: bool = False) -> str:
    rows = []
    for field in msgspec.structs.fields(shape):
        kind = _json_type(get_type_hints(shape)[field.name])
        term = term_of(shape.__name__, field.encode_name)
        told = f"{kind}; may be left out" if is_input and not field.required else kind
        rows.append((f"`{field.encode_name}`", told, term.meaning if term else ""))
    return _table(("member", "JSON", "meaning"), rows)


def _members_of(shape: type[msgspec.Struct]) -> Iterator[str]:
    return (field.encode_name for field in msgspec.structs.fields(shape))


def openapi() -> str:
    """Return the OpenAPI document of an installation, a member a line, so that its changes can be read."""
    document = openapi_document((*ROUTES, METRICS_ROUTE), issuer="https://accounts.example.com")
    return msgspec.json.format(document, indent=1).decode() + "\n"


# --- the command line -------------------------------------------------------------------------------------------------


def commands() -> tuple[str, ...]:
    """Return the names of the commands."""
    return tuple(userservice.commands)


def cli_reference() -> str:
    """Describe every command."""
    lines = []
    for name, command in _with_subcommands(userservice):
        lines += [f"{'#' * (2 + name.count(' '))} userservice {name}", inspect.cleandoc(command.help or "")]
        options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
        if options:
            lines.append(_table(("option", "value", "default", "meaning"), (_option(option) for option in options)))
    return _blocks(lines)


def _with_subcommands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command
        if isinstance(command, click.Group):
            yield from _with_subcommands(command, f"{prefix}{name} ")


def _option(option: click.Option) -> tuple[str, str, str, str]:
    if option.is_flag:
        return ", ".join(f"`{name}`" for name in option.opts), "none", "off", option.help or ""
    match option.type:
        case click.Choice(choices=choices):
            value = " or ".join(f"`{choice}`" for choice in choices)
        case kind:
            value = str(kind.name)
    default = "must be given" if option.required else _default(option.to_info_dict()["default"])
    return ", ".join(f"`{name}`" for name in option.opts), value, default, option.help or ""


# --- figures ----------------------------------------------------------------------------------------------------------


def performance_reference() -> str:
    """Tell the figures of the baseline, each beside its limit and its goal."""
    results = [result_of(entry) for entry in read_document(BASELINE)]
    head = ("figure", "value", "limit", "ratio", "goal", "it is", "spread", "others")
    rows = (
        (
            result.figure.title,
            f"{_number(result.value)} {result.figure.unit}",
            f"{_number(result.limit or 0)} {result.figure.unit}: {result.figure.limit}",
            f"{result.ratio:.2f}",
            str(result.figure.goal),
            told(result.missed_by),
            f"{result.spread:.0%}",
            f"{result.others:.2f}",
        )
        for result in results
        if result.ratio is not None and result.figure.goal is not None
    )
    return _table(head, rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough


# --- what they share --------------------------------------------------------------------------------------------------

_JSON_TYPES: Final[dict[type, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    UUID: "string (UUID)",
    date: "string (date)",
    datetime: "string (time)",
}


def _json_type(annotation: Any) -> str:  # noqa: ANN401, PLR0911 - whatever a class is annotated with, one answer a kind
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__supertype__"):
        return _json_type(annotation.__supertype__)
    if origin in {Union, types.UnionType}:
        return " or ".join("null" if part is type(None) else _json_type(part) for part in _sent(arguments))
    if origin is tuple:
        return re.sub(r"^(string|number|object)", r"array of \1s", _json_type(arguments[0]))
    if origin is dict:
        return "object"
    if arguments and origin is not None:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f'`"{member.value}"`' for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return f"object: {', '.join(f'`{name}`' for name in _members_of(annotation))}"
    return _JSON_TYPES[annotation]


def _sent(parts: Iterable[Any]) -> Iterator[Any]:
    """Leave out what stands for a member that is not sent."""
    return (part for part in parts if part is not msgspec.UnsetType)


def heading_anchor(heading: str) -> str:
    """Return the anchor that GitHub and most renderers of Markdown give a heading."""
    kept = "".join(sign for sign in heading.lower() if sign.isalnum() or sign in " -_")
    return kept.strip().replace(" ", "-")


def _prose(documented: Callable[..., object]) -> str:
    """Return the docstring up to its sections, one sentence a line, in Markdown."""
    text = inspect.cleandoc(documented.__doc__ or "").partition("\nAttributes:")[0]
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
    return _blocks(paragraph.replace(". ", ".\n") for paragraph in paragraphs)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _blocks(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks)


REFERENCES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_reference,
    "errors.md": errors_reference,
    "events.md": events_reference,
    "http-api.md": http_reference,
    "cli.md": cli_reference,
    "asvs.md": asvs_reference,
    "../explanation/performance.md": performance_reference,
}


def written_by_hand(page: str) -> tuple[str, str]:
    """Return what stands before and after the marks of *page*."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before, after


def renewed(page: str, reference: str) -> str:
    """Return *page* with *reference* between its marks."""
    before, after = written_by_hand(page)
    return f"{before}{_BEGIN}\n\n{reference}\n\n{_END}{after}"


def renew_schemas(folder: Path = SCHEMAS) -> None:
    """
    Renew the schemas of the events.

    Raises:
        SystemExit: If a published one would change in a way that its consumers could not bear; then none is written.
    """
    schemas = event_schemas()
    broken = [
        f"{name}: {change}"
        for name, schema in schemas.items()
        if (folder / name).exists()
        for change in breaking_changes(json.loads((folder / name).read_text(encoding="utf-8")), schema)
    ]
    broken += [f"{file.name}: the type is gone" for file in folder.glob("*.json") if file.name not in schemas]
    if broken:
        raise SystemExit("\n".join([*broken, "A published type only grows: see docs/how-to/add-an-event.md."]))
    folder.mkdir(exist_ok=True)
    for name, schema in schemas.items():
        (folder / name).write_text(written(schema), encoding="utf-8")


def main() -> None:
    """Renew every page and schema."""
    renew_schemas()
    OPENAPI.write_text(openapi(), encoding="utf-8")
    ASYNCAPI.write_text(written_asyncapi(), encoding="utf-8")
    for name, reference in REFERENCES.items():
        file = FOLDER / name
        file.write_text(renewed(file.read_text(encoding="utf-8"), reference()), encoding="utf-8")


if __name__ == "__main__":
    main()
