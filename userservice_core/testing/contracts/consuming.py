"""What the ports of :mod:`userservice_core.ports.consuming` promise."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.ports.consuming import AfterDeadLetter, Arrival, ConsumedEvent, Verdict
from userservice_core.testing.contracts.event_publisher import sample_record
from userservice_core.testing.samples import sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from userservice_core.ports.consuming import EventSource, Inbox
    from userservice_core.ports.publishing import OutboxRecord

PARK = AfterDeadLetter.PARK_KEY
GO_ON = AfterDeadLetter.GO_ON


def sample_consumed_event(key: str = "", sequence: int | None = 1, **changes: Any) -> ConsumedEvent:  # noqa: ANN401 - each attribute has its type
    """Return an event of a key of its own if none is given."""
    event_id = sample_event_id()
    event = ConsumedEvent(
        id=str(event_id),
        type="example.thing.happened.v1",
        source="/sample",
        topic="things",
        key=key or f"key-{event_id}",
        sequence=sequence,
    )
    return attrs.evolve(event, **changes)


def sample_key() -> str:
    """Return a key that no event has."""
    return f"key-{sample_event_id()}"


class InboxContract:
    """
    For :class:`~userservice_core.ports.consuming.Inbox`.

    That of the service's own groups stands on an :class:`~userservice_core.ports.consuming.InboxRepository`, which has
    the same suite.
    """

    @pytest.fixture
    def inbox(self) -> Inbox[Any]:
        """One in which nothing of this test is known."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def write(self, inbox: Inbox[Any]) -> Callable[[Sequence[ConsumedEvent], Any], None]:
        """Write an effect of each event, with the inbox's transaction."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def written(self, inbox: Inbox[Any]) -> Callable[[], list[str]]:
        """Return the ids of the events whose effects were committed, in their order."""
        raise NotImplementedError("override this fixture")

    def test_an_event_is_fresh_once(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """Then it is a repeat, as is everything before it; another group, topic or key knows nothing of it."""
        key = sample_key()
        first, second = (sample_consumed_event(key, number) for number in (1, 2))
        others = [attrs.evolve(second, topic="other"), attrs.evolve(second, key=sample_key())]

        verdicts = [inbox.apply("g", [event], write, rule=PARK) for event in (second, second, first, *others)]
        verdicts.append(inbox.apply("other", [second], write, rule=PARK))

        fresh, repeated = (Verdict.FRESH,), (Verdict.REPEATED,)
        assert [fresh, repeated, repeated, fresh, fresh, fresh] == verdicts
        assert [second.id] * 4 == written()

    def test_events_together_are_judged_in_their_order(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """The effect gets the fresh ones alone, in one call."""
        key = sample_key()
        known, one, two = (sample_consumed_event(key, number) for number in (1, 2, 3))
        other, unnumbered = sample_consumed_event(), sample_consumed_event(key, None)
        inbox.apply("g", [known], write, rule=PARK)
        calls: list[list[str]] = []

        def effect(events: Sequence[ConsumedEvent], transaction: Any) -> None:  # noqa: ANN401 - the inbox's own
            calls.append([event.id for event in events])
            write(events, transaction)

        events = [known, one, one, other, unnumbered, two, unnumbered]
        verdicts = inbox.apply("g", events, effect, rule=PARK)

        assert [verdict.value[0] for verdict in verdicts] == list("rfrfffr")
        assert [[one.id, other.id, unnumbered.id, two.id]] == calls
        assert [known.id, *calls[0]] == written()

    def test_a_failed_effect_leaves_nothing_behind(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """Neither itself nor the memory of its event."""
        events = [sample_consumed_event(), sample_consumed_event(sequence=None)]

        def failing(events: Sequence[ConsumedEvent], transaction: Any) -> None:  # noqa: ANN401 - the inbox's own
            write(events, transaction)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            inbox.apply("g", events, failing, rule=PARK)

        assert written() == []
        assert [inbox.judge("g", event, rule=PARK) for event in events] == [Verdict.FRESH] * 2
        assert inbox.apply("g", events, write, rule=PARK) == (Verdict.FRESH,) * 2

    def test_a_parked_event_holds_its_key(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """Later ones are behind it, until all that was parked is replayed, the first one first."""
        key = sample_key()
        one, two, three, four = (sample_consumed_event(key, number) for number in (1, 2, 3, 4))
        inbox.apply("g", [one], write, rule=PARK)
        inbox.park("g", two)

        assert inbox.apply("g", [three], write, rule=PARK) == (Verdict.BEHIND,)
        inbox.park("g", three)
        inbox.park("g", three)
        assert inbox.apply("g", [one], write, rule=PARK) == (Verdict.REPEATED,)
        assert inbox.apply("g", [two], write, rule=PARK) == (Verdict.REPEATED,)
        assert inbox.apply("g", [three], write, rule=PARK, is_replay=True) == (Verdict.BEHIND,)
        assert inbox.judge("g", two, rule=PARK, is_replay=True) is Verdict.FRESH
        assert inbox.apply("g", [two], write, rule=PARK, is_replay=True) == (Verdict.FRESH,)
        assert inbox.apply("g", [two], write, rule=PARK, is_replay=True) == (Verdict.REPEATED,)
        assert inbox.apply("g", [four], write, rule=PARK) == (Verdict.BEHIND,)
        assert inbox.apply("g", [three], write, rule=PARK, is_replay=True) == (Verdict.FRESH,)
        assert inbox.apply("g", [four], write, rule=PARK) == (Verdict.FRESH,)
        assert [one.id, two.id, three.id, four.id] == written()

    def test_a_key_may_go_on(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """Under the other rule what was parked is replayed in any order, each once."""
        key = sample_key()
        one, two, three = (sample_consumed_event(key, number) for number in (1, 2, 3))
        inbox.park("g", one)
        inbox.park("g", two)

        assert inbox.apply("g", [three], write, rule=GO_ON) == (Verdict.FRESH,)
        assert inbox.apply("g", [two], write, rule=GO_ON, is_replay=True) == (Verdict.FRESH,)
        assert inbox.apply("g", [one], write, rule=GO_ON, is_replay=True) == (Verdict.FRESH,)
        assert inbox.apply("g", [one], write, rule=GO_ON, is_replay=True) == (Verdict.REPEATED,)
        assert [three.id, two.id, one.id] == written()

    def test_what_was_applied_is_not_parked(
        self, inbox: Inbox[Any], write: Callable[[Sequence[ConsumedEvent], Any], None]
    ) -> None:
        """Somebody else handled it while it failed here."""
        key = sample_key()
        one, two = (sample_consumed_event(key, number) for number in (1, 2))
        inbox.apply("g", [one], write, rule=PARK)

        inbox.park("g", one)

        assert inbox.apply("g", [one], write, rule=PARK, is_replay=True) == (Verdict.REPEATED,)
        assert inbox.apply("g", [two], write, rule=PARK) == (Verdict.FRESH,)

    def test_rivals_apply_an_event_once(
        self,
        inbox: Inbox[Any],
        write: Callable[[Sequence[ConsumedEvent], Any], None],
        written: Callable[[], list[str]],
    ) -> None:
        """Whether it has a number or not, also in batches that hold each other's keys in another order."""
        events = [sample_consumed_event(sequence=number) for number in (1, None) for _ in range(4)]
        barrier = threading.Barrier(8)

        def rival(number: int) -> tuple[Verdict, ...]:
            barrier.wait()
            return inbox.apply("g", events if number % 2 else events[::-1], write, rule=PARK)

        with ThreadPoolExecutor(8) as pool:
            verdicts = list(pool.map(rival, range(8)))

        assert sorted(event.id for event in events) == sorted(written())
        assert sum(verdict is Verdict.FRESH for each in verdicts for verdict in each) == len(events)

    def test_unnumbered_events_are_forgotten_in_time(
        self, inbox: Inbox[Any], write: Callable[[Sequence[ConsumedEvent], Any], None]
    ) -> None:
        """And numbered ones never."""
        numbered, unnumbered = sample_consumed_event(), sample_consumed_event(sequence=None)
        inbox.apply("g", [numbered, unnumbered], write, rule=PARK)

        inbox.forget(older_than_seconds=60)
        before = [inbox.judge("g", event, rule=PARK) for event in (numbered, unnumbered)]
        time.sleep(0.01)
        inbox.forget(older_than_seconds=0.001)
        after = [inbox.judge("g", event, rule=PARK) for event in (numbered, unnumbered)]

        assert before == [Verdict.REPEATED, Verdict.REPEATED]
        assert after == [Verdict.REPEATED, Verdict.FRESH]

    def test_an_error_of_a_handler_is_no_outage(self, inbox: Inbox[Any]) -> None:
        """Also where its name is like that of a driver's."""
        assert not any(inbox.is_outage(error) for error in (ValueError(), TimeoutError(), ConnectionError()))


