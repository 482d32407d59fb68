"""
The relay: moves what waits in the outbox to where it goes, in order for each key, at least once.

It holds lanes by lease, renewed by a thread of its own. Each line - the bus, the mail - has a thread too, so that one
that stands still does not hold up the other. A line waits until all it has sent is acknowledged, deletes that, and only
then reads on. No transaction is open while it waits.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from userservice_core.errors import UserServiceError
from userservice_core.infrastructure.messaging.lines import HeldLeases, RunningLine
from userservice_core.ports.context import deadline_after
from userservice_core.ports.revocations import OUTBOX_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from userservice_core.infrastructure.messaging.lines import Line
    from userservice_core.ports.metrics import Metrics
    from userservice_core.ports.publishing import Backlog, Lease, OutboxStore
    from userservice_core.ports.revocations import Signal

_log = structlog.get_logger("userservice.relay")

LEASE_SECONDS: Final = 3.0
_RENEW_SECONDS: Final = 1.0
_STORE_TIMEOUT_SECONDS: Final = 2.0
_ROTATE_SECONDS: Final = 30.0
_MEASURE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1


class Relay:
    """Relays until it is told to stop; another one takes its lanes over within the time of a lease if it dies."""

    def __init__(
        self,
        store: OutboxStore,
        lines: Iterable[Line],
        signal: Signal | None,
        *,
        relay_id: str,
        metrics: Metrics,
    ) -> None:
        """
        Wire a relay; nothing is done before :meth:`run` or :meth:`wave`.

        Args:
            store: The outbox.
            lines: Ways out, which together take every topic, each one once.
            signal: Wakes it when something was written; None to only poll.
            relay_id: Stable name, of this relay alone: under it a relay that comes back takes its lanes at once.
            metrics: Counts what is published, and shows what waits.
        """
        self._store = store
        self._signal = signal
        self._relay_id = relay_id
        self._metrics = metrics
        self._leases = HeldLeases()
        self._lines = tuple(RunningLine(line, store, self._leases, metrics) for line in lines)

    def run(self, stop: threading.Event) -> None:
        """Relay until *stop* is set, then give the lanes back."""
        unlisten = None if self._signal is None else self._signal.listen(OUTBOX_CHANNEL, self._wake_lines)
        lines_ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(lines_ended,), name="userservice-leases")
        runners = [
            threading.Thread(target=line.run, args=(stop,), name=f"userservice-relay-{line.name}")
            for line in self._lines
        ]
        for thread in (keeper, *runners):
            thread.start()
        stop.wait()
        self._wake_lines()
        for thread in runners:
            thread.join()
        lines_ended.set()
        keeper.join()
        if unlisten is not None:
            unlisten()
        self._try("release", lambda: self._store.release(self._relay_id))

    def drain(self, *, seconds: float) -> Backlog:
        """
        Relay until nothing waits, or the time is over; then give the lanes back, with no thread of its own left.

        Args:
            seconds: To begin waves in; the last one may take as long as its publisher waits for acknowledgements.

        Returns:
            What still waits.

        Raises:
            UnavailableError: If the outbox does not answer.
        """
        deadline = time.monotonic() + seconds
        backlog = self._measured()
        if not backlog.records:
            return backlog
        stop = threading.Event()
        runner = threading.Thread(target=self.run, args=(stop,), name="userservice-relay")
        runner.start()
        try:
            while backlog.records and time.monotonic() < deadline:
                time.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
                backlog = self._measured()
        finally:
            stop.set()
            runner.join()
        return self._measured()

    def _measured(self) -> Backlog:
        with deadline_after(_STORE_TIMEOUT_SECONDS):
            return self._store.backlog()

    def wave(self) -> int:
        """Claim lanes and send one wave on each line, for tests; returns how many records were published."""
        self._leases.replace(self._store.claim(self._relay_id, lease_seconds=LEASE_SECONDS))
        return sum(line.wave() for line in self._lines)

    def _wake_lines(self) -> None:
        for line in self._lines:
            line.wake()

    def _keep(self, lines_ended: threading.Event) -> None:
        """Renew the leases each second, and now and then look after the outbox."""
        rotate_at = measure_at = time.monotonic()
        while True:
            self._try("renew", self._renew)
            now = time.monotonic()
            if now >= measure_at:
                measure_at = now + _MEASURE_SECONDS
                self._try("measure", self._measure)
            if now >= rotate_at:
                rotate_at = now + _ROTATE_SECONDS
                self._try("rotate", self._store.rotate)
            if lines_ended.wait(_RENEW_SECONDS):
                return

    def _renew(self) -> None:
        began = time.monotonic()
        held = self._leases.now()
        leases = self._store.claim(self._relay_id, lease_seconds=LEASE_SECONDS)
        self._leases.replace(leases, valid_until=began + LEASE_SECONDS)
        self._metrics.gauge("relay_lanes", len(leases))
        if _were_taken(held, leases):
            _log.error("another relay runs under the same id: each takes the other's lanes", relay_id=self._relay_id)

    def _measure(self) -> None:
        backlog = self._store.backlog()
        self._metrics.gauge("outbox_records", backlog.records)
        self._metrics.gauge("outbox_oldest_age_seconds", backlog.oldest_age_seconds)
        self._metrics.gauge("outbox_parked", backlog.parked)

    def _try(self, what: str, action: Callable[[], object]) -> None:
        try:
            with deadline_after(_STORE_TIMEOUT_SECONDS):
                action()
        except UserServiceError as error:
            _log.warning("the outbox does not answer", doing=what, error=error.code)
        except Exception:  # noqa: BLE001
            # Without this thread the leases run out and nothing is published, while the process looks alive.
            _log.exception("the outbox cannot be looked after", doing=what)


def _were_taken(held: Iterable[Lease], leases: Iterable[Lease]) -> bool:
    """Tell whether a lane that was ours all the time has a new fence."""
    fences = {lease.lane: lease.fence for lease in held}
    return any(fences.get(lease.lane, lease.fence) != lease.fence for lease in leases)
