"""Secrets are compared in a time that says nothing about them: no `==` on anything that is named like one."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[3]
_SECRET: Final = re.compile(
    r"(^|_)(secrets?|digests?|hash|hashes|hashed|tags?|tokens?|passwords?|signatures?|mac|hmac|fingerprints?|presented)($|_)"
)
_HARMLESS_ENDS: Final = re.compile(r"_(id|ids|at|type|kind|version|count|bytes|seconds|characters|before|key_id)$")
"""What is told of a secret and is none: when it was made, how long it is."""

_EXCEPTIONS: Final = {
    "normalise_password(new) == normalise_password(current)": "both came in one request of one caller",
    "one_time_tokens.c.digest == bindparam('of_digest', type_=one_time_tokens.c.digest.type)": "a search in an index",
    "recovery_codes.c.digest == bindparam('of_digest', type_=recovery_codes.c.digest.type)": "a search in an index",
    "idempotency_keys.c.digest == bindparam('of_digest', type_=idempotency_keys.c.digest.type)": "a search in an index",
    "idempotency_keys.c.digest == _OLDEST.c.digest": "a search in an index",
    "sessions.c.current_hash == bindparam('presented_hash', type_=sessions.c.current_hash.type)": (
        "a guard of the update, in the database; the hash was compared before"
    ),
    "(session.generation, session.current_hash) == (rotation.generation, rotation.secret_hash)": (
        "the same guard in memory, for tests"
    ),
}
_SITES: Final = {
    "userservice_core/application/client_tokens.py": 1,
    "userservice_core/application/idempotency.py": 1,
    "userservice_core/domain/sessions.py": 2,
    "userservice_core/infrastructure/security/signed_texts.py": 1,
    "userservice_core/infrastructure/security/refresh_tokens.py": 1,
    "userservice_core/infrastructure/security/stored_hashes.py": 2,
}
"""Where secrets are compared, and how often; passwords are compared by Argon2, signatures by `cryptography`."""


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("userservice_core", "adapters"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            name = path.relative_to(_ROOT).as_posix()
            if not name.startswith("userservice_core/testing/"):
                yield name, ast.parse(path.read_text())


def _names(node: ast.expr) -> Iterator[str]:
    """Yield what a value is called: its own name, that of its members, of what makes it."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
        case ast.Call(func=function, args=arguments):
            yield from _names(function)
            # What is made of a secret counts as one unless it is its length or kind.
            if not (isinstance(function, ast.Name) and function.id in {"len", "type", "sum", "set"}):
                yield from (name for argument in arguments for name in _names(argument))
        case ast.Subscript(value=value, slice=index):
            yield from _names(value)
            if isinstance(index, ast.Constant) and isinstance(index.value, str):
                yield index.value
        case ast.Tuple(elts=values) | ast.List(elts=values):
            yield from (name for value in values for name in _names(value))
        case ast.NamedExpr(target=target, value=value):
            yield from (*_names(target), *_names(value))


def _is_secret(node: ast.expr) -> bool:
    return any(_SECRET.search(name.lower()) and not _HARMLESS_ENDS.search(name.lower()) for name in _names(node))


def _compared(tree: ast.Module) -> Iterator[ast.Compare]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops):
            operands = [node.left, *node.comparators]
            # Against a word of the source there is nothing to guess.
            if not any(isinstance(operand, ast.Constant) for operand in operands) and any(map(_is_secret, operands)):
                yield node


@pytest.mark.asvs("11.2.4")
def test_no_secret_is_compared_by_a_plain_operator() -> None:
    """What is compared so has a reason by which time tells nothing; a reason without a comparison goes."""
    found = {ast.unparse(node): f"{name}:{node.lineno}" for name, tree in _sources() for node in _compared(tree)}

    assert {text: place for text, place in found.items() if text not in _EXCEPTIONS} == {}
    assert set(_EXCEPTIONS) - set(found) == set()


def test_the_places_where_secrets_are_compared_are_known() -> None:
    """A new one is looked at here; one that is gone was perhaps replaced by a plain operator."""
    sites: dict[str, int] = {}
    for name, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and "compare_digest" in ast.unparse(node)[-14:]:
                sites[name] = sites.get(name, 0) + 1

    assert sites == _SITES


def test_the_search_finds_what_it_is_for() -> None:
    """It is not blind to the usual ways of writing one."""
    for text in (
        "secret_hash == row.current_hash",
        "sha256(token).digest() != expected",
        "values['client_secret'] == given",
        "(name, presented) == (other, stored)",
    ):
        assert list(_compared(ast.parse(text))), text
    for text in ("token.created_at == now", "len(secret) == size", "secret.id == other", "tag == 'x'"):
        assert not list(_compared(ast.parse(text))), text