class EventSourceContract:
    """For :class:`~userservice_core.ports.consuming.EventSource`."""

    @pytest.fixture
    def publish(self) -> Callable[[Sequence[OutboxRecord]], None]:
        """Have the group get records of the topic, in their order."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def topic(self) -> str:
        """The topic of the source, with nothing in it."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def member(self, publish: Callable[[Sequence[OutboxRecord]], None]) -> Callable[[], EventSource]:
        """Return another run of the only member of the group; the one before it was closed."""
        raise NotImplementedError("override this fixture")

    def test_what_is_done_does_not_come_again(
        self,
        topic: str,
        publish: Callable[[Sequence[OutboxRecord]], None],
        member: Callable[[], EventSource],
    ) -> None:
        """And what is not comes, in its order; an arrival of before is no use to the next run."""
        key = sample_key()
        publish([sample_record(topic=topic, key=key, position=number) for number in range(1, 7)])
        first = member()
        arrivals = _polled(first, 6)
        for arrival in arrivals[:3]:
            first.done(arrival)
        first.commit()
        first.close()
        second = member()

        again = _polled(second, 3)

        second.done(arrivals[3])
        second.close()
        third = member()
        assert [_number(arrival) for arrival in arrivals] == [1, 2, 3, 4, 5, 6]
        assert [_number(arrival) for arrival in again] == [4, 5, 6]
        assert [_number(arrival) for arrival in _polled(third, 3)] == [4, 5, 6]
        third.close()

    def test_dead_letters_are_replayed_in_order(
        self,
        topic: str,
        publish: Callable[[Sequence[OutboxRecord]], None],
        member: Callable[[], EventSource],
    ) -> None:
        """Each once; those that are put aside meanwhile the next time, and when one raises, it stays with the rest."""
        key = sample_key()
        publish([sample_record(topic=topic, key=key, position=number) for number in (1, 2, 3)])
        source = member()
        for number, arrival in enumerate(_polled(source, 3)):
            source.put_aside(arrival, cause=f"cause {number}", attempts=number)
            source.done(arrival)
        replayed: list[tuple[int | None, int]] = []

        def handle(arrival: Arrival) -> None:
            if _number(arrival) == 2 and len(replayed) == 1:
                raise ZeroDivisionError
            replayed.append((_number(arrival), arrival.attempts))
            if _number(arrival) == 3 and len(replayed) == 3:
                source.put_aside(arrival, cause="again", attempts=9)

        with pytest.raises(ZeroDivisionError):
            source.replay(handle)
        replayed.append((None, 0))
        counts = [source.replay(handle), source.replay(handle), source.replay(handle)]

        source.close()
        assert replayed[:4] == [(1, 0), (None, 0), (2, 1), (3, 2)]
        assert (counts[0], sum(counts)) == (2, len(replayed) - 2)

    def test_the_lag_is_what_is_not_done(
        self,
        topic: str,
        publish: Callable[[Sequence[OutboxRecord]], None],
        member: Callable[[], EventSource],
    ) -> None:
        """Whether it has arrived or not."""
        publish([sample_record(topic=topic, position=number) for number in (1, 2, 3)])
        source = member()
        arrivals = _polled(source, 3)
        before = source.lag()
        for arrival in arrivals:
            source.done(arrival)
        source.commit()

        assert (before, source.lag()) == (3, 0)
        source.close()

    def test_a_paused_partition_is_silent(
        self,
        topic: str,
        publish: Callable[[Sequence[OutboxRecord]], None],
        member: Callable[[], EventSource],
    ) -> None:
        """Until it is not paused any more; nothing is lost meanwhile."""
        key = sample_key()
        source = member()
        publish([sample_record(topic=topic, key=key, position=1)])
        (first,) = _polled(source, 1)
        source.pause({first.partition})
        publish([sample_record(topic=topic, key=key, position=2)])

        paused = [arrival for _ in range(5) for arrival in source.poll(timeout_seconds=0.1)]
        source.pause(())
        (second,) = _polled(source, 1)

        assert (paused, _number(second)) == ([], 2)
        source.close()


def _polled(source: EventSource, count: int) -> list[Arrival]:
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + 20
    while len(arrivals) < count:
        assert time.monotonic() < deadline, f"only {len(arrivals)} of {count} arrived"
        arrivals += source.poll(timeout_seconds=0.1)
    assert len(arrivals) == count
    return arrivals


def _number(arrival: Arrival) -> int | None:
    return None if arrival.event is None else arrival.event.sequence
