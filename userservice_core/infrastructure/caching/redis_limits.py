"""Counters in Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.redis_values import TIMEOUT_SECONDS, Breaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.commands.core import Script

    from userservice_core.ports.limits import Counter

# Each counter is a list of times in microseconds, the newest in front. The entry at its limit tells whether there is
# room: it must have left the window. The clock is the server's, so processes whose clocks differ count alike.
_HIT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait = 0
for place, key in ipairs(KEYS) do
    local times = tonumber(ARGV[2 * place - 1])
    local window = tonumber(ARGV[2 * place]) * 1000000
    local deciding = redis.call('LINDEX', key, times - 1)
    if deciding and tonumber(deciding) + window > now then
        wait = math.max(wait, tonumber(deciding) + window - now)
    else
        redis.call('LPUSH', key, string.format('%.0f', now))
        redis.call('LTRIM', key, 0, times - 1)
        redis.call('PEXPIRE', key, window / 1000)
    end
end
return string.format('%.0f', wait)
"""

_TAKE_BACK: Final = """
for _, key in ipairs(KEYS) do
    redis.call('LPOP', key)
end
"""

_PREFIX: Final = "userservice:limit:"


class RedisRateLimiter:
    """
    One script, and so one exchange, a hit; a `ports.limits.RateLimiter`.

    Each exchange has 50 ms, and after three failures in a row Redis is left alone for a second.
    """

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._hit = self._client.register_script(_HIT)
        self._take_back = self._client.register_script(_TAKE_BACK)
        self._breaker = Breaker()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def hit(self, counters: Sequence[Counter]) -> float:
        limits = [number for counter in counters for number in (counter.limit.times, counter.limit.seconds)]
        return int(self._ask(self._hit, counters, limits)) / 1_000_000

    def take_back(self, counters: Sequence[Counter]) -> None:
        self._ask(self._take_back, counters, [])

    def _ask(self, script: Script, counters: Sequence[Counter], arguments: list[int]) -> Any:  # noqa: ANN401 - as Lua answers
        if not self._breaker.admits():
            raise UnavailableError
        try:
            answer = script(keys=[f"{_PREFIX}{counter.key}" for counter in counters], args=arguments)
        except (redis.RedisError, OSError) as error:
            self._breaker.failed()
            raise UnavailableError from error
        self._breaker.succeeded()
        return answer
