"""
A server that is asked for more than it can do: how much of it is done all the same, and how the rest is told.

Requests are sent when they are due, whatever became of those before (an open loop), and an answer is timed from then.
The server has one processor of its own, where there are several: what sends has another one, or it would take away what
it measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import psutil
import psycopg

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import OURS, Server, settings_for
from tests.soak.outcomes import Tally
from tests.stopwatch import post
from userservice_core.bootstrap import bootstrap
from userservice_core.config import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

OK: Final = 200
REFUSED: Final = 503
_ACCOUNTS: Final = 40
_CALLERS: Final = 6
_PAUSE_SECONDS: Final = 0.1
_GIVE_UP_SECONDS: Final = 30.0
_SAMPLE_SECONDS: Final = 0.1
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RETRY_AFTER: Final = re.compile(rb"(?i)\r\nretry-after: *(\d+)\r\n")


@attrs.frozen
class Answer:
    """
    What became of a request.

    Attributes:
        status: 0 where the connection was lost.
        seconds: From when it was due.
        retry_after: None where none was told.
    """

    status: int
    seconds: float
    retry_after: int | None = None


@attrs.frozen
class Answers:
    """What became of many, in how long."""

    seconds: float
    answers: Sequence[Answer]

    @property
    def statuses(self) -> dict[int, int]:
        """How many had which status."""
        return dict(Counter(answer.status for answer in self.answers))

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return self.statuses.get(OK, 0) / self.seconds

    def quantile(self, share: float, status: int) -> float:
        """Return within how many seconds that share of the answers with *status* came; 0 without any."""
        taken = sorted(answer.seconds for answer in self.answers if answer.status == status)
        return taken[min(int(share * len(taken)), len(taken) - 1)] if taken else 0.0


class _Connection(asyncio.Protocol):
    """A connection with one request under way at most."""

    def __init__(self) -> None:
        self.is_open = True
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, int | None]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[: end + 2])
        length = _LENGTH.search(head)
        if len(self._received) < end + 4 + int(length[1] if length else 0):
            return
        told = _RETRY_AFTER.search(head)
        self._received.clear()
        self._settle((int(head[9:12]), int(told[1]) if told else None))

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # that it is lost is all that matters
        self.is_open = False
        self._settle((0, None))

    async def send(self, request: bytes) -> tuple[int, int | None]:
        """Send *request*, and return the status and what Retry-After says."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        if not self.is_open:
            return 0, None
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, _GIVE_UP_SECONDS)
        except TimeoutError:
            self.close()
            return 0, None

    def close(self) -> None:
        """Close it."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _settle(self, answer: tuple[int, int | None]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)


class Callers:
    """Connections to a port, opened when none is free."""

    def __init__(self, port: int) -> None:
        """Open none yet."""
        self._port = port
        self._free: list[_Connection] = []
        self._opened: list[_Connection] = []

    async def call(self, request: bytes, *, due: float | None = None) -> Answer:
        """Send *request*, which was due at a time of the monotonic clock; now if none is given."""
        due = time.monotonic() if due is None else due
        connection = next((one for one in iter(self._take, None) if one.is_open), None) or await self._open()
        if connection is None:
            return Answer(0, time.monotonic() - due)
        status, told = await connection.send(request)
        self._free.append(connection)
        return Answer(status, time.monotonic() - due, told)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._opened:
            connection.close()

    def _take(self) -> _Connection | None:
        return self._free.pop() if self._free else None

    async def _open(self) -> _Connection | None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._port)
        except OSError:
            return None
        self._opened.append(connection)
        return connection


async def closed_loop(callers: Callers, requests: Sequence[bytes], *, count: int, seconds: float) -> Answers:
    """Let *count* callers send for *seconds*, each as soon as it was answered, or a moment later if it was refused."""
    answers: list[Answer] = []
    began = time.monotonic()

    async def send(number: int) -> None:
        while time.monotonic() < began + seconds:
            answers.append(await callers.call(requests[number % len(requests)]))
            number += count
            if answers[-1].status != OK:
                await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(send(number) for number in range(count)))
    return Answers(time.monotonic() - began, answers)


async def open_loop(callers: Callers, requests: Sequence[bytes], *, rate: float, seconds: float) -> Answers:
    """Send *rate* requests a second at moments of chance for *seconds*, and wait for all answers."""
    rng = random.Random(44)  # noqa: S311 - when a request comes is no secret
    began = due = time.monotonic()
    calls: list[asyncio.Task[Answer]] = []
    while due < began + seconds:
        due += rng.expovariate(rate)
        await asyncio.sleep(max(due - time.monotonic(), 0))
        calls.append(asyncio.create_task(callers.call(requests[len(calls) % len(requests)], due=due)))
    answers = await asyncio.gather(*calls)
    # What is answered after the end was admitted before it, as at the beginning nobody was: both count once.
    return Answers(max(time.monotonic() - began, seconds), answers)


async def polite(callers: Callers, request: bytes, answers: list[Answer]) -> int:
    """
    Send *request* until it is answered by something else than a refusal, and return its status.

    Each time it waits for as long as it was told, and for up to a second more, by chance.
    """
    while True:
        answer = await callers.call(request)
        answers.append(answer)
        if answer.status != REFUSED:
            return answer.status
        assert answer.retry_after is not None, "a refusal that does not say when to come again"
        await asyncio.sleep(answer.retry_after + random.random())  # noqa: S311 - when it comes again is no secret


def request_bytes(method: str, path: str, *, body: object = None, token: str | None = None) -> bytes:
    """Return a request of HTTP/1.1 as it is sent."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
    if body is not None:
        head += "Content-Type: application/json\r\n"
    if token is not None:
        head += f"Authorization: Bearer {token}\r\n"
    return head.encode() + b"\r\n" + content


