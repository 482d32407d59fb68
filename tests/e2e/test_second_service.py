"""The tutorial of the second service, as it stands on its page, beside the running user service."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import httpx
import psycopg
import pytest

from tests.e2e.flow import PASSWORD
from tests.e2e.installations import ROOT, Installation, install
from tests.e2e.processes import Process, Server, eventually, free_port, settings_for, without_settings
from userservice_core.application.use_cases import UseCases
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings
from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.ids import RoleId, UserId

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.kafka import KafkaBroker

_PAGE: Final = (ROOT / "docs" / "tutorials" / "a-second-service.md").read_text(encoding="utf-8")
_MOST_LINES: Final = 65


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _PAGE, re.MULTILINE | re.DOTALL)


@attrs.frozen
class _Person:
    """A user with a session."""

    id: UserId
    tokens: dict[str, Any]

    @property
    def bearer(self) -> dict[str, str]:
        """The header of their requests."""
        return {"Authorization": f"Bearer {self.tokens['accessToken']}"}


@attrs.frozen
class _Neighbours:
    """
    The user service and the order service.

    Attributes:
        orders: Where orders are taken.
        use_cases: Of the user service.
        customer: The role that the page declares.
    """

    users: Server
    relay: Process
    orders: str
    use_cases: UseCases
    customer: RoleId

    def sign_up(self, email: str) -> _Person:
        """Register somebody, confirm their address and sign them in."""
        credentials = {"email": email, "password": PASSWORD}
        user = httpx.post(f"{self.users.url}/auth/register", json=credentials).json()
        token = self.relay.mail_to(email)["token"]
        assert httpx.post(f"{self.users.url}/auth/verify-email", json={"token": token}).status_code == 200
        return _Person(UserId(UUID(user["id"])), httpx.post(f"{self.users.url}/auth/login", json=credentials).json())

    def refreshed(self, person: _Person) -> _Person:
        """Exchange the refresh token for a new pair."""
        refresh = {"refreshToken": person.tokens["refreshToken"]}
        return _Person(person.id, httpx.post(f"{self.users.url}/auth/refresh-token", json=refresh).json())

    def order(self, person: _Person, item: str) -> httpx.Response:
        """Order something."""
        return httpx.post(f"{self.orders}/orders", params={"item": item}, headers=person.bearer)

    def look(self, person: _Person) -> httpx.Response:
        """See all orders."""
        return httpx.get(f"{self.orders}/orders", headers=person.bearer)

    def until_named(self, person: _Person, *names: str | None) -> None:
        """Wait until the orders are shown with *names*."""
        shown: list[Any] = []

        def are_named() -> bool:
            shown[:] = [order["customer"] for order in self.look(person).json()]
            return shown == list(names)

        eventually(are_named, what=f"the names {names}; shown were {shown}", seconds=60)


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Installation:
    """What the page installs, with what it has the reader write."""
    [extras] = re.findall(r"^pip install 'userservice\[([\w,]+)\]'$", _PAGE, re.MULTILINE)
    installation = install(wheel, tmp_path / "orders", extras=extras.split(","))
    [program], [access] = _blocks("python"), _blocks("toml")
    (installation.folder / "orders.py").write_text(program)
    (installation.folder / "access.toml").write_text(access)
    return installation


@pytest.fixture
def neighbours(
    installed: Installation, database: str, empty_database: str, kafka_broker: KafkaBroker, tmp_path: Path
) -> Iterator[_Neighbours]:
    """Both, each with its processes and a database of its own; between them is the broker."""
    port, orders_port = free_port(), free_port()
    issuer, servers = f"http://127.0.0.1:{port}", kafka_broker.bootstrap_servers
    environment = settings_for(
        database,
        tmp_path,
        ISSUER=issuer,
        PUBLIC_URL=issuer,
        KAFKA_BOOTSTRAP_SERVERS=servers,
        ARGON2_MEMORY_KIB="64",
        ARGON2_TIME_COST="1",
    )
    own = {"ORDERS_DATABASE": empty_database, "ORDERS_ISSUER": issuer, "ORDERS_KAFKA": servers}
    away = {name: value for name, value in without_settings().items() if not name.startswith("PYTHON")} | own
    folder, programs = installed.folder, installed.folder / "bin"
    with Process("apply-access", str(folder / "access.toml"), environment=environment) as applying:
        assert applying.wait() == 0, applying.lines
    with Process(program=[str(programs / "python"), "orders.py"], folder=folder, environment=away) as making:
        assert making.wait() == 0, making.lines
    serving = [
        str(programs / "python"),
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--port",
        str(orders_port),
        "orders:app",
    ]
    following = [str(programs / "userservice"), "consume", "orders:consumer"]
    settings = Settings.from_environment({name: text for name, text in environment.items() if "USERSERVICE_" in name})
    with (
        Server("starlette", environment=environment, port=port) as users,
        Process("relay", environment=environment) as relay,
        Process(program=serving, folder=folder, environment=away) as orders,
        Process(program=following, folder=folder, environment=away) as consumer,
        bootstrap(settings, background=False) as service,
    ):
        url = f"http://127.0.0.1:{orders_port}"

        def answers() -> bool:
            assert orders.is_running, orders.lines
            assert consumer.is_running, consumer.lines
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"{url}/orders").status_code == 401
            return False

        eventually(answers, what="the order service", seconds=30)
        yield _Neighbours(users, relay, url, service.use_cases, _customer(database))
        assert (consumer.stop(), orders.stop()) == (0, 0)


def _customer(database: str) -> RoleId:
    with psycopg.connect(database) as connection:
        [role_id] = connection.execute("SELECT role_id FROM roles WHERE name = 'customer'").fetchone() or (None,)
        return RoleId(role_id)


def test_the_page_keeps_its_promise_of_length() -> None:
    """What it has the reader write is not much."""
    [program] = _blocks("python")

    assert sum(bool(line.strip()) for line in program.splitlines()) <= _MOST_LINES


def test_orders_know_who_may_order_and_what_they_are_called(neighbours: _Neighbours) -> None:
    """A registration, another name, a role given and taken, an erasure: each arrives, and old tokens are refused."""
    ada, bob = neighbours.sign_up("ada@example.com"), neighbours.sign_up("bob@example.com")
    refused = neighbours.order(ada, "lamp")
    assert (refused.status_code, refused.json()["params"]) == (403, {"permission": "order:create"})
    for person in (ada, bob):
        neighbours.use_cases.role_assignments.assign(actor=OPERATOR, user_id=person.id, role_ids=[neighbours.customer])
    ada, bob = neighbours.refreshed(ada), neighbours.refreshed(bob)
    assert [neighbours.order(ada, "lamp").status_code, neighbours.order(bob, "rope").status_code] == [200, 200]
    neighbours.until_named(ada, "ada@example.com", "bob@example.com")

    profile = {"displayName": "Ada Lovelace"}
    patched = httpx.patch(f"{neighbours.users.url}/users/me/profile", json=profile, headers=ada.bearer)
    assert patched.status_code == 200
    neighbours.until_named(bob, "Ada Lovelace", "bob@example.com")

    neighbours.use_cases.role_assignments.remove(actor=OPERATOR, user_id=ada.id, role_ids=[neighbours.customer])
    eventually(lambda: neighbours.look(ada).status_code == 401, what="the refusal of older tokens", seconds=60)
    assert neighbours.look(neighbours.refreshed(ada)).status_code == 403

    neighbours.use_cases.account_administration.erase(actor=OPERATOR, user_id=ada.id)
    neighbours.until_named(bob, None, "bob@example.com")
