"""Password hashing with Argon2id behind a bulkhead: a hash is slow and large by design, so few are made at once."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

import argon2
from argon2.exceptions import HashingError, VerificationError

from userservice_core.domain.passwords import spellings
from userservice_core.errors import DeadlineExceededError, OverloadedError
from userservice_core.infrastructure.security.stored_hashes import (
    NO_ROOM,
    HashRefusedError,
    StoredHash,
    argon2id_of_nobody,
    read_hash,
)
from userservice_core.ports.context import current_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from userservice_core.ports.metrics import Metrics

_T = TypeVar("_T")

_NICENESS: Final = 10
_TIMING: Final = "password_hash"
_NO_ROOM_DETAIL: Final = "There is no memory to check a password with. Nothing was done; try again shortly."


class Argon2PasswordHasher:
    """
    Argon2id (RFC 9106) with at most *slots* hashes at work and *queue* callers waiting for one of them.

    What other systems made is verified, too, see :mod:`~userservice_core.infrastructure.security.stored_hashes`.

    The work is done by threads of its own, of a lower priority: where processors are short, a request that asks for
    little does not wait for a hash. The caller's thread keeps its priority, since it may hold locks of the database.

    Args:
        memory_kib: Of each hash at work, in KiB.
        time_cost: Passes over that memory.
        parallelism: Lanes of each hash.
    """

    def __init__(
        self,
        *,
        slots: int,
        queue: int,
        metrics: Metrics,
        memory_kib: int = 19_456,
        time_cost: int = 2,
        parallelism: int = 1,
    ) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism, type=argon2.Type.ID
        )
        self._places = _Places(slots, queue, metrics)
        self._workers = ThreadPoolExecutor(slots, thread_name_prefix="userservice-argon2", initializer=_give_way)
        self._metrics = metrics
        self._allowed = (memory_kib, time_cost)
        self._hash_of_nobody = argon2id_of_nobody(memory_kib=memory_kib, time_cost=time_cost, parallelism=parallelism)

    def hash(self, password: str) -> str:
        with self._places.one(), self._metrics.timing(_TIMING):
            return self._run(lambda: self._argon2.hash(password))

    def verify(self, password_hash: str, password: str) -> bool:
        with self._places.one(), self._metrics.timing(_TIMING):
            try:
                stored = self._read(password_hash)
                is_right = self._try(stored, password)
            except HashRefusedError as error:
                self._metrics.count("password_hash_refused", outcome=error.reason)
                self._try(self._read(self._hash_of_nobody).decoy(), password)
                return False
        if is_right and self.is_outdated(password_hash):
            self._metrics.count("password_hash_outdated", outcome=stored.scheme)
        return is_right

    def verify_nobody(self, password: str, *, like: str | None = None) -> None:
        with self._places.one(), self._metrics.timing(_TIMING):
            try:
                model = self._read(like or self._hash_of_nobody)
            except HashRefusedError:
                model = self._read(self._hash_of_nobody)
            self._try(model.decoy(), password)

    def is_outdated(self, password_hash: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(password_hash)
        except ValueError:
            return True

    def is_verifiable(self, password_hash: str) -> bool:
        try:
            self._read(password_hash)
        except HashRefusedError:
            return False
        return True

    def _read(self, password_hash: str) -> StoredHash:
        return read_hash(password_hash, argon2_allowed=self._allowed)

    def _try(self, stored: StoredHash, password: str) -> bool:
        return self._run(lambda: any(stored.matches(spelling) for spelling in spellings(password)))

    def _run(self, work: Callable[[], _T]) -> _T:
        """Have a worker do it; tell a lack of memory or threads, which passes, from what is wrong with a hash."""
        try:
            return self._workers.submit(work).result()
        except HashingError as error:
            raise OverloadedError(_NO_ROOM_DETAIL) from error
        except VerificationError as error:
            if str(error) in NO_ROOM:
                raise OverloadedError(_NO_ROOM_DETAIL) from error
            raise


class _Places:
    """So many at work, so many waiting for their turn, and whoever comes then is refused at once."""

    def __init__(self, slots: int, queue: int, metrics: Metrics) -> None:
        self._metrics = metrics
        self._admitted = threading.BoundedSemaphore(slots + queue)
        self._at_work = threading.BoundedSemaphore(slots)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place within the block, waiting for it no longer than the call may last."""
        if not self._admitted.acquire(blocking=False):
            raise OverloadedError
        try:
            if not self._at_work.acquire(blocking=False):
                self._wait()
            try:
                yield
            finally:
                self._at_work.release()
        finally:
            self._admitted.release()

    def _wait(self) -> None:
        with self._metrics.timing("hash_queue_wait"):
            is_taken = self._at_work.acquire(timeout=current_call().remaining_seconds())
        if not is_taken:
            raise DeadlineExceededError


def _give_way() -> None:
    """
    Lower the priority of the calling thread for good: without privileges it cannot be raised again.

    Linux keeps a priority for each thread. Elsewhere it belongs to the process, which is left alone, and so is a thread
    whose sandbox forbids it.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
