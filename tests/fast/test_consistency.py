"""What a request may read, decided by the token it carries and by who is calling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from tests.hosts.installation import ISSUER, Installation
from userservice_core.application.consistency import Consistency
from userservice_core.errors import UnavailableError
from userservice_core.http.pipeline import HttpOptions, Pipeline
from userservice_core.http.routes import ROUTES, Holder
from userservice_core.infrastructure.memory import InMemoryMetrics, InMemoryPositions, InMemoryPositionSource
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.position_tokens import HmacPositionSigner
from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy
from userservice_core.ports.consistency import UNKNOWN_OFFSET, Position, Reading, current_reading, reading_as
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.host import PipelineClient, send_json

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response
    from userservice_core.http.routes import Handler

_RING: Final = KeyRing.generate(SystemClock().now(), SystemEntropy())
_SIGNER: Final = HmacPositionSigner(_RING)
_PLACE: Final = Position(1, 2, 3)
_TOKEN: Final = _SIGNER.sign(_PLACE)
_MIDDLE: Final = len(_TOKEN) // 2
_FORGED: Final = f"{_TOKEN[:_MIDDLE]}{'A' if _TOKEN[_MIDDLE] != 'A' else 'B'}{_TOKEN[_MIDDLE + 1 :]}"


class _FailingPositions:
    """A memory that does not answer."""

    def remember(self, writer: str, position: Position) -> None:
        """Forget it."""

    def recall(self, writer: str) -> Position | None:
        """Fail."""
        raise UnavailableError(writer)


def _consistency(memory: InMemoryPositions | _FailingPositions | None = None) -> Consistency:
    return Consistency(
        signer=_SIGNER, source=InMemoryPositionSource(), memory=memory, metrics=InMemoryMetrics(), settled_seconds=60
    )


def test_only_reads_that_show_something_may_use_a_replica() -> None:
    """Never those that say who somebody is or what they may do, nor what ends or proves a sign-in."""
    allowed = {route.path for route in ROUTES if route.replica_ok}

    assert len(allowed) == 18
    assert not {path for path in allowed if path.startswith(("/auth", "/oauth", "/admin/clients"))}
    assert not {path for path in allowed if "session" in path or "effective-permissions" in path or "export" in path}
    assert all(route.method == "GET" and route.wants_user for route in ROUTES if route.replica_ok)


@pytest.mark.parametrize("changed", [{"method": "POST"}, {"sensitive": True}])
def test_a_route_that_changes_or_decides_cannot_be_marked(changed: dict[str, Any]) -> None:
    """The table does not import."""
    (route,) = (route for route in ROUTES if route.operation_id == "get_profile")

    with pytest.raises(ValueError, match="may not read replicas"):
        attrs.evolve(route, **changed)


@pytest.mark.parametrize(
    ("token", "replica_ok", "expected"),
    [
        (None, False, Reading()),
        (_TOKEN, False, Reading()),
        (None, True, Reading(allows_replicas=True)),
        (_TOKEN, True, Reading(allows_replicas=True, at_least=_PLACE)),
        (_FORGED, True, Reading()),
        ("", True, Reading()),
        ("p1", True, Reading()),
        ("é" * 10_000, True, Reading()),
    ],
    ids=["none", "unused", "any", "place", "forged", "empty", "short", "long"],
)
def test_what_a_token_asks_for(token: str | None, replica_ok: bool, expected: Reading) -> None:  # noqa: FBT001 - a case
    """One that cannot be verified has the primary read: whatever it asked for is there."""
    assert _consistency().begin(token=token, replica_ok=replica_ok) == expected


def test_an_unverifiable_token_is_counted() -> None:
    """Whoever operates the service sees a key that went too early."""
    metrics = InMemoryMetrics()
    consistency = Consistency(
        signer=_SIGNER, source=InMemoryPositionSource(), memory=None, metrics=metrics, settled_seconds=60
    )
    consistency.begin(token=_FORGED, replica_ok=True)

    assert metrics.counts["consistency_token", "invalid"] == 1


def test_who_carries_no_token_is_remembered_or_reads_their_own_from_the_primary() -> None:
    """The latter where nobody remembers, and while the memory does not answer."""
    remembering = InMemoryPositions(life_seconds=60)
    remembering.remember("me", _PLACE)
    found = {}
    for name, memory in (("none", None), ("memory", remembering), ("failing", _FailingPositions())):
        for writer in ("me", "stranger"):
            for is_own in (True, False):
                reading = Reading(allows_replicas=True)
                _consistency(memory).recall(reading, writer=writer, is_own=is_own, known_for_seconds=61)
                found[name, writer, is_own] = (reading.allows_replicas, reading.at_least)

    primary, anywhere = (False, None), (True, None)
    assert found == {
        ("none", "me", True): primary,
        ("none", "me", False): anywhere,
        ("none", "stranger", True): primary,
        ("none", "stranger", False): anywhere,
        ("memory", "me", True): (True, _PLACE),
        ("memory", "me", False): (True, _PLACE),
        ("memory", "stranger", True): anywhere,
        ("memory", "stranger", False): anywhere,
        ("failing", "me", True): primary,
        ("failing", "me", False): anywhere,
        ("failing", "stranger", True): primary,
        ("failing", "stranger", False): anywhere,
    }


@pytest.mark.parametrize(
    ("seconds", "is_own", "writer", "allowed"),
    [(1, True, "me", True), (1, True, "stranger", False), (1, False, "stranger", True), (60, True, "stranger", True)],
)
def test_what_was_written_before_the_sign_in_is_seen_after_it(
    seconds: float,
    is_own: bool,  # noqa: FBT001 - a case
    writer: str,
    allowed: bool,  # noqa: FBT001 - a case
) -> None:
    """Whoever registered and signed in a moment ago wrote their account under no session."""
    memory = InMemoryPositions(life_seconds=60)
    memory.remember("me", _PLACE)
    reading = Reading(allows_replicas=True)

    _consistency(memory).recall(reading, writer=writer, is_own=is_own, known_for_seconds=seconds)

    assert reading.allows_replicas == allowed


def test_a_token_goes_before_what_is_remembered() -> None:
    """It may be of somebody else's write, which its bearer was told of."""
    memory = InMemoryPositions(life_seconds=60)
    memory.remember("me", Position(1, 2, UNKNOWN_OFFSET))
    reading = Reading(allows_replicas=True, at_least=_PLACE)

    _consistency(memory).recall(reading, writer="me", is_own=True, known_for_seconds=1)

    assert reading.at_least == _PLACE


