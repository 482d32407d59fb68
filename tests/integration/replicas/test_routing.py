"""Who serves which read."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import psycopg
import pytest

from tests.integration.postgres.building import new_user, register
from tests.integration.postgres.proxy import Proxy
from tests.integration.replicas.freshness import READS
from tests.integration.replicas.instances import Installation, address, counted, served_by_replicas, token_of
from tests.paths import path_of
from tests.servers.pgbouncer import PgBouncer
from userservice_core.http.routes import ROUTES, Bulkhead
from userservice_core.infrastructure.caching.redis_positions import RedisPositions
from userservice_core.infrastructure.memory import InMemoryMetrics
from userservice_core.infrastructure.postgres.database import Cursor, Database
from userservice_core.infrastructure.postgres.positions import STATE, state_of
from userservice_core.infrastructure.postgres.replicas import Node, ReplicaSet, Timelines
from userservice_core.infrastructure.postgres.unit_of_work import PostgresUnitOfWork
from userservice_core.ports.consistency import Position, Reading, reading_as
from userservice_core.testing.contracts.consistency import PositionMemoryContract, PositionSourceContract
from userservice_core.testing.contracts.races import eventually
from userservice_core.testing.host import PipelineClient, json_of, send_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.replication import ReplicatedPostgres
    from tests.servers.run import ServersOfRun
    from userservice_core.bootstrap import UserService
    from userservice_core.domain.users import User
    from userservice_core.ports.consistency import PositionMemory

_TOKEN: Final = "consistency-token"
# What is never read from a replica: who somebody is, what they may do, and what proves it.
_DECIDING: Final = (b"credentials", b"sessions", b"one_time_tokens", b"revocations", b"mfa_factors", b"service_clients")


@pytest.fixture
def service(replicated: Installation) -> Iterator[UserService]:
    """A process of the installation."""
    with replicated.instance() as opened:
        yield opened


@pytest.fixture
def admin(replicated: Installation, replicated_postgres: ReplicatedPostgres) -> User:
    """Somebody who may do everything, whom all replicas know."""
    user = replicated.add_administrator()
    replicated_postgres.catch_up()
    return user


class _Caller:
    """Somebody who calls one process."""

    def __init__(self, service: UserService, user: User) -> None:
        self._client = PipelineClient(service.pipeline)
        self._token = token_of(service, user)

    def ask(
        self, method: str, target: str, content: dict[str, Any] | None = None, *, carried: str | None = None
    ) -> tuple[dict[str, Any], str | None]:
        """Return the answer, and the token that came with it."""
        headers = () if carried is None else ((_TOKEN, carried),)
        response = send_json(self._client, method, target, content, token=self._token, headers=headers)
        assert response.status < 300, (target, response.status, response.body)
        return (json_of(response) if response.body else {}), response.header(_TOKEN)


def _rename(caller: _Caller, user: User, name: str) -> str:
    """Write by another way than one's own, and return the token."""
    _, token = caller.ask("PUT", f"/admin/users/{user.id}/profile", {"displayName": name})
    assert token is not None
    return token


def _name_of(caller: _Caller, user: User, *, carried: str | None = None) -> object:
    return caller.ask("GET", f"/admin/users/{user.id}/profile", carried=carried)[0]["displayName"]


def test_reads_are_spread_and_writes_are_not(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres
) -> None:
    """Both replicas serve; what is one's own is read from the primary by whoever carries no token."""
    caller = _Caller(service, admin)
    token = _rename(caller, admin, "Ada")
    replicated_postgres.catch_up()
    both = {("replica_read_replica-1", "ok"), ("replica_read_replica-2", "ok")}
    eventually(lambda: _name_of(caller, admin, carried=token) == "Ada" and both <= counted(service).keys())
    began_with = served_by_replicas(service)
    for _ in range(40):
        assert _name_of(caller, admin, carried=token) == "Ada"
    found = counted(service)
    served = served_by_replicas(service)
    for _ in range(5):
        caller.ask("GET", "/users/me")

    assert served == began_with + 40
    assert min(found["replica_read_replica-1", "ok"], found["replica_read_replica-2", "ok"]) >= 5
    assert served_by_replicas(service) == served


