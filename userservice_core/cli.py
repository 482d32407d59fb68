"""The command `userservice`: everything that operating the service takes, each command one process with one task."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TextIO

import attrs
import click

from userservice_core.config import Settings
from userservice_core.domain.audit import SYSTEM
from userservice_core.domain.clients import OPERATOR
from userservice_core.domain.ids import ClientId
from userservice_core.domain.signing_keys import SigningAlgorithm
from userservice_core.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
    UserServiceError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType
    from uuid import UUID

    from userservice_core.application.parked_events import ParkedEvents
    from userservice_core.application.run_time_settings import RunTimeSettings
    from userservice_core.application.service_clients import NewSecret, ServiceClients
    from userservice_core.application.signing_keys import SigningKeys
    from userservice_core.domain.signing_keys import StoredSigningKey
    from userservice_core.errors import Fault
    from userservice_core.infrastructure.messaging.consumer import EventConsumer
    from userservice_core.infrastructure.system.draining import WorkerNotice
    from userservice_core.ports.publishing import ParkedEvent

EXIT_CONFIGURATION: Final = 78
"""`EX_CONFIG` of sysexits.h: something in the settings has to be changed before another start can succeed."""

_APPLICATIONS: Final = {
    "starlette": "userservice_core.adapters.starlette_app.asgi:app",
    "flask": "userservice_core.adapters.flask_app.wsgi:app",
}
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 20.0
_PORT: Final = click.IntRange(1, 65_535)


class _Commands(click.Group):
    """Commands whose known failures end in a clear line and an exit code, not in a traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            _fail(error.problems, EXIT_CONFIGURATION)
        except InvalidInputError as error:
            _fail(tuple(f"{_place(fault)}: {fault.message}" for fault in error.faults), 1)
        except UserServiceError as error:
            _fail((f"{error.code}: {error.detail}",), 1)


def _place(fault: Fault) -> str:
    """Return the place of a fault as it is written in a program: `roles[0].name`."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.field)
    return place.removeprefix(".") or "input"


def _fail(lines: tuple[str, ...], exit_code: int) -> NoReturn:
    for line in lines:
        click.echo(f"userservice: {line}", err=True)
    sys.exit(exit_code)


@click.group(cls=_Commands)
@click.version_option(package_name="userservice")
def main() -> None:
    """Run and operate the User Service. Settings come from USERSERVICE_* variables; `check` shows them."""


_dead_letters = click.option(
    "--dead-letters", is_flag=True, help="Also want the topics that consumers put events aside in."
)


@main.command()
@click.option("--database", "is_database", is_flag=True, help="Look at the database instead, and print what is amiss.")
def check(*, is_database: bool) -> None:
    """
    Validate the settings, the key ring and the certificates, and print the settings, secrets masked.

    With --database, print a line for each fault and each advice: connections that do not fit, missing settings, slow
    statements, indexes that nobody uses, dead rows, a bloated outbox, the size of the pools. Ends with 1 on a fault.
    """
    if is_database:
        _check_database(Settings.from_environment(os.environ))
        return
    from userservice_core.bootstrap import check_key_ring, kafka_security

    settings = Settings.from_environment(os.environ)
    if settings.keyring is not None:
        check_key_ring(settings)
    kafka_security(settings)
    for name, value in settings.masked():
        click.echo(f"{name}={value}")


def _check_database(settings: Settings) -> None:
    from userservice_core.bootstrap import connection_demand
    from userservice_core.infrastructure.postgres.checks import Severity, check_database

    dsn = settings.database_direct_url or settings.database_url
    findings = check_database(dsn, connection_demand(settings))
    for finding in findings:
        click.echo(f"{finding.severity}: {finding.text}")
    if any(finding.severity is Severity.FAULT for finding in findings):
        sys.exit(1)


@main.command()
@click.option("--target", default="heads", show_default=True, help="Revision or branch label, such as expand@head.")
@click.option("--service-role", help="Role of the database that is to get the rights that serving needs, and no more.")
@click.option("--erasure-role", help="Role of the database that is to get the right to erase details of the audit log.")
def migrate(target: str, service_role: str | None, erasure_role: str | None) -> None:
    """Bring the database's schema up to date, and give other roles than its own their rights."""
    from userservice_core.infrastructure.postgres import migrate as migrations
    from userservice_core.infrastructure.postgres.rights import grant_rights

    settings = Settings.from_environment(os.environ)
    dsn = settings.database_direct_url or settings.database_url
    migrations.upgrade(dsn, target=target)
    grant_rights(dsn, service_role=service_role, erasure_role=erasure_role)


@main.group()
def topics() -> None:
    """Check or create the topics of Kafka that events go to, as the settings say."""


@topics.command("check")
@_dead_letters
def check_topics(*, dead_letters: bool) -> None:
    """
    Print what is missing of the topics, and what differs from the settings, a line each.

    Ends with 1 if there is anything.
    """
    _report_topics(dead_letters=dead_letters, is_creating=False)


@topics.command("create")
@_dead_letters
def create_topics(*, dead_letters: bool) -> None:
    """
    Create the topics that are missing, and print what was done, and what differs of the others.

    What exists is not changed, least of all its number of partitions. Ends with 1 if anything differs.
    """
    _report_topics(dead_letters=dead_letters, is_creating=True)


