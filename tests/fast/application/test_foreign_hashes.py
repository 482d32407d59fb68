"""Signing in with a hash that another system made: it is replaced, and gives nothing away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from userservice_core.application.hash_mix import HashMix
from userservice_core.bootstrap import InMemoryUserService, bootstrap_in_memory
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import UserStatus
from userservice_core.errors import InvalidCredentialsError
from userservice_core.infrastructure import memory
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import FakeClock
from userservice_core.testing.samples import NOW, sample_credential, sample_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction

PASSWORD: Final = "correct horse battery staple \u00e9"
DJANGO: Final = "pbkdf2_sha256$1000$saltsaltsalt$mti9/5RSqxylYzgGlTfgWSC2R+gvienJC6iN0ReaZdg="
_ORIGIN: Final = Origin(ip="192.0.2.1", user_agent="Test/1")


@pytest.fixture
def installed() -> Iterator[InMemoryUserService]:
    """With a real hasher."""
    installed = bootstrap_in_memory()
    yield installed
    installed.service.close()


def _add(installed: InMemoryUserService, password_hash: str) -> User:
    user = attrs.evolve(sample_user(), status=UserStatus.ACTIVE, email_verified=True)
    credential = attrs.evolve(sample_credential(user), password_hash=password_hash)
    uow = memory.InMemoryUnitOfWork(installed.store, clock=FakeClock(NOW))

    def work(transaction: Transaction) -> None:
        transaction.users.add(user)
        transaction.sign_ins.add(credential)

    uow.run(work)
    return user


def _stored_hash(installed: InMemoryUserService, user: User) -> str:
    credential = memory.InMemorySignInReader(installed.store).get(user.id).credential
    assert credential is not None
    return credential.password_hash


def test_a_sign_in_replaces_the_hash_of_another_system(installed: InMemoryUserService) -> None:
    """By one of the present parameters, of the same password; a failed one leaves it alone."""
    user = _add(installed, DJANGO)
    sign_in = installed.service.use_cases.authentication.sign_in

    with pytest.raises(InvalidCredentialsError):
        sign_in(email=user.email.address, password=f"{PASSWORD}x", origin=_ORIGIN)
    assert _stored_hash(installed, user) == DJANGO

    sign_in(email=user.email.address, password=PASSWORD, origin=_ORIGIN)
    assert _stored_hash(installed, user).startswith("$argon2id$")

    sign_in(email=user.email.address, password=PASSWORD.replace("\u00e9", "e\u0301"), origin=_ORIGIN)
    with pytest.raises(InvalidCredentialsError):
        sign_in(email=user.email.address, password=f"{PASSWORD}x", origin=_ORIGIN)


@pytest.mark.parametrize("stored", ["", "!", "pbkdf2_sha256$999999999$salt$AAAA", "$argon2id$v=19$m=64,t=1,p=1$A$A"])
def test_a_hash_that_cannot_be_verified_is_a_wrong_password(installed: InMemoryUserService, stored: str) -> None:
    """Its owner asks for a reset, as whoever forgot theirs."""
    user = _add(installed, stored)

    with pytest.raises(InvalidCredentialsError):
        installed.service.use_cases.authentication.sign_in(email=user.email.address, password=PASSWORD, origin=_ORIGIN)


class _Reader(memory.InMemorySignInReader):
    """Counts how often it is asked for a sample."""

    asked = 0
    sample: tuple[str, ...] = ()

    def sample_hashes(self, *, limit: int) -> tuple[str, ...]:
        self.asked += 1
        return self.sample[:limit]


def _mix(reader: _Reader, clock: FakeClock) -> HashMix:
    entropy = SystemEntropy()
    sealer = AesGcmSecretSealer(KeyRing.generate(NOW, entropy), entropy)
    return HashMix(sign_ins=reader, sealer=sealer, clock=clock)


def test_addresses_without_an_account_are_like_the_accounts() -> None:
    """As large a part of them as of the accounts has a hash of another system, and always the same addresses."""
    reader = _Reader(memory.InMemoryStore())
    reader.sample = ("$argon2id$a",) * 70 + (DJANGO,) * 30
    mix = _mix(reader, FakeClock(NOW))
    mix.renew()
    addresses = [f"nobody{number}@example.com" for number in range(2_000)]

    picked = [mix.pick(address) for address in addresses]

    assert picked == [mix.pick(address) for address in addresses]
    assert picked.count(DJANGO) == pytest.approx(600, abs=100)
    assert picked.count("$argon2id$a") + picked.count(DJANGO) == len(picked)


def test_the_sample_is_read_from_time_to_time() -> None:
    """Once in ten minutes, however many sign in."""
    clock, reader = FakeClock(NOW), _Reader(memory.InMemoryStore())
    mix = _mix(reader, clock)
    assert mix.pick("a@example.com") is None

    for _ in range(5):
        mix.renew()
    assert reader.asked == 1

    reader.sample = (DJANGO,)
    clock.advance(timedelta(minutes=11))
    mix.renew()
    assert reader.asked == 2
    assert mix.pick("a@example.com") == DJANGO
