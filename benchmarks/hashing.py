"""The limit of a sign-in: verifications of Argon2 a second, by as many threads as there are processors."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import argon2

if TYPE_CHECKING:
    from userservice_core.config import Settings


def verifications_per_second(settings: Settings, *, threads: int, seconds: float) -> float:
    """Verify one hash of these settings over and over, and count."""
    cost = settings.hashing_cost
    hasher = argon2.PasswordHasher(time_cost=cost.time_cost, memory_cost=cost.memory_kib, parallelism=cost.parallelism)
    password = "a sentence works well"
    password_hash = hasher.hash(password)
    counts = [0] * threads
    began = time.perf_counter()

    def verify_on(index: int) -> None:
        while time.perf_counter() < began + seconds:
            hasher.verify(password_hash, password)
            counts[index] += 1

    workers = [threading.Thread(target=verify_on, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)