def _report_topics(*, dead_letters: bool, is_creating: bool) -> None:
    from userservice_core.bootstrap import kafka_admin, kafka_topics
    from userservice_core.infrastructure.messaging.kafka_topics import create_missing, differences

    settings = Settings.from_environment(os.environ)
    wanted, letters = kafka_topics(settings), kafka_topics(settings, dead_letters=True)
    with contextlib.closing(kafka_admin(settings)) as admin:
        created = create_missing(admin, (*wanted, *(letters if dead_letters else ()))) if is_creating else ()
        states = admin.states([spec.name for spec in (*wanted, *letters)])
    is_different = False
    for spec in (*wanted, *letters):
        state = states.get(spec.name)
        if state is None and spec in letters and not dead_letters:
            continue
        lines = ("is missing",) if state is None else tuple(differences(spec, state))
        is_different = is_different or bool(lines)
        for line in lines or ("is created" if spec in created else "is as the settings say",):
            click.echo(f"{spec.name} {line}")
    if is_different:
        sys.exit(1)


@main.command()
@click.option("--app", type=click.Choice(sorted(_APPLICATIONS)), default="starlette", show_default=True)
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input ends.")
def serve(app: str, *, with_parent: bool) -> None:
    """
    Serve HTTP by granian: Starlette over ASGI, or Flask over WSGI.

    Told to end by SIGTERM, it is not ready any more, and closes each connection after its next answer; what comes is
    served for DRAIN_DELAY_SECONDS. Then it takes no more connections, answers what is at work, and ends with 0.
    A worker that dies is replaced; one that dies again within seconds, or twice before it has started, ends the server
    with 1.
    """
    from userservice_core.infrastructure.system.draining import worker_notice

    settings = Settings.from_environment(os.environ)
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    _require_startable(settings)
    with (
        _metrics(settings, port=settings.metrics_port),
        worker_notice(settings.data_dir) as notice,
    ):
        _serve(settings, app, notice)


def _serve(settings: Settings, app: str, notice: WorkerNotice) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings

    ends = threading.Event()

    class Server(Granian):  # type: ignore[misc,valid-type] # the library exports a choice between two classes
        """Lets load balancers notice, before it stops, that it is about to; stops as well where no worker starts."""

        failed_starts = 0

        def signal_handler_interrupt(self, number: int, frame: FrameType | None) -> None:
            if number != signal.SIGTERM or ends.is_set() or settings.drain_delay_seconds == 0:
                super().signal_handler_interrupt(number, frame)
                return
            ends.set()
            notice.drain()
            stop = threading.Timer(settings.drain_delay_seconds, super().signal_handler_interrupt, (number, frame))
            stop.daemon = True
            stop.start()

        def _respawn_workers(self, workers: list[int], *arguments: object, **options: object) -> None:
            # The library gives up only on those that die within seconds; a reload replaces those that live.
            died = sum(not self.wrks[number].is_alive() for number in workers)
            if died:
                self.failed_starts = 0 if notice.has_new_start() else self.failed_starts + died
            if self.failed_starts < _FAILED_STARTS * settings.workers:
                super()._respawn_workers(workers, *arguments, **options)
                return
            click.echo("Workers die before they have started; the server ends.", err=True)
            self.interrupt_children.extend(workers)
            self.interrupt_signal = True
            self.main_loop_interrupt.set()

    is_asgi = app == "starlette"
    Server(
        _APPLICATIONS[app],
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI if is_asgi else Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=1 if is_asgi else settings.wsgi_threads,
        backlog=_BACKLOG,
        # The library counts connections, idle ones as well. With threads of its own, they are what bounds its queue.
        backpressure=_MOST_CONNECTIONS if is_asgi else None,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=_HTTP_BUFFER_BYTES),
        websockets=False,
        log_access=False,
        workers_kill_timeout=int(_STOP_SECONDS),
        # One that dies, by the kernel's killer of large processes say, does not take the requests of the others along.
        respawn_failed_workers=True,
    ).serve()


_FAILED_STARTS: Final = 2
"""In a row, of each worker: what keeps it from starting is then taken for something that does not go away."""

_BACKLOG: Final = 4096
"""Connections that may wait to be accepted; the kernel has a bound of its own (`net.core.somaxconn`)."""

_MOST_CONNECTIONS: Final = 10_000
"""Of a worker that has an event loop; further ones wait. One that is idle takes 25 KiB at the most."""

_HTTP_BUFFER_BYTES: Final = 64 * 1024
"""What the server buffers of the head of a request, and so what it lets through to the pipeline's own limit."""


@main.group(invoke_without_command=True)
@click.option("--relay-id", default=None, help="Stable name of this relay; the host's name if not given.")
@click.option(
    "--metrics-port", type=_PORT, default=None, help="Serve this relay's metrics on this port; not if not given."
)
@click.pass_context
def relay(context: click.Context, relay_id: str | None, metrics_port: int | None) -> None:
    """
    Publish the events of the outbox and send its mails, until told to stop.

    With a command after it, nothing is relayed; it is about what could not be published and was set aside.
    """
    if context.invoked_subcommand is None:
        _relay(relay_id, metrics_port)


def _relay(relay_id: str | None, metrics_port: int | None) -> None:
    from userservice_core.bootstrap import bootstrap_relay, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    _require_startable(settings)
    with contextlib.ExitStack() as running:
        stop = running.enter_context(_stop_signal())
        if metrics_port is not None:
            running.enter_context(_metrics(settings, port=metrics_port))
        running.enter_context(bootstrap_relay(settings, relay_id=relay_id)).run(stop)


