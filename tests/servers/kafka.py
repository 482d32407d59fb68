"""Kafka brokers that are their own controllers (KRaft): one alone, and several that keep copies for each other."""

from __future__ import annotations

import socket
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from tests.servers import installed
from tests.servers.certificates import Authority
from tests.servers.process import LoopbackServer, ServerFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

SECURE_USER: Final = "relay"
SECURE_PASSWORD: Final = "pencil-4711"

_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": (
        "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,MISNAMED:SSL,EXPIRED:SSL"
    ),
    "inter.broker.listener.name": "CLIENTS",
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    "num.partitions": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A group of tests is complete at once; waiting for further members only costs seconds.
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the controller waits for the end of the old session; nine seconds by default.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "300",
    # Events of tests carry times of long ago, by which a broker deletes.
    "log.retention.ms": "-1",
    "log.segment.bytes": "16777216",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Whoever is not known may do everything, and the others what nobody has forbidden them.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "true",
    # One listener whose address is that of a proxy, which a test puts in front of it.
    "listener.name.proxied.num.network.threads": "1",
    # One that wants to know who speaks, in every way there is.
    "listener.name.secure.num.network.threads": "1",
    "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
    "listener.name.secure.plain.sasl.jaas.config": (
        f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{SECURE_USER}="{SECURE_PASSWORD}";'
    ),
    "listener.name.secure.scram-sha-256.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "listener.name.secure.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    # Takes tokens without signature (`alg: none`) that have not expired.
    "listener.name.secure.oauthbearer.sasl.jaas.config": (
        "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
        ' unsecuredLoginStringClaim_sub="broker";'
    ),
    "listener.name.mutual.num.network.threads": "1",
    "listener.name.mutual.ssl.client.auth": "required",
    "listener.name.mutual.ssl.truststore.type": "PEM",
    "listener.name.misnamed.num.network.threads": "1",
    "listener.name.expired.num.network.threads": "1",
}

_LISTENERS: Final = ("CLIENTS", "CONTROLLER", "PROXIED", "SECURE", "MUTUAL", "MISNAMED", "EXPIRED")

# Length, API key 18, version 0, correlation id, and no client id: the one request that every broker answers.
_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)


