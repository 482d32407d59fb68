"""The check for leaked passwords: what is told, and that nothing an endpoint does holds a caller up."""

from __future__ import annotations

import hashlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from tests.key_endpoint import Answering, KeyEndpoint
from userservice_core.errors import BreachCheckUnavailableError, ConfigurationError
from userservice_core.infrastructure.caching.dogpile_cache import DogpileCache
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.security.breached_passwords import (
    FAILURES_TO_OPEN,
    MAX_BODY_BYTES,
    OPEN_SECONDS,
    NoBreachedPasswords,
    RangeBreachedPasswords,
    read_range,
)
from userservice_core.infrastructure.security.strict_http import FetchError, HttpUrl
from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.breached_passwords import BREACHED, BreachedPasswordsContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.ports.breached_passwords import BreachedPasswords

LEAKED: Final = "correct horse battery staple"
DIGEST: Final = hashlib.sha1(LEAKED.encode(), usedforsecurity=False).hexdigest().upper()
ROWS: Final = f"{'0' * 35}:0\r\n{DIGEST[5:]}:216\r\n{'F' * 35}:3\r\n".encode()


class _Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class _Checks:
    """A checker with what it stands on."""

    def __init__(self, url: str, *, fails_open: bool = False, timeout_seconds: float = 1.0) -> None:
        self.metrics = InMemoryMetrics()
        self.clock = _Clock()
        self._cache = DogpileCache(max_entries=100, redis_url=None, metrics=self.metrics, monotonic=self.clock)
        self._checker = RangeBreachedPasswords(
            HttpUrl.parse(url, of="the breach check"),
            cache=self._cache,
            metrics=self.metrics,
            fails_open=fails_open,
            timeout_seconds=timeout_seconds,
            monotonic=self.clock,
        )

    def is_breached(self, password: str) -> bool:
        return self._checker.is_breached(password)

    def count(self, outcome: str) -> int:
        return self.metrics.counts["breach_check", outcome]

    def close(self) -> None:
        self._checker.close()
        self._cache.close()


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    """A server that knows one leaked password."""
    with KeyEndpoint(Answering(body=ROWS)) as server:
        yield server


@pytest.fixture
def checks(endpoint: KeyEndpoint) -> Iterator[_Checks]:
    """A checker that refuses what it cannot look up."""
    checks = _Checks(endpoint.url)
    yield checks
    checks.close()


class TestRangeBreachedPasswords(BreachedPasswordsContract):
    """As every implementation of the port."""

    @pytest.fixture
    def breached(self, endpoint: KeyEndpoint) -> Iterator[BreachedPasswords]:
        """Asks the server."""
        digest = hashlib.sha1(BREACHED.encode(), usedforsecurity=False).hexdigest()
        endpoint.answering = Answering(body=f"{digest[5:]}:3".encode())
        checks = _Checks(endpoint.url)
        yield checks
        checks.close()

    @pytest.fixture
    def unsure(self) -> Iterator[BreachedPasswords]:
        """Asks nobody."""
        checks = _Checks("http://127.0.0.1:1")
        yield checks
        checks.close()


def test_nothing_is_known_where_the_check_is_off() -> None:
    """Nobody is asked."""
    assert not NoBreachedPasswords().is_breached(LEAKED)


@pytest.mark.asvs("6.2.12", "14.2.3")
def test_a_leaked_password_is_told_from_another(endpoint: KeyEndpoint, checks: _Checks) -> None:
    """And the endpoint is asked for padding; of the password it gets to see five digits of the SHA-1."""
    assert checks.is_breached(LEAKED)
    assert not checks.is_breached("mauve otter climbs slowly")

    assert endpoint.requests[0]["add-padding"] == "true"
    assert [path.rpartition("/")[2] for path in endpoint.paths] == [
        DIGEST[:5],
        hashlib.sha1(b"mauve otter climbs slowly", usedforsecurity=False).hexdigest().upper()[:5],
    ]
    assert (checks.count("breached"), checks.count("clean")) == (1, 1)


def test_rows_that_only_pad_are_no_leak(endpoint: KeyEndpoint, checks: _Checks) -> None:
    """Their count is 0."""
    endpoint.answering = Answering(body=f"{DIGEST[5:]}:0\r\n".encode())

    assert not checks.is_breached(LEAKED)


def test_an_answer_serves_for_a_day_and_where_there_is_no_other_for_a_week(
    endpoint: KeyEndpoint, checks: _Checks
) -> None:
    """What was leaked is leaked; a prefix that was never asked for is not known."""
    assert checks.is_breached(LEAKED)
    checks.clock.now += 86_400
    endpoint.answering = Answering(status=500)
    assert checks.is_breached(LEAKED)
    with pytest.raises(BreachCheckUnavailableError):
        checks.is_breached("another password of which nobody was asked")
    checks.clock.now += 6 * 86_400 - 1
    assert checks.is_breached(LEAKED)
    checks.clock.now += 2
    with pytest.raises(BreachCheckUnavailableError):
        checks.is_breached(LEAKED)
    endpoint.answering = Answering(body=b"0" * 35 + b":1")

    assert not checks.is_breached(LEAKED)
    assert (checks.count("stale"), checks.count("unavailable"), len(endpoint.requests)) == (2, 4, 6)


