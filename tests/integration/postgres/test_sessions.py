"""Sessions and mailed links that many use at once: what may happen once happens once, and what is ended stays ended."""

from __future__ import annotations

import hashlib
import secrets
import threading
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import pytest

from tests.e2e.processes import settings_for
from userservice_core.application.authentication import SignedIn
from userservice_core.bootstrap import UserService, bootstrap
from userservice_core.config import Settings
from userservice_core.domain.credentials import Credential, LoginState
from userservice_core.domain.ids import UserId
from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose
from userservice_core.domain.roles import ADMIN_ROLE, INITIAL_ROLES, AssignedRole
from userservice_core.domain.sessions import MAX_SESSIONS_PER_USER, Origin
from userservice_core.domain.users import Mover, User, UserStatus
from userservice_core.errors import (
    AccountSuspendedError,
    InvalidAccessTokenError,
    InvalidRefreshTokenError,
    OneTimeTokenInvalidError,
    SessionNotFoundError,
)
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.testing.contracts.races import race
from userservice_core.testing.samples import sample_session, sample_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from userservice_core.domain.ids import SessionId
    from userservice_core.ports.unit_of_work import Transaction

_AT_ONCE: Final = 50
_PASSWORD: Final = "correct horse battery staple"
_NEW_PASSWORD: Final = "an entirely different sentence"
_ORIGIN: Final = Origin(ip="198.51.100.77", user_agent="Marker-Agent/1.0")


@attrs.frozen
class House:
    """Two processes of the service on one database, and an administrator."""

    here: UserService
    there: UserService
    uow: PostgresUnitOfWork
    observer: psycopg.Connection
    admin: UserId

    def register(self, email: str) -> User:
        """Register a user with a password, and let the address be confirmed."""
        user = self.here.use_cases.registration.register(email=email, password=_PASSWORD)
        verified = user.verify_email(now=datetime.now(UTC))
        self.uow.run(lambda transaction: transaction.users.save(verified))
        return verified

    def sign_in(self, email: str) -> SignedIn:
        """Begin a session."""
        begun = self.here.use_cases.authentication.sign_in(email=email, password=_PASSWORD, origin=_ORIGIN)
        assert isinstance(begun, SignedIn)
        return begun

    def link(self, purpose: TokenPurpose, **changes: Any) -> str:  # noqa: ANN401 - each attribute has its type
        """Make an account as *changes* have it, and return the token of a link to it."""
        user = sample_user(**changes)
        raw = user.id.bytes + secrets.token_bytes(32)
        now = datetime.now(UTC)
        stored = OneTimeToken.issue(
            digest=hashlib.sha256(raw).digest(), user_id=user.id, email_key=user.email.key, purpose=purpose, now=now
        )

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add_state(LoginState(user_id=user.id))
            transaction.sign_ins.save_credential(
                Credential(user_id=user.id, password_hash="$argon2id$v=19$none", changed_at=now)
            )
            transaction.one_time_tokens.add(stored)

        self.uow.run(work)
        return urlsafe_b64encode(raw).decode()

    def told(self, kind: str) -> int:
        """Return how often an event of *kind* was recorded."""
        statement = "SELECT count(*) FROM outbox WHERE type = %s"
        (count,) = self.observer.execute(statement, (f"userservice.{kind}.v1",)).fetchone() or (0,)
        return int(count)

    def open_sessions(self, user_id: UserId) -> int:
        """Return how many sessions of a user can be used."""
        statement = "SELECT count(*) FROM sessions WHERE user_id = %s AND revoked_at IS NULL"
        (count,) = self.observer.execute(statement, (user_id,)).fetchone() or (0,)
        return int(count)


@pytest.fixture
def house(database: str, tmp_path: Path, uow: PostgresUnitOfWork, observer: psycopg.Connection) -> Iterator[House]:
    """One administrator on the database of the test."""
    settings = Settings.from_environment(
        settings_for(database, tmp_path, ARGON2_MEMORY_KIB="8", ARGON2_TIME_COST="1", DATABASE_POOL_SIZE="16")
    )
    with bootstrap(settings, background=False) as here, bootstrap(settings, background=False) as there:
        admin = sample_user(roles=(AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name), *INITIAL_ROLES))
        uow.run(lambda transaction: transaction.users.add(admin))
        yield House(here, there, uow, observer, admin.id)


