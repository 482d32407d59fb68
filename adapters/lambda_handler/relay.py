"""A relay as an AWS Lambda function that a schedule calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from userservice_core.bootstrap import RelayService

    from .app import LambdaContext

_SECONDS_TO_STOP = 35.0
"""Kept back from the invocation's time: a wave that a bus does not acknowledge is waited for so long."""
_LEAST_SECONDS = 1.0


def create_relay_handler(
    service: RelayService,
) -> Callable[[Mapping[str, Any], LambdaContext], dict[str, float | int]]:
    """
    Return a handler that relays, whatever event calls it, until nothing waits or the invocation's time is nearly over.

    No thread of the relay is left when it returns, since the execution environment is frozen then. An environment that
    ends without notice has only sent what is sent again: events are delivered at least once.
    """

    def handler(_event: Mapping[str, Any], context: LambdaContext) -> dict[str, float | int]:
        """
        Relay once.

        Returns:
            What still waits, is set aside, and how old the oldest is, for the log.

        Raises:
            UnavailableError: If the database does not answer; the platform counts it as the function's error.
        """
        seconds = max(_LEAST_SECONDS, context.get_remaining_time_in_millis() / 1_000 - _SECONDS_TO_STOP)
        left = service.drain(seconds=seconds)
        return {"waiting": left.records, "oldestAgeSeconds": left.oldest_age_seconds, "setAside": left.parked}

    return handler