@relay.command("failed")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="As many at most.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON each.")
def list_failed_events(*, limit: int, as_json: bool) -> None:
    """Print what could not be published, the oldest first: its SEQ, type, key, age, and the cause."""
    with _parked_events() as (parked_events, now):
        for event in parked_events.list_parked(limit=limit):
            document = _parked_document(event, now=now)
            line = "  ".join(str(document[name]) for name in ("seq", "type", "key", "ageSeconds", "cause"))
            click.echo(json.dumps(document) if as_json else " ".join(line.splitlines()))


@relay.command("retry")
@click.argument("seq", type=int, required=False)
@click.option("--all", "is_all", is_flag=True, help="Everything that is set aside.")
def retry_failed_events(*, seq: int | None, is_all: bool) -> None:
    """
    Let relays try the event SEQ again, or --all; print how many.

    It goes before all later ones of its key, which wait for it.
    """
    if (seq is None) != is_all:
        raise click.UsageError("Give either SEQ or --all.")
    with _parked_events() as (parked_events, _):
        if seq is None:
            retried = sum(_retried(parked_events, position) for position in _positions(parked_events))
        else:
            parked_events.retry(actor=SYSTEM, position=seq)
            retried = 1
    click.echo(json.dumps({"retried": retried}))


@relay.command("drop")
@click.argument("seq", type=int)
@click.option("--reason", required=True, help="Why, for the audit log.")
def drop_failed_event(*, seq: int, reason: str) -> None:
    """
    Give the event SEQ up for good; print what it was.

    Later ones of its key go on, and consumers see a gap in `ce_sequence`.
    """
    with _parked_events() as (parked_events, now):
        dropped = parked_events.drop(actor=SYSTEM, position=seq, reason=reason)
    click.echo(json.dumps({"dropped": _parked_document(dropped, now=now)}))


def _retried(parked_events: ParkedEvents, position: int) -> bool:
    """Retry an event, unless somebody else has decided about it meanwhile."""
    try:
        parked_events.retry(actor=SYSTEM, position=position)
    except NotFoundError:
        return False
    return True


def _positions(parked_events: ParkedEvents) -> Iterator[int]:
    """Yield where each event is that is set aside at present; one that is set aside again meanwhile comes once."""
    position = 0
    while events := parked_events.list_parked(after=position, limit=_PARKED_AT_ONCE):
        for event in events:
            position = event.record.position
            yield position


_PARKED_AT_ONCE: Final = 500


@contextlib.contextmanager
def _parked_events() -> Iterator[tuple[ParkedEvents, datetime]]:
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with bootstrap(settings, background=False) as service:
        yield service.use_cases.parked_events, datetime.now(UTC)


def _parked_document(event: ParkedEvent, *, now: datetime) -> dict[str, Any]:
    record = event.record
    return {
        "seq": record.position,
        "eventId": str(record.id),
        "type": record.type,
        "topic": record.topic,
        "key": record.key,
        "sequence": record.sequence,
        "occurredAt": record.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "parkedAt": event.parked_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "ageSeconds": max(0, round((now - record.occurred_at).total_seconds())),
        "cause": event.cause,
    }


@main.command()
@click.argument("app", metavar="[MODULE:NAME]", required=False)
@click.option("--member-id", default=None, help="Stable name of this process in the service's own group.")
@click.option("--replay-dead-letters", is_flag=True, help="Handle again what was put aside, and end.")
@click.option(
    "--probe-port",
    type=_PORT,
    default=None,
    help="Serve /health/live and /metrics on this port of the loopback address; not if not given.",
)
@click.option("--probe-host", default="127.0.0.1", show_default=True, help="Another address for the probes.")
def consume(
    app: str | None, *, member_id: str | None, replay_dead_letters: bool, probe_port: int | None, probe_host: str
) -> None:
    """
    Take what others ask of the service by events, until told to stop; any number of processes share the work.

    With MODULE:NAME, run the EventConsumer that the module names so instead, which is for other services: `userservice
    consume billing.events:consumer`. The module makes it, and none of the settings of the service count.
    """
    if app is not None:
        if member_id is not None:
            raise click.UsageError("A consumer that a module makes is named there.")
        _consume(_consumer(app), is_replay=replay_dead_letters, probe_port=probe_port, probe_host=probe_host)
        return
    from userservice_core.bootstrap import bootstrap_consumer, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    _require_startable(settings)
    with bootstrap_consumer(settings, member_id=member_id) as service:
        _consume(service.consumer, is_replay=replay_dead_letters, probe_port=probe_port, probe_host=probe_host)


def _consume(consumer: EventConsumer, *, is_replay: bool, probe_port: int | None, probe_host: str) -> None:
    from userservice_core.infrastructure.messaging.probes import serve_probes

    if is_replay:
        click.echo(json.dumps(consumer.replay_dead_letters()))
        return
    with contextlib.ExitStack() as running:
        stop = running.enter_context(_stop_signal())
        if probe_port is not None:
            running.enter_context(serve_probes(consumer, host=probe_host, port=probe_port))
        consumer.run(stop)


def _consumer(app: str) -> EventConsumer:
    """
    Import a consumer from the working folder or whatever is installed.

    Raises:
        ConfigurationError: If there is none.
    """
    from userservice_core.infrastructure.messaging.consumer import EventConsumer

    module_name, _, name = app.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        consumer = getattr(importlib.import_module(module_name), name or "consumer")
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError((f"{app} cannot be had: {error}",)) from error
    if not isinstance(consumer, EventConsumer):
        raise ConfigurationError((f"{app} is no EventConsumer",))
    return consumer