# --- mailed links -----------------------------------------------------------------------------------------------------


def _reset(service: UserService, token: str) -> object:
    return service.use_cases.passwords.reset(token=token, password=_NEW_PASSWORD)


def _take_up(service: UserService, token: str) -> object:
    return service.use_cases.own_account.take_up_again(token=token)


_USES: Final[dict[TokenPurpose, tuple[dict[str, object], Callable[[UserService, str], object], str]]] = {
    TokenPurpose.RESET_PASSWORD: ({}, _reset, "user.password_changed"),
    TokenPurpose.INVITE: (
        {"status": UserStatus.PENDING_VERIFICATION, "email_verified": False},
        _reset,
        "user.password_changed",
    ),
    TokenPurpose.RESTORE_ACCOUNT: ({"deleted_at": datetime.now(UTC)}, _take_up, "user.restored"),
    TokenPurpose.REACTIVATE_ACCOUNT: ({"status": UserStatus.DEACTIVATED}, _take_up, "user.status_changed"),
}


@pytest.mark.parametrize("purpose", _USES)
def test_one_of_fifty_uses_of_a_link_succeeds(house: House, purpose: TokenPurpose) -> None:
    """In two processes; the others are told that it is used, and it happens once."""
    changes, use, event = _USES[purpose]
    token = house.link(purpose, **changes)

    outcomes = race([partial(use, service, token) for service in (house.here, house.there) for _ in range(25)])

    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [OneTimeTokenInvalidError] * (
        _AT_ONCE - 1
    )
    assert house.told(event) == 1


def test_an_address_is_confirmed_once(house: House) -> None:
    """Opening the link again is no error, and nothing happens then."""
    token = house.link(TokenPurpose.VERIFY_EMAIL, status=UserStatus.PENDING_VERIFICATION, email_verified=False)

    outcomes = race(
        [
            partial(service.use_cases.email_verification.confirm, token=token)
            for service in (house.here, house.there)
            for _ in range(25)
        ]
    )

    assert {type(outcome) for outcome in outcomes} == {User}
    assert house.told("user.email_verified") == 1


def test_one_of_two_links_of_different_purposes_chooses_the_password(house: House) -> None:
    """Each of them ends the other, whichever comes first."""
    token = house.link(TokenPurpose.RESET_PASSWORD)
    (user_id,) = house.observer.execute("SELECT user_id FROM one_time_tokens").fetchone() or (None,)
    assert user_id is not None
    raw = user_id.bytes + secrets.token_bytes(32)
    email_key = house.here.use_cases.user_directory.get(user_id=user_id).user.email.key
    other = OneTimeToken.issue(
        digest=hashlib.sha256(raw).digest(),
        user_id=user_id,
        email_key=email_key,
        purpose=TokenPurpose.INVITE,
        now=datetime.now(UTC),
    )
    house.uow.run(lambda transaction: transaction.one_time_tokens.add(other))
    tokens = (token, urlsafe_b64encode(raw).decode())

    outcomes = race([partial(_reset, house.here, each) for each in tokens for _ in range(10)])

    assert sum(isinstance(outcome, User) for outcome in outcomes) == 1
    assert house.told("user.password_changed") == 1


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_fifty_sign_ins_of_who_has_fifty_sessions(house: House) -> None:
    """At no moment are there more, however many begin at once; each that goes is told."""
    user = house.register("ada@example.com")
    now = datetime.now(UTC)

    def fill(transaction: Transaction) -> None:
        transaction.sign_ins.get(user.id)
        for _ in range(MAX_SESSIONS_PER_USER):
            transaction.sessions.add(sample_session(user, now=now))

    house.uow.run(fill)
    seen: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            seen.append(house.open_sessions(user.id))

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcomes = race(
        [
            partial(
                service.use_cases.authentication.sign_in, email="ada@example.com", password=_PASSWORD, origin=_ORIGIN
            )
            for service in (house.here, house.there)
            for _ in range(25)
        ]
    )
    is_over.set()
    watcher.join()

    assert {type(outcome) for outcome in outcomes} == {SignedIn}
    assert set(seen) == {MAX_SESSIONS_PER_USER}
    assert house.told("auth.session_revoked") == _AT_ONCE
    kept = house.here.use_cases.sessions.list_of(user_id=user.id)
    assert {session.user_agent for session in kept} == {_ORIGIN.user_agent}


