"""Rows that are of no use any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from userservice_core.ports.retention import REVOCATIONS_KEPT_FOR, TOKENS_KEPT_FOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from userservice_core.infrastructure.memory.store import InMemoryStore

T = TypeVar("T")


class InMemoryPurgeLease:
    """A :class:`~userservice_core.ports.retention.PurgeLease`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store
        self._holder: str | None = None
        self._held_until = self._done_at = float("-inf")

    def take(self, *, holder: str, seconds: float, rest_seconds: float = 0.0) -> bool:
        with self._store.held():
            now = self._store.monotonic()
            is_free = self._holder is None or self._held_until <= now
            if is_free and self._done_at > now - rest_seconds:
                return False
            if not is_free and self._holder != holder:
                return False
            self._holder, self._held_until = holder, now + seconds
            return True

    def give_back(self, *, holder: str, is_done: bool) -> None:
        with self._store.held():
            if self._holder == holder:
                self._holder = None
                if is_done:
                    self._done_at = self._store.monotonic()


class InMemoryExpiredRows:
    """A :class:`~userservice_core.ports.retention.ExpiredRows`."""

    def __init__(self, store: InMemoryStore) -> None:
        self._store = store

    def make_room(self) -> int:
        return 0

    def remove_some(self, *, now: datetime, limit: int) -> int:
        with self._store.held():
            rows = self._store.read().copy()
            sessions = _first(rows.sessions.values(), lambda each: each.absolute_expires_at, until=now, limit=limit)
            for session in sessions:
                del rows.sessions[session.user_id, session.id]
            tokens = _first(
                rows.one_time_tokens.values(), lambda each: each.expires_at, until=now - TOKENS_KEPT_FOR, limit=limit
            )
            for token in tokens:
                del rows.one_time_tokens[token.user_id, token.digest]
            revocations = _first(
                rows.revocations,
                lambda each: max(each.revocation.expires_at, each.at),
                until=now - REVOCATIONS_KEPT_FOR,
                limit=limit,
            )
            for revocation in revocations:
                rows.revocations.remove(revocation)
            self._store.rows = rows
        return len(sessions) + len(tokens) + len(revocations)

    def forget_passwords(self, *, remembered: int, limit: int) -> int:
        with self._store.held():
            rows = self._store.read().copy()
            due = [each for each in rows.credentials.values() if len(each.former_hashes) > remembered][:limit]
            for credential in due:
                kept = credential.former_hashes[:remembered]
                rows.credentials[credential.user_id] = attrs.evolve(credential, former_hashes=kept)
            self._store.rows = rows
        return len(due)


def _first(items: Iterable[T], end: Callable[[T], datetime], *, until: datetime, limit: int) -> list[T]:
    return sorted((item for item in items if end(item) <= until), key=end)[:limit]
