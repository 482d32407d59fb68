"""A client that others generate from the OpenAPI document works against a host on a real connection."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from openapi_python_client import generate
from openapi_python_client.config import Config, ConfigFile, MetaType

from adapters.flask_app.app import create_app
from docs.generate import OPENAPI
from userservice_core.http.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from tests.hosts.installation import Installation

_PACKAGE: Final = "generated_accounts_client"
_PASSWORD: Final = "correct horse battery staple"


@pytest.fixture(scope="module")
def client_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package generated from the committed document, without a word of warning."""
    folder = tmp_path_factory.mktemp("client")
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=OPENAPI,
        file_encoding="utf-8",
        overwrite=True,
        output_path=folder / _PACKAGE,
    )
    assert [f"{error.header} {error.detail}" for error in generate(config=config)] == []
    sys.path.insert(0, str(folder))
    yield _PACKAGE
    sys.path.remove(str(folder))


@pytest.fixture
def address(installation: Installation) -> Iterator[str]:
    """The address of a host that serves on a socket."""
    with make_server("127.0.0.1", 0, create_app(installation.service), handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Leave what the server would say of each request to the service's own log."""


def test_every_operation_has_a_function(client_package: str) -> None:
    """None is left out because a generator could not read it."""
    folder = _folder(client_package)
    made = {file.stem for file in folder.glob("api/*/*.py") if file.stem != "__init__"}

    assert {route.operation_id for route in ROUTES} - made == set()


def test_register_and_see_the_account(installation: Installation, address: str, client_package: str) -> None:
    """Register, confirm, sign in, look at the account, and be told of a mistake, all by generated code."""
    models = importlib.import_module(f"{client_package}.models")
    clients = importlib.import_module(f"{client_package}.client")
    with clients.Client(base_url=address) as anyone:
        body = models.RegisterBody(email="robin@example.com", password=_PASSWORD)
        registered = _operation(client_package, "register").sync(client=anyone, body=body)
        again = _operation(client_package, "register").sync(client=anyone, body=body)
        token = models.VerifyEmailBody(token=installation.mailed_token("robin@example.com"))
        verified = _operation(client_package, "verify_email").sync(client=anyone, body=token)
        credentials = models.LoginBody(email="robin@example.com", password=_PASSWORD)
        signed_in = _operation(client_package, "login").sync(client=anyone, body=credentials)
    with clients.AuthenticatedClient(base_url=address, token=signed_in.access_token) as robin:
        me = _operation(client_package, "get_current_user").sync_detailed(client=robin)

    assert (registered.email, registered.status) == ("robin@example.com", "pending_verification")
    assert (type(again), again.status, again.type_) == (
        models.ProblemAnswer,
        409,
        "urn:userservice:problem:email-taken",
    )
    assert verified.email_verified
    assert (me.status_code, me.parsed.id, me.parsed.status) == (200, registered.id, "active")
    assert me.headers["etag"] == f'"{me.parsed.version}-user1"'


def _folder(package: str) -> Path:
    return Path(str(importlib.import_module(package).__file__)).parent


def _operation(package: str, operation_id: str) -> ModuleType:
    (file,) = _folder(package).glob(f"api/*/{operation_id}.py")
    return importlib.import_module(f"{package}.api.{file.parent.name}.{operation_id}")