def test_a_write_ends_the_permission_to_read_a_replica() -> None:
    """For the rest of the request."""
    reading = Reading(allows_replicas=True)
    with reading_as(reading):
        assert current_reading() is reading
        reading.pin()

    assert current_reading() is None
    assert not reading.allows_replicas


class _Served:
    """The service with a history of its own, behind the pipeline."""

    def __init__(self, *, cookie: bool = False, issuer: str = ISSUER) -> None:
        self.installation = Installation.begin(FakeClock())
        self.source = InMemoryPositionSource()
        self.memory = InMemoryPositions(life_seconds=60)
        self.readings: list[Reading] = []
        service = self.installation.service
        routes = [
            attrs.evolve(route, handler=self._noting(route.handler))
            if route.operation_id in {"get_profile", "patch_profile", "add_address"}
            else route
            for route in ROUTES
        ]
        pipeline = Pipeline(
            service.use_cases,
            health=service.health,
            metrics=service.metrics,
            ids=self.installation.ids,
            clock=self.installation.clock,
            options=HttpOptions(issuer=issuer, consistency_cookie=cookie),
            routes=routes,
            consistency=Consistency(
                signer=_SIGNER,
                source=self.source,
                memory=self.memory,
                metrics=service.metrics,
                settled_seconds=60,
            ),
        )
        self.client = PipelineClient(pipeline)
        self.token = self.installation.access_token("ada@example.com")

    def ask(self, method: str, target: str, content: dict[str, str] | None = None, **headers: str) -> Response:
        """Send a request as the user."""
        sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return send_json(self.client, method, target, content, token=self.token, headers=sent)

    def _noting(self, handler: Handler) -> Handler:
        def noting(call: Call) -> Response:
            reading = current_reading()
            assert reading is not None
            self.readings.append(attrs.evolve(reading))
            response = handler(call)
            if handler.__name__ != "get_profile":
                reading.written = self.source.advance()
            return response

        noting.__name__ = handler.__name__
        return noting