@main.command("purge")
def purge() -> None:
    """
    Erase deleted and unconfirmed accounts that were kept long enough, and expired rows; print how many.

    Where a relay is at it, nothing is done, and `isWhole` is false.
    """
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with _stop_signal() as stop, bootstrap(settings, background=False) as service:
        removed = service.use_cases.retention.apply(is_stopped=stop.is_set)
    done = {"erasedUsers": removed.users, "removedRows": removed.rows, "isWhole": removed.is_whole}
    click.echo(json.dumps(done))


@main.command("seal-anew")
def seal_anew() -> None:
    """
    Seal secrets of second factors under the current key, so that earlier ones can leave the ring; print how many.

    Ends with 1 if some cannot be read, since their key is not in the ring.
    """
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with _stop_signal() as stop, bootstrap(settings, background=False) as service:
        done = service.use_cases.mfa.seal_anew(is_stopped=stop.is_set)
    click.echo(json.dumps({"sealed": done.sealed, "unreadable": done.unreadable}))
    if done.unreadable:
        sys.exit(1)


@main.command("apply-access")
@click.argument("file", type=click.File("rb"))
def apply_access(file: BinaryIO) -> None:
    """
    Create the permissions and roles that FILE (TOML) declares, and grant what it says; print how many.

    Nothing is taken away, and to apply a file again changes nothing.
    """
    from userservice_core.application.access_definitions import AccessDefinitions
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    try:
        definitions = AccessDefinitions.parse(tomllib.load(file))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError((f"{file.name} is no TOML: {error}",)) from error
    with bootstrap(settings, background=False) as service:
        applied = service.use_cases.declared_access.apply(definitions=definitions)
    click.echo(json.dumps(attrs.asdict(applied)))


# --- users from elsewhere, and to elsewhere ---------------------------------------------------------------------------


@main.command("import")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--from",
    "source",
    type=click.Choice(["lines", "keycloak"]),
    default="lines",
    show_default=True,
    help="Lines of JSON, or a realm as Keycloak exports it.",
)
@click.option("--confirmed", is_flag=True, help="Keycloak: count every address as confirmed.")
@click.option("--dry-run", is_flag=True, help="Check everything and store nothing.")
@click.option(
    "--refused",
    type=click.File("w"),
    default=None,
    help="Write what is wrong with refused records to this file, a line of JSON each.",
)
def import_users(file: BinaryIO, *, source: str, confirmed: bool, dry_run: bool, refused: TextIO | None) -> None:
    """
    Store the users of FILE (- for standard input) who are not here yet; print how many.

    Whoever is here stays as they are, so that a run that was stopped is taken up by starting it again. Ends with 1 if
    a record was refused, or not all were read.
    """
    from userservice_core.bootstrap import bootstrap, configure_logging
    from userservice_core.http.user_records import read_keycloak, read_lines

    if confirmed and source != "keycloak":
        raise click.UsageError("--confirmed goes with --from keycloak; lines say emailVerified themselves.")
    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    refusals = _Refusals("line" if source == "lines" else "user", refused)
    with (
        _stop_signal() as stop,
        bootstrap(settings, background=False) as service,
        _progress("Importing", file) as advance,
    ):
        pace = _Pace(settings.import_users_per_second, stop)

        def after_batch(records: int) -> bool:
            advance()
            return pace.wait(0 if dry_run else records)

        result = service.use_cases.user_imports.apply(
            records=read_lines(file) if source == "lines" else read_keycloak(file, confirmed=confirmed),
            refuse=refusals.add,
            is_trial=dry_run,
            after_batch=after_batch,
        )
        is_complete = not stop.is_set()
    refusals.tell_the_rest()
    click.echo(json.dumps({**attrs.asdict(result), "complete": is_complete, "dryRun": dry_run}))
    if result.refused or not is_complete:
        sys.exit(1)


@main.command("export")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write to this file, which nobody else may read; to standard output if not given.",
)
@click.option("--with-password-hashes", is_flag=True, help="Also what lets whoever has it try passwords.")
def export_users(*, output: Path | None, with_password_hashes: bool) -> None:
    """Write all users who are not deleted, a line of JSON each, as `userservice import` takes them."""
    from userservice_core.bootstrap import bootstrap, configure_logging
    from userservice_core.http.user_records import line_of

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    written = 0
    with (
        _stop_signal() as stop,
        bootstrap(settings, background=False) as service,
        _whole_file(output) as file,
        _progress("Exporting") as advance,
    ):
        for dump in service.use_cases.user_exports.read_all(with_hashes=with_password_hashes):
            file.write(line_of(dump, with_hash=with_password_hashes))
            written += 1
            if stop.is_set():
                raise UnavailableError("The export was stopped, and is not complete.")
            if written % _EXPORTED_BETWEEN_SIGNS == 0:
                advance()
    click.echo(json.dumps({"exported": written}), err=True)


_EXPORTED_BETWEEN_SIGNS: Final = 100
_SHOWN_REFUSALS: Final = 20