@attrs.frozen
class Scene:
    """
    A server, and requests to it.

    Attributes:
        logins: Of each account.
        read: What needs no hash.
    """

    server: Server
    logins: Sequence[bytes]
    read: bytes

    def run(self, scenario: Callable[[Callers], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what the scenario returns
        """Run what is to happen with connections of its own."""

        async def within() -> object:
            callers = Callers(self.server.port)
            try:
                return await scenario(callers)
            finally:
                callers.close()
                await asyncio.sleep(0)

        return asyncio.run(within())

    def processor_seconds(self) -> float:
        """Return what the server has used."""
        used = 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used += times.user + times.system
        return used

    @contextlib.contextmanager
    def memory_watched(self) -> Iterator[list[int]]:
        """Give a list that in the end has how much memory the server's processes had, time and again, in bytes."""
        resident: list[int] = [self._resident()]
        ends = threading.Event()

        def watch() -> None:
            while not ends.wait(_SAMPLE_SECONDS):
                resident.append(self._resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield resident
        finally:
            ends.set()
            watcher.join()
            resident.append(self._resident())

    def _resident(self) -> int:
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def _processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.server.pid)
        return [parent, *parent.children(recursive=True)]


@contextlib.contextmanager
def scene(dsn: str, folder: Path, **settings: str) -> Iterator[Scene]:
    """Serve accounts on the database *dsn*, on one processor, with the bounds that are the default."""
    fields = {field.name: field.default for field in attrs.fields(Settings)}
    bounds = {name: str(fields[name.lower()]) for name in ("DATABASE_WAIT_SECONDS", "HASHING_WAIT_SECONDS")}
    environment = settings_for(dsn, folder, **{**bounds, **settings})
    emails = [f"caller-{number}@example.com" for number in range(_ACCOUNTS)]
    with bootstrap(Settings.from_environment(environment), background=False) as service:
        for email in emails:
            assert post(service.pipeline, "/auth/register", email=email, password=PASSWORD).status == 201
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("UPDATE users SET status = 'active', email_verified = true")
        signed_in = post(service.pipeline, "/auth/login", email=emails[0], password=PASSWORD)
    token = json.loads(signed_in.body)["accessToken"]
    logins = [request_bytes("POST", "/auth/login", body={"email": email, "password": PASSWORD}) for email in emails[1:]]
    first = min(os.sched_getaffinity(0))
    with Server("starlette", environment=environment, program=("taskset", "--cpu-list", str(first), *OURS)) as server:
        yield Scene(server, logins, request_bytes("GET", "/users/me", token=token))


LONGEST_REFUSAL_SECONDS: Final = 0.1
LONGEST_WAIT_SECONDS: Final = 1.0
RECOVERY_SECONDS: Final = 5.0
MEMORY_BYTES: Final = 300 * 2**20
LATER_THAN_IDEAL: Final = 1.3
_READS_A_SECOND: Final = 10.0
_PEAK_SECONDS: Final = 2.0
_HALF: Final = 0.5
_MOST_TRIES: Final = 10


@attrs.frozen
class _Rate:
    """What good answers there were in a second, and in a second of the server's processor."""

    of_wall: float
    of_processor: float

    @classmethod
    def of(cls, answers: Answers, processor_seconds: float) -> _Rate:
        good = answers.statuses.get(OK, 0)
        return cls(good / answers.seconds, good / max(processor_seconds, 0.01))

    def share_of(self, peak: _Rate) -> float:
        """
        Return how much of *peak* it is.

        Where other programs have taken the processor away, only what the work has cost can be compared.
        """
        return max(self.of_wall / peak.of_wall, min(self.of_processor / peak.of_processor, 1.0))


def _measured(scene: Scene, scenario: Callable[[Callers], Awaitable[Answers]]) -> tuple[Answers, _Rate]:
    used = scene.processor_seconds()
    answers: Answers = scene.run(scenario)
    return answers, _Rate.of(answers, scene.processor_seconds() - used)


def peak_of(scene: Scene, *, seconds: float = _PEAK_SECONDS) -> _Rate:
    """Return how many sign-ins the server does while it always has some to do, and none too many."""

    async def busy(callers: Callers) -> Answers:
        return await closed_loop(callers, scene.logins, count=_CALLERS, seconds=seconds)

    answers, rate = _measured(scene, busy)
    assert set(answers.statuses) <= {OK, REFUSED}, answers.statuses
    return rate


def overloaded(scene: Scene, peak: _Rate, *, times: float, seconds: float, least_share: float, strictly: bool) -> Tally:
    """
    Send so many times what the server can do, and see what it does, and how it tells the rest; then only half of it.

    Args:
        least_share: Of the peak, that is done all the same.
        strictly: Whether times of answers count, too: they do where nobody else uses the machine.
    """

    async def too_much(callers: Callers) -> Answers:
        return await open_loop(callers, scene.logins, rate=times * peak.of_wall, seconds=seconds)

    async def half(callers: Callers) -> Answers:
        return await open_loop(callers, scene.logins, rate=_HALF * peak.of_wall, seconds=_PEAK_SECONDS)

    with scene.memory_watched() as resident:
        answers, rate = _measured(scene, too_much)
    ended = time.monotonic()
    after: Answers = scene.run(half)
    while set(after.statuses) != {OK} and time.monotonic() - ended < RECOVERY_SECONDS:
        after = scene.run(half)
    share = rate.share_of(peak)
    refused_p99 = answers.quantile(0.99, REFUSED)
    accepted_p99 = answers.quantile(0.99, OK)
    told = [answer.retry_after for answer in answers.answers if answer.status == REFUSED]
    wrong = {
        "something else than an answer or a refusal": set(answers.statuses) != {OK, REFUSED},
        "refusals that do not say when to come again": None in told,
        "too little was done": share < least_share,
        "it is not as before afterwards": set(after.statuses) != {OK},
        "memory": max(resident) - resident[0] > MEMORY_BYTES,
        "answers too late": strictly and accepted_p99 > LONGEST_WAIT_SECONDS,
        "refusals too late": strictly and refused_p99 > LONGEST_REFUSAL_SECONDS,
    }
    name = f"{times:g} times"
    return Tally(
        trials=len(answers.answers),
        failed=any(wrong.values()),
        figures={
            f"{name}: done, of the peak": round(share, 3),
            f"{name}: done, of the peak by the clock": round(rate.of_wall / peak.of_wall, 3),
            f"{name}: accepted p50 and p99, s": f"{answers.quantile(0.5, OK):.3f} {accepted_p99:.3f}",
            f"{name}: refused p50 and p99, s": f"{answers.quantile(0.5, REFUSED):.4f} {refused_p99:.4f}",
            f"{name}: memory, MiB": round((max(resident) - resident[0]) / 2**20, 1),
            f"{name}: answers": str(answers.statuses),
            f"{name}: wrong": ", ".join(what for what, is_wrong in wrong.items() if is_wrong) or "nothing",
        },
    )


def storm(scene: Scene, peak: _Rate, *, count: int, strictly: bool) -> Tally:
    """
    Have *count* callers sign in at once, each on a connection of its own, and come again as they are told.

    Meanwhile somebody reads, whom that is not to concern.

    Args:
        strictly: Whether times count as they are; else, if it took too long, what it cost the processor counts.
    """
    answers: list[Answer] = []
    reads: list[Answer] = []

    async def quiet(callers: Callers) -> Answers:
        return await open_loop(callers, [scene.read], rate=_READS_A_SECOND, seconds=_PEAK_SECONDS)

    async def together(callers: Callers) -> tuple[float, list[int]]:
        began = time.monotonic()
        reading = asyncio.create_task(read(callers))
        statuses = await asyncio.gather(
            *(polite(callers, scene.logins[number % len(scene.logins)], answers) for number in range(count))
        )
        seconds = time.monotonic() - began
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return seconds, statuses

    async def read(callers: Callers) -> None:
        while True:
            reads.append(await callers.call(scene.read))
            await asyncio.sleep(1 / _READS_A_SECOND)

    before: Answers = scene.run(quiet)
    used = scene.processor_seconds()
    with scene.memory_watched() as resident:
        seconds, statuses = scene.run(together)
    used = scene.processor_seconds() - used
    everything = Answers(seconds, answers)
    later = seconds * peak.of_wall / count
    dearer = used * peak.of_processor / count
    beside = Answers(seconds, reads)
    wrong = {
        "not all have signed in": Counter(statuses) != {OK: count},
        "something else than an answer or a refusal": set(everything.statuses) - {OK, REFUSED},
        "tries": len(answers) > _MOST_TRIES * count,
        "memory": max(resident) - resident[0] > MEMORY_BYTES,
        "readers were refused": set(beside.statuses) != {OK},
        "it took too long": (later if strictly else min(later, dearer)) > LATER_THAN_IDEAL,
        "answers too late": strictly and everything.quantile(0.99, OK) > LONGEST_WAIT_SECONDS,
    }
    return Tally(
        trials=count,
        failed=any(wrong.values()),
        figures={
            "storm: seconds, of the ideal": round(later, 3),
            "storm: processor, of the ideal": round(dearer, 3),
            "storm: accepted p50 and p99, s": f"{everything.quantile(0.5, OK):.3f} {everything.quantile(0.99, OK):.3f}",
            "storm: refused p50 and p99, s": (
                f"{everything.quantile(0.5, REFUSED):.4f} {everything.quantile(0.99, REFUSED):.4f}"
            ),
            "storm: tries of each": round(len(answers) / count, 2),
            "storm: memory, MiB": round((max(resident) - resident[0]) / 2**20, 1),
            "storm: reads p50, s, and before": f"{beside.quantile(0.5, OK):.4f} {before.quantile(0.5, OK):.4f}",
            "storm: wrong": ", ".join(what for what, is_wrong in wrong.items() if is_wrong) or "nothing",
        },
    )
