"""The documentation agrees with the code, and its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from docs import generate
from userservice_core.http.problems import STATUS_BY_CODE

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(__file__).parents[2]
_PAGES: Final = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")])
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PYTHON: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`\n]+)`")
_FILE: Final = re.compile(r"[\w./-]+\.(py|cfg|toml|txt|md)|(userservice_core|adapters|tests|docs|deploy)(/[\w.-]+)*")
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_TEST: Final = re.compile(r"^\s*def (test_\w+)", re.MULTILINE)


def _name(page: Path) -> str:
    return str(page.relative_to(_ROOT))


def _prose(page: Path) -> str:
    """Return the text of *page* without blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(generate.REFERENCES))
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    """After a change of the code, `make docs` renews the page."""
    page = (generate.FOLDER / name).read_text(encoding="utf-8")

    assert generate.renewed(page, generate.REFERENCES[name]()) == page


def test_the_committed_openapi_document_is_that_of_the_code() -> None:
    """Those who make clients of it need not run the service; after a change of the code, `make docs` renews it."""
    assert generate.OPENAPI.read_text(encoding="utf-8") == generate.openapi()


def test_every_error_code_has_an_answer_and_an_entry() -> None:
    """A code without a status would answer 500 by accident; one without an entry would be a riddle."""
    assert set(generate.kinds_of_errors()) == set(STATUS_BY_CODE)


def test_every_code_of_a_fault_has_an_entry() -> None:
    """The table of codes in `errors` is complete, and names none that is never used."""
    assert set(generate.FAULT_CODES) == generate.fault_codes_in_code()


def test_every_metric_has_an_entry() -> None:
    """Whatever the code counts, times or measures under a fixed name is described."""
    page = (generate.FOLDER / "metrics.md").read_text(encoding="utf-8")

    assert [name for name in sorted(set(_measured_names())) if f"`{name}`" not in page] == []


def _measured_names() -> Iterator[str]:
    for file in set(generate.CODE.rglob("*.py")) - set((generate.CODE / "testing").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr="count" | "timing" | "gauge"
                    ),
                    args=[ast.Constant(value=str(name)), *_],
                ) if owner.endswith(("metrics", "database", "self")):
                    yield name


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link names a file, and a heading in it where it says so."""
    broken = [link for link in _LINK.findall(_prose(page)) if "://" not in link and not _leads_somewhere(page, link)]

    assert broken == []


def _leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not anchor or anchor in {generate.heading_anchor(heading) for heading in _HEADING.findall(_prose(target))}


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_files_that_are_named_exist(page: Path) -> None:
    """A checklist that sends its reader to a file that was moved ends there; NNNN stands for a number."""
    named = [code for code in _CODE.findall(_prose(page)) if _FILE.fullmatch(code)]

    assert [name for name in named if not _is_file(name.replace("NNNN", "*"))] == []


def _is_file(name: str) -> bool:
    """Look from the root, from the core, and, for a name without a folder, anywhere in the core."""
    return any(
        any(folder.glob(pattern))
        for folder, pattern in [(_ROOT, name), (generate.CODE, name), (generate.CODE / "infrastructure", name)]
    ) or ("/" not in name and any(generate.CODE.rglob(name)))


def test_every_page_can_be_reached_from_the_readme() -> None:
    """A page that nothing leads to is not found by those it is for."""
    reached: set[Path] = set()
    waiting = [_ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in reached:
            continue
        reached.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(_prose(page)) if "://" not in link)
        waiting += [page.parent / link for link in links if link.endswith(".md")]

    assert [_name(page) for page in _PAGES if page.resolve() not in reached] == []


def test_commands_in_the_documentation_exist() -> None:
    """Each `make …` and `userservice …` that a page tells to run is there."""
    makefile = (_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in _PAGES)

    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) - targets == set()
    assert set(re.findall(r"(?:^|`)userservice ([a-z-]+)", text, re.MULTILINE)) - set(generate.commands()) == set()


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_python_in_the_documentation_can_be_read_and_imports_what_there_is(page: Path) -> None:
    """An example that names something that is gone teaches a mistake."""
    blocks = _PYTHON.findall(page.read_text(encoding="utf-8"))
    imports = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    named = [(str(node.module), alias.name) for node in imports for alias in node.names]

    assert [one for one in named if one[0].startswith("userservice_core") and not _exists(*one)] == []


def _exists(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_prose_is_written_one_sentence_a_line(page: Path) -> None:
    """So that a change of a sentence is a change of a line; tables and code are apart."""
    lines = "".join(generate.written_by_hand(_prose(page))).splitlines()
    crowded = [line for line in lines if not line.startswith("|") and re.search(r"[a-z`)][.!?] [A-Z`]", line)]

    assert crowded == []


def test_tests_that_are_named_exist() -> None:
    """A claim that says which test shows it is shown by that test."""
    defined = {
        name
        for file in (*(_ROOT / "tests").rglob("*.py"), *generate.CODE.rglob("*.py"))
        for name in _TEST.findall(file.read_text(encoding="utf-8"))
    }
    named = {
        code
        for page in _PAGES
        for code in _CODE.findall(_prose(page))
        if code.startswith("test_") and code.isidentifier()
    }

    assert named
    assert named - defined == set()
