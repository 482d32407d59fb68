"""Keys by URL: whatever becomes of the endpoint, good tokens keep working and it is asked no more than it should."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tests.key_endpoint import ISSUER, Answering, KeyEndpoint, issued, new_issuer, token_naming
from userservice_core import TokenVerifier
from userservice_core.errors import ConfigurationError, InvalidAccessTokenError, SigningKeysUnavailableError
from userservice_core.infrastructure.security.key_set_fetcher import MAX_BODY_BYTES
from userservice_core.infrastructure.security.remote_keys import COOL_DOWN_SECONDS, KEPT_SECONDS, RemoteKeySet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOUR = 3_600.0


class _Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    """The clock by which the keys age."""
    return _Clock()


@pytest.fixture
def endpoint() -> Iterator[KeyEndpoint]:
    """A server that has nothing yet."""
    with KeyEndpoint(Answering(status=404)) as server:
        yield server


def _verifier(endpoint: KeyEndpoint, clock: _Clock, *, timeout_seconds: float = 5.0) -> TokenVerifier:
    return TokenVerifier(RemoteKeySet(endpoint.url, timeout_seconds=timeout_seconds, monotonic=clock), issuer=ISSUER)


def _wait_for_fetches(verifier: TokenVerifier, number: int) -> None:
    """Wait until the fetch of that number has ended."""
    deadline = time.monotonic() + 10
    while not (verifier.status().fetches >= number and _is_idle()):
        assert time.monotonic() < deadline, verifier.status()
        time.sleep(0.005)


def _is_idle() -> bool:
    return all(thread.name != "userservice-keys" for thread in threading.enumerate())


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_nothing_is_fetched_before_the_first_token(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Then once, and further tokens, and bent ones, ask for nothing."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks())
    verifier = _verifier(endpoint, clock)
    with pytest.raises(InvalidAccessTokenError):
        verifier.verify("bent")
    assert endpoint.requests == []

    for number in range(5):
        assert verifier.verify(issued(issuer, seconds=60 + number)).key_id

    assert len(endpoint.requests) == 1
    with pytest.raises(InvalidAccessTokenError):
        verifier.verify(issued(issuer, seconds=-60))


def test_many_threads_at_the_start_ask_once(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Those who find no keys wait for the one fetch."""
    issuer = new_issuer()
    document = json.dumps(issuer.jwks()).encode()
    endpoint.answering = Answering(body=document, trickle_seconds=0.2 / len(document))
    verifier = _verifier(endpoint, clock)
    tokens = [issued(issuer, seconds=60 + number) for number in range(12)]

    with ThreadPoolExecutor(len(tokens)) as threads:
        verified = list(threads.map(verifier.verify, tokens))

    assert (len(verified), len(endpoint.requests)) == (12, 1)


@pytest.mark.parametrize(
    ("cache_control", "fresh_seconds"),
    [
        (None, 300),
        ("public, max-age=600", 600),
        ("max-age=1", 60),
        ("no-store", 60),
        ("no-cache, max-age=900", 60),
        ("max-age=999999", 3_600),
        ("max-age=nonsense", 300),
    ],
)
def test_keys_are_kept_as_long_as_the_endpoint_says_within_bounds(
    endpoint: KeyEndpoint, clock: _Clock, cache_control: str | None, fresh_seconds: int
) -> None:
    """At least a minute and at most an hour; then they are renewed while tokens are verified with the old ones."""
    issuer = new_issuer()
    headers = {} if cache_control is None else {"Cache_Control": cache_control}
    endpoint.answering = Answering.keys(issuer.jwks(), **headers)
    verifier = _verifier(endpoint, clock)
    token = issued(issuer)
    verifier.verify(token)

    clock.now += fresh_seconds - 1
    verifier.verify(token)
    assert verifier.status().fetches == 1
    clock.now += 1
    verifier.verify(token)
    _wait_for_fetches(verifier, 2)

    assert len(endpoint.requests) == 2


