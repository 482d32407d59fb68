"""Counters in Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.redis_client import TIMEOUT_SECONDS, LuaScript, connect
from userservice_core.infrastructure.caching.redis_cluster import ClusterRedis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.ports.limits import Counter

# Each counter is a list of times in microseconds, the newest in front. The entry at its limit tells whether there is
# room: it must have left the window. The clock is the server's, so processes whose clocks differ count alike. What was
# not written here (another type, no number, a time that is yet to come by more than a window) counts as nothing.
_HIT: Final = LuaScript(
    """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait = 0
for place, key in ipairs(KEYS) do
    local times = tonumber(ARGV[2 * place - 1])
    local window = tonumber(ARGV[2 * place]) * 1000000
    local deciding = redis.pcall('LINDEX', key, times - 1)
    if deciding then
        local at = type(deciding) == 'string' and tonumber(deciding)
        if at and at <= now + window then
            deciding = at
        else
            redis.call('DEL', key)
            deciding = false
        end
    end
    if deciding and deciding + window > now then
        wait = math.max(wait, deciding + window - now)
    else
        redis.call('LPUSH', key, string.format('%.0f', now))
        redis.call('LTRIM', key, 0, times - 1)
        redis.call('PEXPIRE', key, window / 1000)
    end
end
return string.format('%.0f', wait)
"""
)

_TAKE_BACK: Final = LuaScript(
    """
for _, key in ipairs(KEYS) do
    redis.pcall('LPOP', key)
end
"""
)

_PREFIX: Final = "userservice:limit:"


class RedisRateLimiter:
    """
    One script, and so one exchange, a hit; in a cluster one a counter. A `ports.limits.RateLimiter`.

    Each exchange has its time-out, and after three failures in a row Redis is left alone for a second.
    """

    def __init__(self, url: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client = connect(url, timeout_seconds=timeout_seconds)
        # A script has all its keys in one slot. Counters with one tag would be in one slot, all of them, on one node;
        # each counts by itself, so nothing needs them together (docs/adr/0053).
        self._is_spread = isinstance(self._client, ClusterRedis)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def hit(self, counters: Sequence[Counter]) -> float:
        waits = [
            int(self._ask(_HIT, some, [number for each in some for number in (each.limit.times, each.limit.seconds)]))
            for some in self._batches(counters)
        ]
        return max(waits, default=0) / 1_000_000

    def take_back(self, counters: Sequence[Counter]) -> None:
        for some in self._batches(counters):
            self._ask(_TAKE_BACK, some, [])

    def _batches(self, counters: Sequence[Counter]) -> Sequence[Sequence[Counter]]:
        return [[counter] for counter in counters] if self._is_spread else [counters]

    def _ask(self, script: LuaScript, counters: Sequence[Counter], arguments: list[int]) -> Any:  # noqa: ANN401 - as Lua answers
        try:
            return script(self._client, [f"{_PREFIX}{counter.key}" for counter in counters], arguments)
        except (redis.RedisError, OSError) as error:
            raise UnavailableError from error
