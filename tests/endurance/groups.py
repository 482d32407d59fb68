"""A group whose members come and go, with poison among the events; then the whole topic once more, and once more."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from tests.consumer_suite import QUICK, TYPE, running, until
from tests.endurance.oracle import Witnessed, compared
from tests.integration.messaging.effects import PostgresEffects
from tests.integration.messaging.topics import Topics
from tests.outbox_records import outbox_record
from userservice_core.errors import EventRejectedError
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.messaging.consumer import EventConsumer
from userservice_core.infrastructure.messaging.kafka_events import KafkaEventSource
from userservice_core.infrastructure.messaging.kafka_publisher import KafkaEventPublisher

if TYPE_CHECKING:
    import psycopg

    from tests.servers.kafka import KafkaBroker
    from tests.soak.outcomes import Tally
    from userservice_core.ports.consuming import ConsumedEvent
    from userservice_core.ports.publishing import OutboxRecord

_ROUND_SECONDS: Final = 2.0
_MOST_MEMBERS: Final = 6
_KEYS: Final = tuple(f"k{number}" for number in range(25))
_EVENTS_A_ROUND: Final = 4
_POISON_EACH: Final = 100
_REPLAYS: Final = 2
_REJECTED: Final = "rejected-"
_DRAIN_SECONDS: Final = 60.0


class _Group:
    """The members of one group, each a thread of this process with clients of its own."""

    def __init__(self, dsn: str, topics: Topics, topic: str) -> None:
        self.effects = PostgresEffects(dsn)
        self.metrics = InMemoryMetrics()
        self._topics = topics
        self._topic = topic
        self._members: list[contextlib.ExitStack] = []

    def __len__(self) -> int:
        return len(self._members)

    def join(self) -> None:
        """Let one more consume."""
        source = KafkaEventSource(
            [self._topics.broker.bootstrap_servers], group=self._topics.name("g"), topics=[self._topic]
        )
        consumer = EventConsumer(source, inbox=self.effects.inbox(), retries=QUICK, metrics=self.metrics)
        consumer.on(TYPE)(self._handle)
        self._members.append(contextlib.ExitStack())
        self._members[-1].enter_context(running(consumer))

    def leave(self, number: int) -> None:
        """Let one end as an orchestrator ends it."""
        self._members.pop(number).close()

    def has_handled(self, records: int) -> bool:
        """Tell whether so many records have had an outcome, in all members together."""
        return self.metrics.counts.total() >= records

    def seen(self) -> list[Witnessed]:
        """Return the effects, in order."""
        return [Witnessed(f"{key}:{number}", self._topic, key, number) for key, number in self.effects.effects()]

    def _handle(self, event: ConsumedEvent, transaction: psycopg.Connection) -> None:
        if event.key.startswith(_REJECTED):
            raise EventRejectedError
        self.effects.write(event, transaction)


def come_and_go(dsn: str, broker: KafkaBroker, *, seconds: float, seed: int) -> Tally:
    """
    Publish for *seconds* while one to six members come and go, then replay the topic twice, and judge the effects.

    One of a hundred records is poison: no event at all, or one that its handler refuses.
    """
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    topics = Topics(broker, prefix=f"group-{uuid.uuid4().hex}.")
    topic = topics.create("things", partitions=12)
    group = _Group(dsn, topics, topic)
    rounds = max(1, round(seconds / _ROUND_SECONDS))
    poison = 0
    with contextlib.closing(KafkaEventPublisher([broker.bootstrap_servers], client_id="test")) as publisher:
        try:
            for number in range(rounds):
                ends_at = time.monotonic() + _ROUND_SECONDS
                _change(group, chance)
                numbers = range(number * _EVENTS_A_ROUND + 1, (number + 1) * _EVENTS_A_ROUND + 1)
                records = [_event(topic, key, each) for each in numbers for key in _KEYS]
                for at in range(0, len(records), _POISON_EACH):
                    poison += 1
                    topics.send_garbage("things", key=f"garbage-{poison}")
                    records.insert(at, _event(topic, f"{_REJECTED}{poison}", 1))
                repeated = [record for record in records for _ in range(chance.randint(1, 2))]
                deliveries = publisher.publish(repeated)
                assert [delivery.error for delivery in deliveries] == [None] * len(repeated)
                time.sleep(max(0.0, ends_at - time.monotonic()))
            expected = [
                Witnessed(f"{key}:{each}", topic, key, each)
                for each in range(1, rounds * _EVENTS_A_ROUND + 1)
                for key in _KEYS
            ]
            with contextlib.suppress(AssertionError):
                # What is missing by then is lost, and counted.
                until(lambda: len(group.effects.effects()) >= len(expected), seconds=_DRAIN_SECONDS)
            records_of_topic = sum(topics.ends("things").values())
            for _ in range(_REPLAYS):
                while len(group):
                    group.leave(0)
                topics.rewind(topics.name("g"), "things")
                handled = group.metrics.counts.total()
                group.join()
                until(partial(group.has_handled, handled + records_of_topic), seconds=_DRAIN_SECONDS)
        finally:
            while len(group):
                group.leave(0)
    outcomes = {outcome: count for (_, outcome), count in group.metrics.counts.items()}
    # What is no event, each time the topic was read; what was refused is remembered, and is put aside once.
    assert outcomes["dead-letter"] >= poison * (1 + _REPLAYS) + poison, outcomes
    tally = compared(expected, group.seen(), may_repeat=False)
    return attrs.evolve(
        tally, trials=len(expected), figures={"repeats": outcomes.get("repeated", 0), "poison": 2 * poison}
    )


def _change(group: _Group, chance: random.Random) -> None:
    """Let one join or leave; there are always one to six."""
    if len(group) < 2 or (len(group) < _MOST_MEMBERS and chance.random() < 0.6):
        group.join()
    else:
        group.leave(chance.randrange(len(group)))


def _event(topic: str, key: str, sequence: int) -> OutboxRecord:
    return attrs.evolve(outbox_record(key, sequence, topic=topic), type=TYPE)
