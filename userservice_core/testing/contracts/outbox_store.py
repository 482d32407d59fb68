"""What :class:`~userservice_core.ports.publishing.OutboxStore` promises."""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from userservice_core.errors import NotFoundError
from userservice_core.ports.publishing import LANES, Backlog, lane_of
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import PATIENCE_SECONDS, eventually, race
from userservice_core.testing.samples import login_failed, notification_requested, registered, sample_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.domain.users import User
    from userservice_core.ports.publishing import Lease, OutboxRecord, OutboxStore
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend

_LONG_SECONDS = 60.0
_SHORT_SECONDS = 0.3


def _lanes(leases: Sequence[Lease]) -> set[int]:
    return {lease.lane for lease in leases}


def _of_lane(leases: Sequence[Lease], lane: int) -> Lease:
    (found,) = (lease for lease in leases if lease.lane == lane)
    return found


def _all_of(run: OutboxStore, leases: Sequence[Lease]) -> tuple[OutboxRecord, ...]:
    return run.read(leases, limit=10_000)


def _users_of_one_lane(backend: Backend, count: int) -> list[User]:
    """Return users whose events go through the same lane of the topic of users."""
    by_lane: dict[int, list[User]] = {}
    while True:
        user = sample_user()
        mates = by_lane.setdefault(lane_of(f"{backend.topic_prefix}users", str(user.id)), [])
        mates.append(user)
        if len(mates) == count:
            return mates


