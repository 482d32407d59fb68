"""Bounded places for work that blocks: past the bound, work is refused at once instead of piling up."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, TypeVar

from userservice_core.errors import DeadlineExceededError, OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from userservice_core.ports.context import CallContext

T = TypeVar("T")


class BoundedWorkers:
    """
    So many at work, so many waiting, and not one more.

    Work comes from hosts with threads of their own (:meth:`run`) and from hosts with an event loop (:meth:`submit`);
    both count against the same bounds.

    Args:
        waiting: Gives a block that lasts for as long as an admitted request waits for its place.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        queue: int,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._waiting = waiting
        self._admission = BoundedSemaphore(threads + queue)
        self._places = BoundedSemaphore(threads)
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=f"userservice-{name}")

    def run(self, work: Callable[[], T], *, context: CallContext) -> T:
        """
        Do *work* in this thread as soon as there is a place.

        Raises:
            OverloadedError: If too many are waiting already.
            DeadlineExceededError: If no place was had in time.
        """
        self._admit()
        try:
            with self._waiting():
                has_place = self._places.acquire(timeout=context.remaining_seconds())
            if not has_place:
                raise DeadlineExceededError
            try:
                return work()
            finally:
                self._places.release()
        finally:
            self._admission.release()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """
        Have a thread do *work*; never blocks.

        Raises:
            OverloadedError: If too many are waiting already, or the workers have stopped.
        """
        self._admit()
        try:
            waiting = ExitStack()
            waiting.enter_context(self._waiting())
            future = self._executor.submit(self._in_place, work, waiting)
        except RuntimeError as error:
            self._admission.release()
            raise OverloadedError from error
        future.add_done_callback(lambda _: self._admission.release())
        return future

    def close(self) -> None:
        """Take no more work, and return when what was taken is done."""
        self._executor.shutdown(wait=True)

    def _admit(self) -> None:
        if not self._admission.acquire(blocking=False):
            raise OverloadedError

    def _in_place(self, work: Callable[[], T], waiting: ExitStack) -> T:
        with self._places:
            waiting.close()
            return work()
