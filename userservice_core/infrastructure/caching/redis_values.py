"""
The second layer: values shared by the processes of the service in Redis or Valkey.

It may be absent, slow, full, flushed or filled with garbage at any time. All of that is a miss. A value is written as
`us1:<version, 20 digits>:<expiry, Unix time in ms, 15 digits>:<payload>`, so that a script in Redis can compare
versions; an expiry of 0 makes it a tombstone.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import redis
from redis.exceptions import LockError

from userservice_core.infrastructure.caching.redis_client import (
    TIMEOUT_SECONDS,
    LuaScript,
    RestingError,
    SharedLock,
    connect,
)
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.ports.metrics import Metrics

_T = TypeVar("_T")

LOCK_TIMEOUT_SECONDS: Final = 5.0
_LOCK_SLEEP_SECONDS: Final = 0.005

_HEAD: Final = re.compile(rb"us1:(\d{20}):(\d{15}):")

_COMPARE_AND_SET: Final = LuaScript(
    """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
    local version = string.match(held, '^us1:(%d+):%d+:')
    if version and #version == 20 and (version > ARGV[1] or (version == ARGV[1] and ARGV[4] == 'tombstone')) then
        return 0
    end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
)
"""Twenty digits each, so versions compare as text: a Lua number would lose those past 2^53."""


@attrs.frozen
class SharedValue:
    """What another process has read; `seconds_left` counts from now."""

    version: int
    seconds_left: float
    payload: bytes = attrs.field(repr=False)


class RedisValues:
    """
    Values by namespace and key in Redis, each written only over an older version.

    No method raises for what Redis does or does not, and none blocks for long: each exchange has its time-out, and
    after three failures in a row Redis is left alone for a second.
    """

    def __init__(
        self,
        url: str,
        *,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
        timeout_seconds: float = TIMEOUT_SECONDS,
        lock_seconds: float = LOCK_TIMEOUT_SECONDS,
    ) -> None:
        self._client = connect(url, timeout_seconds=timeout_seconds)
        self._metrics = metrics
        self._now = now
        self._lock_seconds = lock_seconds

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ping(self) -> None:
        """
        Ask Redis for an answer, whatever became of earlier calls.

        Raises:
            RedisError: If it gives none.
        """
        self._client.ping()

    def find(self, namespace: str, key: str) -> SharedValue | None:
        """Return the value in force, or None."""
        answer = self._ask(lambda: (self._client.get(_key(namespace, key)),))
        if answer is None:
            return None
        (found,) = answer
        head = _HEAD.match(found) if isinstance(found, bytes) else None
        if found is not None and head is None:
            self._metrics.count("shared_cache", outcome="garbage")
            return None
        seconds_left = 0.0 if head is None else int(head[2]) / 1000 - self._now()
        if head is None or not isinstance(found, bytes) or seconds_left <= 0:
            self._metrics.count("shared_cache", outcome="miss")
            return None
        self._metrics.count("shared_cache", outcome="hit")
        return SharedValue(int(head[1]), seconds_left, found[head.end() :])

    def store(self, namespace: str, key: str, value: SharedValue) -> None:
        """Keep a value until it expires, unless a newer one or a tombstone above it is there."""
        milliseconds = int(value.seconds_left * 1000)
        if milliseconds > 0:
            text = _head(value.version, int(self._now() * 1000) + milliseconds) + value.payload
            self._set(namespace, key, [f"{value.version:020d}", text, milliseconds, "value"])

    def invalidate(self, namespace: str, key: str, version: int, *, life_seconds: float) -> None:
        """Put a tombstone in the place of any value below *version*."""
        text = _head(version, 0)
        self._set(namespace, key, [f"{version:020d}", text, max(1, int(life_seconds * 1000)), "tombstone"])

    @contextmanager
    def loading(self, namespace: str, key: str) -> Iterator[None]:
        """
        Let one process at a time load a key.

        Best effort: where Redis cannot tell, or a rival takes longer than five seconds or than half of what the call
        may last, the block runs beside it.
        """
        lock = SharedLock(
            self._client,
            f"{_key(namespace, key)}:lock",
            seconds=self._lock_seconds,
            sleep=_LOCK_SLEEP_SECONDS,
            patience_seconds=self._patience_seconds(),
        )
        is_held = self._ask(lock.acquire)
        try:
            yield
        finally:
            if is_held:
                self._ask(lock.release)

    def _set(self, namespace: str, key: str, args: list[str | bytes | int]) -> None:
        self._ask(lambda: _COMPARE_AND_SET(self._client, [_key(namespace, key)], args))

    def _patience_seconds(self) -> float:
        # Half of what a call may last, so that the load has as much.
        left = current_call().left_seconds()
        return self._lock_seconds if left is None else min(self._lock_seconds, max(left / 2, 0.0))

    def _ask(self, call: Callable[[], _T]) -> _T | None:
        """Make one exchange; None where it came to nothing."""
        try:
            return call()
        except RestingError:
            return None
        except (redis.ResponseError, LockError):
            # It answered: a value of another type, no memory left, a lock that had run out.
            self._metrics.count("shared_cache", outcome="refused")
            return None
        except (redis.RedisError, OSError):
            self._metrics.count("shared_cache", outcome="failed")
            return None


def _key(namespace: str, key: str) -> str:
    # Value and lock belong to one slot of a cluster, which is that of what is in braces.
    return f"userservice:cache:{{{namespace}:{key}}}"


def _head(version: int, expires_at_milliseconds: int) -> bytes:
    return f"us1:{version:020d}:{expires_at_milliseconds:015d}:".encode()
