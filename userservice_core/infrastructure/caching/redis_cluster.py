"""
A client of a Redis or Valkey Cluster that keeps to time.

redis-py's own sleeps a quarter of a second where the cluster is down, and asks its members for their slots one after
another behind one lock, with each failed command. A cache may not hold up requests that long, so commands are routed
here, to redis-py's client of a single server (docs/adr/0053).
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from userservice_core.infrastructure.caching.redis_client import Breaker, GuardedRedis, RestingError

if TYPE_CHECKING:
    from collections.abc import Sequence

_Address = tuple[str, int]

_SLOTS: Final = 16_384
_MAX_HOPS: Final = 3
_RENEWAL_SECONDS: Final = 1.0
_SCRIPTS: Final = frozenset(("EVAL", "EVALSHA"))


class ClusterRedis(redis.Redis):
    """
    Sends each command to the node that has the slot of its key, which is its second word; of a script, the first key.

    Each node has a breaker of its own, so one that is away costs its own keys only. Which node has which slot is asked
    at the first command, and again at most once a second after a node sent a command elsewhere or did not answer.
    """

    def __init__(self, hosts: Sequence[_Address], options: dict[str, Any], *, timeout_seconds: float) -> None:
        """
        Do not connect yet.

        Args:
            hosts: Some of its members; any of them tells of the others.
            options: Those of redis-py, for each connection.
            timeout_seconds: How long to wait for another thread that asks who has what.
        """
        super().__init__()  # whose connections are not used
        self._hosts = tuple(hosts)
        self._options = options
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._nodes: dict[_Address, GuardedRedis] = {}
        self._owners: list[_Address | None] = []
        self._renewal = threading.Lock()
        self._renewals = Breaker()
        self._is_outdated = False
        self._not_before = float("-inf")

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - any command
        if args[0] == "PING":
            return self._ping_all()
        slot = _slot_of(*args)
        address, is_asking = self._owner_of(slot), False
        for _ in range(_MAX_HOPS):
            try:
                return self._send(address, args, options, is_asking=is_asking)
            except MovedError as moved:
                address, is_asking = (moved.host or address[0], moved.port), False
                self._owners[slot] = address
                self._is_outdated = True
            except AskError as ask:
                # This key is on its way there; the rest of the slot is not yet.
                address, is_asking = (ask.host or address[0], ask.port), True
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                # Another node may have its slots by now.
                self._is_outdated = True
                raise
        raise redis.ConnectionError("the nodes disagree about who has a slot")

    def close(self) -> None:
        super().close()
        # What redis-py's constructor calls on its way out may come before ours has begun.
        for node in list(getattr(self, "_nodes", {}).values()):
            node.close()

    def _send(self, address: _Address, args: tuple[Any, ...], options: dict[str, Any], *, is_asking: bool) -> Any:  # noqa: ANN401 - any answer
        node = self._node(address)
        if not is_asking:
            return node.execute_command(*args, **options)
        with node.pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")  # type: ignore[no-untyped-call]
            pipe.execute_command(*args, **options)  # type: ignore[no-untyped-call]
            return pipe.execute()[-1]

    def _node(self, address: _Address) -> GuardedRedis:
        node = self._nodes.get(address)
        if node is not None:
            return node
        with self._lock:
            if address not in self._nodes:
                host, port = address
                self._nodes[address] = GuardedRedis(host=host, port=port, **self._options)
            return self._nodes[address]

    def _ping_all(self) -> bool:
        if not self._owners:
            self._renew(is_forced=True)
        for address in {owner for owner in self._owners if owner is not None}:
            self._node(address).ping()
        return True

    # --- who has what -----------------------------------------------------------------------------------------------

    def _owner_of(self, slot: int) -> _Address:
        if not self._owners:
            self._renew(is_forced=False)
        elif self._is_outdated and time.monotonic() >= self._not_before:
            self._renew_in_passing()
        owner = self._owners[slot]
        if owner is None:
            self._is_outdated = True
            raise redis.ConnectionError("no node has the slot")
        return owner

    def _renew(self, *, is_forced: bool) -> None:
        """Ask for the slots, which are not known yet, or wait for whoever does."""
        if not self._renewal.acquire(timeout=self._timeout_seconds):
            raise RestingError
        try:
            if self._owners:
                return
            if not (self._renewals.admits() or is_forced):
                raise RestingError
            self._ask_for_slots()
        finally:
            self._renewal.release()

    def _renew_in_passing(self) -> None:
        """Ask for the slots, unless somebody does; those known will do if there is no answer."""
        if not self._renewal.acquire(blocking=False):
            return
        try:
            self._not_before = time.monotonic() + _RENEWAL_SECONDS
            self._ask_for_slots()
        except (redis.RedisError, OSError):
            return
        finally:
            self._renewal.release()

    def _ask_for_slots(self) -> None:
        """
        Ask one member, a different one each time; no longer than one exchange takes.

        Raises:
            RedisError, OSError: If it does not answer.
        """
        known = {*self._hosts, *self._nodes}
        for address in random.sample(sorted(known), len(known)):
            try:
                ranges = self._node(address).execute_command("CLUSTER SLOTS")
            except RestingError:
                continue
            except (redis.RedisError, OSError):
                self._renewals.failed()
                raise
            self._take(ranges, asked=address[0])
            self._renewals.succeeded()
            return
        raise RestingError

    def _take(self, ranges: Any, *, asked: str) -> None:  # noqa: ANN401 - as Redis answers
        owners: list[_Address | None] = [None] * _SLOTS
        for first, last, primary, *_ in ranges:
            # A node that does not know its own name leaves it out.
            address = (_text(primary[0]) or asked, int(primary[1]))
            owners[first : last + 1] = [address] * (last + 1 - first)
        self._owners = owners
        self._is_outdated = None in owners
        with self._lock:
            left = set(self._nodes) - set(owners) - set(self._hosts)
            gone = [self._nodes.pop(address) for address in left]
        for node in gone:
            node.close()


def _slot_of(*args: Any) -> int:  # noqa: ANN401 - any command
    key = args[3] if args[0] in _SCRIPTS else args[1]
    return key_slot(key.encode() if isinstance(key, str) else key)


def _text(name: bytes | str | None) -> str:
    return name.decode() if isinstance(name, bytes) else name or ""