def test_an_unchanged_set_is_not_sent_again(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Its ETag is sent, 304 renews it, and what was verified stays remembered."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks(), ETag='"one"')
    verifier = _verifier(endpoint, clock)
    token = issued(issuer)
    verifier.verify(token)
    clock.now += _HOUR
    assert verifier.peek(token) is not None
    _wait_for_fetches(verifier, 2)

    assert [request.get("if-none-match") for request in endpoint.requests] == [None, '"one"']
    assert verifier.status().age_seconds == 0
    assert verifier.peek(token) is not None


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_a_rotation_with_overlap_refuses_no_token(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Old and new tokens are good while both keys are published, also for a verifier whose set is minutes old."""
    old, new = new_issuer(), new_issuer()
    endpoint.answering = Answering.keys(old.jwks())
    verifier = _verifier(endpoint, clock)
    verifier.verify(issued(old))
    clock.now += 299
    endpoint.answering = Answering.keys({"keys": [*old.jwks()["keys"], *new.jwks()["keys"]]})

    verifier.verify(issued(new))
    verifier.verify(issued(old))

    assert len(endpoint.requests) == 2


def test_a_key_that_is_published_no_more_is_used_no_more(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Also for tokens that were verified before."""
    old, new = new_issuer(), new_issuer()
    endpoint.answering = Answering.keys({"keys": [*old.jwks()["keys"], *new.jwks()["keys"]]})
    verifier = _verifier(endpoint, clock)
    token = issued(old)
    verifier.verify(token)
    endpoint.answering = Answering.keys(new.jwks())
    clock.now += _HOUR
    verifier.verify(token)
    _wait_for_fetches(verifier, 2)

    with pytest.raises(InvalidAccessTokenError):
        verifier.verify(token)
    verifier.verify(issued(new))


def test_after_hours_without_a_token_the_keys_are_renewed_before_they_are_used(
    endpoint: KeyEndpoint, clock: _Clock
) -> None:
    """A key that was withdrawn meanwhile is not used once more; and where the endpoint is gone, the keys stay."""
    old, new = new_issuer(), new_issuer()
    endpoint.answering = Answering.keys(old.jwks())
    verifier = _verifier(endpoint, clock)
    token = issued(old)
    verifier.verify(token)
    endpoint.answering = Answering.keys(new.jwks())
    clock.now += 3 * _HOUR
    assert verifier.peek(token) is None
    with pytest.raises(InvalidAccessTokenError):
        verifier.verify(token)

    endpoint.answering = Answering(status=500)
    clock.now += 3 * _HOUR
    assert verifier.verify(issued(new)).key_id
    assert len(endpoint.requests) == 3


# --- unknown keys -----------------------------------------------------------------------------------------------------


@pytest.mark.asvs("9.1.3")
def test_invented_key_ids_cause_one_fetch_in_a_cool_down(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """A thousand of them, from many threads; good tokens keep working meanwhile."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks())
    verifier = _verifier(endpoint, clock)
    verifier.verify(issued(issuer))
    clock.now += COOL_DOWN_SECONDS
    before = len(endpoint.requests)

    def refused(number: int) -> bool:
        with pytest.raises((InvalidAccessTokenError, SigningKeysUnavailableError)):
            verifier.verify(token_naming(f"invented-{number}"))
        return verifier.verify(issued(issuer, seconds=60 + number)).key_id != ""

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(refused, range(1_000)))
    assert len(endpoint.requests) - before == 1

    clock.now += COOL_DOWN_SECONDS
    assert refused(1_000)
    assert refused(1_001)
    assert len(endpoint.requests) - before == 2


def test_waiting_for_a_slow_endpoint_does_not_take_all_threads(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Past a number of waiting threads, further tokens with unknown keys are told to come back at once."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks())
    verifier = _verifier(endpoint, clock, timeout_seconds=1.0)
    verifier.verify(issued(issuer))
    clock.now += COOL_DOWN_SECONDS
    endpoint.answering = Answering(body=b"x" * 1_000, trickle_seconds=0.1)

    def seconds_until_refused(number: int) -> float:
        began = time.monotonic()
        with pytest.raises(SigningKeysUnavailableError):
            verifier.verify(token_naming(f"invented-{number}"))
        return time.monotonic() - began

    with ThreadPoolExecutor(40) as threads:
        waits = sorted(threads.map(seconds_until_refused, range(40)))

    assert waits[20] < 0.9
    assert waits[-1] < 3.0
    assert verifier.status().fetches == 2


# --- what goes wrong --------------------------------------------------------------------------------------------------

_FAULTS: dict[str, Answering] = {
    "error": Answering(status=500, body=b"{}"),
    "page": Answering(body=b"<html>"),
    "not an object": Answering(body=b"[]"),
    "no keys": Answering(body=b"{}"),
    "empty set": Answering(body=b'{"keys": []}'),
    "repeated member": Answering(body=b'{"keys": [], "keys": []}'),
    "too deep": Answering(body=b"[" * 100_000),
    "useless keys": Answering(body=b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "1"}]}'),
    "too many keys": Answering(body=json.dumps({"keys": [{}] * 10_000}).encode()),
    "redirect": Answering(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "compressed": Answering(body=b"{}", headers={"Content-Encoding": "gzip"}),
    "not modified without a reason": Answering(status=304),
    "announced as 50 MB": Answering(body=b"{}", headers={"Content-Length": "50000000"}),
    "endless": Answering(endless=True),
    "trickling": Answering(body=b" " * 1_000, trickle_seconds=0.05),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_without_keys_a_token_is_not_called_invalid(endpoint: KeyEndpoint, clock: _Clock, fault: str) -> None:
    """It cannot be told whether it is, so the client is told to come back; and when there are keys, it is good."""
    issuer = new_issuer()
    endpoint.answering = _FAULTS[fault]
    verifier = _verifier(endpoint, clock, timeout_seconds=0.5)
    token = issued(issuer)

    began = time.monotonic()
    with pytest.raises(SigningKeysUnavailableError):
        verifier.verify(token)
    assert time.monotonic() - began < 3
    _wait_for_fetches(verifier, 1)
    assert endpoint.bytes_sent < 10 * MAX_BODY_BYTES
    assert (verifier.status().has_keys, verifier.status().failures) == (False, 1)

    endpoint.answering = Answering.keys(issuer.jwks())
    clock.now += 1
    assert verifier.verify(token).key_id
    assert verifier.status().last_failure is None


@pytest.mark.parametrize("fault", _FAULTS)
def test_the_last_good_keys_stay_in_use(
    endpoint: KeyEndpoint, clock: _Clock, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """For a day, whatever the endpoint answers; nobody waits, and the log has one line for the outage."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks())
    verifier = _verifier(endpoint, clock, timeout_seconds=1.0)
    verifier.verify(issued(issuer))
    endpoint.answering = _FAULTS[fault]

    with caplog.at_level(logging.INFO, "userservice.keys"):
        for attempt in range(3):
            clock.now += _HOUR
            began = time.monotonic()
            verifier.verify(issued(issuer, seconds=70 + attempt))
            assert time.monotonic() - began < 0.9
            _wait_for_fetches(verifier, 2 + attempt)
        failed = [record for record in caplog.records if "could not be had" in record.message]
        endpoint.answering = Answering.keys(issuer.jwks())
        clock.now += _HOUR
        verifier.verify(issued(issuer))
        _wait_for_fetches(verifier, 5)

    assert (len(failed), verifier.status().failures) == (1, 3)
    assert "stay in use" in failed[0].message
    assert "can be had again" in caplog.records[-1].message


def test_an_endpoint_that_is_gone_for_a_day_ends_the_use_of_its_keys(clock: _Clock) -> None:
    """The connection is refused: first the keys stay, and after a day nobody can tell any more."""
    issuer = new_issuer()
    with KeyEndpoint(Answering.keys(issuer.jwks())) as endpoint:
        verifier = _verifier(endpoint, clock)
        verifier.verify(issued(issuer))
    clock.now += KEPT_SECONDS
    verifier.verify(issued(issuer))
    _wait_for_fetches(verifier, 2)

    clock.now += 1
    with pytest.raises(SigningKeysUnavailableError):
        verifier.verify(issued(issuer))
    assert not verifier.status().has_keys


def test_a_new_key_during_an_outage_is_not_called_invalid(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Its token may be good; whoever holds it must not be made to sign in again."""
    issuer = new_issuer()
    endpoint.answering = Answering.keys(issuer.jwks())
    verifier = _verifier(endpoint, clock)
    verifier.verify(issued(issuer))
    endpoint.answering = Answering(status=503)
    clock.now += COOL_DOWN_SECONDS

    for _ in range(3):
        with pytest.raises(SigningKeysUnavailableError):
            verifier.verify(issued(new_issuer()))
    assert len(endpoint.requests) == 2


def test_a_dead_endpoint_is_asked_less_and_less(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """At the start too: pauses from one second to the cool-down, however many tokens come."""
    endpoint.answering = Answering(status=500)
    verifier = _verifier(endpoint, clock)
    token = issued(new_issuer())
    for _ in range(1_200):
        with pytest.raises(SigningKeysUnavailableError):
            verifier.verify(token)
        clock.now += 0.1

    # After 0, 1, 3, 7, 15, 31, 61 and 91 seconds.
    assert len(endpoint.requests) == 8


def test_bad_keys_are_left_out_and_good_ones_used(
    endpoint: KeyEndpoint, clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Symmetric, private and doubled keys; the log names them once."""
    issuer = new_issuer()
    bad: list[dict[str, Any]] = [
        {"kty": "oct", "k": "AAAA", "kid": "symmetric"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "small", "alg": "RS256", "use": "sig"},
        *({"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": "twice"} for _ in range(2)),
    ]
    endpoint.answering = Answering.keys({"keys": [*bad, *issuer.jwks()["keys"]]})
    verifier = _verifier(endpoint, clock)

    with caplog.at_level(logging.WARNING, "userservice.keys"):
        for renewal in range(2):
            assert verifier.verify(issued(issuer)).key_id
            clock.now += _HOUR
            verifier.peek("")
            _wait_for_fetches(verifier, 2 + renewal)

    [told] = [record.message for record in caplog.records]
    assert all(f"key {position}: " in told for position in range(4))


def test_a_fetch_that_was_lost_in_a_fork_does_not_stop_the_next(endpoint: KeyEndpoint, clock: _Clock) -> None:
    """Two minutes on, another one begins, and what the first one comes to counts no more."""
    issuer = new_issuer()
    endpoint.answering = Answering(body=b"x" * 1_000, trickle_seconds=0.05)
    verifier = _verifier(endpoint, clock, timeout_seconds=0.5)
    token = issued(issuer)

    def give_up() -> None:
        with contextlib.suppress(SigningKeysUnavailableError):
            verifier.verify(token)

    first = threading.Thread(target=give_up)
    first.start()
    while not endpoint.requests:
        time.sleep(0.005)
    endpoint.answering = Answering.keys(issuer.jwks())
    clock.now += 121

    assert verifier.verify(issued(issuer)).key_id
    first.join()
    _wait_for_fetches(verifier, 2)
    assert (verifier.status().failures, verifier.status().last_failure) == (0, None)


# --- https ------------------------------------------------------------------------------------------------------------


def _certificate(folder: Path, address: str) -> Path:
    """Make a certificate that signs itself, for an address of loopback."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    file = folder / f"{address}.pem"
    unencrypted = serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.mark.asvs("12.3.1", "12.3.2", "12.3.3", "12.3.4")
@pytest.mark.parametrize(
    ("address", "is_trusted", "is_had"),
    [("127.0.0.1", True, True), ("127.0.0.1", False, False), ("127.0.0.2", True, False)],
)
def test_over_https_the_certificate_must_be_trusted_and_the_hosts_own(
    clock: _Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    *,
    is_trusted: bool,
    is_had: bool,
) -> None:
    """Else the keys are anybody's; which authorities are trusted can be set for the process."""
    issuer = new_issuer()
    certificate = _certificate(tmp_path, address)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with KeyEndpoint(Answering.keys(issuer.jwks()), certificate=certificate) as endpoint:
        verifier = _verifier(endpoint, clock)
        with contextlib.nullcontext() if is_had else pytest.raises(SigningKeysUnavailableError):
            verifier.verify(issued(issuer))

    assert ("SSLCertVerificationError" in (verifier.status().last_failure or "")) is not is_had
    assert len(endpoint.requests) == is_had


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("15.3.2")
@pytest.mark.parametrize(
    "url",
    [
        "",
        "accounts.example.com/jwks",
        "ftp://accounts.example.com/jwks",
        "file:///etc/passwd",
        "http://accounts.example.com/jwks",
        "http://127.0.0.1.example.com/jwks",
        "http://10.0.0.1/jwks",
        "https:///jwks",
        "https://user:secret@accounts.example.com/jwks",
        "https://accounts.example.com:99999/jwks",
        "https://accounts.example.com/jw ks",
        "https://accounts.example.com/\r\nx",
        "https://[::1/jwks",
    ],
)
def test_an_address_that_could_be_anybodys_is_refused_at_the_start(url: str) -> None:
    """Keys come over https, or from this machine."""
    with pytest.raises(ConfigurationError):
        TokenVerifier(url, issuer=ISSUER)


@pytest.mark.parametrize(
    "url", ["https://accounts.example.com/jwks?x=1", "http://localhost:1/", "http://127.0.0.2/", "http://[::1]:8000/j"]
)
def test_an_address_that_is_safe_is_taken(url: str) -> None:
    """And nothing is fetched from it yet."""
    assert TokenVerifier(url, issuer=ISSUER).status().fetches == 0
