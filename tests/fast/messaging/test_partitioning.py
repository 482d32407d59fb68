"""The partition of a key: by murmur2, as Java's clients do it, so that every producer agrees."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer
from kafka.partitioner.default import DefaultPartitioner, murmur2

from tests.murmur2 import PARTITIONS, golden

# The vectors of Kafka's own UtilsTest, as signed 32-bit numbers.
_VECTORS = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("key", _VECTORS)
def test_hash_is_that_of_kafkas_own_clients(key: str) -> None:
    """Golden: another hash would move every key to another partition, and break the order of its events."""
    assert murmur2(key.encode()) == _VECTORS[key] & 0xFFFFFFFF


def test_a_thousand_keys_go_where_java_puts_them() -> None:
    """Golden, made by Java itself; both clients are tried with them against a broker."""
    keys = golden()

    assert {key: (murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS for key in keys} == keys
    assert len(set(keys.values())) == PARTITIONS


def test_producers_partition_by_it_unless_told_otherwise() -> None:
    """Ours does not tell them otherwise."""
    assert isinstance(KafkaProducer.DEFAULT_CONFIG["partitioner"], DefaultPartitioner)
