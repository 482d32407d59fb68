"""Events: relay and consumer beside the bare clients of Kafka, and a write with its event beside one without."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import events
from benchmarks.dataset.loading import load
from benchmarks.dataset.people import People
from benchmarks.figure import Bench, CannotMeasureError, Figure, Round, at_least, at_most
from tests.servers.installed import MissingServerError
from tests.servers.kafka import KafkaBroker
from userservice_core.config import KafkaClient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from benchmarks.scene import Scene
    from userservice_core.config import Settings

_USERS: Final = 1_000
_CONNECTIONS: Final = (1, 8, 32)
# As many as a client alone takes a second or two for.
_EVENTS: Final = {KafkaClient.KAFKA_PYTHON: 8_000, KafkaClient.CONFLUENT_KAFKA: 40_000}
_TOGETHER: Final = 500
_MOST_MILLISECONDS: Final = {50: 30.0, 99: 150.0}
_COMMITS: Final = 150
_COMMITS_PER_SECOND: Final = 50.0


def _settings(scene: Scene) -> Settings:
    """Return those of an installation with a few people and a broker, which the figures here share."""

    @contextlib.contextmanager
    def installed() -> Iterator[Settings]:
        installation = scene.installation_in("events")
        load(People(users=_USERS, seed=1, until=datetime.now(UTC)), installation.dsn)
        folder = scene.folder / "kafka"
        folder.mkdir()
        broker = KafkaBroker(folder)
        try:
            broker.start()
        except MissingServerError as missing:
            raise CannotMeasureError(str(missing)) from missing
        try:
            yield attrs.evolve(installation.settings, kafka_bootstrap_servers=(broker.bootstrap_servers,))
        finally:
            broker.stop()

    return scene.in_area("events", installed)


def _rounds(
    name: str, measure: Callable[[Settings], Generator[events.Measured, None, None]], client: KafkaClient | None = None
) -> Callable[[Scene], Iterator[dict[str, Round]]]:
    def rounds(scene: Scene) -> Iterator[dict[str, Round]]:
        settings = _settings(scene)
        with contextlib.closing(measure(settings if client is None else events.through(client, settings))) as measured:
            for each in measured:
                yield {name: Round(value=each.value, limit=each.limit)}

    return rounds


def _relay(client: KafkaClient, *, goal: float) -> Bench:
    name = f"relay-{client}"
    figure = Figure(
        name=name,
        title=f"events that a relay moves, {client}",
        unit="1/s",
        limit=f"the producer of {client} alone, with the same settings and messages",
        goal=at_least(goal),
        row="relay",
    )
    return Bench(
        figures=(figure,),
        measure=_rounds(name, lambda settings: events.relay(settings, events=_EVENTS[client]), client),
    )


def _arrival(client: KafkaClient) -> Bench:
    def name(percent: int) -> str:
        return f"arrival-{client}-p{percent}"

    def rounds(scene: Scene) -> Iterator[dict[str, Round]]:
        measured = events.latencies(
            events.through(client, _settings(scene)), events=_COMMITS, per_second=_COMMITS_PER_SECOND
        )
        with contextlib.closing(measured):
            for sorted_ in measured:
                yield {
                    name(percent): Round(value=sorted_[math.ceil(len(sorted_) * percent / 100) - 1], limit=most)
                    for percent, most in _MOST_MILLISECONDS.items()
                }

    figures = tuple(
        Figure(
            name=name(percent),
            title=f"from a commit to the consumer, {percent} of 100 events, {client}",
            unit="ms",
            limit=f"{most:g} ms",
            goal=at_most(1),
            row="relay",
        )
        for percent, most in _MOST_MILLISECONDS.items()
    )
    return Bench(figures=figures, measure=rounds)


def _consumer(client: KafkaClient, *, most: int, goal: float | None) -> Bench:
    name = f"consumer-{client}" if most > 1 else f"consumer-single-{client}"
    figure = Figure(
        name=name,
        title=f"events applied with the inbox, {most} a transaction, {client}",
        unit="1/s",
        limit=f"the consumer of {client} alone, with the same settings",
        goal=None if goal is None else at_least(goal),
        row="consumer",
    )
    number = _EVENTS[client] if most > 1 else _EVENTS[KafkaClient.KAFKA_PYTHON]
    return Bench(
        figures=(figure,),
        measure=_rounds(name, lambda settings: events.consume(settings, events=number, most=most), client),
    )


def _outbox(connections: int) -> Bench:
    name = f"outbox-{connections}"

    def rounds(scene: Scene) -> Iterator[dict[str, Round]]:
        measured = events.patches(_settings(scene), connections=connections, seconds=scene.effort.seconds)
        with contextlib.closing(measured):
            for each in measured:
                yield {name: Round(value=each.value, limit=each.limit)}

    figure = Figure(
        name=name,
        title=f"changes of a profile with the event, {connections} connections",
        unit="1/s",
        limit="the same changes without an event",
        goal=at_least(0.85),
        row="outbox",
    )
    return Bench(figures=(figure,), measure=rounds)


BENCHES: Final = (
    _relay(KafkaClient.KAFKA_PYTHON, goal=0.85),
    _relay(KafkaClient.CONFLUENT_KAFKA, goal=0.25),
    *map(_arrival, KafkaClient),
    _consumer(KafkaClient.KAFKA_PYTHON, most=_TOGETHER, goal=0.5),
    _consumer(KafkaClient.CONFLUENT_KAFKA, most=_TOGETHER, goal=0.5),
    _consumer(KafkaClient.KAFKA_PYTHON, most=1, goal=None),
    *map(_outbox, _CONNECTIONS),
)
