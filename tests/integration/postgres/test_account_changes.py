"""Changes of addresses and passwords at the same time: each result is exact, and nothing is a fault."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from userservice_core.application.access import Principal
from userservice_core.application.email_changes import EmailChanges
from userservice_core.application.email_verification import EmailVerification
from userservice_core.application.failed_sign_ins import FailedSignIns
from userservice_core.application.known_devices import KnownDevices
from userservice_core.application.link_requests import LinkRequests
from userservice_core.application.mailed_tokens import MailedTokens
from userservice_core.application.password_history import PasswordHistory
from userservice_core.application.password_proofs import PasswordProofs
from userservice_core.application.password_rules import PasswordRules
from userservice_core.application.passwords import Passwords
from userservice_core.domain.credentials import LOCKED_FOR_GOOD, LoginState
from userservice_core.domain.events import NotificationKind
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.passwords import PasswordPolicy
from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import User
from userservice_core.errors import (
    CurrentPasswordWrongError,
    EmailTakenError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    OneTimeTokenInvalidError,
    TooManyRequestsError,
)
from userservice_core.infrastructure.postgres.one_time_tokens import PostgresOneTimeTokenReader
from userservice_core.infrastructure.postgres.profiles import PostgresProfileReader
from userservice_core.infrastructure.postgres.sign_ins import PostgresSignInReader
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.infrastructure.postgres.users import PostgresUserReader
from userservice_core.infrastructure.security.breached_passwords import NoBreachedPasswords
from userservice_core.infrastructure.security.keys import KeyRing
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.system.clock import SystemClock, SystemEntropy, Uuid7Generator
from userservice_core.infrastructure.system.pacer import RecentPacer
from userservice_core.ports.security import AccessClaims
from userservice_core.testing.contracts.races import race
from userservice_core.testing.passwords import FakePasswordHasher
from userservice_core.testing.samples import sample_credential, sample_email, sample_session, sample_user

if TYPE_CHECKING:
    import psycopg

    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.sessions import Session
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.ports.unit_of_work import Transaction

_AT_ONCE: Final = 50
_PASSWORD: Final = "correct horse battery staple"


@attrs.frozen
class Office:
    """The use cases on PostgreSQL."""

    uow: PostgresUnitOfWork
    changes: EmailChanges
    verification: EmailVerification
    mailed_tokens: MailedTokens
    sealer: AesGcmSecretSealer
    users: PostgresUserReader
    clock: SystemClock

    def waiting(self, email: EmailAddress) -> str:
        """Let a new user wait for an address, and return the token that confirms it."""
        user = sample_user(pending_email=email.address)
        return self._issued(user, TokenPurpose.CHANGE_EMAIL, NotificationKind.CHANGE_EMAIL, email)

    def changed(self) -> tuple[User, str]:
        """Make a user whose address was another one, and return the token that gives it back."""
        user = sample_user()
        return user, self._issued(user, TokenPurpose.UNDO_EMAIL_CHANGE, NotificationKind.EMAIL_CHANGED, sample_email())

    def _issued(self, user: User, purpose: TokenPurpose, kind: NotificationKind, email: EmailAddress) -> str:
        mailed = self.mailed_tokens.issue(user, purpose=purpose, kind=kind, now=self.clock.now(), to=email)
        session = sample_session(user, now=self.clock.now())

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add_state(LoginState(user_id=user.id))
            transaction.sessions.add(session)
            transaction.one_time_tokens.add(mailed.stored)

        self.uow.run(work)
        sealed = mailed.request.sealed_token
        assert sealed is not None
        return self.sealer.unseal(sealed, context=f"notification:{mailed.request.id}").decode()


@pytest.fixture
def office(pool: Database) -> Office:
    """Nobody yet."""
    uow, clock, ids, entropy = PostgresUnitOfWork(pool), SystemClock(), Uuid7Generator(), SystemEntropy()
    sealer = AesGcmSecretSealer(KeyRing.generate(clock.now(), entropy), entropy)
    mailed_tokens = MailedTokens(entropy=entropy, sealer=sealer, ids=ids)
    changes = EmailChanges(
        uow=uow, mailed_tokens=mailed_tokens, clock=clock, ids=ids, access_lifetime=timedelta(minutes=10)
    )
    verification = EmailVerification(
        uow=uow,
        users=PostgresUserReader(pool),
        tokens=PostgresOneTimeTokenReader(pool),
        links=LinkRequests(uow=uow, pacer=RecentPacer(), clock=clock, ids=ids),
        changes=changes,
        mailed_tokens=mailed_tokens,
        clock=clock,
        ids=ids,
    )
    return Office(uow, changes, verification, mailed_tokens, sealer, PostgresUserReader(pool), clock)


def _told(observer: psycopg.Connection) -> list[str]:
    rows = observer.execute(
        "SELECT payload ->> 'method' FROM outbox WHERE type LIKE '%user.email_changed%' ORDER BY seq"
    )
    return [method for (method,) in rows.fetchall()]


def test_one_of_fifty_users_gets_the_address_that_all_confirm(office: Office, observer: psycopg.Connection) -> None:
    """The others are told that it is taken, and keep theirs."""
    email = sample_email()
    tokens = [office.waiting(email) for _ in range(_AT_ONCE)]

    outcomes = race([lambda token=token: office.verification.confirm(token=token) for token in tokens])  # type: ignore[misc]

    winners = [outcome for outcome in outcomes if isinstance(outcome, User)]
    assert [winner.email for winner in winners] == [email]
    assert {type(outcome) for outcome in outcomes} == {User, EmailTakenError}
    assert _told(observer) == ["confirmed"]
    assert observer.execute("SELECT count(*) FROM user_emails").fetchone() == (_AT_ONCE,)


@pytest.mark.asvs("2.3.4", "6.4.1")
def test_a_link_that_is_opened_fifty_times_changes_the_address_once(
    office: Office, observer: psycopg.Connection
) -> None:
    """Each time it succeeds."""
    email = sample_email()
    token = office.waiting(email)

    outcomes = race([lambda: office.verification.confirm(token=token)] * _AT_ONCE)

    assert [outcome.email for outcome in outcomes if isinstance(outcome, User)] == [email] * _AT_ONCE
    assert _told(observer) == ["confirmed"]


def test_an_address_is_given_back_once(office: Office, observer: psycopg.Connection) -> None:
    """However often the link is opened at once; sessions end with it."""
    user, token = office.changed()

    outcomes = race([lambda: office.verification.confirm(token=token)] * _AT_ONCE)

    assert len([outcome for outcome in outcomes if isinstance(outcome, User)]) == 1
    assert {type(outcome) for outcome in outcomes} == {User, OneTimeTokenInvalidError}
    assert office.users.get(user.id).email != user.email
    assert _told(observer) == ["undone"]
    assert observer.execute("SELECT count(*) FROM sessions WHERE revoked_at IS NULL").fetchone() == (0,)
    assert observer.execute("SELECT count(*) FROM revocations").fetchone() == (1,)


@pytest.mark.asvs("2.3.2", "2.4.1")
def test_three_of_fifty_requests_at_once_are_mailed(office: Office, observer: psycopg.Connection) -> None:
    """The count is exact, and one link of them is good."""
    user = sample_user()
    office.uow.run(lambda transaction: transaction.users.add(user))
    wanted = [sample_email() for _ in range(_AT_ONCE)]

    outcomes = race(
        [
            lambda email=email: office.changes.request(user_id=user.id, revise=lambda _: email)  # type: ignore[misc]
            for email in wanted
        ]
    )

    assert [type(outcome) for outcome in outcomes].count(User) == 3
    assert {type(outcome) for outcome in outcomes} == {User, TooManyRequestsError}
    unused = observer.execute("SELECT address FROM one_time_tokens WHERE used_at IS NULL").fetchall()
    assert unused == [(office.users.get(user.id).pending_email,)]
    assert observer.execute("SELECT count(*) FROM outbox").fetchone() == (6,)


def test_one_of_fifty_changes_of_a_password_at_once_counts(
    office: Office, pool: Database, observer: psycopg.Connection
) -> None:
    """The others' current password is none any more; the session that won goes on, and all others end."""
    hasher, ids = FakePasswordHasher(), Uuid7Generator()
    user = sample_user()
    sessions = [sample_session(user, now=office.clock.now()) for _ in range(5)]
    passwords = Passwords(
        uow=office.uow,
        users=office.users,
        tokens=PostgresOneTimeTokenReader(pool),
        hasher=hasher,
        proofs=PasswordProofs(
            uow=office.uow,
            sign_ins=PostgresSignInReader(pool),
            failures=FailedSignIns(ids=ids, locked_at=100),
            hasher=hasher,
            clock=office.clock,
            ids=ids,
            access_lifetime=timedelta(minutes=10),
        ),
        rules=PasswordRules(policy=PasswordPolicy(), breached=NoBreachedPasswords()),
        history=PasswordHistory(remembered=2, sign_ins=PostgresSignInReader(pool), hasher=hasher),
        profiles=PostgresProfileReader(pool),
        links=LinkRequests(uow=office.uow, pacer=RecentPacer(), clock=office.clock, ids=ids),
        mailed_tokens=office.mailed_tokens,
        devices=KnownDevices(sealer=office.sealer, clock=office.clock, ids=ids),
        clock=office.clock,
        ids=ids,
        access_lifetime=timedelta(minutes=10),
    )

    def set_up(transaction: Transaction) -> None:
        transaction.users.add(user)
        transaction.sign_ins.add(sample_credential(user, password_hash=hasher.hash(_PASSWORD)))
        for session in sessions:
            transaction.sessions.add(session)

    office.uow.run(set_up)

    def change(number: int) -> User:
        return passwords.change(
            caller=_principal(user, sessions[number % len(sessions)]),
            current=_PASSWORD,
            new=f"another sentence, as long {number}",
            origin=Origin(),
        ).user

    outcomes = race([partial(change, number) for number in range(_AT_ONCE)])

    (winner,) = (number for number, outcome in enumerate(outcomes) if isinstance(outcome, User))
    assert {type(outcome) for outcome in outcomes} <= {User, CurrentPasswordWrongError, InvalidAccessTokenError}
    stored = PostgresSignInReader(pool).get(user.id).credential
    assert stored is not None
    assert hasher.verify(stored.password_hash, f"another sentence, as long {winner}")
    assert [hasher.verify(former, _PASSWORD) for former in stored.former_hashes] == [True]
    left = observer.execute("SELECT session_id FROM sessions WHERE revoked_at IS NULL").fetchall()
    assert left == [(sessions[winner % len(sessions)].id,)]
    changed = "SELECT count(*) FROM outbox WHERE type LIKE '%user.password_changed%'"
    assert observer.execute(changed).fetchone() == (1,)