class _Refusals:
    """Tells what is wrong with records: the first ones to whoever looks on, all of them to a file."""

    def __init__(self, unit: str, file: TextIO | None) -> None:
        self._unit = unit
        self._file = file
        self._count = 0

    def add(self, number: int, faults: tuple[Fault, ...]) -> None:
        """Tell of one record."""
        self._count += 1
        if self._count <= _SHOWN_REFUSALS:
            for fault in faults:
                click.echo(f"userservice: {self._unit} {number}: {_place(fault)}: {fault.message}", err=True)
        if self._file is not None:
            errors = [{"pointer": _pointer(fault), "code": fault.code, "message": fault.message} for fault in faults]
            self._file.write(json.dumps({self._unit: number, "errors": errors}) + "\n")

    def tell_the_rest(self) -> None:
        """Tell of how many nothing was told."""
        if self._count > _SHOWN_REFUSALS:
            where = "" if self._file is not None else "; --refused FILE writes all of them"
            click.echo(f"userservice: {self._count - _SHOWN_REFUSALS} more were refused{where}", err=True)


def _pointer(fault: Fault) -> str:
    """Return the place of a fault as RFC 6901 writes it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in fault.field)


class _Pace:
    """Goes no faster than so many a second; 0 for as fast as it can."""

    def __init__(self, per_second: float, stop: threading.Event) -> None:
        self._per_second = per_second
        self._stop = stop
        self._free_at = time.monotonic()

    def wait(self, done: int) -> bool:
        """Wait until more may be done after *done* more; tell whether to go on at all."""
        now = time.monotonic()
        if self._per_second:
            # What a slow batch took longer is not caught up on: a burst is what the pace is there against.
            self._free_at = max(now, self._free_at + done / self._per_second)
        return not self._stop.wait(max(0.0, self._free_at - now))


@contextlib.contextmanager
def _progress(what: str, file: BinaryIO | None = None) -> Iterator[Callable[[], None]]:
    """Show how far it is on a terminal, by what was read of *file*; give what is to be called now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    total = os.fstat(file.fileno()).st_size if file is not None and file.seekable() else None
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)

        def advance() -> None:
            if file is not None and total is not None:
                bar.update(task, completed=file.tell())

        yield advance


@contextlib.contextmanager
def _whole_file(path: Path | None) -> Iterator[BinaryIO]:
    """Write to a file that is there under its name only once it is complete, or to standard output."""
    if path is None:
        yield sys.stdout.buffer
        return
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            # One that was left there may be open to others.
            os.fchmod(file.fileno(), 0o600)
            yield file
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@main.command("create-admin")
@click.option("--email", required=True, help="Where the administrator gets mail.")
def create_admin(email: str) -> None:
    """Create the first administrator if there is none, and print the one-time password once."""
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with bootstrap(settings) as service:
        _create_admin(service.use_cases.accounts.create_first_administrator, email)


def _create_admin(create: Callable[..., str | None], email: str) -> None:
    password = create(email=email)
    if password is not None:
        document = {
            "administrator": email,
            "oneTimePassword": password,
            "note": "shown once; sign in with it and a newPassword of your own",
        }
        click.echo(json.dumps(document))


@main.command()
@click.option("--issuer", default="https://accounts.example.com", show_default=True, help="Address of the service.")
@click.option("--refresh-token-cookie", is_flag=True, help="As it is where refresh tokens travel in a cookie.")
def openapi(*, issuer: str, refresh_token_cookie: bool) -> None:
    """Print the OpenAPI 3.1 description of the HTTP interface."""
    from userservice_core.http.cookie_routes import with_refresh_cookie
    from userservice_core.http.openapi import openapi_document
    from userservice_core.http.routes import ROUTES

    routes = with_refresh_cookie(ROUTES) if refresh_token_cookie else ROUTES
    click.echo(openapi_document(routes, issuer=issuer))


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--topic-prefix",
    envvar="USERSERVICE_TOPIC_PREFIX",
    default="userservice.",
    show_default=True,
    help="What stands before each topic; by default as the settings have it.",
)
@click.pass_context
def events(context: click.Context, *, as_json: bool, topic_prefix: str) -> None:
    """
    List all types of events: the type, its topic, the version of its schema, and what it is keyed by.

    Last come those that the service takes from others, with `received`.
    """
    if context.invoked_subcommand is not None:
        return
    catalogue = _event_catalogue(topic_prefix)
    if as_json:
        click.echo(json.dumps(catalogue, indent=2))
        return
    widths = {name: max(len(str(each[name])) for each in catalogue) for name in ("type", "topic")}
    for each in catalogue:
        click.echo(
            f"{each['type']:<{widths['type']}}  {each['topic']:<{widths['topic']}}  v{each['version']}  {each['key']}"
            + ("" if each["direction"] == "published" else "  received")
        )


@events.command("show")
@click.argument("type_", metavar="TYPE")
def show_event(type_: str) -> None:
    """Print the JSON Schema of TYPE, such as `userservice.user.registered.v1`, or `user.registered` for the newest."""
    from userservice_core.domain.event_schemas import schemas_by_type

    schemas = schemas_by_type()
    newest = {
        each["type"].removeprefix("userservice.").rpartition(".")[0]: each["type"] for each in _event_catalogue("")
    }
    name = newest.get(type_, type_)
    if name not in schemas:
        raise click.BadParameter(f"{type_!r} is no type of event; `userservice events` lists them.", param_hint="TYPE")
    click.echo(json.dumps(schemas[name], indent=2))


