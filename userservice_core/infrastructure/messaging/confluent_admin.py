"""Topics through confluent-kafka's admin client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.messaging.confluent_clients import (
    Failures,
    reason_of,
    require_broker,
    require_connection,
    settings_of,
)
from userservice_core.infrastructure.messaging.kafka_topics import TopicState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
    from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec

_ANSWER_SECONDS: Final = 10.0
_ASK_AGAIN_SECONDS: Final = 0.05


class ConfluentTopicAdmin:
    """Implements :class:`~userservice_core.infrastructure.messaging.kafka_topics.TopicAdmin`."""

    def __init__(
        self,
        bootstrap_servers: Sequence[str],
        security: KafkaSecurity,
        *,
        patience_seconds: float = 5.0,
        client_settings: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Connect.

        Raises:
            BusUnavailableError: If no broker takes us; it says why.
        """
        require_connection(bootstrap_servers, security, patience_seconds=patience_seconds)
        failures = Failures()
        self._client = AdminClient({**settings_of(bootstrap_servers, security, failures), **(client_settings or {})})
        try:
            require_broker(self._client, failures, patience_seconds=patience_seconds)
        except KafkaException as error:
            raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error

    def states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        try:
            known = self._client.list_topics(timeout=_ANSWER_SECONDS).topics
            # One that is just being made is listed before it has partitions.
            existing = [name for name in names if name in known and known[name].partitions]
            if not existing:
                return {}
            resources = [ConfigResource(ResourceType.TOPIC, name) for name in existing]
            answers = self._client.describe_configs(resources, request_timeout=_ANSWER_SECONDS)
            settings = {resource.name: answer.result() for resource, answer in answers.items()}
        except KafkaException as error:
            raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
        return {
            name: TopicState(
                partitions=len(known[name].partitions),
                replication_factor=len(known[name].partitions[0].replicas),
                settings={key: str(entry.value) for key, entry in settings[name].items()},
            )
            for name in existing
        }

    def create(self, spec: TopicSpec) -> bool:
        # -1: as many replicas as the brokers' default says.
        new = NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication_factor or -1,
            config=dict(spec.settings),
        )
        (answer,) = self._client.create_topics([new], operation_timeout=_ANSWER_SECONDS).values()
        try:
            answer.result()
            self._wait_for(spec)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
        return True

    def _wait_for(self, spec: TopicSpec) -> None:
        """Wait until the brokers know who leads each partition; that a topic is made is told before."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            known = self._client.list_topics(timeout=_ANSWER_SECONDS).topics.get(spec.name)
            partitions = () if known is None else tuple(known.partitions.values())
            if len(partitions) == spec.partitions and all(partition.leader >= 0 for partition in partitions):
                return
            time.sleep(_ASK_AGAIN_SECONDS)
        raise BusUnavailableError(f"Kafka: {spec.name} was made, and cannot be written to yet.")

    def close(self) -> None:
        """Do nothing: the library frees the connections with the client."""
