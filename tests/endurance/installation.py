"""A database, a broker, and the settings of processes on them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.processes import settings_for
from tests.integration.messaging.topics import Topics
from tests.servers.kafka import KafkaBroker, KafkaCluster


@attrs.frozen
class Installation:
    """A database, a broker, and the settings of processes on them."""

    environment: Mapping[str, str]
    dsn: str
    broker: KafkaBroker | KafkaCluster
    folder: Path

    @classmethod
    def on(cls, dsn: str, broker: KafkaBroker | KafkaCluster, folder: Path) -> Installation:
        """Return one on *dsn*, with topics of its own, that hashes fast."""
        environment = settings_for(
            dsn,
            folder,
            KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap_servers,
            TOPIC_PREFIX=f"endurance-{uuid.uuid4().hex}.",
            ARGON2_MEMORY_KIB="8",
            ARGON2_TIME_COST="1",
        )
        return cls(environment, dsn, broker, folder)

    @property
    def topics(self) -> Topics:
        """The topics of the installation."""
        return Topics(self.broker, prefix=self.environment["USERSERVICE_TOPIC_PREFIX"])

    @property
    def log(self) -> Path:
        """Where the processes print."""
        return self.folder / "processes.log"

    @property
    def mails(self) -> Path:
        """Where relays write each mail as a line of JSON."""
        return self.folder / "mails"

    def mailed(self, kind: str) -> list[dict[str, Any]]:
        """Return the mails of *kind*."""
        lines = self.mails.read_text().splitlines() if self.mails.exists() else []
        return [mail for mail in map(json.loads, lines) if mail["kind"] == kind]

    def with_settings(self, **settings: str) -> Installation:
        """Return the same with other *settings*, named without their prefix."""
        own = {f"USERSERVICE_{name}": value for name, value in settings.items()}
        return attrs.evolve(self, environment={**self.environment, **own})

    def with_failpoint(self, failpoint: str | None) -> dict[str, str]:
        """Return the settings of a process that dies at *failpoint*."""
        return {**self.environment, **({} if failpoint is None else {"USERSERVICE_FAILPOINT": failpoint})}
