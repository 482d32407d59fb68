"""What :mod:`userservice_core.ports.revocations` promises, except for signals."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from userservice_core.domain.ids import ClientId, SessionId, UserId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.samples import NOW, sample_session_id, sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.revocations import RevocationChecker, RevocationLog
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


class _Token:
    """What is asked about one access token."""

    def __init__(self, **changes: Any) -> None:  # noqa: ANN401 - each argument has its type
        self.question: dict[str, Any] = {
            "user_id": sample_user_id(),
            "session_id": sample_session_id(),
            "key_id": f"key-{sample_session_id()}",
            "issued_at": NOW,
            **changes,
        }

    @property
    def user(self) -> str:
        return str(self.question["user_id"])

    @property
    def session(self) -> str:
        return str(self.question["session_id"])

    @property
    def key(self) -> str:
        return str(self.question["key_id"])

    def is_revoked(self, judge: RevocationLog | RevocationChecker) -> bool:
        return judge.is_revoked(**self.question)


class _JudgementContract:
    """Which tokens a revocation concerns, whoever is asked."""

    @pytest.fixture
    def judge(self) -> RevocationLog | RevocationChecker:
        """Who is asked."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def revoke(self) -> Callable[[RevocationKind, str], None]:
        """Commit a revocation with `not_before` = NOW that expires in an hour, and return once it is known."""
        raise NotImplementedError("override this fixture")

    def test_a_token_stands_until_it_is_revoked(self, judge: RevocationLog | RevocationChecker) -> None:
        """With a session or without one."""
        assert not _Token().is_revoked(judge)
        assert not _Token(session_id=None).is_revoked(judge)

    @pytest.mark.parametrize(
        ("kind", "member"), [(RevocationKind.SESSION, "session"), (RevocationKind.KEY, "key")], ids=["session", "key"]
    )
    @pytest.mark.parametrize("seconds", [-10, 0, 10])
    def test_a_session_or_key_ends_all_of_its_tokens(
        self,
        judge: RevocationLog | RevocationChecker,
        revoke: Callable[[RevocationKind, str], None],
        kind: RevocationKind,
        member: str,
        seconds: int,
    ) -> None:
        """Whenever they were issued, and no others."""
        token = _Token(issued_at=NOW + timedelta(seconds=seconds))
        revoke(kind, getattr(token, member))

        assert token.is_revoked(judge)
        assert not _Token().is_revoked(judge)

    @pytest.mark.parametrize(("microseconds", "revoked"), [(-1, True), (0, False), (1, False)])
    def test_a_user_ends_tokens_that_were_issued_before(
        self,
        judge: RevocationLog | RevocationChecker,
        revoke: Callable[[RevocationKind, str], None],
        microseconds: int,
        revoked: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """Whoever signs in anew is welcome."""
        token = _Token(session_id=None, issued_at=NOW + timedelta(microseconds=microseconds))
        revoke(RevocationKind.USER, token.user)

        assert revoked == token.is_revoked(judge)
        assert not _Token().is_revoked(judge)

    @pytest.mark.parametrize(("microseconds", "revoked"), [(-1, True), (0, False), (1, False)])
    def test_a_client_ends_tokens_that_were_issued_before(
        self,
        judge: RevocationLog | RevocationChecker,
        revoke: Callable[[RevocationKind, str], None],
        microseconds: int,
        revoked: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """Its own only, and none of a user's, whatever the ids look like."""
        client_id = ClientId(sample_user_id())
        issued_at = NOW + timedelta(microseconds=microseconds)
        token = _Token(user_id=None, client_id=client_id, issued_at=issued_at)
        revoke(RevocationKind.USER, str(client_id))
        assert not token.is_revoked(judge)
        revoke(RevocationKind.CLIENT, str(client_id))

        assert revoked == token.is_revoked(judge)
        assert not _Token(user_id=None, client_id=ClientId(sample_user_id())).is_revoked(judge)

    def test_a_subject_means_its_own_kind(
        self, judge: RevocationLog | RevocationChecker, revoke: Callable[[RevocationKind, str], None]
    ) -> None:
        """A session's id is no user's, whatever it looks like; changes of access revoke nothing."""
        same = sample_user_id()
        revoke(RevocationKind.SESSION, str(same))
        revoke(RevocationKind.USER_ACCESS, str(same))
        revoke(RevocationKind.CLIENT, str(same))
        revoke(RevocationKind.ROLE_MAP, "")

        assert not _Token(user_id=same, session_id=None).is_revoked(judge)
        assert not _Token(key_id=str(same)).is_revoked(judge)
        assert _Token(session_id=SessionId(same)).is_revoked(judge)


class RevocationCheckerContract(_JudgementContract):
    """For :class:`~userservice_core.ports.revocations.RevocationChecker`."""

    @pytest.fixture
    def checker(self) -> RevocationChecker:
        """One that knows, or can ask, what `revoke` writes."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def judge(self, checker: RevocationChecker) -> RevocationChecker:
        """Who is asked."""
        return checker

    def test_a_peek_says_the_same_or_nothing(
        self, checker: RevocationChecker, revoke: Callable[[RevocationKind, str], None]
    ) -> None:
        """From memory alone."""
        token, other = _Token(), _Token()
        revoke(RevocationKind.SESSION, token.session)

        assert checker.peek(**token.question) in (True, None)
        assert checker.peek(**other.question) in (False, None)

    def test_what_hears_of_revocations_is_current(
        self, checker: RevocationChecker, revoke: Callable[[RevocationKind, str], None]
    ) -> None:
        """So that caches may say what somebody may do."""
        revoke(RevocationKind.ROLE_MAP, "")

        assert checker.is_current()


class RevocationsContract(_JudgementContract, StoredContract):
    """For :class:`~userservice_core.ports.revocations.RevocationLog` and ``RevocationWriter``."""

    @pytest.fixture
    def judge(self, backend: Backend) -> RevocationLog:
        """Who is asked."""
        return backend.revocations

    @pytest.fixture
    def revoke(self, backend: Backend) -> Callable[[RevocationKind, str], None]:
        """Commit a revocation."""

        def revoke(kind: RevocationKind, subject: str) -> None:
            _write(backend, _revocation(backend, kind=kind, subject=subject))

        return revoke

    def test_what_was_written_is_read(self, backend: Backend) -> None:
        """Each attribute, in the order it was written."""
        written = [
            _revocation(backend, kind=kind, subject=subject, version=version)
            for kind, subject, version in (
                (RevocationKind.SESSION, str(sample_session_id()), 0),
                (RevocationKind.USER_ACCESS, str(sample_user_id()), 3),
                (RevocationKind.ROLE_MAP, "", 2**40),
                (RevocationKind.KEY, f"key-{sample_session_id()}", 0),
            )
        ]
        _write(backend, *written[:2])
        _write(backend, *written[2:])

        read = backend.revocations.read_since(None).revocations

        assert written == [revocation for revocation in read if revocation in written]

    def test_what_has_expired_is_not_read(self, backend: Backend) -> None:
        """No token that it concerns can be alive any more."""
        now = backend.revocations.read_since(None).read_at
        expired = _revocation(backend, expires_at=now - timedelta(microseconds=1))
        _write(backend, expired)

        assert expired not in backend.revocations.read_since(None).revocations

    def test_a_read_goes_on_where_the_last_one_was(self, backend: Backend) -> None:
        """What was written at or after that time is read, and nothing older."""
        old, new = _revocation(backend), _revocation(backend)
        _write(backend, old)
        _pass_a_moment()
        before = backend.revocations.read_since(None).read_at
        _pass_a_moment()
        _write(backend, new)
        read = backend.revocations.read_since(before)

        assert new in read.revocations
        assert old not in read.revocations
        assert before <= read.read_at
        _pass_a_moment()
        later = backend.revocations.read_since(read.read_at + timedelta(microseconds=1)).revocations
        assert not {old, new} & set(later)

    def test_nothing_is_missed_by_reading_on_with_an_overlap(self, backend: Backend) -> None:
        """A row carries the time its transaction began: reading on from before that finds it."""
        revocation = _revocation(backend)

        def work(transaction: Transaction) -> None:
            transaction.revocations.add(revocation)

        began = backend.revocations.read_since(None).read_at
        backend.uow.run(work)

        assert revocation in backend.revocations.read_since(began).revocations

    def test_what_is_rolled_back_revokes_nothing(self, backend: Backend) -> None:
        """It was not written."""
        token = _Token()
        revocation = _revocation(backend, kind=RevocationKind.SESSION, subject=token.session)

        def work(transaction: Transaction) -> None:
            transaction.revocations.add(revocation)
            raise KeyError

        with pytest.raises(KeyError):
            backend.uow.run(work)

        assert not token.is_revoked(backend.revocations)
        assert revocation not in backend.revocations.read_since(None).revocations


def _revocation(backend: Backend, **changes: Any) -> Revocation:  # noqa: ANN401 - each attribute has its type
    values: dict[str, Any] = {
        "kind": RevocationKind.USER,
        "subject": str(UserId(sample_user_id())),
        "not_before": NOW,
        "expires_at": backend.revocations.read_since(None).read_at + timedelta(hours=1),
        **changes,
    }
    return Revocation(**values)


def _write(backend: Backend, *revocations: Revocation) -> None:
    def work(transaction: Transaction) -> None:
        for revocation in revocations:
            transaction.revocations.add(revocation)

    backend.uow.run(work)


def _pass_a_moment() -> None:
    """Let the clock of the database go on by more than its resolution."""
    time.sleep(0.002)