def test_a_hundred_and_twenty_wrong_proofs_at_once_are_counted_exactly(
    office: Office, pool: Database, observer: psycopg.Connection
) -> None:
    """None is lost, the lock is told of once, and every session ends in which somebody went on guessing."""
    hasher, ids = FakePasswordHasher(), Uuid7Generator()
    user = sample_user()
    sessions = [sample_session(user, now=office.clock.now()) for _ in range(4)]
    proofs = PasswordProofs(
        uow=office.uow,
        sign_ins=PostgresSignInReader(pool),
        failures=FailedSignIns(ids=ids, locked_at=100),
        hasher=hasher,
        clock=office.clock,
        ids=ids,
        access_lifetime=timedelta(minutes=10),
    )

    def set_up(transaction: Transaction) -> None:
        transaction.users.add(user)
        transaction.sign_ins.add(sample_credential(user, password_hash=hasher.hash(_PASSWORD)))
        for session in sessions:
            transaction.sessions.add(session)

    office.uow.run(set_up)

    def guess(number: int) -> None:
        caller = _principal(user, sessions[number % len(sessions)])
        proofs.require(caller=caller, password="a guess", origin=Origin())

    outcomes = [outcome for start in (0, 60) for outcome in race([partial(guess, start + n) for n in range(60)])]

    assert {type(outcome) for outcome in outcomes} == {InvalidCredentialsError}
    state = PostgresSignInReader(pool).get(user.id).state
    assert (state.failed_attempts, state.locked_until) == (120, LOCKED_FOR_GOOD)
    ended = observer.execute("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL").fetchone()
    assert ended == (4,)
    counted = "SELECT split_part(type, '.', 3), count(*) FROM outbox WHERE type LIKE '%.auth.%' GROUP BY 1 ORDER BY 1"
    assert observer.execute(counted).fetchall() == [("locked", 1), ("login_failed", 120), ("session_revoked", 4)]


def _principal(user: User, session: Session) -> Principal:
    claims = AccessClaims(
        user_id=user.id,
        session_id=session.id,
        client_id="userservice",
        token_id="a token",
        issued_at=session.created_at,
        expires_at=session.created_at + timedelta(minutes=10),
        auth_time=session.auth_time,
    )
    return Principal(user_id=user.id, session_id=session.id, claims=claims)
