"""No secret is anywhere but where it has to be: not in logs, events, metrics, problems, audit entries or rows."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.hosts.installation import COOKIE_HOSTS, HOSTS, Installation
from tests.hosts.leaks import (
    Canaries,
    Watched,
    knock_everywhere,
    live_a_life,
    logged,
    require_clean_answers,
    texts,
    use_cookies,
)
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.testing.host import PipelineClient, send_json

if TYPE_CHECKING:
    from userservice_core.testing.clocks import FakeClock


@pytest.mark.asvs("14.2.2", "14.2.4", "16.2.5", "16.5.1")
@pytest.mark.parametrize("name", HOSTS)
def test_no_secret_is_where_it_has_no_business(installation: Installation, clock: FakeClock, name: str) -> None:
    """Whatever was sent or given, well or badly, on every route; mails alone hold the tokens of their links."""
    watched = Watched(HOSTS[name](installation.service), Canaries())
    root = installation.administrator_token("root@example.com")

    def administrator() -> str:
        return installation.token_of("root@example.com")

    def go_on() -> None:
        clock.advance(timedelta(seconds=11))

    with logged() as lines:
        live_a_life(
            watched, mailed_token=installation.mailed_token, administrator=root, go_on=go_on, now=installation.clock.now
        )
        by_cookie = COOKIE_HOSTS[name](installation.with_routes(refresh_token_cookie=True))
        use_cookies(Watched(by_cookie, watched.canaries, watched.seen))
        knock_everywhere(watched, administrator=administrator)
    installation.mails()

    require_clean_answers(watched)
    canaries = watched.canaries
    assert len(canaries.secrets) > 500
    assert canaries.found_in("\n".join(lines), and_personal=True) == set()
    assert lines
    published = installation.in_memory.publisher.published
    assert len(published) > 10
    assert canaries.found_in("\n".join(texts(published))) == set()
    stored = installation.stored()
    assert canaries.found_in("\n".join(texts(stored.audit))) == set()
    assert canaries.found_in("\n".join(texts(stored))) == set()
    metrics = installation.service.metrics
    assert isinstance(metrics, InMemoryMetrics)
    measured = repr([metrics.requests, metrics.counts, metrics.gauges, sorted(metrics.seconds)])
    assert canaries.found_in(measured, and_personal=True) == set()


def test_a_leak_would_be_found() -> None:
    """In whatever spelling, and in the frames of an exception."""
    canaries = Canaries()
    secret = canaries.add("canary-to-be-found-4c1d")
    for text in (
        f"password={secret}",
        json.dumps({"a": [f"x{secret}y"]}),
        secret.encode().hex(),
        *(_encoded(f"{'x' * offset}{secret}yy") for offset in range(3)),
    ):
        assert canaries.found_in(text) == {secret}, text
    assert canaries.found_in("canary-to-be-found-") == set()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_secret_in_a_problem_would_be_found(installation: Installation) -> None:
    """An answer that repeats what was sent is not clean."""
    watched = Watched(PipelineClient(installation.service.pipeline), Canaries())
    watched.canaries.add("/canary-in-a-path-55d1")
    answer = send_json(watched, "POST", "/auth/login", {"/canary-in-a-path-55d1": 1})
    assert b"canary" in answer.body

    with pytest.raises(AssertionError):
        require_clean_answers(watched)
