"""Codes that are given fifty times at once."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs
import psycopg
import pyotp
import pytest

from tests.e2e.processes import ROOT, settings_for
from userservice_core.application.authentication import MfaRequired, SignedIn
from userservice_core.application.second_factors import GivenCode
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import User
from userservice_core.errors import (
    MfaAlreadyEnabledError,
    MfaChallengeInvalidError,
    MfaCodeWrongError,
    TooManyRequestsError,
)
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork

_AT_ONCE: Final = 50
_PASSWORD: Final = "correct horse battery staple"
_ORIGIN: Final = Origin(ip="198.51.100.77", user_agent="tests")


@attrs.define
class _Ada:
    """Somebody whose second factor is on, on PostgreSQL."""

    service: UserService
    observer: psycopg.Connection
    user: User
    session: SignedIn
    secret: str
    recovery_codes: tuple[str, ...] = ()

    def code(self, *, steps: int) -> str:
        """Return the code of the step so many after the last one that was accepted."""
        row = self.observer.execute("SELECT last_step FROM mfa_factors").fetchone()
        assert row is not None
        return pyotp.TOTP(self.secret).generate_otp((row[0] or int(datetime.now(UTC).timestamp()) // 30) + steps)

    def challenge(self) -> str:
        """Give the password."""
        begun = self.service.use_cases.authentication.sign_in(
            email="ada@example.com", password=_PASSWORD, origin=_ORIGIN
        )
        assert isinstance(begun, MfaRequired)
        return begun.session_token

    def answer(self, token: str, given: GivenCode) -> SignedIn:
        """Give the code."""
        return self.service.use_cases.authentication.answer_challenge(session_token=token, given=given, origin=_ORIGIN)

    def count(self, what: str) -> int:
        """Count rows."""
        row = self.observer.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()  # noqa: S608 - of tests
        assert row is not None
        return int(row[0])


def test_a_command_seals_what_an_earlier_key_sealed(ada: _Ada, database: str, tmp_path: Path) -> None:
    """And says what it could not read: here the key is not in the ring at all."""

    def run() -> tuple[int, object]:
        command = [sys.executable, "-m", "userservice_core.cli", "seal-anew"]
        environment = settings_for(database, tmp_path)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    assert run() == (0, {"sealed": 0, "unreadable": 0})
    ada.observer.execute("UPDATE mfa_factors SET secret = 's1.gone.' || split_part(secret, '.', 3)")
    assert run() == (1, {"sealed": 0, "unreadable": 1})


@pytest.fixture
def ada(database: str, tmp_path: Path, uow: PostgresUnitOfWork, observer: psycopg.Connection) -> Iterator[_Ada]:
    """She has signed in, and holds a secret that fifty requests confirm at once."""
    settings = settings_for(database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1", DATABASE_POOL_SIZE="16")
    with bootstrap(Settings.from_environment(settings), background=False) as service:
        use_cases = service.use_cases
        user = use_cases.registration.register(email="ada@example.com", password=_PASSWORD)
        uow.run(lambda transaction: transaction.users.save(user.verify_email(now=datetime.now(UTC))))
        session = use_cases.authentication.sign_in(email="ada@example.com", password=_PASSWORD, origin=_ORIGIN)
        assert isinstance(session, SignedIn)
        caller = use_cases.access.authenticate_user(token=session.access_token)
        secret = use_cases.mfa.set_up(caller=caller).secret
        held = _Ada(service, observer, user, session, secret)
        code = held.code(steps=-1)
        outcomes = race([lambda: use_cases.mfa.verify(caller=caller, code=code)] * _AT_ONCE)
        (held.recovery_codes,) = (outcome for outcome in outcomes if isinstance(outcome, tuple))
        assert {type(outcome) for outcome in outcomes} == {tuple, MfaAlreadyEnabledError}
        yield held


@pytest.mark.asvs("6.5.1")
def test_a_code_given_fifty_times_signs_in_once(ada: _Ada) -> None:
    """Whoever loses finds the challenge used."""
    token, code = ada.challenge(), ada.code(steps=1)

    outcomes = race([lambda: ada.answer(token, GivenCode(totp=code))] * _AT_ONCE)

    assert [type(outcome) for outcome in outcomes].count(SignedIn) == 1
    assert {type(outcome) for outcome in outcomes} == {SignedIn, MfaChallengeInvalidError}
    assert ada.count("sessions") == 2


def test_a_code_proves_once_who_somebody_is(ada: _Ada) -> None:
    """Fifty times at once beside each other, without a challenge: one step is accepted once, nine wrong ones count."""
    caller = ada.service.use_cases.access.authenticate_user(token=ada.session.access_token)
    code = ada.code(steps=1)
    reauthenticate = ada.service.use_cases.authentication.reauthenticate

    outcomes = race([lambda: reauthenticate(caller=caller, code=code, origin=_ORIGIN)] * _AT_ONCE)

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(MfaCodeWrongError) == 10
    assert kinds.count(TooManyRequestsError) == 39
    assert ada.count("audit_entries WHERE action = 'auth.reauthenticated' AND outcome = 'succeeded'") == 1


@pytest.mark.asvs("6.5.1")
def test_a_recovery_code_given_fifty_times_signs_in_once(ada: _Ada) -> None:
    """One row is used up."""
    token, code = ada.challenge(), ada.recovery_codes[0]

    outcomes = race([lambda: ada.answer(token, GivenCode(recovery=code))] * _AT_ONCE)

    assert [type(outcome) for outcome in outcomes].count(SignedIn) == 1
    assert {type(outcome) for outcome in outcomes} == {SignedIn, MfaChallengeInvalidError}
    assert ada.count("recovery_codes WHERE used_at IS NOT NULL") == 1


def test_five_of_fifty_wrong_codes_are_looked_at(ada: _Ada) -> None:
    """The count of a challenge is exact."""
    token = ada.challenge()

    outcomes = race([lambda: ada.answer(token, GivenCode(totp="12345x"))] * _AT_ONCE)

    kinds = [type(outcome) for outcome in outcomes]
    assert (kinds.count(MfaCodeWrongError), kinds.count(MfaChallengeInvalidError)) == (5, 45)
    assert ada.count("audit_entries WHERE reason = 'mfa-code-wrong'") == 5


def test_fifty_new_sets_of_recovery_codes_leave_ten(ada: _Ada) -> None:
    """Those of one answer."""
    caller = ada.service.use_cases.access.authenticate_user(token=ada.session.access_token)

    outcomes = race([lambda: ada.service.use_cases.mfa.replace_recovery_codes(caller=caller)] * 10)

    assert ada.count("recovery_codes") == 10
    last = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert len(last) == 10
