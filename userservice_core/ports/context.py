"""
The ambient facts of the call that is being served: its deadline, its id, its trace, and whether it may wait.

They cross every layer without being anybody's business logic, so they travel in a context variable instead of in every
signature. Each blocking implementation of a port honours the deadline, and asks :func:`require_patience` before it
blocks. A thread that takes over a call sets it anew.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from userservice_core.domain.sessions import Origin
from userservice_core.errors import DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOWHERE = Origin()


class BeyondMemoryError(Exception):
    """
    The call needs more than this process's memory, and may not wait for it.

    Nothing has been done yet, so the same call can be made where it may wait. It is no refusal, and so no
    :class:`~userservice_core.errors.UserServiceError`: whoever makes up for one of those must not make up for this.
    """


@attrs.frozen(kw_only=True)
class CallContext:
    """
    One call.

    Attributes:
        deadline: Point of :func:`time.monotonic` after which no more work is to be begun; None for no limit.
        request_id: Correlates logs, events and the answer; empty outside a request.
        traceparent: W3C Trace Context header of the caller, None where there is none.
        origin: Where it came from; empty outside a request.
        may_wait: Whether it may take more than this process's memory; on an event loop it may not.
    """

    deadline: float | None = None
    request_id: str = ""
    traceparent: str | None = None
    origin: Origin = _NOWHERE
    may_wait: bool = True

    def remaining_seconds(self) -> float | None:
        """
        Return the time left, None where there is no limit.

        Raises:
            DeadlineExceededError: If nothing is left.
        """
        left = self.left_seconds()
        if left is not None and left <= 0:
            raise DeadlineExceededError
        return left

    def left_seconds(self) -> float | None:
        """Return the time left, negative past the deadline, None where there is no limit; for measuring."""
        return None if self.deadline is None else self.deadline - time.monotonic()


_NO_CALL = CallContext()
_current: ContextVar[CallContext] = ContextVar("userservice_call", default=_NO_CALL)


def current_call() -> CallContext:
    """Return the context of the call this thread is serving; one without limits outside any call."""
    return _current.get()


def require_patience() -> None:
    """
    Check, before anything that may block or take the processor for long, that the present call may wait for it.

    Raises:
        BeyondMemoryError: If it may not.
    """
    if not _current.get().may_wait:
        raise BeyondMemoryError


@contextmanager
def call_context(context: CallContext) -> Iterator[CallContext]:
    """Serve *context* within the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


_provisional: ContextVar[bool] = ContextVar("userservice_provisional_reads", default=False)


def reads_are_provisional() -> bool:
    """Tell whether what this thread reads may never be committed, so that no cache may keep it."""
    return _provisional.get()


@contextmanager
def provisional_reads() -> Iterator[None]:
    """Say so of all that is read within the block."""
    token = _provisional.set(True)
    try:
        yield
    finally:
        _provisional.reset(token)


def present_seconds() -> float:
    """Return the present by the clock that deadlines are points of, which only goes forward."""
    return time.monotonic()


def call_within(
    seconds: float, *, request_id: str = "", traceparent: str | None = None, origin: Origin = _NOWHERE
) -> CallContext:
    """Return the context of a call that begins now and has *seconds*, or less where the present call has less."""
    deadline = time.monotonic() + seconds
    outer = _current.get().deadline
    if outer is not None and outer < deadline:
        deadline = outer
    return CallContext(deadline=deadline, request_id=request_id, traceparent=traceparent, origin=origin)


@contextmanager
def deadline_after(seconds: float) -> Iterator[CallContext]:
    """Give the block *seconds* to finish; an earlier deadline of the surrounding call stays in force."""
    outer = current_call()
    within = attrs.evolve(outer, deadline=call_within(seconds).deadline)
    with call_context(within) as context:
        yield context
