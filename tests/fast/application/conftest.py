"""A service in memory whose clock the tests move."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import InMemoryUserService, bootstrap_in_memory
from userservice_core.domain.rate_limits import RatePolicy
from userservice_core.domain.sessions import Origin
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.passwords import FakePasswordHasher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.application.use_cases import UseCases
    from userservice_core.domain.users import User

PASSWORD = "correct horse battery staple"
ORIGIN = Origin(ip="198.51.100.7", user_agent="tests")


@attrs.frozen
class World:
    """The service and what a test does with it."""

    installed: InMemoryUserService
    clock: FakeClock

    @property
    def use_cases(self) -> UseCases:
        """The use cases."""
        return self.installed.service.use_cases

    def register(self, email: str = "ada@example.com") -> User:
        """Register somebody whose address is not confirmed yet."""
        return self.use_cases.registration.register(email=email, password=PASSWORD)

    def mailed_token(self) -> str:
        """Relay, and return the token of the last mail."""
        self.installed.relay.wave()
        token = self.installed.mails.sent[-1].token
        assert token is not None
        return token

    def active_user(self, email: str = "ada@example.com") -> User:
        """Register somebody and confirm their address."""
        self.register(email)
        return self.use_cases.email_verification.confirm(token=self.mailed_token())

    def sign_in(self, email: str = "ada@example.com", password: str = PASSWORD) -> SignedIn:
        """Sign in from the usual place."""
        begun = self.use_cases.authentication.sign_in(email=email, password=password, origin=ORIGIN)
        assert isinstance(begun, SignedIn)
        return begun

    def refresh(self, signed_in: SignedIn) -> SignedIn:
        """Exchange the refresh token."""
        return self.use_cases.authentication.refresh(refresh_token=signed_in.refresh_token, origin=ORIGIN)

    def events(self) -> list[tuple[str, int | None, dict[str, Any]]]:
        """Relay, and return type, sequence and data of all events so far."""
        while self.installed.relay.wave():
            pass
        return [
            (record.type.removeprefix("userservice.").removesuffix(".v1"), record.sequence, json.loads(record.payload))
            for record in self.installed.publisher.published
        ]


@pytest.fixture
def world() -> Iterator[World]:
    """A new service on New Year's morning."""
    clock = FakeClock(datetime(2026, 1, 1, 6, tzinfo=UTC))
    installed = bootstrap_in_memory(clock=clock, hasher=FakePasswordHasher(), rates=RatePolicy.without_limits())
    with installed.service:
        yield World(installed, clock)
