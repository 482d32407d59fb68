"""Troubles with the database while requests are served, and what those who ask are told."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tests.integration.postgres.proxy import Proxy
from tests.integration.replicas.instances import Installation, token_of
from tests.soak.outcomes import Tally, upper_bound
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.pgbouncer import PgBouncer
    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User
    from userservice_core.http.messages import Response

_ADDRESSES: Final = "/users/me/addresses"
_STREET: Final = {"city": "Paris", "postalCode": "75001", "countryCode": "FR"}
_ASKED_AGAIN_AT_MOST: Final = 50
_ASKED_AGAIN_SECONDS: Final = 20.0
_MAY_FAIL: Final = 0.001
_WRITERS: Final = 4


class Writer:
    """
    Somebody who writes, each time under a key, and asks again under it when they are told that nobody knows.

    Attributes:
        done: How many writes were told to be done.
        failed: Answers to writes that were not, and should have been.
        asked_again: How often nobody knew.
    """

    def __init__(self, service: UserService, user: User) -> None:
        self.user = user
        self.done = 0
        self.failed: list[tuple[int, bytes]] = []
        self.asked_again = 0
        self._client = PipelineClient(service.pipeline)
        self._token = token_of(service, user)

    def write(self) -> None:
        """Write once."""
        key = str(uuid.uuid4())
        answer, is_in_doubt = self.post(key), False
        gives_up_at = time.monotonic() + _ASKED_AGAIN_SECONDS
        for _ in range(_ASKED_AGAIN_AT_MOST):
            # Who asks again while the first is still at work is told to wait.
            if not (is_unknown(answer) or (is_in_doubt and answer.status == 409)) or time.monotonic() >= gives_up_at:
                break
            is_in_doubt = True
            self.asked_again += 1
            answer = self.post(key)
        self.note(answer)

    def post(self, key: str) -> Response:
        """Ask for the write of *key*."""
        content = {**_STREET, "addressLine1": key}
        return self.send("POST", _ADDRESSES, content, ("idempotency-key", key))

    def note(self, answer: Response) -> None:
        """Take note of the last answer to a write, and make room for the next one."""
        if answer.status != 201:
            self.failed.append((answer.status, answer.body))
            return
        self.done += 1
        # Nobody may have more than a few.
        eventually(lambda: self.send("DELETE", f"{_ADDRESSES}/{json_of(answer)['id']}").status in {204, 404})

    def send(self, method: str, target: str, content: Any = None, *headers: tuple[str, str]) -> Response:  # noqa: ANN401 - JSON
        """Send a request of theirs."""
        return send_json(self._client, method, target, content, token=self._token, headers=headers)


def is_unknown(answer: Response) -> bool:
    """Whether an answer says that nobody knows, and when to ask again."""
    return (
        answer.status == 503
        and json_of(answer)["type"] == f"{TYPE_PREFIX}outcome-unknown"
        and answer.header("retry-after") is not None
    )


def ambiguous_commits(dsn: str, folder: Path, *, commits: int, seed: int) -> Tally:
    """
    Break the line at each COMMIT, before or after the server gets it, and ask again under the same key.

    A write that is not there is lost, and one that is there more often than it was asked for is doubled.
    """
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    with Proxy(dsn) as line, _writers(_installed(line.dsn, folder), 1) as (_, (writer,)):
        untold = 0
        for _ in range(commits):
            key = str(uuid.uuid4())
            # A line that the last break has left is found out here, and not under the write.
            eventually(lambda: writer.send("GET", "/users/me").status == 200)
            side = chance.choice(("breaks_before", "breaks_after"))
            setattr(line, side, b"COMMIT")
            untold += not is_unknown(writer.post(key))
            setattr(line, side, None)
            last: list[Response] = []
            eventually(lambda: not _is_to_be_asked_again(last, writer, key))  # noqa: B023 - called at once
            writer.note(last[-1])
        there = _written(dsn, writer.user)
    return Tally(
        trials=commits,
        lost=max(0, commits - there),
        doubled=max(0, there - commits),
        failed=untold > 0 or bool(writer.failed),
    )


def _is_to_be_asked_again(answers: list[Response], writer: Writer, key: str) -> bool:
    answers.append(writer.post(key))
    return answers[-1].status in {409, 503}


def storm(dsn: str, folder: Path, *, writes: int) -> Tally:
    """
    Let a tenth of the transactions meet a deadlock at their COMMIT, and end the backend of another tenth before it.

    Fewer than one in a thousand may be told that it failed, and each that was told to be done is there once.
    """
    with psycopg.connect(dsn, autocommit=True) as observer:
        observer.execute(_TROUBLES)
    with _writers(_installed(dsn, folder), _WRITERS) as (service, writers):
        with ThreadPoolExecutor(_WRITERS) as threads:
            list(threads.map(lambda number: writers[number % _WRITERS].write(), range(writes)))
        retried = _counted(service, "database_retry")
        there = sum(_written(dsn, writer.user) for writer in writers)
    done = sum(writer.done for writer in writers)
    failures = sum(len(writer.failed) for writer in writers)
    # What the rate is at least, at 95 %.
    rate = 1 - upper_bound(writes - failures, writes) if failures else 0.0
    return Tally(
        trials=writes,
        lost=max(0, done - there),
        doubled=max(0, there - done - failures),
        failed=rate > _MAY_FAIL or retried < writes / 10,
        figures={
            "writes that failed": failures,
            "transactions run again": retried,
            "asked again": sum(writer.asked_again for writer in writers),
        },
    )


_TROUBLES: Final = """
CREATE FUNCTION meet_trouble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.1 THEN
        IF TG_ARGV[0] = 'deadlock' THEN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END IF;
        PERFORM pg_terminate_backend(pg_backend_pid());
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER deadlock AFTER INSERT ON addresses DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION meet_trouble('deadlock');
CREATE TRIGGER terminated AFTER INSERT ON addresses FOR EACH STATEMENT EXECUTE FUNCTION meet_trouble('terminated');
"""


def stall(dsn: str, folder: Path, *, calls: int, pool_size: int = 2, seconds: float = 1.0) -> Tally:
    """
    Lock a table that requests read until all of them have been answered, and ask meanwhile what needs no database.

    Requests for the table are refused in time with when to come again; all else is answered as ever, and so is the
    first request after the lock.
    """
    installation = _installed(dsn, folder)
    settings = {
        "DATABASE_POOL_SIZE": f"{pool_size}",
        "DATABASE_POOL_TIMEOUT_SECONDS": f"{seconds / 2}",
        "REQUEST_TIMEOUT_SECONDS": f"{seconds}",
    }
    with (
        _writers(installation, 1, **settings) as (_, (writer,)),
        psycopg.connect(dsn) as locker,
        psycopg.connect(dsn, autocommit=True) as observer,
        ThreadPoolExecutor(calls) as threads,
    ):
        aside = _Aside(writer)
        assert aside.ask() == aside.expected
        locker.execute("LOCK TABLE users")
        blocked = [threads.submit(writer.send, "GET", "/users/me") for _ in range(calls)]
        eventually(lambda: _waiting_for_locks(observer) >= pool_size)
        answered, most = [aside.ask()], 0
        while not all(each.done() for each in blocked):
            answered.append(aside.ask())
            most = max(most, _waiting_for_locks(observer))
        refused = [each.result() for each in blocked]
        locker.rollback()
        after = writer.send("GET", "/users/me").status
    return Tally(
        trials=calls,
        failed=(
            any(each.status != 503 or each.header("retry-after") is None for each in refused)
            or any(each != aside.expected for each in answered)
            or most > pool_size
            or after != 200
        ),
        figures={"rounds of other requests meanwhile": len(answered), "waiting for the lock": most, "after it": after},
    )


class _Aside:
    """Who asks for what needs no database."""

    def __init__(self, writer: Writer) -> None:
        check = {"userId": str(writer.user.id), "permissions": ["user:list"]}
        self._asked: tuple[Callable[[], Response], ...] = (
            lambda: writer.send("GET", "/.well-known/jwks.json"),
            lambda: writer.send("GET", "/health/live"),
            lambda: writer.send("GET", "/health/ready"),
            lambda: writer.send("POST", "/auth/check-permissions", check),
        )
        self.expected = [200] * len(self._asked)
        # What may be done is in memory from then on.
        self.ask()

    def ask(self) -> list[int]:
        """Ask for each, and return the statuses."""
        return [ask().status for ask in self._asked]


def _waiting_for_locks(observer: psycopg.Connection) -> int:
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'userservice' AND wait_event_type = 'Lock'"
    ).fetchone()
    return 0 if row is None else int(row[0])


def slowness(dsn: str, folder: Path, *, delays: tuple[float, ...], seconds: float, calls: int) -> Tally:
    """
    Let all that goes to the database and back be late, and be as fast as before again.

    What can be had within the deadline is, all else is refused by then, and nothing is left of it afterwards.
    """
    wrong: dict[str, float | str] = {}
    settings = {"DATABASE_POOL_SIZE": "4", "REQUEST_TIMEOUT_SECONDS": f"{seconds}"}
    with (
        Proxy(dsn) as line,
        _writers(_installed(line.dsn, folder), 1, **settings) as (_, (writer,)),
        ThreadPoolExecutor(calls) as threads,
    ):
        for delay in delays:
            line.delay_seconds = delay
            began = time.monotonic()
            answers = list(threads.map(lambda _: writer.send("GET", "/users/me"), range(calls)))
            # All of them had the same deadline, and then a moment.
            is_late = time.monotonic() - began > seconds + 1.5
            line.delay_seconds = 0.0
            statuses = {answer.status for answer in answers}
            wanted = {503} if 2 * delay >= seconds else {200}
            untimed = any(answer.status == 503 and answer.header("retry-after") is None for answer in answers)
            first = writer.send("GET", "/users/me").status
            if statuses != wanted or untimed or is_late or first != 200:
                wrong[f"{delay} s"] = f"{statuses}, first after it {first}, late {is_late}"
    return Tally(trials=len(delays) * calls, failed=bool(wrong), figures=wrong)


def pooler_troubles(pooler: PgBouncer, dsn: str, folder: Path, *, seconds: float, rounds: int) -> Tally:
    """
    Pause the pooler and let it go on, and kill and start it, while there are writes.

    Args:
        pooler: In front of the server of *dsn*.
        dsn: Of the database itself.
        folder: Of the installation.
        seconds: How long a pause lasts.
        rounds: How often both are done.
    """
    name = dsn.rsplit("/", 1)[1]
    installation = _installed(pooler.dsn(name), folder)
    with _writers(installation, _WRITERS, DATABASE_PREPARED_STATEMENTS="false") as (_, writers):
        ended = threading.Event()
        with ThreadPoolExecutor(_WRITERS) as threads:
            writing = [threads.submit(_write_until, writer, ended) for writer in writers]
            try:
                for _ in range(rounds):
                    _go_on(writers)
                    pooler.administer(f"PAUSE {name}")
                    ended.wait(seconds)
                    pooler.administer(f"RESUME {name}")
                    _go_on(writers)
                    pooler.kill9()
                    pooler.start()
                _go_on(writers)
            finally:
                ended.set()
            for each in writing:
                each.result(30)
        there = sum(_written(dsn, writer.user) for writer in writers)
    done = sum(writer.done for writer in writers)
    failures = [failure for writer in writers for failure in writer.failed]
    return Tally(
        trials=done,
        lost=max(0, done - there),
        doubled=max(0, there - done),
        failed=bool(failures),
        figures={f"failure {number}": f"{failure}" for number, failure in enumerate(failures[:3])},
    )


def _write_until(writer: Writer, ended: threading.Event) -> None:
    while not ended.is_set():
        writer.write()


def _go_on(writers: list[Writer]) -> None:
    """Wait until each has written some more."""
    wanted = [writer.done + 3 for writer in writers]
    eventually(lambda: all(writer.done >= number for writer, number in zip(writers, wanted, strict=True)))


def _installed(dsn: str, folder: Path) -> Installation:
    return Installation(primary=dsn, replicas=(), folder=folder)


@contextlib.contextmanager
def _writers(installation: Installation, number: int, **settings: str) -> Iterator[tuple[UserService, list[Writer]]]:
    """Serve, and have users who write."""
    users = [installation.add_administrator() for _ in range(number)]
    with installation.instance(background=True, **settings) as service:
        yield service, [Writer(service, user) for user in users]


def _written(dsn: str, user: User) -> int:
    """Return how many addresses were added, as the outbox tells."""
    with psycopg.connect(dsn, autocommit=True) as observer:
        row = observer.execute(
            "SELECT count(*) FROM outbox WHERE type LIKE '%%address.added%%' AND aggregateid = %s", [str(user.id)]
        ).fetchone()
    return 0 if row is None else int(row[0])


def _counted(service: UserService, what: str) -> int:
    text, _ = service.metrics.render()
    prefix = "userservice_occurrences_total{"
    lines = (line for line in text.decode().splitlines() if line.startswith(prefix) and f'what="{what}"' in line)
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
