"""Hashes, seals and tokens keep what their ports promise."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import argon2
import pytest

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer, JwtAccessTokenVerifier
from userservice_core.infrastructure.security.cursors import HmacCursorSigner
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
from userservice_core.infrastructure.security.position_tokens import HmacPositionSigner
from userservice_core.infrastructure.security.refresh_tokens import HmacRefreshTokens
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.security.totp import PyotpOneTimePasswords
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON, FakeClock
from userservice_core.testing.contracts.access_tokens import AccessTokensContract
from userservice_core.testing.contracts.consistency import PositionSignerContract
from userservice_core.testing.contracts.cursors import CursorSignerContract
from userservice_core.testing.contracts.mfa import OneTimePasswordsContract
from userservice_core.testing.contracts.passwords import PasswordHasherContract
from userservice_core.testing.contracts.refresh_tokens import RefreshTokensContract
from userservice_core.testing.contracts.sealing import SecretSealerContract

if TYPE_CHECKING:
    from collections.abc import Iterator


def _ring() -> KeyRing:
    return KeyRing.generate(NOON, SystemEntropy())


_RING = _ring()


def _with_a_newer_key(ring: KeyRing) -> KeyRing:
    document = json.loads(_ring().dump())
    for kind, keys in json.loads(ring.dump()).items():
        if isinstance(keys, list):
            document[kind] += [{**key, "state": "retired"} for key in keys]
    return KeyRing.parse(json.dumps(document))


class TestJwtAccessTokens(AccessTokensContract):
    """Signed with each algorithm."""

    @pytest.fixture(params=SigningAlgorithm)
    def algorithm(self, request: pytest.FixtureRequest) -> SigningAlgorithm:
        """Of all keys."""
        algorithm: SigningAlgorithm = request.param
        return algorithm

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The verifier's."""
        return FakeClock()

    @pytest.fixture
    def ring(self, rings: dict[SigningAlgorithm, KeyRing], algorithm: SigningAlgorithm) -> KeyRing:
        """A ring of that algorithm, which is not changed."""
        return rings[algorithm]

    @pytest.fixture
    def issuer(self, ring: KeyRing) -> JwtAccessTokenIssuer:
        """One with that ring."""
        return JwtAccessTokenIssuer(ring, issuer="issuer", audience="audience")

    @pytest.fixture
    def verifier(self, ring: KeyRing, clock: FakeClock) -> JwtAccessTokenVerifier:
        """One with the same ring."""
        return JwtAccessTokenVerifier(ring, issuer="issuer", audience="audience", clock=clock)

    @pytest.fixture
    def stranger(self, algorithm: SigningAlgorithm) -> JwtAccessTokenIssuer:
        """One with another ring."""
        ring = KeyRing.generate(NOON, SystemEntropy(), algorithm=algorithm)
        return JwtAccessTokenIssuer(ring, issuer="issuer", audience="audience")


class TestHmacRefreshTokens(RefreshTokensContract):
    """Chained by HMAC."""

    @pytest.fixture
    def tokens(self) -> HmacRefreshTokens:
        """One with a ring of its own."""
        return HmacRefreshTokens(_RING, SystemEntropy())

    @pytest.fixture
    def same_ring(self) -> HmacRefreshTokens:
        """As another process has it."""
        return HmacRefreshTokens(KeyRing.parse(_RING.dump()), SystemEntropy())

    @pytest.fixture
    def successor_ring(self) -> HmacRefreshTokens:
        """After the change of the key."""
        return HmacRefreshTokens(_with_a_newer_key(_RING), SystemEntropy())

    @pytest.fixture
    def stranger(self) -> HmacRefreshTokens:
        """One with another ring."""
        return HmacRefreshTokens(_ring(), SystemEntropy())


class TestHmacCursorSigner(CursorSignerContract):
    """Signed by HMAC."""

    @pytest.fixture
    def signer(self) -> HmacCursorSigner:
        """One with a ring of its own."""
        return HmacCursorSigner(_RING)

    @pytest.fixture
    def successor_ring(self) -> HmacCursorSigner:
        """After the change of the key."""
        return HmacCursorSigner(_with_a_newer_key(_RING))

    @pytest.fixture
    def stranger(self) -> HmacCursorSigner:
        """One with another ring."""
        return HmacCursorSigner(_ring())


class TestHmacPositionSigner(PositionSignerContract):
    """Signed by HMAC."""

    @pytest.fixture
    def signer(self) -> HmacPositionSigner:
        """One with a ring of its own."""
        return HmacPositionSigner(_RING)

    @pytest.fixture
    def successor_ring(self) -> HmacPositionSigner:
        """After the change of the key."""
        return HmacPositionSigner(_with_a_newer_key(_RING))

    @pytest.fixture
    def stranger(self) -> HmacPositionSigner:
        """One with another ring."""
        return HmacPositionSigner(_ring())

    def test_a_cursor_is_none(self, signer: HmacPositionSigner) -> None:
        """What was signed for something else is nothing here, whatever it is called."""
        cursor = HmacCursorSigner(_RING).sign(bytes(20))

        assert signer.verify(f"p1{cursor.removeprefix('c1')}") is None


class TestAesGcmSecretSealer(SecretSealerContract):
    """Sealed with AES-256-GCM."""

    @pytest.fixture
    def sealer(self) -> AesGcmSecretSealer:
        """One with a ring of its own."""
        return AesGcmSecretSealer(_RING, SystemEntropy())

    @pytest.fixture
    def stranger(self) -> AesGcmSecretSealer:
        """One with another ring."""
        return AesGcmSecretSealer(_ring(), SystemEntropy())

    @pytest.fixture
    def successor(self) -> AesGcmSecretSealer:
        """After the change of the key."""
        return AesGcmSecretSealer(_with_a_newer_key(_RING), SystemEntropy())


def _hasher(*, queue: int = 4, memory_kib: int = 64) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(slots=1, queue=queue, memory_kib=memory_kib, time_cost=1, metrics=InMemoryMetrics())


class TestPyotpOneTimePasswords(OneTimePasswordsContract):
    """By time."""

    @pytest.fixture
    def passwords(self) -> PyotpOneTimePasswords:
        """Those of a service with a space in its name."""
        return PyotpOneTimePasswords(issuer="A Service")


class TestArgon2PasswordHasher(PasswordHasherContract):
    """With parameters that are only for testing."""

    @pytest.fixture
    def hasher(self) -> Argon2PasswordHasher:
        """One that is idle."""
        return _hasher()

    @pytest.fixture
    def outdated_hash(self) -> str:
        """One made with half the memory."""
        return _hasher(memory_kib=32).hash("password")

    @pytest.fixture
    def full_hasher(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Argon2PasswordHasher]:
        """One at work, and no room to wait."""
        yield from _occupied(_hasher(queue=0), monkeypatch)

    @pytest.fixture
    def busy_hasher(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Argon2PasswordHasher]:
        """One at work, and room to wait."""
        yield from _occupied(_hasher(queue=4), monkeypatch)


def _occupied(hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> Iterator[Argon2PasswordHasher]:
    """Take the only slot until the test is over."""
    at_work, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> str:
        at_work.set()
        assert go_on.wait(30)
        return ""

    monkeypatch.setattr(argon2.PasswordHasher, "hash", wait)
    occupant = threading.Thread(target=hasher.hash, args=("password",))
    occupant.start()
    assert at_work.wait(30)
    yield hasher
    go_on.set()
    occupant.join(30)
