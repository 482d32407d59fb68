"""A Redis (or Valkey) that keeps nothing on disk."""

from __future__ import annotations

import redis

from tests.servers import installed
from tests.servers.process import LoopbackServer


class RedisServer(LoopbackServer):
    """Redis on a port of loopback; empty after every start."""

    name = "Redis"

    def url(self, database: int = 0) -> str:
        """Return the URL of one of its 16 databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        port = str(self.port)
        return [
            installed.redis_server(),
            *("--port", port),
            *("--bind", "127.0.0.1"),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--dir", str(self.folder)),
        ]

    def answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url(), socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False
