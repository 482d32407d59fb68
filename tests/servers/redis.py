"""Redis and Valkey that keep nothing on disk: alone, behind Sentinels, and as a Cluster."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final, Self

import redis

from tests.servers import installed
from tests.servers.process import POLL_SECONDS, LoopbackServer, ServerFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

SERVICE: Final = "userservice-cache"
"""How the Sentinels call the primary."""

_SLOTS: Final = 16_384
_SETTLED_SECONDS: Final = 30.0


class RedisServer(LoopbackServer):
    """Redis on a port of loopback; empty after every start."""

    name = "Redis"

    def __init__(
        self, folder: Path, *, program: Callable[[], str] = installed.redis_server, options: tuple[str, ...] = ()
    ) -> None:
        """Keep what it writes in *folder*; *options* are words of its command line."""
        super().__init__(folder)
        self._program = program
        self._options = options

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its 16 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        port = str(self.port)
        return [
            self._program(),
            *("--port", port),
            *("--bind", "127.0.0.1"),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--dir", str(self.folder)),
            *self._options,
        ]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """Return a client of this server, to be closed."""
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=5)


class _Sentinel(RedisServer):
    """Watches one primary; what it learns is in its configuration, which it writes itself."""

    name = "Sentinel"

    def __init__(self, folder: Path, *, primary_port: int, program: Callable[[], str]) -> None:
        super().__init__(folder, program=program)
        self._primary_port = primary_port

    def command(self) -> list[str]:
        configuration = self.folder / "sentinel.conf"
        if not configuration.exists():
            lines = (
                f"port {self.port}",
                "bind 127.0.0.1",
                f"dir {self.folder}",
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} 2",
                f"sentinel down-after-milliseconds {SERVICE} 400",
                f"sentinel failover-timeout {SERVICE} 2000",
                "",
            )
            configuration.write_text("\n".join(lines))
        return [self._program(), str(configuration), "--sentinel"]


class _Several:
    """Servers that make one whole, in folders of one folder."""

    def __init__(self, folder: Path, *, program: Callable[[], str]) -> None:
        self.folder = folder
        self._program = program
        self.servers: tuple[RedisServer, ...] = ()

    def start(self) -> None:
        """Start those that do not run, and wait until they are one whole."""
        for server in self.servers:
            server.start()
        deadline = time.monotonic() + _SETTLED_SECONDS
        while not self._is_settled():
            if time.monotonic() > deadline:
                raise ServerFailedError("\n".join(server.log_tail() for server in self.servers))
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop all of them."""
        for server in reversed(self.servers):
            server.stop()

    def _is_settled(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class SentinelRedis(_Several):
    """Two servers, one a replica of the other, and three Sentinels of which two make a decision."""

    def __init__(self, folder: Path, *, program: Callable[[], str] = installed.redis_server) -> None:
        super().__init__(folder, program=program)
        # A replica is sent its copy without waiting for a second one.
        at_once = ("--repl-diskless-sync-delay", "0")
        first = RedisServer(folder / "a", program=program, options=at_once)
        second = RedisServer(
            folder / "b", program=program, options=(*at_once, "--replicaof", "127.0.0.1", str(first.port))
        )
        self.data = (first, second)
        self.sentinels = tuple(
            _Sentinel(folder / f"sentinel-{number}", primary_port=first.port, program=program) for number in range(3)
        )
        self.servers = (*self.data, *self.sentinels)

    def url(self, database: int = 0) -> str:
        """Return the URL of whichever is the primary."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/{database}"

    def primary(self) -> RedisServer:
        """Return the one that the Sentinels name."""
        for sentinel in self.sentinels:
            with contextlib.suppress(redis.RedisError), sentinel.client() as client:
                _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
                return next(server for server in self.data if server.port == int(port))
        raise ServerFailedError("no Sentinel answers")

    def start(self) -> None:
        for server in self.servers:
            server.start()
        # A Sentinel waits for eight seconds before it tells a server that came back whose replica it is.
        primary = self.primary()
        for server in self.data:
            with server.client() as client:
                if server is not primary and client.role()[0] == b"master":
                    client.replicaof("127.0.0.1", str(primary.port))
        super().start()

    def _is_settled(self) -> bool:
        return all(self._is_ready(sentinel) for sentinel in self.sentinels)

    @staticmethod
    def _is_ready(sentinel: _Sentinel) -> bool:
        with contextlib.suppress(redis.RedisError), sentinel.client() as client:
            state = client.sentinel_master(SERVICE)
            replicas = client.sentinel_slaves(SERVICE)
            return bool(
                state["num-other-sentinels"] == 2
                and state["is_master"]
                and not state["is_sdown"]
                and any(each["master-link-status"] == "ok" and not each["is_disconnected"] for each in replicas)
            )
        return False


class ClusterRedis(_Several):
    """Three primaries without replicas, each with a third of the slots."""

    def __init__(self, folder: Path, *, program: Callable[[], str] = installed.redis_server) -> None:
        super().__init__(folder, program=program)
        self.servers = tuple(self._node(folder / str(number)) for number in range(3))

    def url(self) -> str:
        """Return the URL with all of its nodes."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.servers)}"

    def start(self) -> None:
        is_new = not (self.folder / "0" / "nodes.conf").exists()
        for node in self.servers:
            node.start()
        if is_new:
            self._join()
        super().start()

    def owner_of(self, slot: int) -> RedisServer:
        """Return the node that has a slot."""
        with self.servers[0].client() as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.servers if node.port == port)
        raise ServerFailedError(f"no node has slot {slot}")

    def move(self, slot: int, *, to: RedisServer) -> None:
        """Give a slot, and the keys in it, to another node."""
        source = self.owner_of(slot)
        self.begin_to_move(slot, to=to)
        with source.client() as giving, to.client() as taking:
            taker = str(taking.execute_command("CLUSTER MYID"), "ascii")
            while keys := giving.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                giving.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5_000, "REPLACE", "KEYS", *keys)
            for client in (taking, giving):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", taker)

    def begin_to_move(self, slot: int, *, to: RedisServer) -> None:
        """Have a slot on its way: who has it still serves the keys that it has, and sends others there."""
        source = self.owner_of(slot)
        with source.client() as giving, to.client() as taking:
            giver, taker = (str(client.execute_command("CLUSTER MYID"), "ascii") for client in (giving, taking))
            taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", giver)
            giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", taker)

    def configure(self, name: str, value: str) -> None:
        """Set a parameter at every node that runs."""
        for node in self.servers:
            if node.process is not None:
                with node.client() as client:
                    client.config_set(name, value)

    def state(self) -> str:
        """Return what the first node says of the cluster: `ok` or `fail`."""
        with self.servers[0].client() as client:
            return str(client.execute_command("CLUSTER INFO")["cluster_state"])

    def sizes(self) -> list[int]:
        """Return how many keys each node has."""
        sizes = []
        for node in self.servers:
            with node.client() as client:
                sizes.append(client.dbsize())
        return sizes

    def flush(self) -> None:
        """Drop every key of every node."""
        for node in self.servers:
            with node.client() as client:
                client.flushall()

    def _node(self, folder: Path) -> RedisServer:
        bus = RedisServer(folder).reserve_port("bus")
        options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000")
        return RedisServer(folder, program=self._program, options=options)

    def _join(self) -> None:
        share = -(-_SLOTS // len(self.servers))
        for number, node in enumerate(self.servers):
            with node.client() as client:
                last = min((number + 1) * share, _SLOTS) - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        with self.servers[0].client() as client:
            for node in self.servers[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.reserve_port("bus"))

    def _is_settled(self) -> bool:
        return all(self._is_whole(node) for node in self.servers)

    @staticmethod
    def _is_whole(node: RedisServer) -> bool:
        with contextlib.suppress(redis.RedisError), node.client() as client:
            state = client.execute_command("CLUSTER INFO")
            return bool(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3")
        return False
