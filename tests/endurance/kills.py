"""
`kill -9`, of processes that answer requests, relay and consume, at each of their steps and at any moment.

All of it at once, on one database and one broker: while one process dies, the others go on. Who sends requests keeps a
ledger of what was answered; what was not answered is unknown, and has to be whole or absent.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg

from tests.e2e.flow import PASSWORD
from tests.e2e.processes import eventually
from tests.endurance import processes
from tests.endurance.forks import KILLED, end, ended, fork, kill, pipe
from tests.endurance.oracle import Oracle
from tests.integration.messaging.effects import PostgresEffects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from tests.endurance.installation import Installation
    from tests.soak.outcomes import Tally

BEFORE_COMMIT: Final = (
    "http.received",
    "register.validated",
    "register.hashed",
    "uow.begun",
    "uow.flushing",
    "uow.before-commit",
)
AFTER_COMMIT: Final = ("uow.committed", "register.stored", "http.answering")
OF_THE_RELAY: Final = ("relay.read", "relay.published", "relay.deleted", "mail.unsealed", "mail.sent")
OF_THE_CONSUMER: Final = ("consumer.applied", "consumer.put-aside")

ANY_MOMENT: Final = "any moment"

TOPICS: Final = ("users", "auth", "access")
_OFTEN_PASSED: Final = frozenset({"relay.read", "relay.published", "relay.deleted", "consumer.applied"})
_REQUESTS_OF_A_PROCESS: Final = 30
_LONGEST_SECONDS: Final = 3.0
_DRAIN_SECONDS: Final = 45.0


def failpoints_of_requests() -> tuple[str, ...]:
    """Return each step of a registration."""
    return (*BEFORE_COMMIT, *AFTER_COMMIT)


# --- requests ---------------------------------------------------------------------------------------------------------


class ProcessDiedError(Exception):
    """The process was killed before it answered, so that the outcome is unknown."""


class Answering:
    """A process that answers requests."""

    def __init__(self, installation: Installation, failpoint: str | None = None, *, background: bool = False) -> None:
        self._connection, theirs = pipe()
        target = partial(processes.answer, background=background)
        self.process = fork(target, installation.with_failpoint(failpoint), theirs, log=installation.log)
        theirs.close()
        # Without a word there is none: it died at its start.
        self.is_ready = self._receive() is not None

    def send(
        self, method: str, path: str, body: object, *, token: str | None = None, key: str | None = None
    ) -> tuple[int, Any]:
        """
        Return status and JSON of the answer.

        Raises:
            ProcessDiedError: If it was killed meanwhile.
        """
        headers = [] if body is None else [("content-type", "application/json")]
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        if key is not None:
            headers.append(("idempotency-key", key))
        try:
            content = b"" if body is None else json.dumps(body).encode()
            self._connection.send((method, path, tuple(headers), content))
        except OSError as error:
            raise ProcessDiedError from error
        answer = self._receive()
        if answer is None:
            raise ProcessDiedError
        status, content = answer
        return status, json.loads(content) if content else None

    def end(self) -> int | None:
        """End it if it still runs, and return how it ended."""
        self._connection.close()
        return ended(self.process, within_seconds=10)

    def _receive(self) -> Any:  # noqa: ANN401 - whatever the process sends
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None


@attrs.define
class _Account:
    """An account, and what its owner knows of it."""

    email: str
    token: str
    last_bio: str | None = None
    unknown_bios: set[str] = attrs.Factory(set)
    addresses: set[str] = attrs.Factory(set)
    address_requests: int = 0


@attrs.define
class Ledger:
    """
    What clients know.

    Attributes:
        registered: E-mails of accounts whose registration was answered with 201.
        refused: Of those that can not be there: the process was killed before its commit.
        unknown: Of those that nobody was told about.
        faults: Answers that there should not have been, and processes that ended by themselves.
        kills: How many processes died at each step, or at any moment.
    """

    registered: set[str] = attrs.Factory(set)
    refused: set[str] = attrs.Factory(set)
    unknown: set[str] = attrs.Factory(set)
    accounts: list[_Account] = attrs.Factory(list)
    faults: list[str] = attrs.Factory(list)
    requests: int = 0
    kills: Counter[str] = attrs.Factory(Counter)

    def killed(self, exit_code: int | None, failpoint: str | None, *, by_itself: bool, log: Path) -> None:
        """Write down how a process ended."""
        if exit_code != KILLED:
            self.faults.append(f"ended with {exit_code} before {failpoint}: {log.read_text()[-2000:]}")
        self.kills[failpoint.partition(":")[0] if failpoint is not None and by_itself else ANY_MOMENT] += 1


class Client:
    """Sends requests one after the other, to processes of its own, of which one after the other is killed."""

    def __init__(self, installation: Installation, ledger: Ledger, name: str, chance: random.Random) -> None:
        self._installation = installation
        self._ledger = ledger
        self._name = name
        self._chance = chance
        self._numbers = itertools.count()
        self._accounts: list[_Account] = []
        self._to_repeat: list[tuple[str, str]] = []

    def open_account(self, answering: Answering) -> None:
        """Register, open the mailed link, and sign in."""
        email = self._new_email()
        self._require(201, answering.send("POST", "/auth/register", {"email": email, "password": PASSWORD}))
        self._ledger.registered.add(email)

        def link() -> str | None:
            mails = self._installation.mailed("verify_email")
            return next((str(mail["token"]) for mail in mails if mail["to"] == email), None)

        eventually(lambda: link() is not None, what=f"a mail to {email}: {self._installation.log.read_text()[-2000:]}")
        self._require(200, answering.send("POST", "/auth/verify-email", {"token": link()}))
        signed_in = self._require(200, answering.send("POST", "/auth/login", {"email": email, "password": PASSWORD}))
        account = _Account(email, signed_in["accessToken"])
        self._accounts.append(account)
        self._ledger.accounts.append(account)

    def be_killed(self, failpoint: str | None, *, begins_with_registration: bool = False) -> None:
        """Send requests to a process until it is killed: at *failpoint*, or at any moment."""
        answering = Answering(self._installation, failpoint)
        timer = threading.Timer(self._chance.uniform(0, 0.5), kill, [answering.process])
        if failpoint is None:
            timer.start()
        died_at_step = True
        try:
            if begins_with_registration and failpoint is not None:
                self._register_and_die(answering, failpoint)
            for _ in range(_REQUESTS_OF_A_PROCESS):
                self.request(answering)
            died_at_step = False
            kill(answering.process)
        except ProcessDiedError:
            pass
        finally:
            timer.cancel()
            exit_code = answering.end()
        self._ledger.killed(exit_code, failpoint, by_itself=died_at_step, log=self._installation.log)

    def _register_and_die(self, answering: Answering, failpoint: str) -> None:
        """Register as the first thing that passes a step, so that it is known whether its commit was before."""
        email = self._new_email()
        step = failpoint.partition(":")[0]
        try:
            answering.send("POST", "/auth/register", {"email": email, "password": PASSWORD})
        except ProcessDiedError:
            (self._ledger.registered if step in AFTER_COMMIT else self._ledger.refused).add(email)
            raise
        self._ledger.faults.append(f"a registration passed {failpoint}")

    def request(self, answering: Answering) -> None:
        """Send one request of any kind, and write down what is known of it."""
        self._ledger.requests += 1
        requests = (self._register, self._change_profile, self._add_address, self._sign_in, self._mistype, self._guess)
        (request,) = self._chance.choices(requests, (3, 4, 2, 2, 1, 1))
        request(answering, self._chance.choice(self._accounts))

    def _register(self, answering: Answering, _account: _Account) -> None:
        """Register somebody; or somebody again whose registration was not answered, under the same key."""
        if self._to_repeat and self._chance.random() < 0.5:
            email, key = self._to_repeat.pop()
        else:
            email, key = self._new_email(), uuid.uuid4().hex + uuid.uuid4().hex
        self._ledger.unknown.add(email)
        self._to_repeat.append((email, key))
        answer = answering.send("POST", "/auth/register", {"email": email, "password": PASSWORD}, key=key)
        self._to_repeat.pop()
        self._require(201, answer)
        self._ledger.unknown.discard(email)
        self._ledger.registered.add(email)

    def _change_profile(self, answering: Answering, account: _Account) -> None:
        bio = uuid.uuid4().hex
        account.unknown_bios.add(bio)
        self._require(200, answering.send("PATCH", "/users/me/profile", {"bio": bio}, token=account.token))
        # What was unknown came before.
        account.last_bio = bio
        account.unknown_bios.clear()

    def _add_address(self, answering: Answering, account: _Account) -> None:
        if account.address_requests >= 50:
            self._change_profile(answering, account)
            return
        account.address_requests += 1
        address = {"addressLine1": "Unter den Linden 77", "city": "Berlin", "countryCode": "DE", "postalCode": "10117"}
        added = self._require(201, answering.send("POST", "/users/me/addresses", address, token=account.token))
        if "id" in added:
            account.addresses.add(added["id"])

    def _sign_in(self, answering: Answering, account: _Account) -> None:
        """And go on with the newest session, since a user has only so many."""
        credentials = {"email": account.email, "password": PASSWORD}
        signed_in = self._require(200, answering.send("POST", "/auth/login", credentials))
        account.token = signed_in.get("accessToken", account.token)

    def _mistype(self, answering: Answering, account: _Account) -> None:
        self._require(401, answering.send("POST", "/auth/login", {"email": account.email, "password": "not this one"}))

    def _guess(self, answering: Answering, _account: _Account) -> None:
        email = f"nobody-{next(self._numbers)}@example.com"
        self._require(401, answering.send("POST", "/auth/login", {"email": email, "password": PASSWORD}))

    def _require(self, status: int, answer: tuple[int, Any]) -> Any:  # noqa: ANN401 - JSON of any shape
        if answer[0] != status:
            self._ledger.faults.append(f"{answer} instead of {status}")
        return answer[1]

    def _new_email(self) -> str:
        return f"{self._name}-{next(self._numbers)}@example.com"


# --- the run ----------------------------------------------------------------------------------------------------------


def kill_run(installation: Installation, *, kills: int, seed: int) -> tuple[Tally, Ledger]:
    """
    Kill about *kills* processes, each step of each kind among them, and judge what is left.

    Returns:
        The tally, whose trials are kills, and what the clients know.
    """
    chance = random.Random(seed)  # noqa: S311 - it is to be the same again
    installation.broker.create_topics([installation.topics.name(topic) for topic in TOPICS])
    oracle = Oracle(installation.dsn)
    PostgresEffects(installation.dsn)
    ledger = Ledger()
    clients = [
        Client(installation, ledger, f"c{number}", random.Random(chance.random()))  # noqa: S311 - as above
        for number in range(2)
    ]
    open_accounts(installation, clients)
    plans = _plans(installation, clients, ledger, chance, kills=kills)
    with ThreadPoolExecutor(len(plans)) as threads:
        for outcome in [threads.submit(_follow, plan) for plan in plans]:
            outcome.result()
    drain(installation, oracle)
    arrivals = {installation.topics.name(topic): installation.topics.arrivals(topic) for topic in TOPICS}
    tally = oracle.judge(arrivals, with_effects=True, trials=sum(len(plan) for plan in plans))
    return with_state(tally, installation, oracle, ledger), ledger


def _follow(plan: Sequence[Callable[[], None]]) -> None:
    for act in plan:
        act()


def open_accounts(installation: Installation, clients: Sequence[Client]) -> None:
    """Open two accounts for each of *clients*."""
    relay = fork(processes.relay, installation.environment, "r0", str(installation.mails), log=installation.log)
    answering = Answering(installation)
    for client in clients:
        for _ in range(2):
            client.open_account(answering)
    answering.end()
    end(relay)


def _plans(
    installation: Installation, clients: Sequence[Client], ledger: Ledger, chance: random.Random, *, kills: int
) -> list[list[Callable[[], None]]]:
    """Return what each of six threads does: two clients, two relays and two consumers, killed again and again."""
    share = max(1, kills // 6)
    points = itertools.cycle(failpoints_of_requests())
    plans: list[list[Callable[[], None]]] = []
    for client in clients:
        plan: list[Callable[[], None]] = []
        for number in range(share):
            # The first time at the first registration, whose outcome is known; later in the midst of other requests.
            is_first = number < len(failpoints_of_requests()) // len(clients) + 1
            times = 1 if is_first else chance.randint(1, 30)
            failpoint = f"{next(points)}:{times}" if is_first or number % 2 else None
            plan.append(partial(client.be_killed, failpoint, begins_with_registration=is_first))
        plans.append(plan)
    for number in range(2):
        of_relay = itertools.islice(itertools.cycle((*OF_THE_RELAY, None)), share)
        of_consumer = itertools.islice(itertools.cycle((*OF_THE_CONSUMER, None)), share)
        for kill_one, name, points_of_kind in ((_kill_relay, "r", of_relay), (_kill_consumer, "m", of_consumer)):
            plans.append(
                [
                    partial(
                        kill_one,
                        installation,
                        ledger,
                        f"{name}{number}",
                        _often(point, chance),
                        chance.uniform(0.1, 0.8),
                    )
                    for point in points_of_kind
                ]
            )
    return plans


def _often(point: str | None, chance: random.Random) -> str | None:
    return None if point is None else f"{point}:{chance.choice((1, 1, 2, 5)) if point in _OFTEN_PASSED else 1}"


def _kill_relay(installation: Installation, ledger: Ledger, name: str, failpoint: str | None, seconds: float) -> None:
    environment, mails = installation.with_failpoint(failpoint), str(installation.mails)
    process = fork(processes.relay, environment, name, mails, log=installation.log)
    _kill(process, ledger, installation, failpoint, seconds)


def _kill_consumer(
    installation: Installation, ledger: Ledger, name: str, failpoint: str | None, seconds: float
) -> None:
    if failpoint is not None and failpoint.startswith("consumer.put-aside"):
        installation.topics.send_garbage("users")
    _kill(consumer(installation, name, failpoint), ledger, installation, failpoint, seconds)


def group_of(installation: Installation) -> str:
    """Return the group that consumes everything."""
    return installation.topics.name("group")


def consumer(installation: Installation, name: str | None, failpoint: str | None = None) -> ForkServerProcess:
    """Start a member of the group; under a name of its own it keeps its partitions over a restart."""
    topics = installation.topics
    membership = processes.Membership(
        servers=tuple(installation.environment["USERSERVICE_KAFKA_BOOTSTRAP_SERVERS"].split(",")),
        group=group_of(installation),
        topics=tuple(topics.name(topic) for topic in TOPICS),
        member_id=name,
    )
    return fork(processes.consume, installation.dsn, membership, failpoint, log=installation.log)


def _kill(
    process: ForkServerProcess, ledger: Ledger, installation: Installation, failpoint: str | None, seconds: float
) -> None:
    """Wait until a process was killed by itself, and do it after a while."""
    code = ended(process, within_seconds=seconds if failpoint is None else _LONGEST_SECONDS)
    ledger.killed(kill(process) if code is None else code, failpoint, by_itself=code is not None, log=installation.log)


def drain(installation: Installation, oracle: Oracle) -> None:
    """Have relays and consumers that nobody kills do what is left, if they can."""
    with running(installation):
        wait_until_drained(installation, oracle)


def wait_until_drained(installation: Installation, oracle: Oracle) -> None:
    """Give what runs the time to publish and consume everything; what is missing then is found by the oracle."""
    topics = [installation.topics.name(topic) for topic in TOPICS]

    def is_done() -> bool:
        with contextlib.closing(psycopg.connect(installation.dsn)) as connection:
            waiting = connection.execute("SELECT count(*) FROM outbox").fetchone()
        return waiting == (0,) and len(oracle.effects()) >= len(oracle.committed(topics))

    deadline = time.monotonic() + _DRAIN_SECONDS
    while not is_done() and time.monotonic() < deadline:
        time.sleep(0.1)


@contextlib.contextmanager
def running(installation: Installation, *, metrics_port: int | None = None) -> Iterator[None]:
    """Run two relays and two consumers for the block; the second relay serves its metrics if there is a port."""
    started = [
        *(
            fork(
                partial(processes.relay, metrics_port=port),
                *(installation.environment, name, str(installation.mails)),
                log=installation.log,
            )
            for name, port in (("r0", None), ("r1", metrics_port))
        ),
        *(consumer(installation, name) for name in ("m0", "m1")),
    ]
    try:
        yield
    finally:
        for process in started:
            end(process)


# --- what is left -----------------------------------------------------------------------------------------------------


def with_state(tally: Tally, installation: Installation, oracle: Oracle, ledger: Ledger) -> Tally:
    """Add what was answered and is not there, and what is there though it cannot be."""
    with contextlib.closing(psycopg.connect(installation.dsn)) as connection:
        stored = {email for (email,) in connection.execute("SELECT email FROM users")}
        bios: dict[str, str | None] = dict(
            connection.execute("SELECT email, bio FROM users JOIN user_profiles USING (user_id)").fetchall()
        )
        addresses = {str(id_) for (id_,) in connection.execute("SELECT address_id FROM addresses")}
    mailed = {mail["to"] for mail in installation.mailed("verify_email")}
    lost = len(ledger.registered - stored) + len(stored - mailed)
    ghosts = len(stored - ledger.registered - ledger.unknown) + len(mailed - stored)
    for account in ledger.accounts:
        lost += len(account.addresses - addresses)
        lost += bios[account.email] not in {account.last_bio, *account.unknown_bios}
    torn = oracle.torn()
    if torn or ledger.faults:
        ledger.faults += [f"torn: {row}" for row in torn]
    return attrs.evolve(
        tally,
        lost=tally.lost + lost,
        ghosts=tally.ghosts + ghosts,
        figures={**tally.figures, "requests": ledger.requests, "torn": len(torn)},
    )