def _event_catalogue(topic_prefix: str) -> list[dict[str, Any]]:
    """Return what there is to know of each type, the versions of one in ascending order."""
    from userservice_core.domain.event_schemas import key_of, wire_name
    from userservice_core.domain.events import EVENT_TYPES, RECEIVED_TYPES

    catalogue: dict[str, dict[str, Any]] = {}
    for kind in sorted((*EVENT_TYPES, *RECEIVED_TYPES), key=lambda kind: kind.schema_version):
        known = catalogue.get(wire_name(kind))
        if known is not None:
            known["key"] = f"{known['key']} or {key_of(kind)}"
            continue
        catalogue[wire_name(kind)] = {
            "type": wire_name(kind),
            "topic": f"{topic_prefix}{kind.topic}",
            "version": kind.schema_version,
            "key": key_of(kind),
            "direction": "received" if kind in RECEIVED_TYPES else "published",
        }
    return list(catalogue.values())


@main.command("generate-keys")
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in SigningAlgorithm]),
    default=SigningAlgorithm.EDDSA.value,
    show_default=True,
    help="By which its key signs access tokens.",
)
def generate_keys(algorithm: str) -> None:
    """Print a new key ring, to be kept where USERSERVICE_KEYRING_FILE points to."""
    from userservice_core.bootstrap import new_key_ring

    click.echo(new_key_ring(algorithm=SigningAlgorithm(algorithm)))


# --- signing keys -----------------------------------------------------------------------------------------------------


@main.group()
def keys() -> None:
    """Manage the keys that sign access tokens where USERSERVICE_SIGNING_KEYS=database."""


@keys.command("list")
def list_signing_keys() -> None:
    """Print all keys with their states, a line of JSON each."""
    with _signing_keys() as signing_keys:
        for key, state in signing_keys.list_all():
            _print_key(key, state=state.value, revokedAt=None if key.revoked_at is None else key.revoked_at.isoformat())


@keys.command("rotate")
def rotate_signing_key() -> None:
    """
    Make a key that signs ten minutes from now, when every process and verifier knows it.

    The one in use verifies as long as tokens that it signed can live. Nothing else is to be done, and no process is
    to be started anew.
    """
    with _signing_keys() as signing_keys:
        _print_key(signing_keys.rotate())


@keys.command("promote")
@click.argument("key_id", metavar="KID")
def promote_signing_key(key_id: str) -> None:
    """Let the next key sign now; verifiers that keep key sets may refuse its tokens until they fetch a new one."""
    with _signing_keys() as signing_keys:
        _print_key(signing_keys.promote(key_id=key_id))


@keys.command("revoke")
@click.argument("key_id", metavar="KID")
def revoke_signing_key(key_id: str) -> None:
    """Give up a key that was stolen: its tokens are refused at once; print the key that signs now."""
    with _signing_keys() as signing_keys:
        _print_key(signing_keys.revoke(key_id=key_id))


@contextlib.contextmanager
def _signing_keys() -> Iterator[SigningKeys]:
    from userservice_core.bootstrap import bootstrap_signing_keys, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with bootstrap_signing_keys(settings) as signing_keys:
        yield signing_keys


def _print_key(key: StoredSigningKey, **more: str | None) -> None:
    document = {"kid": key.id, "algorithm": key.algorithm.value, "signsFrom": key.signs_from.isoformat(), **more}
    click.echo(json.dumps(document))


# --- settings at run time ---------------------------------------------------------------------------------------------


@main.group("settings")
def run_time_settings() -> None:
    """Change settings while processes run; what the environment gives goes before what is set here."""


@run_time_settings.command("list")
def list_run_time_settings() -> None:
    """Print the settings that may change at run time, as this environment sees them, a line of JSON each."""
    with _run_time_settings() as settings:
        shown = settings.show()
    for setting in shown.settings:
        document = {"name": setting.name, "value": setting.value, "source": setting.source.value}
        click.echo(json.dumps({**document, "stored": setting.stored, "problem": setting.problem}, default=str))
    for name, problem in sorted(shown.unusable.items()):
        click.echo(json.dumps({"name": name, "problem": problem}))


@run_time_settings.command("set")
@click.argument("assignments", metavar="NAME=VALUE...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, for whoever reads the history.")
@click.option("--version", type=int, help="Change nothing unless the settings have this version.")
def set_run_time_settings(assignments: tuple[str, ...], reason: str, version: int | None) -> None:
    """Have every process follow new values, such as log_level=DEBUG, within seconds; print the new version."""
    pairs = [assignment.partition("=") for assignment in assignments]
    for name, equals, _ in pairs:
        if not equals:
            raise click.UsageError(f"{name} lacks a value: write {name}=VALUE.")
    _change_settings({name: value for name, _, value in pairs}, reason=reason, version=version)


@run_time_settings.command("unset")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, for whoever reads the history.")
@click.option("--version", type=int, help="Change nothing unless the settings have this version.")
def unset_run_time_settings(names: tuple[str, ...], reason: str, version: int | None) -> None:
    """Have every process go back to the values of its environment, or the defaults; print the new version."""
    _change_settings(dict.fromkeys(names), reason=reason, version=version)


@run_time_settings.command("history")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
def show_settings_history(limit: int) -> None:
    """Print the last changes, the newest first, a line of JSON each."""
    with _run_time_settings() as settings:
        changes = settings.history(limit=limit)
    for change in changes:
        document = {
            "version": change.version,
            "name": change.name,
            "before": change.before,
            "after": change.after,
            "at": change.at.isoformat(),
            "actor": change.actor.kind.value,
            "actorId": None if change.actor.id is None else str(change.actor.id),
            "reason": change.reason,
        }
        click.echo(json.dumps(document))


