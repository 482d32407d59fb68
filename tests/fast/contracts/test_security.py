"""The contracts of hashing, sealing and tokens."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.security.access_tokens import JwtAccessTokenIssuer, JwtAccessTokenVerifier
from userservice_core.infrastructure.security.jwk import SigningAlgorithm
from userservice_core.infrastructure.security.keys import KeyRing, KeyState
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
from userservice_core.infrastructure.security.refresh_tokens import HmacRefreshTokens
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON, FakeClock
from userservice_core.testing.contracts.access_tokens import AccessTokensContract
from userservice_core.testing.contracts.passwords import PasswordHasherContract
from userservice_core.testing.contracts.races import PATIENCE_SECONDS
from userservice_core.testing.contracts.refresh_tokens import RefreshTokensContract
from userservice_core.testing.contracts.sealing import SecretSealerContract

if TYPE_CHECKING:
    from collections.abc import Iterator

_ISSUER = "https://accounts.example.com"


def _ring(algorithm: SigningAlgorithm = SigningAlgorithm.EDDSA) -> KeyRing:
    return KeyRing.generate(NOON, SystemEntropy(), algorithm=algorithm)


def _with_newer_key(ring: KeyRing) -> KeyRing:
    """Return *ring* with another current key, as a rotation leaves it."""
    retired = tuple(attrs.evolve(key, state=KeyState.RETIRED) for key in ring.secret_keys)
    return attrs.evolve(ring, secret_keys=(*_ring().secret_keys, *retired))


class _Obstacle(InMemoryMetrics):
    """Stops whatever is timed until the test is over."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.is_over = threading.Event()

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Wait."""
        self.reached.set()
        self.is_over.wait(PATIENCE_SECONDS)
        with super().timing(what):
            yield


@contextmanager
def _hasher_at_work(*, queue: int) -> Iterator[Argon2PasswordHasher]:
    """Make a hasher whose only slot is taken."""
    obstacle = _Obstacle()
    hasher = Argon2PasswordHasher(slots=1, queue=queue, metrics=obstacle, memory_kib=8, time_cost=1)
    thread = threading.Thread(target=hasher.hash, args=("password",))
    thread.start()
    assert obstacle.reached.wait(PATIENCE_SECONDS)
    yield hasher
    obstacle.is_over.set()
    thread.join()


class TestArgon2(PasswordHasherContract):
    """With parameters that are only for testing."""

    @pytest.fixture
    def hasher(self) -> Argon2PasswordHasher:
        """One with room for the threads of the contract."""
        return Argon2PasswordHasher(slots=2, queue=20, metrics=InMemoryMetrics(), memory_kib=64, time_cost=1)

    @pytest.fixture
    def full_hasher(self) -> Iterator[Argon2PasswordHasher]:
        """One without a queue."""
        with _hasher_at_work(queue=0) as hasher:
            yield hasher

    @pytest.fixture
    def busy_hasher(self) -> Iterator[Argon2PasswordHasher]:
        """One with a queue."""
        with _hasher_at_work(queue=1) as hasher:
            yield hasher

    @pytest.fixture
    def outdated_hash(self) -> str:
        """A hash of less memory."""
        return Argon2PasswordHasher(slots=1, queue=0, metrics=InMemoryMetrics(), memory_kib=8, time_cost=1).hash(
            "password"
        )


class TestAesGcm(SecretSealerContract):
    """AES-256-GCM under a key ring."""

    @pytest.fixture
    def ring(self) -> KeyRing:
        """A ring of this test."""
        return _ring()

    @pytest.fixture
    def sealer(self, ring: KeyRing) -> AesGcmSecretSealer:
        """With that ring."""
        return AesGcmSecretSealer(ring, SystemEntropy())

    @pytest.fixture
    def stranger(self) -> AesGcmSecretSealer:
        """With another one."""
        return AesGcmSecretSealer(_ring(), SystemEntropy())

    @pytest.fixture
    def successor(self, ring: KeyRing) -> AesGcmSecretSealer:
        """With a newer key."""
        return AesGcmSecretSealer(_with_newer_key(ring), SystemEntropy())


@pytest.fixture(scope="module", params=SigningAlgorithm)
def rings(request: pytest.FixtureRequest) -> tuple[KeyRing, KeyRing]:
    """Two rings of an algorithm; made once, since an RSA key takes a while."""
    return _ring(request.param), _ring(request.param)


class TestJwt(AccessTokensContract):
    """JWT under a key ring, with each algorithm."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        """At noon."""
        return FakeClock()

    @pytest.fixture
    def issuer(self, rings: tuple[KeyRing, KeyRing]) -> JwtAccessTokenIssuer:
        """With the first ring."""
        return JwtAccessTokenIssuer(rings[0], issuer=_ISSUER, audience="userservice")

    @pytest.fixture
    def verifier(self, clock: FakeClock, rings: tuple[KeyRing, KeyRing]) -> JwtAccessTokenVerifier:
        """With the first ring too."""
        return JwtAccessTokenVerifier(rings[0], issuer=_ISSUER, audience="userservice", clock=clock)

    @pytest.fixture
    def stranger(self, rings: tuple[KeyRing, KeyRing]) -> JwtAccessTokenIssuer:
        """With the other one."""
        return JwtAccessTokenIssuer(rings[1], issuer=_ISSUER, audience="userservice")


class TestHmacRefreshTokens(RefreshTokensContract):
    """Chains of HMACs under a key ring."""

    @pytest.fixture
    def ring(self) -> KeyRing:
        """A ring of this test."""
        return _ring()

    @pytest.fixture
    def tokens(self, ring: KeyRing) -> HmacRefreshTokens:
        """With that ring."""
        return HmacRefreshTokens(ring, SystemEntropy())

    @pytest.fixture
    def same_ring(self, ring: KeyRing) -> HmacRefreshTokens:
        """With the ring as another process reads it."""
        return HmacRefreshTokens(KeyRing.parse(ring.dump()), SystemEntropy())

    @pytest.fixture
    def successor_ring(self, ring: KeyRing) -> HmacRefreshTokens:
        """With a newer key."""
        return HmacRefreshTokens(_with_newer_key(ring), SystemEntropy())

    @pytest.fixture
    def stranger(self) -> HmacRefreshTokens:
        """With another ring."""
        return HmacRefreshTokens(_ring(), SystemEntropy())