def _end_own(house: House, user_id: UserId, session_id: SessionId) -> None:
    house.there.use_cases.sessions.end_own(user_id=user_id, session_id=session_id)


def _end_all(house: House, user_id: UserId, _: SessionId) -> None:
    house.there.use_cases.sessions.end_all_of(actor=house.admin, user_id=user_id)


def _suspend(house: House, user_id: UserId, _: SessionId) -> None:
    house.there.use_cases.account_administration.update(
        actor=house.admin,
        user_id=user_id,
        revise=lambda user, now: user.moved_to(UserStatus.SUSPENDED, by=Mover.ADMINISTRATOR, now=now),
        reason="a reason",
    )


_ENDS: Final[dict[str, tuple[Callable[[House, UserId, SessionId], None], ...]]] = {
    "ended by its user": (_end_own,),
    "ended by an administrator": (_end_all,),
    "suspended": (_suspend,),
    "all of it": (_end_own, _end_all, _suspend),
}


@pytest.mark.parametrize("ends", _ENDS)
def test_a_session_that_is_refreshed_while_it_is_ended_ends(house: House, ends: str) -> None:
    """Whoever refreshes on and on gets a last token that is good no more, and so are all access tokens of theirs."""
    user = house.register("ada@example.com")
    refresh = house.here.use_cases.authentication.refresh
    first = house.sign_in("ada@example.com")
    (session,) = house.here.use_cases.sessions.list_of(user_id=user.id)
    had = [first]
    has_begun = threading.Event()

    def go_on() -> None:
        while True:
            had.append(refresh(refresh_token=had[-1].refresh_token, origin=_ORIGIN))
            has_begun.set()

    def end(way: Callable[[House, UserId, SessionId], None]) -> None:
        has_begun.wait(20)
        way(house, user.id, session.id)

    works: list[Callable[[], None]] = [go_on, *(partial(end, way) for way in _ENDS[ends])]
    refreshed, *ended = race(works)

    assert isinstance(refreshed, InvalidRefreshTokenError), refreshed
    assert {type(outcome) for outcome in ended if outcome is not None} <= {SessionNotFoundError}
    assert len(had) > 1
    assert house.open_sessions(user.id) == 0
    assert house.told("auth.session_revoked") == 1
    for signed_in in (first, had[-1]):
        with pytest.raises(InvalidRefreshTokenError):
            refresh(refresh_token=signed_in.refresh_token, origin=_ORIGIN)
        with pytest.raises(InvalidAccessTokenError):
            house.here.use_cases.access.authenticate(token=signed_in.access_token, sensitive=True)


def test_sessions_ended_by_everybody_at_once_end_once(house: House) -> None:
    """Of fifty who end one session one does; the others find none, and each is told of once."""
    user = house.register("ada@example.com")
    for _ in range(5):
        house.sign_in("ada@example.com")
    sessions = house.here.use_cases.sessions.list_of(user_id=user.id)
    works: list[Callable[[], object]] = [
        partial(_end_own, house, user.id, session.id) for session in sessions for _ in range(10)
    ]

    outcomes = race(works)

    assert sum(outcome is None for outcome in outcomes) == len(sessions)
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {SessionNotFoundError}
    assert house.told("auth.session_revoked") == len(sessions)
    assert house.open_sessions(user.id) == 0


def test_no_sign_in_of_a_suspended_user_is_left_by_ending_sessions(house: House) -> None:
    """Sign-ins, the end of all sessions and a suspension at once: nothing is open then."""
    user = house.register("ada@example.com")
    nobody = house.here.use_cases.sessions.list_of(user_id=user.id)
    assert nobody == ()
    works: list[Callable[[], object]] = [partial(house.sign_in, "ada@example.com") for _ in range(20)]
    works.insert(10, lambda: house.there.use_cases.sessions.end_all_of(actor=house.admin, user_id=user.id))
    works.insert(12, lambda: _suspend(house, user.id, sample_session(user).id))

    outcomes = race(works)

    assert {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)} <= {AccountSuspendedError}
    assert house.open_sessions(user.id) == 0