def test_a_range_is_asked_for_once(endpoint: KeyEndpoint, checks: _Checks) -> None:
    """By many threads at once, and afterwards."""
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(checks.is_breached, [LEAKED] * 8))
    endpoint.answering = Answering(status=500)

    assert checks.is_breached(LEAKED)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "answering",
    [
        Answering(status=500, body=ROWS),
        Answering(status=404),
        Answering(status=429, headers={"Retry-After": "2"}),
        Answering(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
        Answering(body=b"<html>Sign in to this network</html>"),
        Answering(body=b""),
        Answering(body=ROWS + b"\xff\xfe"),
        Answering(body=ROWS[:-20]),
        Answering(body=ROWS * (10 * 1_024 * 1_024 // len(ROWS))),
        Answering(body=ROWS, endless=True),
        Answering(body=ROWS, headers={"Content-Encoding": "gzip"}),
        Answering(body=ROWS, trickle_seconds=0.05),
    ],
    ids=[
        *("500", "404", "429", "redirect", "page", "nothing", "bytes", "cut-off", "large", "endless", "gzip"),
        "trickle",
    ],
)
def test_whatever_else_is_answered_is_no_answer(endpoint: KeyEndpoint, checks: _Checks, answering: Answering) -> None:
    """It is told from a password that did not leak, within the time-out, and nothing of it is kept."""
    endpoint.answering = answering
    began = time.monotonic()

    with pytest.raises(BreachCheckUnavailableError):
        checks.is_breached(LEAKED)

    assert time.monotonic() - began < 1.5
    assert endpoint.bytes_sent < 40 * MAX_BODY_BYTES
    assert checks.count("unavailable") == 1
    assert len(endpoint.requests) == 1
    endpoint.answering = Answering(body=ROWS)
    assert checks.is_breached(LEAKED)


def test_by_setting_what_cannot_be_looked_up_passes(endpoint: KeyEndpoint) -> None:
    """That is counted; what can be looked up is refused all the same."""
    checks = _Checks(endpoint.url, fails_open=True)
    endpoint.answering = Answering(status=500)
    assert not checks.is_breached(LEAKED)
    assert (checks.count("unavailable"), checks.count("passed-unchecked")) == (1, 1)

    endpoint.answering = Answering(body=ROWS)
    assert checks.is_breached(LEAKED)
    checks.close()


def test_after_failures_in_a_row_nobody_waits(endpoint: KeyEndpoint, checks: _Checks) -> None:
    """The endpoint is left alone for a while, then asked once, and as before when that succeeds."""
    endpoint.answering = Answering(status=503)
    for number in range(FAILURES_TO_OPEN + 10):
        with pytest.raises(BreachCheckUnavailableError):
            checks.is_breached(f"password {number}")
    assert len(endpoint.requests) == FAILURES_TO_OPEN
    assert checks.count("breaker-open") == 10

    checks.clock.now += OPEN_SECONDS
    for number in range(3):
        with pytest.raises(BreachCheckUnavailableError):
            checks.is_breached(f"password {number}")
    assert len(endpoint.requests) == FAILURES_TO_OPEN + 1

    checks.clock.now += OPEN_SECONDS
    endpoint.answering = Answering(body=ROWS)
    assert checks.is_breached(LEAKED)
    assert not checks.is_breached("password 1")
    assert len(endpoint.requests) == FAILURES_TO_OPEN + 3


def test_an_endpoint_that_never_answers_costs_the_time_out() -> None:
    """Each caller once at most, however many there are; then the breaker is open."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks = _Checks(f"http://127.0.0.1:{silent.getsockname()[1]}", fails_open=True, timeout_seconds=0.3)
        waited = []

        def check(number: int) -> None:
            began = time.monotonic()
            assert not checks.is_breached(f"password {number}")
            waited.append(time.monotonic() - began)

        with ThreadPoolExecutor(40) as threads:
            list(threads.map(check, range(40)))
        assert max(waited) < 0.8
        assert checks.count("passed-unchecked") == 40

        began = time.monotonic()
        checks.is_breached("one more")
        assert time.monotonic() - began < 0.1
        checks.close()


def test_nobody_waits_past_their_deadline() -> None:
    """Which says nothing about the endpoint, so the breaker does not count it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks = _Checks(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5)
        began = time.monotonic()
        for _ in range(FAILURES_TO_OPEN):
            with deadline_after(0.02), pytest.raises(BreachCheckUnavailableError):
                checks.is_breached(LEAKED)
        assert time.monotonic() - began < 0.4
        with pytest.raises(BreachCheckUnavailableError):
            checks.is_breached("another one")
        assert checks.count("breaker-open") == 0
        checks.close()


def test_an_endpoint_that_is_away_is_no_answer() -> None:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    checks = _Checks(url)

    with pytest.raises(BreachCheckUnavailableError):
        checks.is_breached(LEAKED)
    checks.close()
    with pytest.raises(BreachCheckUnavailableError):
        checks.is_breached("after the end")


@pytest.mark.parametrize("body", [b"nonsense", b"", b":5", b"0" * 35 + b":", b"G" * 35 + b":1", b"0" * 34 + b":1"])
def test_only_rows_of_digests_are_read(body: bytes) -> None:
    """Anything else may be anything."""
    with pytest.raises(FetchError):
        read_range(body)


def test_rows_may_end_with_any_line_end_and_be_of_any_case() -> None:
    """What is compared is the digits."""
    assert read_range(b"%s:1\r\n%s:2\n%s:0" % (b"a" * 35, b"B" * 35, b"c" * 35)) == b"A" * 35 + b"\n" + b"B" * 35


@pytest.mark.parametrize("url", ["http://example.com/range", "ftp://example.com", "https://u:p@example.com/range"])
def test_an_endpoint_that_could_be_anybody_is_refused(url: str) -> None:
    """Whoever is in between could let every password pass."""
    with pytest.raises(ConfigurationError):
        HttpUrl.parse(url, of="the breach check")
