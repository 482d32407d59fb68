"""What :mod:`userservice_core.ports.sessions` promises."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import UserStatus
from userservice_core.errors import SessionNotFoundError, UserNotFoundError
from userservice_core.ports.sessions import Rotation, SessionOfUser
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import PATIENCE_SECONDS, contend, race
from userservice_core.testing.samples import (
    NOW,
    changed,
    sample_hash,
    sample_session,
    sample_session_id,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.sessions import Session
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_LATER = NOW + timedelta(days=1, microseconds=5)


def _rotation(session: Session, **changes: Any) -> Rotation:  # noqa: ANN401 - each attribute has its type
    rotation = Rotation(
        user_id=session.user_id,
        session_id=session.id,
        generation=session.generation,
        secret_hash=session.current_hash,
        next_hash=sample_hash(),
        now=_LATER,
    )
    return attrs.evolve(rotation, **changes)


def _started(backend: Backend, **changes: Any) -> Session:  # noqa: ANN401 - as above
    return backend.add_session(sample_session(backend.add_user(), **changes))


class SessionsContract(StoredContract):
    """For :class:`~userservice_core.ports.sessions.SessionStore` and ``SessionRepository``."""

    # --- finding ------------------------------------------------------------------------------------------------------

    def test_a_session_is_found_with_its_user(self, backend: Backend) -> None:
        """Each attribute is as it was added, in reader and transaction, ended sessions included."""
        user = backend.add_user()
        session = sample_session(
            user,
            ip="2001:db8::1",
            user_agent="é" * 100,
            amr=("pwd", "otp"),
            auth_time=NOW - timedelta(microseconds=1),
            generation=3,
            previous_hash=sample_hash(),
            rotated_at=NOW,
            revoked_at=_LATER,
        )
        backend.add_session(session)

        assert SessionOfUser(session=session, user=user) == backend.sessions.find(user.id, session.id)
        assert session == backend.uow.run(lambda transaction: transaction.sessions.get(user.id, session.id))

    def test_a_session_without_an_origin_is_found(self, backend: Backend) -> None:
        """Where it came from need not be known."""
        session = _started(backend, ip=None, user_agent=None)

        found = backend.sessions.find(session.user_id, session.id)

        assert found is not None
        assert session == found.session

    def test_a_session_is_its_users_alone(self, backend: Backend) -> None:
        """Another user's, and an unknown one, are not found."""
        session, other = _started(backend), _started(backend)

        for user_id, session_id in (
            (other.user_id, session.id),
            (session.user_id, sample_session_id()),
            (sample_user_id(), session.id),
        ):
            assert backend.sessions.find(user_id, session_id) is None
            with pytest.raises(SessionNotFoundError):
                backend.uow.run(
                    lambda transaction, ids=(user_id, session_id): transaction.sessions.get(*ids)  # type: ignore[misc]
                )

    # --- rotating -----------------------------------------------------------------------------------------------------

    def test_the_current_token_moves_the_session_on(self, backend: Backend) -> None:
        """To the next generation; it may rest as long as it might before."""
        user = backend.add_user()
        session = backend.add_session(sample_session(user))
        rotation = _rotation(session)

        rotated = backend.sessions.rotate(rotation)

        expected = attrs.evolve(
            session,
            generation=1,
            current_hash=rotation.next_hash,
            previous_hash=session.current_hash,
            rotated_at=_LATER,
            last_used_at=_LATER,
            expires_at=_LATER + (session.expires_at - session.last_used_at),
        )
        assert SessionOfUser(session=expected, user=user) == rotated
        assert rotated == backend.sessions.find(user.id, session.id)

    def test_no_rotation_outlives_the_absolute_end(self, backend: Backend) -> None:
        """The session rests until then at the latest."""
        session = _started(backend, absolute_expires_at=NOW + timedelta(days=15))

        rotated = backend.sessions.rotate(_rotation(session, now=NOW + timedelta(days=2)))

        assert rotated is not None
        assert session.absolute_expires_at == rotated.session.expires_at

    def test_each_token_moves_the_session_on_once(self, backend: Backend) -> None:
        """The chain goes on with the successor alone."""
        session = _started(backend)
        first = _rotation(session)
        backend.sessions.rotate(first)
        second = _rotation(session, generation=1, secret_hash=first.next_hash)

        assert backend.sessions.rotate(first) is None
        rotated = backend.sessions.rotate(second)

        assert rotated is not None
        assert (2, second.next_hash, first.next_hash) == (
            rotated.session.generation,
            rotated.session.current_hash,
            rotated.session.previous_hash,
        )

    @pytest.mark.parametrize(
        "presented",
        [
            {"generation": 0},
            {"generation": 2},
            {"secret_hash": bytes(32)},
            {"now": NOW + timedelta(days=14)},
            {"now": NOW + timedelta(days=100)},
        ],
        ids=["an old generation", "a future one", "another secret", "at the end of the idle time", "long after"],
    )
    def test_another_token_changes_nothing(self, backend: Backend, presented: dict[str, Any]) -> None:
        """Nor does the right one after the session has ended by itself."""
        session = _started(backend, generation=1)
        before = backend.sessions.find(session.user_id, session.id)

        assert backend.sessions.rotate(_rotation(session, **presented)) is None

        assert before == backend.sessions.find(session.user_id, session.id)

    def test_an_ended_session_does_not_move(self, backend: Backend) -> None:
        """Whatever is presented."""
        session = _started(backend, revoked_at=NOW)

        assert backend.sessions.rotate(_rotation(session)) is None

        found = backend.sessions.find(session.user_id, session.id)
        assert found is not None
        assert session == found.session

    def test_an_unknown_session_does_not_move(self, backend: Backend) -> None:
        """Nor does another user's."""
        session, other = _started(backend), _started(backend)

        assert backend.sessions.rotate(_rotation(session, session_id=sample_session_id())) is None
        assert backend.sessions.rotate(_rotation(session, user_id=other.user_id)) is None

    @pytest.mark.parametrize("status", UserStatus)
    @pytest.mark.parametrize("deleted_at", [None, NOW])
    def test_a_session_moves_for_a_live_user_only(
        self, backend: Backend, status: UserStatus, deleted_at: datetime | None
    ) -> None:
        """One who is active and not deleted."""
        user = backend.add_user(sample_user(status=status, deleted_at=deleted_at))
        session = backend.add_session(sample_session(user))

        rotated = backend.sessions.rotate(_rotation(session))

        assert user.is_live == (rotated is not None)
        found = backend.sessions.find(user.id, session.id)
        assert found is not None
        assert int(user.is_live) == found.session.generation

    def test_one_of_many_who_present_a_token_moves_the_session(self, backend: Backend) -> None:
        """The others are told so, and the session moves once."""
        session = _started(backend)
        rotations = [_rotation(session) for _ in range(8)]

        outcomes = race([lambda each=each: backend.sessions.rotate(each) for each in rotations])  # type: ignore[misc]

        (winner,) = [outcome for outcome in outcomes if outcome is not None]
        assert isinstance(winner, SessionOfUser), winner
        assert winner.session.generation == 1
        assert winner == backend.sessions.find(session.user_id, session.id)

    def test_a_rotation_is_no_event(self, backend: Backend) -> None:
        """It happens on each refresh, and concerns nobody else."""
        session = _started(backend)

        assert backend.sessions.rotate(_rotation(session)) is not None

        assert backend.waiting(str(session.user_id)) == ()

    def test_a_rotation_does_not_touch_the_user(self, backend: Backend) -> None:
        """The version stays."""
        user = backend.add_user()
        session = backend.add_session(sample_session(user))

        assert backend.sessions.rotate(_rotation(session)) is not None

        assert user == backend.users.get(user.id)

    # --- in transactions ----------------------------------------------------------------------------------------------

    def test_a_rotation_waits_for_who_ends_the_session(self, backend: Backend) -> None:
        """And then finds it ended: a read in a transaction locks."""
        session = _started(backend)

        def hold(transaction: Transaction) -> None:
            read = transaction.sessions.get(session.user_id, session.id)
            transaction.sessions.save(read.revoked(now=_LATER))

        assert contend(backend.uow, hold, lambda: backend.sessions.rotate(_rotation(session))) is None

    def test_a_rotation_waits_for_who_ends_all_sessions(self, backend: Backend) -> None:
        """A list locks what it returns too."""
        session = _started(backend)

        def hold(transaction: Transaction) -> None:
            for each in transaction.sessions.list_open(session.user_id, now=_LATER):
                transaction.sessions.save(each.revoked(now=_LATER))

        assert contend(backend.uow, hold, lambda: backend.sessions.rotate(_rotation(session))) is None

    def test_open_sessions_are_listed(self, backend: Backend) -> None:
        """Most recently used first; without ended ones, those at the end of their time, and other users'."""
        user = backend.add_user()
        sessions = [sample_session(user, now=NOW + timedelta(minutes=minutes)) for minutes in (2, 0, 3, 1)]
        for session in (
            *sessions,
            sample_session(user, revoked_at=NOW),
            sample_session(user, expires_at=_LATER),
            sample_session(backend.add_user()),
        ):
            backend.add_session(session)

        listed = backend.uow.run(lambda transaction: transaction.sessions.list_open(user.id, now=_LATER))

        assert (sessions[2], sessions[0], sessions[3], sessions[1]) == listed
        assert listed == backend.sessions.list_open(user.id, now=_LATER)

    def test_where_the_latest_sessions_began_is_listed(self, backend: Backend) -> None:
        """Ended ones included, latest first, as many as asked for, and no other user's."""
        user = backend.add_user()
        for number in range(4):
            backend.add_session(
                sample_session(user, ip=f"192.0.2.{number}", user_agent=None, revoked_at=NOW if number % 2 else None)
            )
        backend.add_session(sample_session(backend.add_user()))

        def listed(limit: int) -> tuple[Origin, ...]:
            return backend.uow.run(lambda transaction: transaction.sessions.list_origins(user.id, limit=limit))

        assert [Origin(ip=f"192.0.2.{number}") for number in (3, 2, 1, 0)] == list(listed(9))
        assert [Origin(ip=f"192.0.2.{number}") for number in (3, 2)] == list(listed(2))

    def test_a_user_without_sessions_has_none(self, backend: Backend) -> None:
        """Known or not."""
        for user_id in (backend.add_user().id, sample_user_id()):
            listed = backend.uow.run(
                lambda transaction, user_id=user_id: transaction.sessions.list_open(user_id, now=NOW)  # type: ignore[misc]
            )
            assert listed == ()
        assert backend.sessions.list_open(backend.add_user().id, now=NOW) == ()
        with pytest.raises(UserNotFoundError):
            backend.sessions.list_open(sample_user_id(), now=NOW)

    def test_reading_the_open_sessions_waits_for_nobody(self, backend: Backend) -> None:
        """While somebody ends one, it is read as it was until the commit."""
        session = _started(backend)

        def end(transaction: Transaction) -> tuple[Session, ...]:
            transaction.sessions.save(transaction.sessions.get(session.user_id, session.id).revoked(now=_LATER))
            with ThreadPoolExecutor(1) as threads:
                read = threads.submit(backend.sessions.list_open, session.user_id, now=NOW)
                return read.result(PATIENCE_SECONDS)

        assert backend.uow.run(end) == (session,)
        assert backend.sessions.list_open(session.user_id, now=NOW) == ()

    def test_saving_ends_a_session(self, backend: Backend) -> None:
        """Nothing else of it changes."""
        session = _started(backend)
        other = attrs.evolve(session, ip="203.0.113.1", last_used_at=_LATER, generation=7).revoked(now=_LATER)

        backend.uow.run(lambda transaction: transaction.sessions.save(other))

        found = backend.sessions.find(session.user_id, session.id)
        assert found is not None
        assert session.revoked(now=_LATER) == found.session

    def test_saving_tells_that_the_user_proved_again_who_they_are(self, backend: Backend) -> None:
        """When, and how."""
        session = _started(backend)
        proved = attrs.evolve(session, auth_time=_LATER, amr=("pwd", "otp"))

        backend.uow.run(lambda transaction: transaction.sessions.save(proved))

        found = backend.sessions.find(session.user_id, session.id)
        assert found is not None
        assert proved == found.session

    def test_ending_a_session_keeps_the_state_of_its_tokens(self, backend: Backend) -> None:
        """It may have moved on since it was read outside."""
        session = _started(backend)
        rotated = backend.sessions.rotate(_rotation(session))

        backend.uow.run(lambda transaction: transaction.sessions.save(session.revoked(now=_LATER)))

        found = backend.sessions.find(session.user_id, session.id)
        assert found is not None
        assert rotated is not None
        assert rotated.session.revoked(now=_LATER) == found.session

    def test_adding_ends_no_other_session(self, backend: Backend) -> None:
        """How many there may be is not the store's to decide."""
        user = changed(backend.add_user())
        sessions = {backend.add_session(sample_session(user)).id for _ in range(3)}

        listed = backend.uow.run(lambda transaction: transaction.sessions.list_open(user.id, now=NOW))

        assert sessions == {session.id for session in listed}