@contextlib.contextmanager
def _run_time_settings() -> Iterator[RunTimeSettings]:
    from userservice_core.bootstrap import bootstrap_run_time_settings, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with bootstrap_run_time_settings(settings) as run_time:
        yield run_time


def _change_settings(values: Mapping[str, object], *, reason: str, version: int | None) -> None:
    with _run_time_settings() as settings:
        expected = None if version is None else {version}
        shown = settings.change(actor=OPERATOR, values=values, reason=reason, expected=expected)
    click.echo(json.dumps({"version": shown.version}))


# --- service clients --------------------------------------------------------------------------------------------------


@main.group()
def clients() -> None:
    """Manage service clients: programs that call the service in their own name."""


@clients.command("create")
@click.option("--name", required=True, help="For people; several clients may have the same.")
@click.option("--permission", "permissions", multiple=True, help="What it may do, such as user:read; repeatable.")
def create_service_client(name: str, permissions: tuple[str, ...]) -> None:
    """Make a client, and print its id and its secret once."""
    with _service_clients() as service_clients:
        _print_secret(service_clients.create(actor=OPERATOR, name=name, permissions=permissions))


@clients.command("list")
def list_service_clients() -> None:
    """Print all clients, a line of JSON each."""
    with _service_clients() as service_clients:
        for client in service_clients.list_all():
            document = {
                "clientId": str(client.id),
                "name": client.name,
                "permissions": sorted(client.permissions),
                "disabled": client.is_disabled,
                "secrets": [str(secret.id) for secret in client.secrets],
            }
            click.echo(json.dumps(document))


@clients.command("rotate")
@click.argument("client_id", type=click.UUID)
def rotate_client_secret(client_id: UUID) -> None:
    """
    Make a further secret of a client, and print it once.

    The one in use stays good. Where there are two already, the older one and all tokens end: so rotate, hand the new
    secret to the client, and rotate again if the old one must not be good any longer.
    """
    with _service_clients() as service_clients:
        _print_secret(service_clients.rotate_secret(actor=OPERATOR, client_id=ClientId(client_id)))


@clients.command("disable")
@click.argument("client_id", type=click.UUID)
def disable_service_client(client_id: UUID) -> None:
    """Give a client no more tokens, and refuse those that it has."""
    with _service_clients() as service_clients:
        service_clients.change(
            actor=OPERATOR,
            client_id=ClientId(client_id),
            revise=lambda client, now: client.revised(
                name=client.name, permissions=client.permissions, is_disabled=True, now=now
            ),
        )


@contextlib.contextmanager
def _service_clients() -> Iterator[ServiceClients]:
    from userservice_core.bootstrap import bootstrap, configure_logging

    settings = Settings.from_environment(os.environ)
    configure_logging(settings)
    with bootstrap(settings) as service:
        yield service.use_cases.service_clients


def _print_secret(new: NewSecret) -> None:
    document = {"clientId": str(new.client.id), "secretId": str(new.id), "secret": new.text, "note": "shown once"}
    click.echo(json.dumps(document))


# --- capacity ---------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("target", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--results",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Figures that were measured: the JSON that the benchmarks write.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--plots", type=click.Path(path_type=Path, file_okay=False), help="Draw the day into this folder; extra plots."
)
@click.option(
    "--manifest", type=click.Path(path_type=Path, dir_okay=False), help="Write the autoscaler's manifest here."
)
def capacity(target: Path, results: Path, *, as_json: bool, plots: Path | None, manifest: Path | None) -> None:
    """
    Plan an installation that carries what TARGET (TOML) says, by what was measured, and simulate a day of it.

    Prints pods, pools, database, partitions, consumers and cost. None of the settings of the service count here.
    """
    from userservice_core.capacity.manifest import as_yaml, autoscaler_manifest
    from userservice_core.capacity.plan import Plan
    from userservice_core.capacity.report import document_of, lines_of, plot
    from userservice_core.capacity.results import Measured
    from userservice_core.capacity.target import Target

    wanted = Target.parse(_text(target))
    plan = Plan.make(Measured.parse(_text(results), operations=wanted.operations), wanted)
    if manifest is not None:
        manifest.write_text(as_yaml(autoscaler_manifest(plan)), encoding="utf-8")
    if plots is not None:
        plot(plan, plots)
    click.echo(json.dumps(document_of(plan), indent=2) if as_json else "\n".join(lines_of(plan)))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError((f"{file} cannot be read: {error}",)) from error


# --- development ------------------------------------------------------------------------------------------------------


@main.command()
@click.option("--port", type=_PORT, default=8000, show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), default=Path(".userservice"))
@click.option("--admin-email", default="administrator@example.com", show_default=True)
def dev(port: int, data_dir: Path, admin_email: str) -> None:
    """
    Run everything on this machine: database, HTTP, relay, consumer; outgoing mail is printed as JSON lines.

    Data stays in the data directory. Whatever was started ends with this command.
    """
    from userservice_core.infrastructure.postgres.embedded import EmbeddedPostgres

    _require_free_port(port)
    with _stop_signal() as stop:
        data_dir.mkdir(parents=True, exist_ok=True)
        database = EmbeddedPostgres(data_dir / "postgres")
        try:
            environment = _dev_environment(port=port, data_dir=data_dir, dsn=database.start())
            _run_dev(environment, stop, admin_email=admin_email)
        finally:
            database.stop()