def test_the_token_goes_out_with_a_write_and_comes_back_with_a_read() -> None:
    """And with no other answer."""
    served = _Served()
    written = served.ask("PATCH", "/users/me/profile", {"displayName": "Ada"})
    token = written.header("consistency-token") or ""
    read = served.ask("GET", "/users/me/profile", consistency_token=token)

    assert _SIGNER.verify(token) == served.source.current()
    assert read.header("consistency-token") is None
    assert served.readings == [Reading(), Reading(allows_replicas=True, at_least=served.source.current())]
    assert written.header("set-cookie") is None


def test_whoever_lost_the_token_is_remembered_by_their_session() -> None:
    """Where there is a memory."""
    served = _Served()
    served.ask("PATCH", "/users/me/profile", {"displayName": "Ada"})
    served.ask("GET", "/users/me/profile")

    assert served.readings[-1] == Reading(allows_replicas=True, at_least=served.source.current())


def test_an_answer_that_is_repeated_has_a_token_of_its_own() -> None:
    """The first one may be lost with the first answer, and the write is just as old."""
    served = _Served()
    address = {"addressLine1": "1", "city": "Paris", "postalCode": "75001", "countryCode": "FR"}
    first, second = (served.ask("POST", "/users/me/addresses", address, idempotency_key="one") for _ in range(2))

    assert second.header("idempotency-replayed") == "true"
    assert first.status == second.status == 201
    assert _SIGNER.verify(second.header("consistency-token") or "") == served.source.current()


@pytest.mark.parametrize(("issuer", "is_secure"), [(ISSUER, True), ("http://localhost:8000", False)])
def test_browsers_keep_the_token_in_a_cookie(issuer: str, is_secure: bool) -> None:  # noqa: FBT001 - a case
    """Where an installation wants that; a header goes before it."""
    served = _Served(cookie=True, issuer=issuer)
    cookie = served.ask("PATCH", "/users/me/profile", {"displayName": "Ada"}).header("set-cookie") or ""
    pair, *attributes = cookie.split("; ")
    position = served.source.current()
    served.ask("GET", "/users/me/profile", cookie=f"other=1; {pair}")
    served.ask("GET", "/users/me/profile", cookie=pair, consistency_token=_TOKEN)

    assert set(attributes) == {"Path=/", "Max-Age=3600", "HttpOnly", "SameSite=Lax"} | (
        {"Secure"} if is_secure else set()
    )
    assert [reading.at_least for reading in served.readings[1:]] == [position, _PLACE]


def test_a_cookie_is_nothing_where_the_setting_is_off() -> None:
    """It may be anybody's."""
    served = _Served()
    served.ask("GET", "/users/me/profile", cookie=f"userservice-consistency={_TOKEN}")

    assert served.readings[-1].at_least is None


def test_every_read_of_ones_own_is_known_as_such() -> None:
    """So that it is read from the primary where nobody remembers who wrote what."""
    own = {route.operation_id for route in ROUTES if route.replica_ok and route.is_own}

    assert own == {"get_current_user", "get_profile", "list_own_activity", "list_addresses", "get_address"}
    assert all(not isinstance(route.who, Holder) for route in ROUTES if route.is_own)