def test_a_replica_is_never_asked_who_somebody_is_or_what_they_may_do(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every route is called, and every statement that a replica gets is looked at."""
    ports = {
        int(str(psycopg.conninfo.conninfo_to_dict(replica.dsn())["port"])) for replica in replicated_postgres.replicas
    }
    asked: dict[bool, set[bytes]] = {True: set(), False: set()}
    execute = Cursor.execute

    def recording(self: Cursor, query: Any, *args: Any, **kwargs: Any) -> Cursor:  # noqa: ANN401 - as the driver has it
        asked[self.connection.info.port in ports].add(query)
        return execute(self, query, *args, **kwargs)

    monkeypatch.setattr(Cursor, "execute", recording)
    client, token = PipelineClient(service.pipeline), token_of(service, admin)
    for route in ROUTES:
        if route.bulkhead is not Bulkhead.HASHING and route.operation_id not in {"logout", "logout_all"}:
            target = path_of(route).replace("{id}", str(admin.id))
            send_json(client, route.method, target, {} if route.body else None, token=token)
    of_replicas, of_primary = asked[True], asked[False]

    assert not [query for query in of_replicas if any(table in query for table in _DECIDING)]
    assert not [
        query for query in of_replicas if not query.lstrip().upper().startswith((b"SELECT", b"WITH", b"EXPLAIN"))
    ]
    assert not [query for query in of_replicas if b"FOR UPDATE" in query or b"FOR NO KEY" in query]
    assert any(b"user_profiles" in query for query in of_replicas)
    assert any(b"sessions" in query for query in of_primary)


def test_who_waits_for_a_replica_that_stands_still_is_served_by_the_primary(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres
) -> None:
    """After 50 ms; and by the other replica at once, if that one goes on."""
    caller = _Caller(service, admin)
    first, second = replicated_postgres.replicas
    with first.replay_paused():
        token = _rename(caller, admin, "one goes on")
        replicated_postgres.catch_up(second)
        eventually(lambda: _name_of(caller, admin, carried=token) == "one goes on" and served_by_replicas(service))
        before = counted(service)
        with second.replay_paused():
            token = _rename(caller, admin, "none goes on")
            began = time.monotonic()
            assert _name_of(caller, admin, carried=token) == "none goes on"
            seconds = time.monotonic() - began
    after = counted(service)

    assert ("replica_read_replica-1", "ok") not in before
    assert after["replica_fallback", "behind"] >= 1
    assert 0.045 <= seconds < 1


def test_a_replica_that_lags_is_left_out_and_let_back_in(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres
) -> None:
    """A caller without a token is told nothing older than the settings allow; the process says that it is degraded."""
    with replicated.instance(DATABASE_MAX_REPLICA_LAG_SECONDS="1") as service, contextlib.ExitStack() as paused:
        caller = _Caller(service, admin)
        client = PipelineClient(service.pipeline)
        _rename(caller, admin, "before")
        replicated_postgres.catch_up()
        assert _name_of(caller, admin) == "before"
        for replica in replicated_postgres.replicas:
            paused.enter_context(replica.replay_paused())
        _rename(caller, admin, "after")
        written_at = time.monotonic()
        while _name_of(caller, admin) != "after":
            assert time.monotonic() - written_at < 1.3
        eventually(
            lambda: json_of(client.request("GET", "/health/ready"))["resources"]["replica-1"] == "replica-lagging"
        )
        answer = client.request("GET", "/health/ready")
        paused.close()
        resumed_at = time.monotonic()
        served = served_by_replicas(service)
        while served_by_replicas(service) == served:
            assert _name_of(caller, admin) == "after"
            assert time.monotonic() - resumed_at < 10
        eventually(lambda: json_of(client.request("GET", "/health/ready"))["status"] == "ready")

    assert answer.status == 200
    assert json_of(answer)["status"] == "degraded"
    assert counted(service)["replica_fallback", "none-serving"] >= 1


def test_a_recovery_conflict_is_repeated_elsewhere(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres, replicated: Installation
) -> None:
    """A read that stands in the way of what is replayed is cancelled, and nobody is told."""
    caller = _Caller(service, admin)
    token = _rename(caller, admin, "Ada")
    with psycopg.connect(replicated.primary, autocommit=True) as primary:
        primary.execute(_SLOW_PROFILES)
    replicated_postgres.catch_up()
    with contextlib.ExitStack() as opened:
        observers = []
        for replica in replicated_postgres.replicas:
            dsn = replica.dsn(replicated.database)
            observer = opened.enter_context(psycopg.connect(dsn, autocommit=True))
            observer.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
            observer.execute("SELECT pg_reload_conf()")
            opened.callback(_reset, dsn)
            observers.append(observer)
        threads = opened.enter_context(ThreadPoolExecutor(1))
        primary = opened.enter_context(psycopg.connect(replicated.primary, autocommit=True))
        reading = threads.submit(_name_of, caller, admin, carried=token)
        eventually(lambda: any(map(_is_read_slowly, observers)))
        # What is replayed needs the table for itself, as a migration would.
        primary.execute("BEGIN; LOCK TABLE slow_profiles IN ACCESS EXCLUSIVE MODE; COMMIT")

        name = reading.result(30)

    assert name == "Ada"
    found = counted(service)
    assert sum(found.get((f"replica_read_replica-{number}", "conflict"), 0) for number in (1, 2)) >= 1


_SLOW_PROFILES: Final = """
ALTER TABLE user_profiles RENAME TO slow_profiles;
CREATE VIEW user_profiles AS SELECT profile.* FROM slow_profiles AS profile, LATERAL pg_sleep(1)
"""


def _is_read_slowly(observer: psycopg.Connection) -> bool:
    row = observer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    ).fetchone()
    return row is not None and row[0] > 0


def _reset(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as observer:
        observer.execute("ALTER SYSTEM RESET max_standby_streaming_delay")
        observer.execute("SELECT pg_reload_conf()")


def test_zone_goes_before_weight(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres, replicated_database: str
) -> None:
    """Weights spread the reads of a zone; one of another zone serves when none of one's own has what is wanted."""
    first, second = replicated_postgres.replicas
    zoned = Installation(
        primary=replicated.primary,
        replicas=(
            address(first, replicated_database, zone="a"),
            address(second, replicated_database, zone="b", weight="1000"),
        ),
        folder=replicated.folder,
    )
    with zoned.instance(DATABASE_ZONE="a") as service:
        caller = _Caller(service, admin)
        for _ in range(10):
            _name_of(caller, admin)
        near = counted(service)
        with first.replay_paused():
            token = _rename(caller, admin, "far")
            replicated_postgres.catch_up(second)
            eventually(lambda: _name_of(caller, admin, carried=token) == "far" and served_by_replicas(service) > 10)
        far = counted(service)

    assert near["replica_read_replica-1", "ok"] == far["replica_read_replica-1", "ok"] == 10
    assert ("replica_read_replica-2", "ok") not in near
    assert far["replica_read_replica-2", "ok"] >= 1


def test_a_weight_of_nothing_takes_no_reads(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres, replicated_database: str
) -> None:
    """The node is watched all the same."""
    first, second = (
        address(replica, replicated_database, weight=weight)
        for replica, weight in zip(replicated_postgres.replicas, ("0", "1"), strict=True)
    )
    weighed = Installation(primary=replicated.primary, replicas=(first, second), folder=replicated.folder)
    with weighed.instance() as service:
        caller = _Caller(service, admin)
        for _ in range(20):
            _name_of(caller, admin)
        found = counted(service)

    assert found["replica_read_replica-2", "ok"] == 20
    assert ("replica_read_replica-1", "ok") not in found


def test_an_address_of_several_servers_serves_only_who_wrote_nothing(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres, replicated_database: str
) -> None:
    """Nobody can say what the next connection will hold."""
    endpoint = Installation(
        primary=replicated.primary,
        replicas=(address(replicated_postgres.replicas[0], replicated_database, position="none"),),
        folder=replicated.folder,
    )
    with endpoint.instance() as service:
        caller = _Caller(service, admin)
        token = _rename(caller, admin, "Ada")
        assert _name_of(caller, admin, carried=token) == "Ada"
        found = counted(service)
        _name_of(caller, admin)

    assert ("replica_read_replica-1", "ok") not in found
    assert served_by_replicas(service) == 1


def test_a_token_of_another_history_is_read_from_the_primary_at_once(
    service: UserService, admin: User, replicated: Installation
) -> None:
    """So is one beyond the primary, as after a restore, and one that nobody can read."""
    del replicated
    caller = _Caller(service, admin)
    token = _rename(caller, admin, "Ada")
    signer = service.pipeline._consistency._signer  # type: ignore[union-attr]  # noqa: SLF001 - its key is its own
    place = signer.verify(token)
    assert place is not None
    others = {
        "other-history": Position(place.system_id, place.timeline + 1, place.offset),
        "beyond-the-primary": Position(place.system_id, place.timeline, place.offset + 2**30),
    }
    for cause, position in others.items():
        assert _name_of(caller, admin, carried=signer.sign(position)) == "Ada"
        assert counted(service)["replica_fallback", cause] == 1
    before = served_by_replicas(service)
    assert _name_of(caller, admin, carried=f"{token[:-5]}AAAAA") == "Ada"

    assert served_by_replicas(service) == before
    assert ("replica_fallback", "behind") not in counted(service)


def test_a_pooler_may_stand_before_the_primary(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres, servers_of_run: ServersOfRun
) -> None:
    """In transaction mode: where a transaction was written is asked on the server connection that committed it."""
    folder = servers_of_run.folder / f"pgbouncer-{uuid4().hex}"
    with PgBouncer(folder, target_dsn=replicated.primary, pool_size=2) as pooler:
        pooled = Installation(primary=pooler.dsn(), replicas=replicated.replicas, folder=replicated.folder)
        with pooled.instance(DATABASE_PREPARED_STATEMENTS="false") as service:
            caller = _Caller(service, admin)
            for number in range(20):
                token = _rename(caller, admin, f"name {number}")
                assert _name_of(caller, admin, carried=token) == f"name {number}"
            replicated_postgres.catch_up()
            eventually(lambda: _name_of(caller, admin, carried=token) and served_by_replicas(service))


def test_a_function_reads_the_primary_and_tells_others_where_it_wrote(
    replicated: Installation, admin: User, service: UserService
) -> None:
    """It is frozen between requests, and watches nothing."""
    with replicated.instance(background=False) as function:
        caller = _Caller(function, admin)
        token = _rename(caller, admin, "from a function")
        assert _name_of(caller, admin, carried=token) == "from a function"

    assert served_by_replicas(function) == 0
    assert _name_of(_Caller(service, admin), admin, carried=token) == "from a function"


def test_a_shared_memory_stands_for_the_token(
    replicated: Installation, admin: User, replicated_postgres: ReplicatedPostgres, redis_url: str
) -> None:
    """Whoever carries none sees their own writes on other instances, and may be served by replicas."""
    with contextlib.ExitStack() as opened:
        one, other = (opened.enter_context(replicated.instance(CACHE_URL=redis_url)) for _ in range(2))
        token = token_of(one, admin)
        clients = [PipelineClient(service.pipeline) for service in (one, other)]
        for number in range(100):
            opened.enter_context(replicated_postgres.replicas[0].replay_paused()) if number == 50 else None
            name = f"name {number}"
            response = send_json(clients[0], "PATCH", "/users/me/profile", {"displayName": name}, token=token)
            assert response.status == 200
            assert json_of(send_json(clients[1], "GET", "/users/me/profile", token=token))["displayName"] == name

        assert served_by_replicas(other) >= 50


def test_a_read_on_a_replica_is_one_statement(
    service: UserService, admin: User, replicated_postgres: ReplicatedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked where they are on the way, token or not."""
    here = threading.get_ident()
    asked: list[bytes] = []
    execute = Cursor.execute

    def counting(self: Cursor, query: Any, *args: Any, **kwargs: Any) -> Cursor:  # noqa: ANN401 - as the driver has it
        if threading.get_ident() == here:
            asked.append(query)
        return execute(self, query, *args, **kwargs)

    caller = _Caller(service, admin)
    token = _rename(caller, admin, "Ada")
    replicated_postgres.catch_up()
    for _ in range(40):
        _name_of(caller, admin, carried=token)
    monkeypatch.setattr(Cursor, "execute", counting)
    served = served_by_replicas(service)
    for carried in (token, None):
        _name_of(caller, admin, carried=carried)

    assert served_by_replicas(service) == served + 2
    assert len(asked) == 2


def test_the_first_write_pins_the_rest_of_a_request(replicated: Installation) -> None:
    """And tells the request where it is, in the round trip of its commit."""
    delay_seconds = 0.1
    with Proxy(replicated.primary) as line:
        database = Database(line.dsn, pool_size=1, gate=Timelines(), tells_positions=True)
        with contextlib.closing(database):
            uow = PostgresUnitOfWork(database)
            uow.run(lambda transaction: register(transaction, new_user()))
            line.delay_seconds = delay_seconds
            reading = Reading(allows_replicas=True)
            began = time.monotonic()
            with reading_as(reading):
                uow.run(lambda transaction: register(transaction, new_user()))
            round_trips = (time.monotonic() - began) / (2 * delay_seconds)
            before = reading.written
            with reading_as(reading):
                uow.run(lambda transaction: register(transaction, new_user()))

    assert not reading.allows_replicas
    assert round_trips == pytest.approx(1, abs=0.5)
    assert before is not None
    assert reading.written is not None
    assert reading.written.includes(before)
    assert not before.includes(reading.written)


def test_an_ordinary_role_may_ask_where_a_server_is(
    replicated: Installation, replicated_postgres: ReplicatedPostgres
) -> None:
    """The service needs no rights over the server for it; without them it learns of a new timeline later."""
    role = f"plain_{uuid4().hex}"
    with psycopg.connect(replicated.primary, autocommit=True) as primary:
        primary.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain'".encode())
        replicated_postgres.catch_up()
        try:
            states = []
            for dsn in (replicated.primary, *replicated.replicas):
                parts = {**psycopg.conninfo.conninfo_to_dict(dsn), "user": role, "password": "plain"}
                database = Database(psycopg.conninfo.make_conninfo("", **parts))
                with contextlib.closing(database):
                    row = database.fetch_one(STATE)
                    states.append(None if row is None else state_of(row))
        finally:
            primary.execute(f"DROP ROLE {role}".encode())

    assert [state is not None and state.position.timeline for state in states] == [1, 1, 1]
    assert [state is not None and state.is_standby for state in states] == [False, True, True]


def test_all_reads_that_a_replica_may_serve_are_among_the_pairs() -> None:
    """Those of the test of freshness."""
    assert len(READS) == 18


class TestRedisPositions(PositionMemoryContract):
    """One key a writer."""

    @pytest.fixture
    def memory(self, redis_url: str) -> Iterator[PositionMemory]:
        """That of one process."""
        with contextlib.closing(RedisPositions(redis_url, life_seconds=0.5, metrics=InMemoryMetrics())) as opened:
            yield opened


class TestReplicaSet(PositionSourceContract):
    """The primary, asked over the connection of the probe."""

    @pytest.fixture
    def source(self, replicated: Installation) -> Iterator[ReplicaSet]:
        """That of one process."""
        replicas = ReplicaSet(
            [Node(name="replica-1", dsn=replicated.replicas[0])],
            primary_dsn=replicated.primary,
            timelines=Timelines(),
            connections=2,
            waiters=1,
            max_lag_seconds=5,
            zone="",
            prepared_statements=True,
            metrics=InMemoryMetrics(),
        )
        with contextlib.closing(replicas):
            yield replicas

    @pytest.fixture
    def write(self, replicated: Installation) -> Callable[[], object]:
        """Commit something."""

        def write() -> None:
            with psycopg.connect(replicated.primary, autocommit=True) as primary:
                primary.execute("CREATE TABLE written ()")

        return write
