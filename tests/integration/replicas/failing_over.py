"""Servers that take over, and what those who write are told meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Final, LiteralString, Self
from uuid import uuid4

import psycopg

from tests.integration.postgres.proxy import Proxy
from tests.integration.replicas.instances import Installation, address, token_of
from tests.servers.replication import ReplicatedPostgres
from tests.soak.outcomes import Tally
from userservice_core.bootstrap import bootstrap_relay
from userservice_core.http.problems import TYPE_PREFIX
from userservice_core.infrastructure.postgres.migrate import upgrade
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.postgres import PostgresServer
    from tests.servers.replication import PostgresReplica
    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User

_DATABASE: Final = "userservice"
RECOVERY_SECONDS: Final = 3.0
"""From the end of the primary to the first write that is told to be done by another one."""

BACK_SECONDS: Final = 1.0
"""From the moment when the primary accepts connections again."""

_SETTLED_SECONDS: Final = 0.1
"""What a server had sent is received by then, or lost with it."""

SYNCHRONOUS: Final = "ANY 1 (replica_1, replica_2)"


class Ledger:
    """
    Somebody who writes without a pause, and notes what they were told.

    Attributes:
        done: What was told to be done, with the time.
        refused: Other answers.
        untimed: How many of those did not say when to try again.
    """

    def __init__(self, service: UserService, user: User) -> None:
        self._client = PipelineClient(service.pipeline)
        self._token = token_of(service, user)
        self._user = user
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done: list[tuple[float, str]] = []
        self.refused: list[tuple[int, Any]] = []
        self.untimed = 0

    @property
    def unknown(self) -> int:
        """How often nobody could tell whether it was done."""
        return sum(answer["type"] == f"{TYPE_PREFIX}outcome-unknown" for _, answer in self.refused)

    def write(self, name: str) -> int:
        """Write once, and return the status."""
        body = {"addressLine1": name, "city": "Paris", "postalCode": "75001", "countryCode": "FR"}
        response = send_json(self._client, "POST", "/users/me/addresses", body, token=self._token)
        if response.status == 201:
            self.done.append((time.monotonic(), name))
            answer = json_of(response)
            # Nobody may have more than a few.
            send_json(self._client, "DELETE", f"/users/me/addresses/{answer['id']}", token=self._token)
        else:
            self.refused.append((response.status, json_of(response)))
            self.untimed += response.header("retry-after") is None
        return response.status

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def first_done_after(self, moment: float) -> float:
        """Wait for a write that is told to be done after *moment*, and return how long after."""
        return eventually(lambda: next((at for at, _ in self.done if at > moment), 0.0)) - moment

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self.write(f"{number}")


@contextlib.contextmanager
def own_servers(folder: Path) -> Iterator[ReplicatedPostgres]:
    """Start servers that commit on one replica beside the primary, and share a migrated database."""
    with ReplicatedPostgres(folder / f"failover-{uuid4().hex}") as started:
        with psycopg.connect(started.primary.dsn(), autocommit=True) as primary:
            primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{SYNCHRONOUS}'".encode())
            primary.execute("SELECT pg_reload_conf()")
        upgrade(started.primary.dsn(_DATABASE))
        started.catch_up()
        yield started


def fail_over(servers: ReplicatedPostgres, folder: Path) -> Tally:
    """
    Kill the primary, promote a replica, and start the old primary again; count what was lost, and what the old one got.

    One process has an address that names all servers, one a name that is given to the new one, as in DNS, and one
    starts when the old primary is back, which stands first in its address.
    """
    old = servers.primary
    with Proxy(old.dsn(_DATABASE)) as line, contextlib.ExitStack() as opened:
        named = _installation(servers, folder, primary=line.dsn)
        listed = _installation(servers, folder, primary=_several_hosts(old, *servers.replicas))
        users = [listed.add_administrator() for _ in range(3)]
        ledgers = [
            opened.enter_context(Ledger(opened.enter_context(installation.instance()), user))
            for installation, user in zip((listed, named), users[:2], strict=True)
        ]
        _go_on(*ledgers)
        killed_at = time.monotonic()
        old.kill9()
        new, other = _further(servers.replicas)
        new.promote()
        line.lead_to(new.dsn(_DATABASE))
        took_seconds = [ledger.first_done_after(killed_at) for ledger in ledgers]
        other.follow(new)
        _go_on(*ledgers)

        old.start()
        with psycopg.connect(old.dsn(_DATABASE), autocommit=True) as observer:
            # No replica follows it any more, and a split brain waits for none.
            observer.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            observer.execute("SELECT pg_reload_conf()")
        before = [_events(old, user) for user in users]
        _end_connections(new)
        ledgers.append(opened.enter_context(Ledger(opened.enter_context(listed.instance()), users[2])))
        _go_on(*ledgers)
        opened.close()
        written_to_old = [_events(old, user) - number for user, number in zip(users, before, strict=True)]
        kept = [_events(new, user) for user in users]
        written_to_old += [_taken_by_relays(listed, old=old, new=new), int(not _is_served_alone(old, folder))]

    told = list(zip(kept, ledgers, strict=True))
    statuses = {status for ledger in ledgers for status, _ in ledger.refused}
    slowest = max(took_seconds)
    lost = sum(max(0, len(ledger.done) - number) for number, ledger in told)
    ghosts = sum(max(0, number - len(ledger.done) - ledger.unknown) for number, ledger in told)
    return Tally(
        trials=1,
        lost=lost,
        ghosts=ghosts + sum(written_to_old),
        failed=slowest > RECOVERY_SECONDS or not statuses <= {503} or any(ledger.untimed for ledger in ledgers),
        figures={"failover seconds": round(slowest, 2), "failover writes": sum(kept)},
    )


def _taken_by_relays(listed: Installation, *, old: PostgresServer, new: PostgresServer) -> int:
    """Relay what waits, as a process does and as a function does; return how many claimed a lane of the old primary."""
    settings, stop = listed.settings(MAIL_URL="console:"), threading.Event()
    with bootstrap_relay(settings, relay_id="a function", write_mail=_drop, background=False) as relay:
        relay.drain(seconds=0.5)
    with bootstrap_relay(settings, relay_id="a process", write_mail=_drop) as relay:
        running = threading.Thread(target=relay.run, args=(stop,))
        running.start()
        try:
            eventually(lambda: _count(new, "SELECT count(*) FROM outbox") == 0)
        finally:
            stop.set()
            running.join()
    return _count(old, "SELECT sum(fence)::int FROM outbox_lane")


def _drop(_: str) -> None:
    """Keep no mail."""


def _is_served_alone(old: PostgresServer, folder: Path) -> bool:
    """Whether a process that sees nothing but the old primary writes to it, which nobody but who fences can prevent."""
    alone = Installation(primary=old.dsn(_DATABASE), replicas=(), folder=folder)
    with alone.instance(background=False) as service:
        return Ledger(service, alone.add_administrator()).write("1") == 201


def restart_primary(installation: Installation, primary: PostgresServer, *, times: int) -> Tally:
    """Kill the primary and start it, some times; count how long writes waited for it, and dead connections after."""
    user = installation.add_administrator()
    slowest, refused_later = 0.0, 0
    with installation.instance() as service, Ledger(service, user) as ledger:
        for _ in range(times):
            _go_on(ledger)
            primary.kill9()
            primary.start()
            slowest = max(slowest, ledger.first_done_after(time.monotonic()))
            refused = len(ledger.refused)
            _go_on(ledger)
            refused_later += len(ledger.refused) - refused
    kept = _events(primary, user, database=installation.database)
    statuses = {status for status, _ in ledger.refused}
    return Tally(
        trials=times,
        lost=max(0, len(ledger.done) - kept),
        ghosts=max(0, kept - len(ledger.done) - ledger.unknown),
        failed=slowest > BACK_SECONDS or refused_later > 0 or not statuses <= {503} or ledger.untimed > 0,
        figures={"restart seconds": round(slowest, 2)},
    )


def _installation(servers: ReplicatedPostgres, folder: Path, *, primary: str) -> Installation:
    replicas = tuple(address(replica, _DATABASE) for replica in servers.replicas)
    return Installation(primary=primary, replicas=replicas, folder=folder)


def _several_hosts(*servers: PostgresServer) -> str:
    parts = [psycopg.conninfo.conninfo_to_dict(server.dsn(_DATABASE)) for server in servers]
    hosts = ",".join(f"{part['host']}:{part['port']}" for part in parts)
    first = parts[0]
    query = "target_session_attrs=read-write"
    return f"postgresql://{first['user']}:{first['password']}@{hosts}/{_DATABASE}?{query}"


def _further(replicas: tuple[PostgresReplica, ...]) -> tuple[PostgresReplica, PostgresReplica]:
    """Return the replica that has received more, and the other, once nothing is on its way to them any more."""
    before: list[int] = []
    received = [_received(replica) for replica in replicas]
    while received != before:
        time.sleep(_SETTLED_SECONDS)
        before, received = received, [_received(replica) for replica in replicas]
    first, second = replicas
    return (first, second) if received[0] >= received[1] else (second, first)


def _received(replica: PostgresReplica) -> int:
    with psycopg.connect(replica.dsn(), autocommit=True) as observer:
        row = observer.execute("SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0


def _events(server: PostgresServer, user: User, *, database: str = _DATABASE) -> int:
    """Return how many addresses were added, as the outbox tells."""
    question = "SELECT count(*) FROM outbox WHERE type LIKE '%%address.added%%' AND aggregateid = %s"
    return _count(server, question, str(user.id), database=database)


def _count(server: PostgresServer, question: LiteralString, *params: str, database: str = _DATABASE) -> int:
    with psycopg.connect(server.dsn(database), autocommit=True) as observer:
        row = observer.execute(question, params).fetchone()
    return int(row[0]) if row else 0


def _go_on(*ledgers: Ledger) -> None:
    """Wait until each has written some more."""
    wanted = [len(ledger.done) + 20 for ledger in ledgers]
    eventually(lambda: all(len(ledger.done) > number for ledger, number in zip(ledgers, wanted, strict=True)))


def _end_connections(server: PostgresServer) -> None:
    """Have every process connect anew, to whatever its address leads to first."""
    with psycopg.connect(server.dsn(), autocommit=True) as observer:
        observer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'userservice'"
        )
