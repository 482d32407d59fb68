"""The mirror of revocations: what it knows, when it may be trusted, and whom it tells."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.fast.system.doubles import FakeRevocationLog, FakeSignal, wait_until
from userservice_core.domain.ids import SessionId, UserId
from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.errors import DatabaseUnavailableError, RevocationsUnknownError
from userservice_core.infrastructure.system.revocation_mirror import (
    OVERLAP,
    PrimaryRevocationChecker,
    RevocationMirror,
)
from userservice_core.ports.revocations import REVOCATIONS_CHANNEL
from userservice_core.testing.clocks import NOON, FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.ports.revocations import RevocationChecker

USER = UserId(UUID("01900000-0000-7000-8000-000000000001"))
SESSION = SessionId(UUID("01900000-0000-7000-8000-000000000002"))
FAR = NOON + timedelta(hours=1)


def _row(
    kind: RevocationKind, subject: object = "", *, version: int = 0, expires_in_seconds: float = 3600
) -> Revocation:
    expires_at = NOON + timedelta(seconds=expires_in_seconds)
    return Revocation(kind=kind, subject=str(subject), not_before=NOON, version=version, expires_at=expires_at)


class _Setup:
    """A mirror with everything around it that a test drives."""

    def __init__(self) -> None:
        self.log = FakeRevocationLog()
        self.signal = FakeSignal()
        self.clock = FakeClock()
        self.told: list[Revocation] = []
        self.gaps = 0
        self.callback_failure: Exception | None = None
        self._mirrors: list[RevocationMirror] = []

    def mirror(self, *, poll_seconds: float = 600.0, max_age_seconds: float = 600.0) -> RevocationMirror:
        """Return one that reads when it is notified, unless told otherwise."""
        mirror = RevocationMirror(
            self.log,
            self.signal,
            self.clock,
            on_revocation=self._tell,
            on_gap=self._gap,
            poll_seconds=poll_seconds,
            max_age_seconds=max_age_seconds,
        )
        self._mirrors.append(mirror)
        return mirror

    def started(self, *, poll_seconds: float = 600.0, max_age_seconds: float = 600.0) -> RevocationMirror:
        """Return one that has read the log."""
        mirror = self.mirror(poll_seconds=poll_seconds, max_age_seconds=max_age_seconds)
        mirror.start()
        wait_until(lambda: mirror.is_loaded)
        return mirror

    def read_again(self) -> None:
        """Have the mirror read the log once more, and return when it is done: the next read has begun by then."""
        for _ in range(2):
            self._begin_read()

    def _begin_read(self) -> None:
        reads = len(self.log.reads)
        self.signal.notify(REVOCATIONS_CHANNEL)
        wait_until(lambda: len(self.log.reads) > reads)

    def close(self) -> None:
        """Stop every mirror."""
        for mirror in self._mirrors:
            mirror.close()

    def _tell(self, revocation: Revocation) -> None:
        if self.callback_failure is not None:
            raise self.callback_failure
        self.told.append(revocation)

    def _gap(self) -> None:
        self.gaps += 1


@pytest.fixture
def setup() -> Iterator[_Setup]:
    """Everything, stopped at the end."""
    setup = _Setup()
    yield setup
    setup.close()


def _is_revoked(checker: RevocationChecker, *, issued_seconds: float = 0, key_id: str = "key") -> bool:
    return checker.is_revoked(
        user_id=USER, session_id=SESSION, key_id=key_id, issued_at=NOON + timedelta(seconds=issued_seconds)
    )


def _peek(checker: RevocationChecker) -> bool | None:
    return checker.peek(user_id=USER, session_id=SESSION, key_id="key", issued_at=NOON)


# --- what it knows ----------------------------------------------------------------------------------------------------


def test_a_session_and_a_key_are_revoked_whenever_the_token_was_issued(setup: _Setup) -> None:
    """And nobody else's."""
    mirror = setup.started()
    nothing = _is_revoked(mirror, issued_seconds=10)
    setup.log.rows = [_row(RevocationKind.KEY, "bad key")]
    setup.read_again()
    other_key, bad_key = _is_revoked(mirror), _is_revoked(mirror, key_id="bad key", issued_seconds=10)
    setup.log.rows = [_row(RevocationKind.SESSION, SESSION)]
    setup.read_again()

    assert (nothing, other_key, bad_key) == (False, False, True)
    assert _is_revoked(mirror, issued_seconds=10)
    assert setup.log.asked == 0


