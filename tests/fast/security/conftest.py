"""One key ring of each algorithm for all tests of this folder: making an RSA key takes a while."""

from __future__ import annotations

import pytest

from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON


@pytest.fixture(scope="session")
def rings() -> dict[SigningAlgorithm, KeyRing]:
    """A ring for each algorithm."""
    return {algorithm: KeyRing.generate(NOON, SystemEntropy(), algorithm=algorithm) for algorithm in SigningAlgorithm}


@pytest.fixture
def ring(rings: dict[SigningAlgorithm, KeyRing]) -> KeyRing:
    """A ring with the default algorithm."""
    return rings[SigningAlgorithm.EDDSA]