def _dev_environment(*, port: int, data_dir: Path, dsn: str) -> dict[str, str]:
    """Return the settings of a development machine; what the environment says already stays, except for these two."""
    defaults = {
        "USERSERVICE_PROFILE": "development",
        "USERSERVICE_HOST": "127.0.0.1",
        "USERSERVICE_ISSUER": f"http://127.0.0.1:{port}",
        "USERSERVICE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "USERSERVICE_METRICS_PORT": str(_free_port()),
        "USERSERVICE_MAIL_URL": "console:",
        "USERSERVICE_LOG_FORMAT": "console",
        "USERSERVICE_DRAIN_DELAY_SECONDS": "0",
        "USERSERVICE_DATABASE_START_SPREAD_SECONDS": "0",
        "USERSERVICE_DATABASE_URL": dsn,
        "USERSERVICE_DATABASE_DIRECT_URL": dsn,
    }
    fixed = {"USERSERVICE_PORT": str(port), "USERSERVICE_DATA_DIR": str(data_dir.resolve())}
    return {**defaults, **os.environ, **fixed}


def _run_dev(environment: Mapping[str, str], stop: threading.Event, *, admin_email: str) -> None:
    from userservice_core.bootstrap import bootstrap, bootstrap_consumer, bootstrap_relay, configure_logging
    from userservice_core.infrastructure.postgres import migrate as migrations

    settings = Settings.from_environment(environment)
    configure_logging(settings)
    migrations.upgrade(settings.database_direct_url or settings.database_url)
    with _server(environment) as server:
        with bootstrap(settings) as service:
            _create_admin(service.use_cases.accounts.create_first_administrator, admin_email)
        with (
            bootstrap_relay(settings, relay_id="development") as relay_service,
            bootstrap_consumer(settings, member_id="development") as consumer_service,
        ):
            threads = [
                threading.Thread(target=run, args=(stop,), name=name)
                for name, run in (("relay", relay_service.run), ("consumer", consumer_service.consumer.run))
            ]
            for thread in threads:
                thread.start()
            try:
                _wait_until_ready(settings, server, stop)
                while not stop.wait(0.2) and server.poll() is None and all(thread.is_alive() for thread in threads):
                    pass
            finally:
                ended_early = not stop.is_set()
                stop.set()
                for thread in threads:
                    thread.join()
    if ended_early:
        _fail(("the server, the relay or the consumer has ended; its last lines above say why",), 1)


@contextlib.contextmanager
def _server(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Serve in a process of its own, in a session of its own: Ctrl-C reaches this process, which then ends that one."""
    command = [sys.executable, "-m", "userservice_core.cli", "serve", "--with-parent"]
    server = subprocess.Popen(  # noqa: S603 - this very program
        command, env=dict(environment), stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(settings: Settings, server: subprocess.Popen[bytes], stop: threading.Event) -> None:
    url = f"http://{settings.host}:{settings.port}"
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None and not stop.wait(0.05):
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{url}/health/ready", timeout=2),  # noqa: S310 - the scheme is ours
        ):
            click.echo(f"Ready on {url} - Ctrl-C stops everything")
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            problem = f"port {port} cannot be used ({error.strerror}); choose another: PORT=8001"
            raise ConfigurationError((problem,)) from error


# --- processes --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Give an event that SIGINT and SIGTERM set, and put the handlers back at the end."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _require_startable(settings: Settings) -> None:
    """
    Check here, where it can be said clearly, what would keep a worker from starting: the key ring and the schema.

    A database that is away is no reason not to start: the process waits for it, and is not ready meanwhile.
    """
    from userservice_core.bootstrap import check_key_ring
    from userservice_core.infrastructure.postgres import migrate as migrations

    check_key_ring(settings)
    with contextlib.suppress(DatabaseUnavailableError):
        migrations.require_current(settings.database_url)
        _require_connections(settings)


def _require_connections(settings: Settings) -> None:
    """
    Warn if all instances together can open more connections than the server has; refuse to start if one alone can.

    Raises:
        ConfigurationError: If this one would be refused connections while it is alone.
    """
    from userservice_core.bootstrap import connection_demand
    from userservice_core.infrastructure.postgres.checks import connection_fault

    dsn = settings.database_direct_url or settings.database_url
    alone = connection_fault(dsn, connection_demand(settings, instances=1))
    if alone is not None:
        raise ConfigurationError((alone.text,))
    together = connection_fault(dsn, connection_demand(settings))
    if together is not None:
        click.echo(f"userservice: {together.text}", err=True)


def _end_with_parent() -> None:
    """Wait for the end of standard input, which comes with the end of the parent however it ends, then stop."""
    # Not through sys.stdin: its lock, held here, would be held for ever in the workers that are forked meanwhile.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _metrics(settings: Settings, *, port: int) -> Iterator[None]:
    """
    Serve the metrics of this process and of those it starts on a port of their own.

    They are kept in a folder by the port, so that processes with one folder for their data keep theirs apart.
    """
    from userservice_core.infrastructure.system.metrics import serve_metrics

    with serve_metrics(settings.data_dir / f"metrics-{port}", host=settings.metrics_host, port=port):
        yield


if __name__ == "__main__":
    main()