class OutboxStoreContract(StoredContract):
    """For ``OutboxStore``, ``ParkedEventReader`` and ``ParkedEventRepository``; needs an empty outbox."""

    @pytest.fixture
    def run(self, backend: Backend) -> OutboxStore:
        """The run of one relay."""
        return backend.outbox()

    @pytest.fixture
    def other_run(self, backend: Backend) -> OutboxStore:
        """The run of another relay, or a later run of the same one."""
        return backend.outbox()

    # --- leases -------------------------------------------------------------------------------------------------------

    def test_a_relay_alone_holds_every_lane(self, run: OutboxStore) -> None:
        """In order of their number."""
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)

        assert list(range(LANES)) == [lease.lane for lease in leases]

    def test_a_renewed_lane_keeps_its_fence(self, run: OutboxStore) -> None:
        """Claiming again renews what is held."""
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)

        assert leases == run.claim("a", lease_seconds=_LONG_SECONDS)

    def test_a_lane_has_one_relay(self, run: OutboxStore, other_run: OutboxStore) -> None:
        """The second one waits until the first has let its surplus go; then each has its share."""
        run.claim("a", lease_seconds=_LONG_SECONDS)

        assert other_run.claim("b", lease_seconds=_LONG_SECONDS) == ()
        kept = run.claim("a", lease_seconds=_LONG_SECONDS)
        taken = other_run.claim("b", lease_seconds=_LONG_SECONDS)

        assert (len(kept), len(taken)) == (LANES // 2, LANES // 2)
        assert set(range(LANES)) == _lanes(kept) | _lanes(taken)
        assert kept == run.claim("a", lease_seconds=_LONG_SECONDS)
        assert taken == other_run.claim("b", lease_seconds=_LONG_SECONDS)

    def test_relays_share_fairly(self, backend: Backend) -> None:
        """However many they are: nobody has more than the share, rounded up, and no lane is without a relay."""
        runs = {f"relay-{number}": backend.outbox() for number in range(5)}
        held: dict[str, tuple[Lease, ...]] = {}
        for _ in range(3):
            held = {relay_id: run.claim(relay_id, lease_seconds=_LONG_SECONDS) for relay_id, run in runs.items()}

        lanes = [lease.lane for leases in held.values() for lease in leases]
        assert list(range(LANES)) == sorted(lanes)
        assert max(len(leases) for leases in held.values()) <= math.ceil(LANES / 5)

    def test_a_relay_keeps_what_it_may(self, backend: Backend, run: OutboxStore, other_run: OutboxStore) -> None:
        """Where it has more than its share it takes nothing else instead: each change of hands costs a wave."""
        run.claim("a", lease_seconds=_LONG_SECONDS)
        other_run.claim("b", lease_seconds=_LONG_SECONDS)
        run.claim("a", lease_seconds=_LONG_SECONDS)
        held = other_run.claim("b", lease_seconds=_LONG_SECONDS)
        backend.outbox().claim("c", lease_seconds=_LONG_SECONDS)
        run.claim("a", lease_seconds=_LONG_SECONDS)

        kept = other_run.claim("b", lease_seconds=_LONG_SECONDS)

        assert len(kept) == math.ceil(LANES / 3)
        assert set(kept) <= set(held)

    def test_relays_that_claim_at_once_share_no_lane(self, backend: Backend) -> None:
        """Whoever comes first."""
        runs = {f"relay-{number}": backend.outbox() for number in range(4)}

        outcomes = race(
            [
                lambda relay_id=relay_id, run=run: run.claim(relay_id, lease_seconds=_LONG_SECONDS)  # type: ignore[misc]
                for relay_id, run in runs.items()
            ]
        )

        lanes: list[int] = []
        for outcome in outcomes:
            assert isinstance(outcome, tuple), outcome
            lanes.extend(lease.lane for lease in outcome)
        assert len(set(lanes)) == len(lanes)

    def test_an_expired_lane_is_taken(self, backend: Backend, run: OutboxStore, other_run: OutboxStore) -> None:
        """Under a higher fence; the relay that lost it can do nothing with its lease any more."""
        backend.register()
        old = run.claim("a", lease_seconds=_SHORT_SECONDS)
        (record,) = _all_of(run, old)

        new = eventually(lambda: other_run.claim("b", lease_seconds=_SHORT_SECONDS))

        assert _of_lane(new, record.lane).fence > _of_lane(old, record.lane).fence
        assert _all_of(run, old) == ()
        assert run.delete(old, [record]) == 0
        assert not run.park(_of_lane(old, record.lane), record, cause="too late")
        assert (record,) == _all_of(other_run, other_run.claim("b", lease_seconds=_SHORT_SECONDS))

    def test_a_lease_ends_by_itself(self, backend: Backend, run: OutboxStore) -> None:
        """Without anybody who takes the lane; claimed again, it has a higher fence."""
        backend.register()
        old = run.claim("a", lease_seconds=_SHORT_SECONDS)
        (record,) = _all_of(run, old)

        eventually(lambda: _all_of(run, old) == ())

        assert run.delete(old, [record]) == 0
        new = run.claim("a", lease_seconds=_LONG_SECONDS)
        assert _of_lane(new, record.lane).fence > _of_lane(old, record.lane).fence
        assert (record,) == _all_of(run, new)

    def test_a_relay_takes_its_own_lanes_back(self, backend: Backend, run: OutboxStore, other_run: OutboxStore) -> None:
        """At once, under a higher fence, however long the lease of the run before."""
        backend.register()
        old = run.claim("a", lease_seconds=_LONG_SECONDS)

        new = other_run.claim("a", lease_seconds=_LONG_SECONDS)

        assert _lanes(old) == _lanes(new)
        assert all(later.fence > earlier.fence for earlier, later in zip(old, new, strict=True))
        assert _all_of(run, old) == ()
        assert len(_all_of(other_run, new)) == 1

    def test_a_relay_that_stops_leaves_its_lanes(self, run: OutboxStore, other_run: OutboxStore) -> None:
        """Another one has all of them at once, and its share is the whole."""
        old = run.claim("a", lease_seconds=_LONG_SECONDS)

        run.release("a")

        new = other_run.claim("b", lease_seconds=_LONG_SECONDS)
        assert _lanes(old) == _lanes(new)
        assert all(later.fence > earlier.fence for earlier, later in zip(old, new, strict=True))

    def test_a_release_ends_the_leases(self, backend: Backend, run: OutboxStore) -> None:
        """Even where nobody takes the lanes."""
        backend.register()
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)

        run.release("a")

        assert _all_of(run, leases) == ()

    def test_releasing_nothing_has_no_effect(self, run: OutboxStore, other_run: OutboxStore) -> None:
        """On others least of all."""
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)

        other_run.release("b")

        assert leases == run.claim("a", lease_seconds=_LONG_SECONDS)

    # --- reading ------------------------------------------------------------------------------------------------------

    def test_nothing_is_read_where_nothing_waits(self, run: OutboxStore) -> None:
        """Nor without leases."""
        assert run.read(run.claim("a", lease_seconds=_LONG_SECONDS), limit=10) == ()
        assert run.read([], limit=10) == ()

    def test_a_lane_is_read_in_order(self, backend: Backend, run: OutboxStore) -> None:
        """The oldest records first, so many of each lane at most; reading takes nothing away."""
        first, second = _users_of_one_lane(backend, 2)
        users = [first, second, sample_user(), sample_user()]
        for user in users:
            backend.register(user)
        for user in users * 2:
            backend.record(registered(user))
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)

        everything = _all_of(run, leases)

        assert len(everything) == 12
        assert {1, 2, 3} == {record.sequence for record in everything}
        by_lane = {lane: [record for record in everything if record.lane == lane] for lane in range(LANES)}
        for lane, records in by_lane.items():
            positions = [record.position for record in records]
            assert sorted(positions) == positions
            assert tuple(records[:2]) == run.read([_of_lane(leases, lane)], limit=2)
        assert everything == _all_of(run, leases)
        shortened = run.read(leases, limit=2)
        assert all(sum(record.lane == lane for record in shortened) == min(2, len(by_lane[lane])) for lane in by_lane)

    def test_only_leased_lanes_are_read(self, backend: Backend, run: OutboxStore) -> None:
        """What waits elsewhere is another relay's."""
        backend.register()
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        (record,) = _all_of(run, leases)

        others = [lease for lease in leases if lease.lane != record.lane]

        assert _all_of(run, others) == ()
        assert (record,) == _all_of(run, [_of_lane(leases, record.lane)])

    def test_topics_are_passed_over(self, backend: Backend, run: OutboxStore) -> None:
        """Those that the bus refuses at present; their records stay."""
        user = backend.register()
        backend.record(login_failed(user), notification_requested(user))
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        users, auth = f"{backend.topic_prefix}users", f"{backend.topic_prefix}auth"

        found = run.read(leases, limit=10, without_topics=[users, auth])

        assert [f"{backend.topic_prefix}notifications"] == [record.topic for record in found]
        assert len(_all_of(run, leases)) == 3

    # --- deleting and parking -----------------------------------------------------------------------------------------

    def test_acknowledged_records_go(self, backend: Backend, run: OutboxStore) -> None:
        """Those given and no others, and it is told how many went."""
        for _ in range(3):
            backend.register()
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        first, *others = _all_of(run, leases)

        assert run.delete(leases, [first]) == 1

        assert tuple(others) == _all_of(run, leases)
        assert run.delete(leases, [first]) == 0
        assert run.delete(leases, others) == 2
        assert run.delete(leases, []) == 0
        assert _all_of(run, leases) == ()

    def test_records_of_other_lanes_stay(self, backend: Backend, run: OutboxStore) -> None:
        """A lease is for its own lane."""
        backend.register()
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        (record,) = _all_of(run, leases)
        others = [lease for lease in leases if lease.lane != record.lane]

        assert run.delete(others, [record]) == 0
        assert not run.park(others[0], record, cause="not ours")

        assert (record,) == _all_of(run, leases)

    def test_later_records_wait_behind_a_parked_one(self, backend: Backend, run: OutboxStore) -> None:
        """Those of its topic and key; others of the lane go on."""
        parked, other = _users_of_one_lane(backend, 2)
        for user in (parked, other):
            backend.register(user)
            backend.record(registered(user))
        backend.record(login_failed(parked))
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        topic = f"{backend.topic_prefix}users"
        first = next(record for record in _all_of(run, leases) if (record.topic, record.key) == (topic, str(parked.id)))

        assert run.park(_of_lane(leases, first.lane), first, cause="larger than the broker takes")

        backend.record(registered(parked))
        left = [(record.topic, record.key) for record in _all_of(run, leases)]
        assert (topic, str(parked.id)) not in left
        assert left.count((topic, str(other.id))) == 2
        assert left.count((f"{backend.topic_prefix}auth", str(parked.id))) == 1
        assert not run.park(_of_lane(leases, first.lane), first, cause="again")

    def test_a_key_without_sequences_goes_on_past_a_parked_record(self, backend: Backend, run: OutboxStore) -> None:
        """It promises no order."""
        user = sample_user()
        backend.record(notification_requested(user), notification_requested(user))
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        first, second = _all_of(run, leases)

        assert run.park(_of_lane(leases, first.lane), first, cause="no such mailbox")

        assert (second,) == _all_of(run, leases)

    # --- what was set aside -------------------------------------------------------------------------------------------

    def _park_first(self, backend: Backend, run: OutboxStore, user: User) -> tuple[tuple[Lease, ...], OutboxRecord]:
        """Record two events of a user, and set the first one aside."""
        backend.register(user)
        backend.record(registered(user))
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        first = next(record for record in _all_of(run, leases) if record.key == str(user.id))
        assert run.park(_of_lane(leases, first.lane), first, cause="refused")
        return leases, first

    def test_what_was_set_aside_is_listed(self, backend: Backend, run: OutboxStore) -> None:
        """In order, whole and with its cause; as many as asked for, from a position on."""
        before = datetime.now(UTC) - timedelta(seconds=5)
        firsts = [self._park_first(backend, run, sample_user())[1] for _ in range(3)]

        found = backend.parked_events.list_parked(limit=10)

        assert firsts == [event.record for event in found]
        assert {"refused"} == {event.cause for event in found}
        assert all(before < event.parked_at <= datetime.now(UTC) + timedelta(seconds=5) for event in found)
        assert found[:2] == backend.parked_events.list_parked(limit=2)
        assert found[1:] == backend.parked_events.list_parked(after=firsts[0].position, limit=10)
        assert run.backlog().parked == 3

    def test_a_record_that_is_put_back_goes_first(self, backend: Backend, run: OutboxStore) -> None:
        """Under its old position, before those that waited behind it."""
        leases, first = self._park_first(backend, run, sample_user())
        assert _all_of(run, leases) == ()

        backend.uow.run(
            lambda transaction: transaction.parked_events.put_back(transaction.parked_events.get(first.position))
        )

        again, second = _all_of(run, leases)
        assert first == again
        assert (again.sequence, second.sequence) == (1, 2)
        assert backend.parked_events.list_parked(limit=10) == ()
        assert run.backlog().parked == 0
        assert run.delete(leases, [again, second]) == 2

    def test_a_record_that_is_given_up_is_gone(self, backend: Backend, run: OutboxStore) -> None:
        """Those behind it go on."""
        leases, first = self._park_first(backend, run, sample_user())

        backend.uow.run(
            lambda transaction: transaction.parked_events.drop(transaction.parked_events.get(first.position))
        )

        assert [record.sequence for record in _all_of(run, leases)] == [2]
        assert backend.parked_events.list_parked(limit=10) == ()

    def test_nothing_is_decided_twice(self, backend: Backend, run: OutboxStore) -> None:
        """Of many who put a record back or give it up at once, one does; a failure leaves it where it was."""
        _, first = self._park_first(backend, run, sample_user())

        def fail(transaction: Transaction) -> None:
            transaction.parked_events.drop(transaction.parked_events.get(first.position))
            raise NotFoundError("given up")

        with pytest.raises(NotFoundError, match="given up"):
            backend.uow.run(fail)
        assert len(backend.parked_events.list_parked(limit=10)) == 1

        def put_back(transaction: Transaction) -> None:
            transaction.parked_events.put_back(transaction.parked_events.get(first.position))

        def drop(transaction: Transaction) -> None:
            transaction.parked_events.drop(transaction.parked_events.get(first.position))

        outcomes = race([lambda work=work: backend.uow.run(work) for work in (put_back, drop) * 4])  # type: ignore[misc]

        refused = [outcome for outcome in outcomes if isinstance(outcome, NotFoundError)]
        assert (len(refused), [outcome for outcome in outcomes if outcome not in refused]) == (7, [None])

    # --- what waits ---------------------------------------------------------------------------------------------------

    def test_what_waits_is_counted(self, backend: Backend, run: OutboxStore) -> None:
        """With the age of the oldest record."""
        assert Backlog(0, 0.0) == run.backlog()
        began_at = time.monotonic()
        backend.register()
        backend.register()

        grown = eventually(lambda: (seen := run.backlog()).oldest_age_seconds >= 0.05 and seen)

        assert isinstance(grown, Backlog)
        assert grown.records == 2
        assert grown.oldest_age_seconds <= time.monotonic() - began_at + 1

        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        run.delete(leases, _all_of(run, leases))
        assert Backlog(0, 0.0) == run.backlog()

    def test_emptying_storage_keeps_what_waits(self, backend: Backend, run: OutboxStore) -> None:
        """Whenever it is done."""
        backend.register()
        leases = run.claim("a", lease_seconds=_LONG_SECONDS)
        before = _all_of(run, leases)

        run.rotate()

        assert before == _all_of(run, leases)

    def test_every_record_is_relayed_once_and_in_order(self, backend: Backend) -> None:
        """While transactions commit in any order, and relays come and share."""
        users = [backend.register() for _ in range(4)]
        done = threading.Event()
        relayed: list[OutboxRecord] = []
        lock = threading.Lock()

        def write(user: User) -> None:
            for _ in range(15):
                backend.record(registered(user), login_failed(user))

        def relay(relay_id: str) -> None:
            run, deadline = backend.outbox(), time.monotonic() + PATIENCE_SECONDS
            while not (done.is_set() and run.backlog().records == 0):
                assert time.monotonic() < deadline
                leases = run.claim(relay_id, lease_seconds=_LONG_SECONDS)
                wave = run.read(leases, limit=5)
                with lock:
                    relayed.extend(wave)
                assert run.delete(leases, wave) == len(wave)

        def write_all() -> None:
            try:
                assert race([lambda user=user: write(user) for user in users]) == [None] * 4  # type: ignore[misc]
            finally:
                done.set()

        assert race([write_all, lambda: relay("a"), lambda: relay("b")]) == [None] * 3

        for user in users:
            for topic, count in ((f"{backend.topic_prefix}users", 16), (f"{backend.topic_prefix}auth", 15)):
                sequences = [
                    record.sequence for record in relayed if (record.topic, record.key) == (topic, str(user.id))
                ]
                assert list(range(1, count + 1)) == sequences
