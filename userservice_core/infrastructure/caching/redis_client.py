"""
How Redis and Valkey are spoken to: alone, behind Sentinels, or as a Cluster.

Whichever it is, :func:`connect` returns a client that waits 50 ms at most for a connection and for an answer, if it is
not told otherwise, repeats nothing, and leaves a server alone for a second that failed three times in a row.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import ClusterDownError, LockNotOwnedError, NoScriptError, ReadOnlyError
from redis.lock import Lock
from redis.retry import Retry
from redis.sentinel import Sentinel

from userservice_core.ports.cache_address import Arrangement, CacheAddress
from userservice_core.ports.context import require_patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

TIMEOUT_SECONDS: Final = 0.05


class RestingError(redis.ConnectionError):
    """Nobody was asked, since the last calls failed."""


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


class GuardedRedis(redis.Redis):
    """
    A client of one server, or of whichever server Sentinels name, with a :class:`Breaker`.

    A command raises ResponseError where the server answered with one, and ConnectionError, TimeoutError or OSError
    where there was no answer of use: :class:`RestingError` at once and without asking while the breaker is open. A ping
    is sent all the same.
    """

    beside: Iterable[redis.Redis] = ()
    """Clients that end with this one."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - redis-py's own
        super().__init__(**options)
        self._breaker = Breaker()

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - any command
        require_patience()
        if not self._breaker.admits() and args[0] != "PING":
            raise RestingError
        try:
            answer = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except (ClusterDownError, ReadOnlyError) as error:
            # It speaks, but does not serve: a cluster without some of its slots, or what was a primary until its name
            # was given to another server.
            self._breaker.failed()
            self.connection_pool.disconnect(inuse_connections=False)
            raise redis.ConnectionError("the server does not serve") from error
        except redis.ResponseError:
            self._breaker.succeeded()
            raise
        except (redis.RedisError, OSError):
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return answer

    def close(self) -> None:
        super().close()
        for other in self.beside:
            other.close()


class LuaScript:
    """A script that is sent by its digest, and in full to a server that does not know it."""

    def __init__(self, text: str) -> None:
        self._text = text
        # The name that servers know it by; of bytes, redis-py takes it without a client.
        self._digest = Script(None, text.encode()).sha  # type: ignore[arg-type]

    def __call__(self, client: redis.Redis, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:  # noqa: ANN401 - as Lua answers
        """
        Run it where its keys are; in a cluster all of them belong to one slot.

        Raises:
            RedisError: As the client does.
        """
        try:
            return client.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return client.eval(self._text, len(keys), *keys, *arguments)


# One that never ends, or later than any of ours, is nobody's.
_ACQUIRE: Final = LuaScript(
    """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return 1
end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[2]) then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return 1
end
return 0
"""
)

_RELEASE: Final = LuaScript(
    """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
    return redis.call('DEL', KEYS[1])
end
return 0
"""
)


class SharedLock(Lock):
    """redis-py's lock, with scripts that any node of a cluster can be given, and which garbage in its place ends."""

    def __init__(
        self, client: redis.Redis, name: str, *, seconds: float, sleep: float, patience_seconds: float
    ) -> None:
        """Hold it for so long at the most, and try for so long to get it, with so much sleep between."""
        super().__init__(
            client, name, timeout=seconds, sleep=sleep, blocking_timeout=patience_seconds, thread_local=False
        )
        self._milliseconds = int(seconds * 1000)

    def register_scripts(self) -> None:
        """Leave it: ours need no registration."""

    def do_acquire(self, token: str) -> bool:
        """Take the lock, if nobody has it."""
        return bool(_ACQUIRE(self.redis, [self.name], [token, self._milliseconds]))

    def do_release(self, expected_token: str) -> None:
        """
        Free the lock.

        Raises:
            LockNotOwnedError: If it has run out.
        """
        if not _RELEASE(self.redis, [self.name], [expected_token]):
            raise LockNotOwnedError("the lock has run out")


def connect(url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> redis.Redis:
    """
    Return a client of what *url* names (:class:`~userservice_core.ports.cache_address.CacheAddress`).

    Nothing is asked before the first command.

    Raises:
        ValueError: If it is no such URL.
    """
    address = CacheAddress.parse(url)
    shared = _options(address, timeout_seconds)
    options = {**shared, "username": address.username, "password": address.password}
    match address.arrangement:
        case Arrangement.ALONE:
            ((host, port),) = address.hosts
            return GuardedRedis(host=host, port=port, db=address.database, **options)
        case Arrangement.SENTINEL:
            return _behind_sentinels(address, shared, options)
        case Arrangement.CLUSTER:
            # Loaded for those who have one.
            from userservice_core.infrastructure.caching.redis_cluster import ClusterRedis

            return ClusterRedis(address.hosts, options, timeout_seconds=timeout_seconds)


def _options(address: CacheAddress, timeout_seconds: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if address.is_encrypted:
        options["ssl"] = True
        files = {
            "ssl_ca_certs": address.ca_file,
            "ssl_certfile": address.certificate_file,
            "ssl_keyfile": address.key_file,
        }
        options.update((name, file) for name, file in files.items() if file)
    return options


def _behind_sentinels(address: CacheAddress, shared: dict[str, Any], options: dict[str, Any]) -> GuardedRedis:
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs={
            **shared,
            "username": address.sentinel_username,
            "password": address.sentinel_password,
        },
    )
    client = sentinels.master_for(  # type: ignore[no-untyped-call]
        address.service, redis_class=GuardedRedis, db=address.database, **options
    )
    assert isinstance(client, GuardedRedis)  # noqa: S101 - which was asked for
    client.beside = sentinels.sentinels
    return client
