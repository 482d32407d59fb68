"""One bus made of several: by topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.ports.publishing import Delivery, EventPublisher, OutboxRecord


class RoutingPublisher:
    """Implements :class:`~userservice_core.ports.publishing.EventPublisher` by others: each topic has its bus."""

    def __init__(self, by_topic: Mapping[str, EventPublisher], *, default: EventPublisher) -> None:
        self._by_topic = dict(by_topic)
        self._default = default

    def publish(self, records: Sequence[OutboxRecord]) -> tuple[Delivery, ...]:
        # Keys of different topics have no order between them, so each bus gets its part as one wave.
        parts: dict[int, list[int]] = {}
        buses: dict[int, EventPublisher] = {}
        for index, record in enumerate(records):
            bus = self._by_topic.get(record.topic, self._default)
            buses[id(bus)] = bus
            parts.setdefault(id(bus), []).append(index)
        deliveries: dict[int, Delivery] = {}
        for bus_id, indices in parts.items():
            published = buses[bus_id].publish([records[index] for index in indices])
            deliveries.update(zip(indices, published, strict=True))
        return tuple(deliveries[index] for index in range(len(records)))

    def close(self) -> None:
        for bus in {id(bus): bus for bus in (*self._by_topic.values(), self._default)}.values():
            bus.close()
