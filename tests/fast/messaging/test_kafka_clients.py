"""What is asked of kafka-python, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from userservice_core.infrastructure.messaging.kafka_clients import partitions_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kafka import KafkaConsumer


class _Answers:
    """A consumer that knows of the partitions only when it was asked often enough."""

    def __init__(self, answers: Iterable[set[int]]) -> None:
        self._answers = iter(answers)

    def partitions_for_topic(self, topic: str) -> set[int]:
        assert topic == "users"
        return next(self._answers, set())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [([{1, 0, 2}], (0, 1, 2)), ([set(), {0}], (0,)), ([set(), set(), {0}], (0,)), ([], ())],
    ids=["at once", "once in vain", "twice in vain", "no such topic"],
)
def test_partitions_are_asked_for_again_where_none_is_known(answers: list[set[int]], expected: tuple[int, ...]) -> None:
    """An answer to another question does not pass for a topic without partitions."""
    assert partitions_of(cast("KafkaConsumer", _Answers(answers)), "users") == expected
