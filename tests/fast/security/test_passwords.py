"""Password hashing: what is verified, that absence costs the same, and how many wait."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

import argon2
import pytest

from userservice_core.errors import DeadlineExceededError, OverloadedError
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
from userservice_core.ports.context import deadline_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY_KIB = 64


def _hasher(
    *, slots: int = 1, queue: int = 1, memory_kib: int = MEMORY_KIB, time_cost: int = 1
) -> Argon2PasswordHasher:
    return Argon2PasswordHasher(
        slots=slots, queue=queue, memory_kib=memory_kib, time_cost=time_cost, metrics=InMemoryMetrics()
    )


@pytest.fixture(scope="module")
def hasher() -> Argon2PasswordHasher:
    """One with parameters that are only for testing."""
    return _hasher()


@pytest.mark.asvs("6.2.8", "11.4.2")
def test_a_hash_belongs_to_its_password_alone(hasher: Argon2PasswordHasher) -> None:
    """Byte for byte, past any length that other algorithms cut at, and salted."""
    password = "é" * 100 + "x"
    password_hash = hasher.hash(password)

    assert hasher.verify(password_hash, password)
    assert not hasher.verify(password_hash, "é" * 100 + "y")
    assert not hasher.verify(password_hash, "")
    assert hasher.hash(password) != password_hash
    assert password_hash.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t=1,p=1$")


@pytest.mark.parametrize(
    "unreadable",
    ["", "x", "$argon2id$", "$argon2id$v=19$m=64,t=1,p=1$AA", "$2b$12$abcdefghijklmnopqrstuv", "é", "\ud800"],
)
def test_an_unreadable_hash_matches_nothing(hasher: Argon2PasswordHasher, unreadable: str) -> None:
    """It counts as outdated, so it would be replaced if it ever matched."""
    assert not hasher.verify(unreadable, "password")
    assert hasher.is_outdated(unreadable)


@pytest.mark.asvs("11.2.4")
def test_absence_costs_the_work_of_the_present_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """For nobody's account, and for an unreadable hash, one hash with the live parameters is verified."""
    hasher = _hasher(memory_kib=128, time_cost=2)
    worked_on = _watched(monkeypatch)
    hasher.verify_nobody("password")
    hasher.verify("unreadable", "password")
    hasher.verify_nobody("password", like="unreadable")

    assert worked_on == ["$argon2id$v=19$m=128,t=2,p=1"] * 3


def test_absence_costs_the_work_of_what_is_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash that is imitated is not verified itself: its password opens nothing."""
    older = _hasher(memory_kib=32).hash("password")
    hasher = _hasher(memory_kib=128, time_cost=2)
    worked_on = _watched(monkeypatch)
    hasher.verify_nobody("password", like=older)

    assert worked_on == ["$argon2id$v=19$m=32,t=1,p=1"]


def _watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the parameters of every hash of Argon2 that is verified."""
    worked_on: list[str] = []
    verify = argon2.PasswordHasher.verify

    def recording_verify(of: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
        worked_on.append(password_hash.rpartition("$")[0].rpartition("$")[0])
        return verify(of, password_hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", recording_verify)
    return worked_on


@pytest.mark.asvs("11.2.2")
def test_a_hash_of_other_parameters_is_verified_and_outdated(hasher: Argon2PasswordHasher) -> None:
    """So it can be replaced at the next sign-in; a present one is not."""
    older = _hasher(memory_kib=32).hash("password")

    assert hasher.verify(older, "password")
    assert hasher.is_outdated(older)
    assert not hasher.is_outdated(hasher.hash("password"))


@pytest.mark.parametrize("failure", ["Memory allocation error", "Threading failure"])
def test_a_lack_of_memory_is_no_wrong_password(
    hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """It passes, so the answer is to come again; nobody is told that their password was wrong."""

    def failing(error: type[Exception]) -> Callable[..., object]:
        def fail(*_: object) -> object:
            raise error(failure)

        return fail

    monkeypatch.setattr(argon2.PasswordHasher, "hash", failing(argon2.exceptions.HashingError))
    monkeypatch.setattr(argon2.PasswordHasher, "verify", failing(argon2.exceptions.VerificationError))

    for call in (
        lambda: hasher.hash("password"),
        lambda: hasher.verify("$argon2id$", "password"),
        lambda: hasher.verify_nobody("password"),
    ):
        with pytest.raises(OverloadedError):
            call()


# --- the bulkhead -----------------------------------------------------------------------------------------------------


class _Gate:
    """Stands for Argon2's work: holds every hash up until it is opened, and knows how many were in at once."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.most_at_once = 0
        self._inside = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        self._open.set()

    def pass_through(self, _password: str) -> str:
        with self._lock:
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        self.arrived.release()
        assert self._open.wait(30)
        with self._lock:
            self._inside -= 1
        return "hash"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Gate]:
    """Opened at the end, so that no thread is left behind."""
    gate = _Gate()
    hashing = argon2.PasswordHasher.hash

    def hash_or_wait(of: argon2.PasswordHasher, password: str) -> str:
        return gate.pass_through(password) if password == "gated" else hashing(of, password)

    monkeypatch.setattr(argon2.PasswordHasher, "hash", hash_or_wait)
    yield gate
    gate.open()


@pytest.mark.asvs("15.2.2")
def test_so_many_at_work_so_many_waiting_and_not_one_more(gate: _Gate) -> None:
    """Whoever comes past the bound is told at once, and the bound holds again afterwards."""
    hasher = _hasher(slots=2, queue=3)
    with ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(hasher.hash, "gated") for _ in range(20)]
        first_done = list(itertools.islice(as_completed(futures, timeout=30), 15))
        assert all(gate.arrived.acquire(timeout=30) for _ in range(2))
        gate.open()
        answers = [future.result() for future in futures if future not in first_done]

    assert [type(future.exception()) for future in first_done] == [OverloadedError] * 15
    assert answers == ["hash"] * 5
    assert gate.most_at_once == 2
    assert hasher.hash("gated") == "hash"


def test_nobody_waits_past_their_deadline(gate: _Gate) -> None:
    """Whoever gets no place in time is told so, and leaves their place in the queue."""
    hasher = _hasher(slots=1, queue=1)
    with ThreadPoolExecutor(1) as pool:
        at_work = pool.submit(hasher.hash, "gated")
        assert gate.arrived.acquire(timeout=30)
        for _ in range(3):
            with deadline_after(0.01), pytest.raises(DeadlineExceededError):
                hasher.verify_nobody("password")
        gate.open()

        assert at_work.result(30) == "hash"


def test_hashing_gives_way_to_other_work(hasher: Argon2PasswordHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The priority of the threads that hash is lowered, not that of their callers."""
    before = _niceness()
    monkeypatch.setattr(argon2.PasswordHasher, "hash", lambda *_: str(_niceness()))

    assert int(hasher.hash("password")) >= 10
    assert before == _niceness()


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
