"""What every store of rows that expire does."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from userservice_core.domain.revocations import Revocation, RevocationKind
from userservice_core.ports.retention import REVOCATIONS_KEPT_FOR, TOKENS_KEPT_FOR
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import eventually, race
from userservice_core.testing.samples import NOW, sample_credential, sample_one_time_token, sample_session, sample_user

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_INSTANT = timedelta(microseconds=1)


class ExpiredRowsContract(StoredContract):
    """For :class:`~userservice_core.ports.retention.ExpiredRows`."""

    def test_room_is_made_once(self, backend: Backend) -> None:
        """And asking again does no harm."""
        backend.expired_rows.make_room()

        assert backend.expired_rows.make_room() == 0

    def test_sessions_go_with_their_absolute_end(self, backend: Backend) -> None:
        """Not before, also where they were ended or rested too long."""
        user = backend.add_user(sample_user())
        due = backend.add_session(sample_session(user, absolute_expires_at=NOW))
        resting = backend.add_session(sample_session(user, absolute_expires_at=NOW + _INSTANT, expires_at=NOW))
        ended = backend.add_session(sample_session(user, absolute_expires_at=NOW + _INSTANT, revoked_at=NOW))

        assert backend.expired_rows.remove_some(now=NOW, limit=1_000) >= 1

        assert backend.sessions.find(user.id, due.id) is None
        for kept in (resting, ended):
            assert backend.sessions.find(user.id, kept.id) is not None

    def test_mailed_tokens_go_some_time_after_their_end(self, backend: Backend) -> None:
        """Used or not."""
        user = backend.add_user(sample_user())
        used = backend.add_one_time_token(
            sample_one_time_token(user, expires_at=NOW - TOKENS_KEPT_FOR, used_at=NOW - TOKENS_KEPT_FOR)
        )
        due = backend.add_one_time_token(sample_one_time_token(user, expires_at=NOW - TOKENS_KEPT_FOR))
        kept = backend.add_one_time_token(sample_one_time_token(user, expires_at=NOW - TOKENS_KEPT_FOR + _INSTANT))

        assert backend.expired_rows.remove_some(now=NOW, limit=1_000) >= 2

        found = [backend.one_time_tokens.find(user.id, each.digest) is not None for each in (used, due, kept)]
        assert found == [False, False, True]

    def test_revocations_go_some_time_after_their_end(self, backend: Backend) -> None:
        """What concerns tokens that may be alive stays."""
        user = backend.add_user(sample_user())
        revocation = Revocation(kind=RevocationKind.USER, subject=str(user.id), not_before=NOW, expires_at=NOW)
        issued_at = NOW - timedelta(minutes=1)

        def is_revoked() -> bool:
            return backend.revocations.is_revoked(user_id=user.id, session_id=None, key_id="", issued_at=issued_at)

        self._empty(backend, NOW + REVOCATIONS_KEPT_FOR)
        backend.uow.run(lambda transaction: transaction.revocations.add(revocation))
        # By then the row, too, is old enough, whichever clock wrote it.
        far = NOW + timedelta(days=36_500)
        assert backend.expired_rows.remove_some(now=NOW + REVOCATIONS_KEPT_FOR - _INSTANT, limit=1_000) == 0
        assert is_revoked()
        self._empty(backend, far)
        assert not is_revoked()

    def test_no_more_than_asked_for_at_once(self, backend: Backend) -> None:
        """The rest is for the next call, until nothing is left."""
        self._empty(backend, NOW)
        user = backend.add_user(sample_user())
        for _ in range(5):
            backend.add_session(sample_session(user, absolute_expires_at=NOW))

        removed = []
        while count := backend.expired_rows.remove_some(now=NOW, limit=2):
            removed.append(count)

        assert removed == [2, 2, 1]

    def test_former_passwords_past_the_number_go(self, backend: Backend) -> None:
        """The newest stay, as many as are remembered, down to none; at most so many accounts at once."""
        while backend.expired_rows.forget_passwords(remembered=0, limit=1_000):
            pass
        users = [sample_user() for _ in range(3)]
        former = ("$x$newest$y", "$x$older$y", "$x$oldest$y")

        def work(transaction: Transaction) -> None:
            for user, count in zip(users, (3, 2, 0), strict=True):
                transaction.users.add(user)
                transaction.sign_ins.add(sample_credential(user, former_hashes=former[:count]))

        def kept() -> list[int]:
            found = [backend.sign_ins.get(user.id).credential for user in users]
            assert all(each is not None and each.former_hashes == former[: len(each.former_hashes)] for each in found)
            return [len(each.former_hashes) for each in found if each is not None]

        backend.uow.run(work)
        forget = backend.expired_rows.forget_passwords

        assert (forget(remembered=3, limit=9), kept()) == (0, [3, 2, 0])
        assert (forget(remembered=2, limit=9), kept()) == (1, [2, 2, 0])
        assert (forget(remembered=1, limit=1), forget(remembered=1, limit=1), kept()) == (1, 1, [1, 1, 0])
        assert (forget(remembered=0, limit=9), forget(remembered=0, limit=9), kept()) == (2, 0, [0, 0, 0])

    @staticmethod
    def _empty(backend: Backend, now: datetime) -> None:
        while backend.expired_rows.remove_some(now=now, limit=1_000):
            pass


class PurgeLeaseContract(StoredContract):
    """For :class:`~userservice_core.ports.retention.PurgeLease`."""

    def test_one_holds_it_until_it_is_given_back(self, backend: Backend) -> None:
        """The holder goes on holding it; who does not hold it gives nothing back."""
        lease = backend.purge_lease
        assert lease.take(holder="one", seconds=60)
        assert lease.take(holder="one", seconds=60)
        lease.give_back(holder="other", is_done=True)
        assert not lease.take(holder="other", seconds=60)

        lease.give_back(holder="one", is_done=False)
        assert lease.take(holder="other", seconds=60)
        lease.give_back(holder="other", is_done=False)

    def test_it_ends_by_itself(self, backend: Backend) -> None:
        """So that nobody waits for the dead for long."""
        lease = backend.purge_lease
        assert lease.take(holder="dead", seconds=0.05)

        assert eventually(lambda: lease.take(holder="other", seconds=60))
        assert not lease.take(holder="dead", seconds=60)
        lease.give_back(holder="other", is_done=False)

    def test_after_a_whole_run_there_is_a_rest(self, backend: Backend) -> None:
        """For whoever asks for one; who holds the lease goes on, and a run that was not whole counts for nothing."""
        lease = backend.purge_lease
        assert lease.take(holder="one", seconds=60)
        lease.give_back(holder="one", is_done=True)
        assert not lease.take(holder="one", seconds=60, rest_seconds=3_600)
        assert eventually(lambda: lease.take(holder="other", seconds=60, rest_seconds=0.01))
        assert lease.take(holder="other", seconds=60, rest_seconds=3_600)
        lease.give_back(holder="other", is_done=False)
        assert not lease.take(holder="one", seconds=60, rest_seconds=3_600)
        assert lease.take(holder="one", seconds=60)
        lease.give_back(holder="one", is_done=False)

    def test_of_many_at_once_one_gets_it(self, backend: Backend) -> None:
        """Whoever they are."""
        lease = backend.purge_lease
        done = race([partial(lease.take, holder=str(number), seconds=60) for number in range(8)])

        assert sorted(map(str, done)) == ["False"] * 7 + ["True"]
        lease.give_back(holder=str(done.index(True)), is_done=False)