def test_a_user_is_revoked_up_to_an_instant(setup: _Setup) -> None:
    """Tokens issued from that instant on stand."""
    setup.log.rows = [_row(RevocationKind.USER, USER)]
    mirror = setup.started()

    assert [_is_revoked(mirror, issued_seconds=seconds) for seconds in (-1, 0, 1)] == [True, False, False]


def test_peek_says_the_same_from_memory(setup: _Setup) -> None:
    """It asks nobody."""
    mirror = setup.started()
    before = _peek(mirror)
    setup.log.rows = [_row(RevocationKind.SESSION, SESSION)]
    setup.read_again()

    assert (before, _peek(mirror), setup.log.asked) == (False, True, 0)


def test_what_was_read_once_is_kept_until_it_expires(setup: _Setup) -> None:
    """Later reads go back a little only; a minute is allowed for the clocks of two machines."""
    setup.log.rows = [_row(RevocationKind.SESSION, SESSION, expires_in_seconds=10)]
    mirror = setup.started()
    setup.log.rows = []
    setup.clock.advance(timedelta(seconds=69))
    setup.read_again()
    kept = _is_revoked(mirror)
    setup.clock.advance(timedelta(seconds=1))
    setup.read_again()

    assert (kept, _is_revoked(mirror)) == (True, False)


def test_a_longer_revocation_is_not_shortened_by_another(setup: _Setup) -> None:
    """Two rows of one session: the later end counts."""
    setup.log.rows = [
        _row(RevocationKind.SESSION, SESSION, expires_in_seconds=1_000),
        _row(RevocationKind.SESSION, SESSION, expires_in_seconds=10),
    ]
    mirror = setup.started()
    setup.log.rows = []
    setup.clock.advance(timedelta(seconds=500))
    setup.read_again()

    assert _is_revoked(mirror)


# --- how it reads -----------------------------------------------------------------------------------------------------


def test_it_reads_everything_first_and_then_with_an_overlap(setup: _Setup) -> None:
    """A row carries the time its transaction began, so it may appear late."""
    setup.started()
    setup.read_again()

    assert setup.log.reads[:2] == [None, NOON - OVERLAP]


def test_it_reads_without_being_woken(setup: _Setup) -> None:
    """A notification only makes it faster."""
    setup.signal.notify(REVOCATIONS_CHANNEL)
    mirror = setup.started(poll_seconds=0.01)
    setup.log.rows = [_row(RevocationKind.SESSION, SESSION)]

    wait_until(lambda: _is_revoked(mirror))


def test_the_longer_a_read_takes_the_longer_it_rests_after_it(setup: _Setup) -> None:
    """However often it is woken, reading takes an eleventh of its thread's time at most."""
    setup.log.read_takes_seconds = 0.005
    setup.started()
    for _ in range(2):
        setup.read_again()

    began_at = setup.log.began_at
    assert len(began_at) == 5
    assert all(after - before >= 11 * setup.log.read_takes_seconds for before, after in itertools.pairwise(began_at))


def test_it_is_loaded_as_soon_as_the_log_can_be_read(setup: _Setup) -> None:
    """Until then it says nothing by itself, and goes on trying."""
    setup.log.failure = DatabaseUnavailableError()
    mirror = setup.mirror(poll_seconds=0.2)
    mirror.start()
    wait_until(lambda: len(setup.log.reads) >= 3)
    before = (mirror.is_loaded, _peek(mirror))
    setup.log.failure = None

    wait_until(lambda: mirror.is_loaded)
    assert before == (False, None)
    assert _peek(mirror) is False


@pytest.mark.parametrize("failure", [DatabaseUnavailableError(), RuntimeError("a bug")])
def test_after_a_failure_it_reads_everything_again(setup: _Setup, failure: Exception) -> None:
    """Whatever failed, the reader goes on; the next primary's clock need not agree with the last one's."""
    setup.started()
    setup.log.failure = failure
    setup.read_again()
    setup.log.failure = None
    setup.read_again()
    setup.read_again()

    assert setup.log.reads[-1] == NOON - OVERLAP
    assert setup.log.reads.count(None) >= 2


