"""What :class:`~userservice_core.ports.publishing.EventPublisher` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.ports.publishing import OutboxRecord, lane_of
from userservice_core.testing.samples import NOW, sample_event_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from userservice_core.ports.publishing import EventPublisher


def sample_record(*, topic: str, key: str = "", position: int = 1) -> OutboxRecord:
    """Return a record of *topic* as the outbox holds it; under a key of its own if none is given."""
    event_id = sample_event_id()
    key = key or f"key-{event_id}"
    return OutboxRecord(
        position=position,
        id=event_id,
        lane=lane_of(topic, key),
        topic=topic,
        key=key,
        type="userservice.user.registered.v1",
        source="/userservice",
        subject=key,
        occurred_at=NOW,
        sequence=position,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        payload=b'{"email":"\xc3\xa9"}',
    )


class EventPublisherContract:
    """For :class:`~userservice_core.ports.publishing.EventPublisher`."""

    @pytest.fixture
    def topic(self) -> str:
        """A topic that the bus has, with nothing in it, or with no more than what tests before this one sent."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def publisher(self, topic: str) -> EventPublisher:
        """One that nobody else uses."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def received(self, topic: str) -> Callable[[Sequence[OutboxRecord]], list[UUID]]:
        """
        Return the ids of the records that the bus holds for consumers of *topic*, in the order it holds them.

        The function is given the records that are asked about: it waits until the bus has delivered those of them
        that were acknowledged. Order matters within a key only.
        """
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def refused(self, topic: str) -> Callable[[OutboxRecord], OutboxRecord]:
        """Make of a record one that the bus refuses, by changing its payload or by telling the bus."""
        raise NotImplementedError("override this fixture")

    def test_an_acknowledged_record_is_on_the_bus(
        self, publisher: EventPublisher, topic: str, received: Callable[[Sequence[OutboxRecord]], list[UUID]]
    ) -> None:
        """Each gets its delivery, in the order given."""
        records = [sample_record(topic=topic) for _ in range(20)]

        deliveries = publisher.publish(records)

        assert records == [delivery.record for delivery in deliveries]
        assert [delivery.error for delivery in deliveries] == [None] * 20
        assert {record.id for record in records} <= set(received(records))

    def test_a_wave_may_be_empty(self, publisher: EventPublisher) -> None:
        """Then there is nothing to tell."""
        assert publisher.publish([]) == ()

    def test_a_key_keeps_its_order(
        self, publisher: EventPublisher, topic: str, received: Callable[[Sequence[OutboxRecord]], list[UUID]]
    ) -> None:
        """Within a wave and from wave to wave, whatever goes on around it."""
        key = f"key-{sample_event_id()}"
        waves = [
            [
                sample_record(topic=topic, key=key if number % 2 else "", position=10 * wave + number)
                for number in range(10)
            ]
            for wave in range(3)
        ]

        for wave in waves:
            assert all(delivery.error is None for delivery in publisher.publish(wave))

        of_key = [record for wave in waves for record in wave if record.key == key]
        wanted = {record.id for record in of_key}
        assert [record.id for record in of_key] == [each for each in received(of_key) if each in wanted]

    def test_what_the_bus_refuses_is_told(
        self, publisher: EventPublisher, topic: str, refused: Callable[[OutboxRecord], OutboxRecord]
    ) -> None:
        """Not raised."""
        (delivery,) = publisher.publish([refused(sample_record(topic=topic))])

        assert delivery.error

    def test_nothing_of_a_key_follows_what_failed(
        self,
        publisher: EventPublisher,
        topic: str,
        received: Callable[[Sequence[OutboxRecord]], list[UUID]],
        refused: Callable[[OutboxRecord], OutboxRecord],
    ) -> None:
        """What is acknowledged of a key is a prefix, and what came after the failed one never reaches the bus."""
        key = f"key-{sample_event_id()}"
        records = [sample_record(topic=topic, key=key, position=number) for number in range(5)]
        records[2] = refused(records[2])

        deliveries = publisher.publish(records)
        good = sample_record(topic=topic)
        (later,) = publisher.publish([good])

        acknowledged = [delivery.error is None for delivery in deliveries]
        assert acknowledged[2:] == [False] * 3
        assert acknowledged == sorted(acknowledged, reverse=True)
        assert later.error is None
        confirmed = [record for record, is_good in zip(records, acknowledged, strict=True) if is_good]
        of_key = {record.id for record in records}
        arrived = [each for each in received([*confirmed, good]) if each in of_key]
        # One that was not acknowledged may have arrived all the same, as when the answer was lost.
        assert arrived == [record.id for record in records[: len(arrived)]]
        assert len(confirmed) <= len(arrived) <= 2

    def test_a_failed_record_may_be_sent_again(
        self,
        publisher: EventPublisher,
        topic: str,
        received: Callable[[Sequence[OutboxRecord]], list[UUID]],
        refused: Callable[[OutboxRecord], OutboxRecord],
    ) -> None:
        """Those behind it come after it."""
        key = f"key-{sample_event_id()}"
        first, second = (sample_record(topic=topic, key=key, position=number) for number in (1, 2))
        bad = refused(attrs.evolve(first, id=sample_event_id()))
        publisher.publish([bad, second])

        deliveries = publisher.publish([first, second])

        assert [delivery.error for delivery in deliveries] == [None, None]
        ids = received([first, second])
        assert [first.id, second.id] == [each for each in ids if each in {first.id, second.id}]

    def test_a_publisher_may_be_closed_at_any_time(self, publisher: EventPublisher, topic: str) -> None:
        """Once or twice, used or not."""
        publisher.publish([sample_record(topic=topic)])

        publisher.close()
        publisher.close()
