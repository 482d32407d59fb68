"""Topics through kafka-python's admin client."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from userservice_core.errors import BusUnavailableError
from userservice_core.infrastructure.messaging.kafka_clients import built, reason_of, require_broker
from userservice_core.infrastructure.messaging.kafka_topics import TopicState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from userservice_core.infrastructure.messaging.kafka_security import KafkaSecurity
    from userservice_core.infrastructure.messaging.kafka_topics import TopicSpec


class KafkaTopicAdmin:
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
        with _translated():
            require_broker(bootstrap_servers, security, patience_seconds=patience_seconds)
            settings = {**security.for_kafka_python(), **(client_settings or {})}
            self._client = built(
                KafkaAdminClient,
                bootstrap_servers=list(bootstrap_servers),
                bootstrap_timeout_ms=int(patience_seconds * 1000),
                **settings,
            )

    def states(self, names: Sequence[str]) -> Mapping[str, TopicState]:
        with _translated():
            known = set(self._client.list_topics())
            existing = [name for name in names if name in known]
            if not existing:
                return {}
            described = {topic["name"]: topic["partitions"] for topic in self._client.describe_topics(existing)}
            resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in existing]
            settings = self._client.describe_configs(resources, config_filter="all")["topic"]
            return {
                name: TopicState(
                    partitions=len(partitions),
                    replication_factor=len(partitions[0]["replica_nodes"]),
                    settings={key: str(value["value"]) for key, value in settings[name].items()},
                )
                for name, partitions in described.items()
            }

    def create(self, spec: TopicSpec) -> bool:
        new = {
            "num_partitions": spec.partitions,
            # -1: as many replicas as the brokers' default says.
            "replication_factor": spec.replication_factor or -1,
            "configs": dict(spec.settings),
        }
        try:
            with _translated():
                self._client.create_topics({spec.name: new}, wait_for_metadata=True)
        except _ExistsError:
            return False
        return True

    def close(self) -> None:
        self._client.close()


class _ExistsError(Exception):
    """Somebody else has made the topic meanwhile."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise the library's errors as ours."""
    try:
        yield
    except TopicAlreadyExistsError as error:
        raise _ExistsError from error
    except KafkaError as error:
        raise BusUnavailableError(f"Kafka: {reason_of(error)}") from error
