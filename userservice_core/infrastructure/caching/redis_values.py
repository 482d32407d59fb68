"""
The second layer: values shared by the processes of the service in Redis or Valkey.

It may be absent, slow, full, flushed or filled with garbage at any time. All of that is a miss. A value is written as
`us1:<version, 20 digits>:<expiry, Unix time in ms, 15 digits>:<payload>`, so that a script in Redis can compare
versions; an expiry of 0 makes it a tombstone.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import redis
from redis.backoff import NoBackoff
from redis.exceptions import LockError
from redis.retry import Retry

from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.ports.metrics import Metrics

_T = TypeVar("_T")

TIMEOUT_SECONDS: Final = 0.05
LOCK_TIMEOUT_SECONDS: Final = 5.0
_LOCK_SLEEP_SECONDS: Final = 0.005

_HEAD: Final = re.compile(rb"us1:(\d{20}):(\d{15}):")

_COMPARE_AND_SET: Final = """
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
"""Twenty digits each, so versions compare as text: a Lua number would lose those past 2^53."""


@attrs.frozen
class SharedValue:
    """What another process has read; `seconds_left` counts from now."""

    version: int
    seconds_left: float
    payload: bytes = attrs.field(repr=False)


class Breaker:
    """Lets calls through until a few in a row have failed; then one a second, until one succeeds."""

    def __init__(
        self, *, failures: int = 3, rest_seconds: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_failures = failures
        self._rest_seconds = rest_seconds
        self._monotonic = monotonic
        self._failures = 0
        self._resting_until = float("-inf")
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Tell whether to make a call; after a rest, one caller gets the word and the next ones rest again."""
        if self._failures < self._max_failures:
            return True
        with self._lock:
            now = self._monotonic()
            if now < self._resting_until:
                return False
            self._resting_until = now + self._rest_seconds
            return True

    def succeeded(self) -> None:
        """Note that a call went well."""
        self._failures = 0

    def failed(self) -> None:
        """Note that a call did not."""
        with self._lock:
            self._failures += 1
            self._resting_until = self._monotonic() + self._rest_seconds


class RedisValues:
    """
    Values by namespace and key in Redis, each written only over an older version.

    No method raises for what Redis does or does not, and none blocks for long: each exchange has 50 ms, and after three
    failures in a row Redis is left alone for a second.
    """

    def __init__(self, url: str, *, metrics: Metrics, now: Callable[[], float] = time.time) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._compare_and_set = self._client.register_script(_COMPARE_AND_SET)
        self._metrics = metrics
        self._now = now
        self._breaker = Breaker()

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
        found = self._ask(lambda: self._client.get(_key(namespace, key)))
        head = _HEAD.match(found) if isinstance(found, bytes) else None
        if not isinstance(found, bytes) or head is None:
            return None
        seconds_left = int(head[2]) / 1000 - self._now()
        return SharedValue(int(head[1]), seconds_left, found[head.end() :]) if seconds_left > 0 else None

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

        Best effort: where Redis cannot tell, or a rival takes longer than five seconds, the block runs beside it.
        """
        lock = self._client.lock(
            f"{_key(namespace, key)}:lock",
            timeout=LOCK_TIMEOUT_SECONDS,
            sleep=_LOCK_SLEEP_SECONDS,
            blocking_timeout=_patience_seconds(),
            thread_local=False,
        )
        is_held = self._ask(lock.acquire)
        try:
            yield
        finally:
            if is_held:
                self._ask(lock.release)

    def _set(self, namespace: str, key: str, args: list[str | bytes | int]) -> None:
        self._ask(lambda: self._compare_and_set(keys=[_key(namespace, key)], args=args))

    def _ask(self, call: Callable[[], _T]) -> _T | None:
        """Make one exchange, if the breaker lets it; None where it came to nothing."""
        if not self._breaker.admits():
            return None
        try:
            answer = call()
        except (redis.ResponseError, LockError):
            # It answered: a value of another type, no memory left, a lock that had run out.
            self._breaker.succeeded()
            self._metrics.count("shared_cache", outcome="refused")
            return None
        except (redis.RedisError, OSError):
            self._breaker.failed()
            self._metrics.count("shared_cache", outcome="failed")
            return None
        self._breaker.succeeded()
        return answer


def _key(namespace: str, key: str) -> str:
    return f"userservice:cache:{namespace}:{key}"


def _head(version: int, expires_at_milliseconds: int) -> bytes:
    return f"us1:{version:020d}:{expires_at_milliseconds:015d}:".encode()


def _patience_seconds() -> float:
    left = current_call().left_seconds()
    return LOCK_TIMEOUT_SECONDS if left is None else min(LOCK_TIMEOUT_SECONDS, max(left, 0.0))
