"""Bounded places for work that blocks: past the bound, work is refused at once instead of piling up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs
import structlog

from userservice_core.errors import DeadlineExceededError, OverloadedError, UnavailableError
from userservice_core.http.admission import Admission
from userservice_core.ports.context import present_seconds

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from userservice_core.ports.context import CallContext
    from userservice_core.ports.metrics import Metrics

T = TypeVar("T")

AT_ONCE: Final = "refused"
LATE: Final = "refused-late"
_SECONDS_BETWEEN_LINES: Final = 1.0

_log = structlog.get_logger("userservice.http")


@attrs.frozen(eq=False)
class _Waiting(Generic[T]):
    """
    Somebody who waits for a thread.

    Attributes:
        otherwise: Makes what they get in the place of what their work returns.
        since: When they came.
        timing: Closed when they wait no longer.
    """

    work: Callable[[], T]
    otherwise: Callable[[UnavailableError], T]
    since: float
    timing: ExitStack = attrs.field(factory=ExitStack)
    future: Future[T] = attrs.field(factory=Future)

    def refuse(self, error: UnavailableError) -> None:
        """Give them the answer that they are not served, unless they have gone."""
        if self.future.set_running_or_notify_cancel():
            self._settle(lambda: self.otherwise(error))

    def do(self) -> None:
        """Do their work, unless they have gone."""
        if self.future.set_running_or_notify_cancel():
            self._settle(self.work)

    def _settle(self, work: Callable[[], T]) -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is whoever waits for the result who gets it
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class BoundedWorkers(Generic[T]):
    """
    So many at work, and no more waiting than can be served in time, by :class:`~userservice_core.http.admission`.

    Work comes from hosts with threads of their own (:meth:`run`) and from hosts with an event loop (:meth:`submit`);
    both count against the same bounds.

    | metric | kind | says |
    | --- | --- | --- |
    | `admission_NAME` | occurrences | `refused`: at once; `refused-late`: when their turn came too late |
    | `admission_wait_seconds_NAME` | level | the wait that is to be expected now |
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        queue: int,
        longest_wait_seconds: float,
        metrics: Metrics,
        timed_as: str | None = None,
        monotonic: Callable[[], float] = present_seconds,
    ) -> None:
        """
        Start no thread yet.

        Args:
            name: Of the kind of work, for metrics and threads.
            threads: Pieces of work done at once.
            queue: How many may wait, however short.
            longest_wait_seconds: How long anybody may wait.
            timed_as: Under which name it is measured how long those who are let in wait; not if None.
        """
        self._metrics = metrics
        self._timed_as = timed_as
        self._counted = f"admission_{name}"
        self._level = f"admission_wait_seconds_{name}"
        self._monotonic = monotonic
        self._longest_wait_seconds = longest_wait_seconds
        self._told = 0.0
        self._name = name
        self._unlogged = 0
        self._logged_at: float | None = None
        self._lock = Lock()
        self._admission = Admission(threads=threads, queue=queue, longest_wait_seconds=longest_wait_seconds)
        self._waiting: deque[_Waiting[T]] = deque()
        self._places = BoundedSemaphore(threads)
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=f"userservice-{name}")

    def run(self, work: Callable[[], T], *, otherwise: Callable[[UnavailableError], T], context: CallContext) -> T:
        """
        Do *work* in this thread as soon as there is a place, and return what it returns.

        Args:
            otherwise: Makes what is returned where there is none in time.
            context: What the work belongs to; nobody waits past its deadline.
        """
        since = self._monotonic()
        try:
            with self._lock:
                self._admission.come(since)
        except OverloadedError as error:
            return otherwise(self._refused(AT_ONCE, error))
        left = context.left_seconds()
        patience = self._longest_wait_seconds if left is None else min(left, self._longest_wait_seconds)
        with self._wait_timed():
            has_place = self._places.acquire(timeout=max(patience, 0))
        if not has_place:
            return otherwise(self._gone(context))
        try:
            began = self._begin(since)
        except OverloadedError as error:
            self._places.release()
            return otherwise(self._refused(LATE, error))
        try:
            return work()
        finally:
            self._end(began)
            self._places.release()

    def submit(self, work: Callable[[], T], *, otherwise: Callable[[UnavailableError], T]) -> T | Future[T]:
        """
        Have a thread do *work*, and return what will have what it returns; never blocks.

        Args:
            otherwise: Makes what is there instead where there is no thread in time, or none any more; where that is
                known now, it is what is returned.
        """
        waiting = _Waiting(work, otherwise, self._monotonic())
        late: list[_Waiting[T]] = []
        result: T | Future[T] = waiting.future
        try:
            with self._lock:
                # Nobody looks after those in the queue while no thread gets free, but for those who come.
                while self._waiting and self._admission.is_late(waiting.since, since=self._waiting[0].since):
                    late.append(self._waiting.popleft())
                    self._admission.leave()
                self._admission.come(waiting.since)
                waiting.timing.enter_context(self._wait_timed())
                self._waiting.append(waiting)
        except OverloadedError as error:
            result = otherwise(self._refused(AT_ONCE, error))
        else:
            self._have_done(waiting)
        for one in late:
            one.timing.close()
            one.refuse(self._refused(LATE, self._refusal()))
        return result

    def close(self) -> None:
        """Take no more work, and return when what was taken is done."""
        self._executor.shutdown(wait=True)

    def _have_done(self, waiting: _Waiting[T]) -> None:
        """Have a thread take whoever is the first then."""
        try:
            self._executor.submit(self._take_first)
        except RuntimeError:
            with self._lock:
                is_there = waiting in self._waiting
                if is_there:
                    self._waiting.remove(waiting)
                    self._admission.leave()
            if is_there:
                waiting.refuse(OverloadedError())

    def _take_first(self) -> None:
        with self._places:
            with self._lock:
                # Those who were late have been sent away already.
                waiting = self._waiting.popleft() if self._waiting else None
            if waiting is None:
                return
            waiting.timing.close()
            try:
                began = self._begin(waiting.since)
            except OverloadedError as error:
                waiting.refuse(self._refused(LATE, error))
                return
            try:
                waiting.do()
            finally:
                self._end(began)

    def _wait_timed(self) -> AbstractContextManager[None]:
        return nullcontext() if self._timed_as is None else self._metrics.timing(self._timed_as)

    def _begin(self, since: float) -> float:
        with self._lock:
            began = self._monotonic()
            self._admission.begin(began, since=since)
            return began

    def _end(self, began: float) -> None:
        with self._lock:
            self._admission.end(self._monotonic(), began=began)
            expected = self._admission.expected_wait_seconds()
        self._tell(expected)

    def _gone(self, context: CallContext) -> UnavailableError:
        """Return what somebody is answered who has not had a place in time."""
        left = context.left_seconds()
        with self._lock:
            self._admission.leave()
            if left is not None and left <= 0:
                return DeadlineExceededError()
            error = self._admission.refusal(self._monotonic())
        return self._refused(LATE, error)

    def _refusal(self) -> OverloadedError:
        with self._lock:
            return self._admission.refusal(self._monotonic())

    def _refused(self, outcome: str, error: OverloadedError) -> OverloadedError:
        self._metrics.count(self._counted, outcome=outcome)
        with self._lock:
            expected = self._admission.expected_wait_seconds()
            number = self._to_be_logged()
        self._tell(expected)
        if number:
            _log.warning("requests refused", work=self._name, number=number, wait_seconds=round(expected, 3))
        return error

    def _to_be_logged(self) -> int:
        """Return how many were refused since the last line of the log, which are told once a second; 0 before."""
        self._unlogged += 1
        now = self._monotonic()
        if self._logged_at is not None and now - self._logged_at < _SECONDS_BETWEEN_LINES:
            return 0
        self._logged_at = now
        number, self._unlogged = self._unlogged, 0
        return number

    def _tell(self, expected_wait_seconds: float) -> None:
        """Set the level; most of the time nobody waits, and it is known."""
        if expected_wait_seconds != self._told:
            self._told = expected_wait_seconds
            self._metrics.gauge(self._level, expected_wait_seconds)
