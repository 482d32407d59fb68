"""The service as an AWS Lambda function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .translate import request_from, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from userservice_core.bootstrap import UserService

_SECONDS_TO_ANSWER = 0.25
"""Kept back from the invocation's time, so that a request that takes too long is answered and not cut off."""


class LambdaContext(Protocol):
    """What the platform tells of an invocation, as far as it is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the platform ends the invocation."""
        ...


def create_handler(service: UserService) -> Callable[[Mapping[str, Any], LambdaContext], dict[str, Any]]:
    """
    Return a handler that serves *service*.

    An execution environment is frozen between invocations and ends without notice: whoever creates the handler starts
    *service*, and nothing closes it.
    """
    pipeline = service.pipeline

    def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """
        Serve one request.

        Raises:
            ProgrammingError: If *event* carries none; the platform reports it as the function's error.
        """
        seconds = context.get_remaining_time_in_millis() / 1_000 - _SECONDS_TO_ANSWER
        return result_of(pipeline.handle(request_from(event, time_left_seconds=seconds)), event)

    return handler
