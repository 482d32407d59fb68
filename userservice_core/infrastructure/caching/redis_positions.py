"""Where sessions wrote last, in Redis or Valkey."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import redis

from userservice_core.errors import UnavailableError
from userservice_core.infrastructure.caching.redis_client import TIMEOUT_SECONDS, LuaScript, connect
from userservice_core.ports.consistency import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.ports.metrics import Metrics

_FORMAT: Final = re.compile(rb"([0-9]{20}):([0-9]{10}):([0-9]{20})")
_PREFIX: Final = "userservice:position:"

# Two requests of a session may end in another order than their commits: the position that is further on stays. A fixed
# number of digits compares as text, where a number of Lua would lose those past 2^53.
_REMEMBER: Final = LuaScript(
    """
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and #held == #ARGV[1] and string.sub(held, 1, 20) == string.sub(ARGV[1], 1, 20)
        and held > ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
)


class RedisPositions:
    """
    One exchange to remember, one to recall; a `ports.consistency.PositionMemory`.

    Each exchange has its time-out, and after three failures in a row Redis is left alone for a second.
    """

    def __init__(
        self, url: str, *, life_seconds: float, metrics: Metrics, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Keep each position for *life_seconds*, by which every replica that serves has it."""
        self._client = connect(url, timeout_seconds=timeout_seconds)
        self._life_milliseconds = int(life_seconds * 1000)
        self._metrics = metrics

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def remember(self, writer: str, position: Position) -> None:
        text = f"{position.system_id:020d}:{position.timeline:010d}:{position.offset:020d}"
        arguments: list[str | int] = [text, self._life_milliseconds]
        try:
            self._ask(lambda: _REMEMBER(self._client, [f"{_PREFIX}{writer}"], arguments))
        except UnavailableError:
            self._metrics.count("position_memory", outcome="failed")

    def recall(self, writer: str) -> Position | None:
        found = self._ask(lambda: self._client.get(f"{_PREFIX}{writer}"))
        match = _FORMAT.fullmatch(found) if isinstance(found, bytes) else None
        return None if match is None else Position(int(match[1]), int(match[2]), int(match[3]))

    def _ask(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - as Redis answers
        try:
            return call()
        except (redis.RedisError, OSError) as error:
            raise UnavailableError from error