class KafkaBroker(LoopbackServer):
    """A broker with topics on disk, which survive ``kill9`` and ``stop``."""

    name = "Kafka"
    start_timeout_seconds = 90

    def __init__(self, folder: Path, *, cluster: KafkaCluster | None = None, node: int = 1) -> None:
        """
        Name the folder; nothing is started yet.

        Args:
            folder: Where its data, its certificates and its settings are.
            cluster: To which it belongs; it is alone if not given.
            node: Its number in there, from 1.
        """
        super().__init__(folder)
        self._cluster = cluster
        self.node = node

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    def secured(self, listener: str = "SECURE") -> str:
        """Return the address of a listener over TLS; MUTUAL wants a certificate, the others have a wrong one."""
        return f"127.0.0.1:{self._port_of(listener)}"

    @property
    def behind_proxy(self) -> str:
        """The address of the listener that sends its clients to :attr:`proxy_port`, whatever is there."""
        return f"127.0.0.1:{self._port_of('PROXIED')}"

    @property
    def proxy_port(self) -> int:
        """The port for the line of a test to the broker."""
        return self.reserve_port("proxy_port")

    @property
    def certificates(self) -> Path:
        """
        The folder with the certificate `ca.pem` that signed the brokers' own, and `client.pem` with its key.

        With `renewed.pem` the listener EXPIRED would be as good as any.
        """
        return self.folder / "certificates"

    def create_topics(self, names: Iterable[str], *, partitions: int = 4) -> None:
        """Create those of *names* that do not exist."""
        _create_topics(self.bootstrap_servers, names, partitions=partitions, copies=1)

    def command(self) -> list[str]:
        properties = self.folder / "server.properties"
        data = self.folder / "data"
        ports = {name: self._port_of(name) for name in _LISTENERS}
        settings = {
            **_SETTINGS,
            **_copied(1 if self._cluster is None else len(self._cluster.brokers)),
            **self._certificates(),
            "node.id": str(self.node),
            "log.dirs": str(data),
            "listeners": _listeners(ports),
            "advertised.listeners": _listeners({**ports, "PROXIED": self.proxy_port}),
            "controller.quorum.voters": self.voter if self._cluster is None else self._cluster.voters,
        }
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (data / "meta.properties").exists():
            self._format_storage()
        return self._java("kafka.Kafka", str(properties))

    def answers(self) -> bool:
        # Asked by hand, since a client of the library leaves open sockets behind when a broker is not there yet. The
        # broker takes connections early, but answers only once the controller lets it serve.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(_API_VERSIONS_REQUEST)
                return len(connection.recv(4)) > 0
        except OSError:
            return False

    @property
    def voter(self) -> str:
        """How it is named among those that elect the controller."""
        return f"{self.node}@127.0.0.1:{self._port_of('CONTROLLER')}"

    def _port_of(self, listener: str) -> int:
        return self.port if listener == "CLIENTS" else self.reserve_port(f"{listener.lower()}_port")

    def _certificates(self) -> dict[str, str]:
        """Make the certificates of all listeners, and say where they are."""
        folder = self.certificates
        if not folder.exists():
            authority = Authority.create(folder)
            for name, host, is_expired in (
                ("secure", "127.0.0.1", False),
                ("mutual", "127.0.0.1", False),
                ("misnamed", "elsewhere.example.com", False),
                ("expired", "127.0.0.1", True),
            ):
                authority.issue(name, host=host, is_expired=is_expired)
            authority.issue("renewed", host="127.0.0.1", subject="expired")
            authority.issue("client", host="relay.example.com", password=SECURE_PASSWORD)
        told = {"listener.name.mutual.ssl.truststore.location": str(folder / "ca.pem")}
        for name in ("secure", "mutual", "misnamed", "expired"):
            told[f"listener.name.{name}.ssl.keystore.type"] = "PEM"
            told[f"listener.name.{name}.ssl.keystore.location"] = str(folder / f"{name}.pem")
        return told

    def _format_storage(self) -> None:
        cluster_id = _new_cluster_id() if self._cluster is None else self._cluster.id
        properties = str(self.folder / "server.properties")
        scram = [
            part
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for part in ("--add-scram", f"{mechanism}=[name={SECURE_USER},password={SECURE_PASSWORD}]")
        ]
        # In one argument, since one id of sixty-four begins with a hyphen.
        identity = f"--cluster-id={cluster_id}"
        command = self._java("kafka.tools.StorageTool", "format", identity, "-c", properties, *scram)
        formatted = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if formatted.returncode:
            raise ServerFailedError(f"Kafka's storage could not be formatted:\n{formatted.stdout}{formatted.stderr}")

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        return [
            "java",
            "-Xms256m",
            "-Xmx512m",
            # Compiling further costs more of a short life than it saves.
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *("-cp", installed.kafka_classpath()),
            main_class,
            *arguments,
        ]


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


class KafkaCluster:
    """
    Brokers that keep a copy of every topic each; what is written is on two of them at least.

    Attributes:
        brokers: All of them, running or not.
        id: The same for all of them.
        voters: Who elects the controller; their ports are chosen with the cluster, since each of them names all.
    """

    def __init__(self, folder: Path, *, brokers: int = 3) -> None:
        self.id = _new_cluster_id()
        self.brokers = tuple(
            KafkaBroker(folder / f"broker-{node}", cluster=self, node=node) for node in range(1, brokers + 1)
        )
        self.voters = ",".join(broker.voter for broker in self.brokers)

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    def start(self) -> None:
        """Start those that do not run; they wait for each other."""
        with ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(KafkaBroker.start, self.brokers))

    def stop(self) -> None:
        """Stop all of them."""
        with ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(KafkaBroker.stop, self.brokers))

    def kill9(self) -> None:
        """Crash the broker that leads most partitions, those of the groups' offsets among them."""
        with _admin(self.bootstrap_servers) as admin:
            topics = admin.describe_topics()
        leads = Counter(part["leader_id"] for topic in topics for part in topic["partitions"])
        ((node, _),) = leads.most_common(1)
        self.brokers[node - 1].kill9()

    def create_topics(self, names: Iterable[str], *, partitions: int = 4) -> None:
        """Create those of *names* that do not exist, with a copy on each broker."""
        _create_topics(self.bootstrap_servers, names, partitions=partitions, copies=len(self.brokers))

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def _copied(brokers: int) -> dict[str, str]:
    copies, least = str(brokers), str(brokers // 2 + 1)
    return {
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": least,
        "min.insync.replicas": least,
    }


def _new_cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _admin(bootstrap_servers: str) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=10_000)


def _create_topics(bootstrap_servers: str, names: Iterable[str], *, partitions: int, copies: int) -> None:
    with _admin(bootstrap_servers) as admin:
        for name in names:
            try:
                admin.create_topics(
                    {name: {"num_partitions": partitions, "replication_factor": copies}}, wait_for_metadata=True
                )
            except TopicAlreadyExistsError:
                continue
