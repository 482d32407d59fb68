"""Forged, broken and stale tokens over every host: each is refused as any bad token is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.hosts.installation import HOSTS, ISSUER, Installation
from tests.token_attacks import Forger
from userservice_core.bootstrap import bootstrap_in_memory
from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.http.pipeline import HttpOptions
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON
from userservice_core.testing.host import json_of

if TYPE_CHECKING:
    from userservice_core.http.messages import Response
    from userservice_core.testing.clocks import FakeClock
    from userservice_core.testing.host import HostClient

_LEAST_ATTACKS: Final = 390
_TOKEN68: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)
_OF_ONE_REQUEST: Final = frozenset({"traceId", "requestId", "instance"})


def _begin(clock: FakeClock, ring: KeyRing) -> tuple[Installation, Forger]:
    in_memory = bootstrap_in_memory(options=HttpOptions(issuer=ISSUER), clock=clock, ring=ring)
    installation = Installation(in_memory=in_memory, clock=clock)
    token = installation.access_token("ann@example.com")
    return installation, Forger(token, ring.current_signing_key, clock.now())


def _ask(client: HostClient, token: str) -> Response:
    return client.request("GET", "/users/me", headers=[("authorization", f"Bearer {token}")])


def _said(response: Response) -> tuple[int, dict[str, Any], str | None]:
    """Return what a refusal says, without what tells two requests apart."""
    told = {name: value for name, value in json_of(response).items() if name not in _OF_ONE_REQUEST}
    return response.status, told, response.header("www-authenticate")


def _refuses_all(client: HostClient, forger: Forger) -> None:
    usual = _said(_ask(client, "none-of-ours"))
    attacks = forger.attacks()

    # What no bearer token is written like (RFC 6750 §2.1) counts as none at all.
    none = _said(client.request("GET", "/users/me"))

    def expected(token: str) -> tuple[int, dict[str, Any], str | None]:
        return none if _TOKEN68.fullmatch(token) is None else usual

    others = {name: said for name, token in attacks.items() if (said := _said(_ask(client, token))) != expected(token)}
    controls = {name: _ask(client, token).status for name, token in forger.controls().items()}

    assert (usual[0], none[0]) == (401, 401)
    assert others == {}
    assert sum(_TOKEN68.fullmatch(token) is not None for token in attacks.values()) >= _LEAST_ATTACKS
    assert controls == dict.fromkeys(controls, 200)


@pytest.mark.asvs("9.1.2", "9.1.3", "11.2.5")
@pytest.mark.parametrize("host", HOSTS)
def test_forged_tokens_are_refused_alike(host: str, clock: FakeClock) -> None:
    """Status, body and challenge do not tell which of the hundreds of attacks came how far."""
    installation, forger = _begin(clock, KeyRing.generate(NOON, SystemEntropy()))

    _refuses_all(HOSTS[host](installation.service), forger)


@pytest.mark.asvs("9.1.2")
@pytest.mark.parametrize("algorithm", [SigningAlgorithm.ES256, SigningAlgorithm.RS256])
def test_forged_tokens_of_other_algorithms_are_refused_alike(algorithm: SigningAlgorithm, clock: FakeClock) -> None:
    """The public half of a key of any kind is no secret of another kind, either."""
    installation, forger = _begin(clock, KeyRing.generate(NOON, SystemEntropy(), algorithm=algorithm))

    _refuses_all(HOSTS["pipeline"](installation.service), forger)
