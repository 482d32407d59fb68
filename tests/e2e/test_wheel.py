"""The wheel, built once and installed where its source cannot be seen, with exactly what its extras ask for."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.installations import ROOT, Installation, install
from tests.key_endpoint import ISSUER, Answering, KeyEndpoint, issued, new_issuer

_HOSTS: Final = ("starlette_app", "flask_app", "lambda_handler")


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What another service installs to verify tokens."""
    return install(wheel, tmp_path_factory.mktemp("base"), extras=())


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with all extras."""
    return install(wheel, tmp_path_factory.mktemp("whole"), extras=("all",))


def _files_in_tree() -> set[str]:
    """Return every file of the packages by the path it has in the wheel."""
    return {
        str(Path(prefix, file.relative_to(ROOT)))
        for folder, prefix in (("userservice_core", ""), ("adapters", "userservice_core"))
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


@pytest.mark.asvs("13.4.1", "15.2.3")
def test_the_wheel_holds_every_file_of_the_tree_and_no_other(wheel: Path) -> None:
    """Nothing is forgotten, nothing slips in, and the name ``adapters``, which is another's on PyPI, is not taken."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert sorted(packed) == sorted(_files_in_tree())


def test_the_installed_library_is_not_the_source(base: Installation) -> None:
    """The tests below see the wheel: its files are in the environment, and no path leads to the checkout."""
    printed = base.evaluate("import sys, userservice_core; print(userservice_core.__file__, *sys.path, sep='\\n')")

    assert printed.startswith(str(base.folder))
    assert str(ROOT) not in printed.replace(str(base.folder), "")


def test_the_base_install_is_enough_to_verify_tokens(base: Installation) -> None:
    """Without any extra the errors and the verifier are there, for another service to use."""
    printed = base.evaluate("from userservice_core import TokenVerifier, errors; print(TokenVerifier.__name__)")

    assert printed == "TokenVerifier"


def test_the_base_install_verifies_with_the_keys_at_a_url(base: Installation) -> None:
    """It fetches them, and decides about a permission, with no HTTP client or framework installed."""
    issuer = new_issuer()
    token = issued(issuer, permissions=("invoice:*",))
    with KeyEndpoint(Answering.keys(issuer.jwks())) as endpoint:
        printed = base.evaluate(
            "from userservice_core import Authorizer, TokenVerifier\n"
            f"authorizer = Authorizer(TokenVerifier({endpoint.url!r}, issuer={ISSUER!r}))\n"
            f"claims = authorizer.admit({token!r}, permission='invoice:read')\n"
            "print(claims.user_id.int, authorizer.allows(claims, 'user:read'))"
        )

    assert printed == "1 False"


@pytest.mark.parametrize(("framework", "name"), [("starlette", "Protect"), ("flask", "protect")])
def test_protecting_routes_takes_the_base_and_the_framework_only(
    wheel: Path, tmp_path: Path, framework: str, name: str
) -> None:
    """Another service that has a framework of its own adds nothing else."""
    installation = install(wheel, tmp_path / "other", extras=(), beside=(framework,))
    printed = installation.evaluate(
        f"from userservice_core.adapters.{framework}_app.protect import {name}\n"
        "from userservice_core import Authorizer, TokenVerifier\n"
        "import sys; print('userservice_core.bootstrap' in sys.modules, 'structlog' in sys.modules)"
    )

    assert printed == "False False"


def test_every_public_name_is_there(whole: Installation) -> None:
    """Each name that the library announces can be had, lazy as it is."""
    printed = whole.evaluate(
        "import userservice_core; print(sorted(name for name in userservice_core.__all__"
        " if getattr(userservice_core, name, None) is None))"
    )

    assert printed == "[]"


@pytest.mark.parametrize("host", _HOSTS)
def test_every_host_imports_by_its_installed_name(whole: Installation, host: str) -> None:
    """An installation runs the hosts as ``userservice_core.adapters``, and a top-level ``adapters`` does not exist."""
    printed = whole.evaluate(
        f"import importlib.util, userservice_core.adapters.{host}.app as host\n"
        "print(host.__name__, importlib.util.find_spec('adapters'))"
    )

    assert printed == f"userservice_core.adapters.{host}.app None"


def test_the_command_explains_itself(whole: Installation) -> None:
    """The command that the wheel installs starts, and lists what it can do."""
    printed = whole.run("userservice", "--help")

    assert {"check", "migrate", "relay", "serve"} <= set(printed.split())
    assert "Usage: userservice check" in whole.run("userservice", "check", "--help")


def test_the_types_are_announced(wheel: Path) -> None:
    """Type checkers of other projects read the annotations (PEP 561)."""
    with zipfile.ZipFile(wheel) as archive:
        assert "userservice_core/py.typed" in archive.namelist()