def test_it_stops_listening_when_it_is_closed(setup: _Setup) -> None:
    """No callback outlives it, and closing does not wait for the next read."""
    mirror = setup.started()
    listeners = len(setup.signal.listeners)
    mirror.close()

    assert (listeners, len(setup.signal.listeners)) == (1, 0)


# --- whether it may be trusted ----------------------------------------------------------------------------------------


@pytest.mark.asvs("7.4.1", "16.5.3")
def test_a_mirror_that_is_too_old_asks_the_primary(setup: _Setup) -> None:
    """Each time; and if the primary does not answer either, nobody knows."""
    mirror = setup.started(max_age_seconds=0.0)
    wait_until(lambda: _peek(mirror) is None)
    setup.log.answer = True
    revoked = _is_revoked(mirror)
    setup.log.answer = False
    stands = _is_revoked(mirror)
    setup.log.failure = DatabaseUnavailableError()

    with pytest.raises(RevocationsUnknownError):
        _is_revoked(mirror)
    assert (revoked, stands, setup.log.asked) == (True, False, 3)
    assert not mirror.is_current()


def test_its_age_counts_from_the_beginning_of_the_read(setup: _Setup) -> None:
    """What was revoked while a slow read was under way may be missing from it."""
    setup.log.read_takes_seconds = 0.06
    mirror = setup.started(max_age_seconds=0.05)

    assert _peek(mirror) is None


def test_a_gap_is_told_once_it_is_over(setup: _Setup) -> None:
    """Not at the first read, and not while reads follow each other closely."""
    setup.started(max_age_seconds=600)
    setup.read_again()
    gaps_without = setup.gaps
    setup.close()
    setup.started(max_age_seconds=0.001)
    time.sleep(0.002)
    setup.read_again()

    assert gaps_without == 0
    assert setup.gaps >= 1


# --- whom it tells ----------------------------------------------------------------------------------------------------


def test_what_caches_must_forget_is_told_once(setup: _Setup) -> None:
    """Rows come again with each overlapping read; a newer version is news, an older one is not."""
    setup.log.rows = [
        _row(RevocationKind.ROLE_MAP, version=3),
        _row(RevocationKind.USER_ACCESS, USER, version=1),
        _row(RevocationKind.KEY, "bad key"),
        _row(RevocationKind.SESSION, SESSION),
    ]
    setup.started()
    setup.read_again()
    setup.log.rows = [_row(RevocationKind.ROLE_MAP, version=2), _row(RevocationKind.ROLE_MAP, version=4)]
    setup.read_again()

    assert [(revocation.kind, revocation.version) for revocation in setup.told] == [
        (RevocationKind.ROLE_MAP, 3),
        (RevocationKind.USER_ACCESS, 1),
        (RevocationKind.KEY, 0),
        (RevocationKind.ROLE_MAP, 4),
    ]


def test_what_could_not_be_told_is_told_again(setup: _Setup) -> None:
    """A callback that fails loses no invalidation."""
    setup.callback_failure = RuntimeError("not now")
    setup.log.rows = [_row(RevocationKind.ROLE_MAP, version=3)]
    mirror = setup.mirror(poll_seconds=0.2)
    mirror.start()
    wait_until(lambda: len(setup.log.reads) >= 2)
    is_loaded_before = mirror.is_loaded
    setup.callback_failure = None

    wait_until(lambda: mirror.is_loaded)
    assert not is_loaded_before
    assert [revocation.version for revocation in setup.told] == [3]


# --- without a mirror -------------------------------------------------------------------------------------------------


def test_without_a_mirror_the_primary_is_asked_each_time() -> None:
    """Where a process is frozen between requests there is no memory to trust."""
    log = FakeRevocationLog()
    checker = PrimaryRevocationChecker(log)
    log.answer = True
    revoked = _is_revoked(checker)
    log.failure = DatabaseUnavailableError()

    with pytest.raises(RevocationsUnknownError):
        _is_revoked(checker)
    assert (revoked, _peek(checker), log.asked) == (True, None, 2)
