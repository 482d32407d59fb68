"""Counting what happens, for whoever operates the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Metrics(Protocol):
    """
    Measures without ever failing or blocking. Safe for many threads.

    No label holds anything of a user: names of operations, resources and error codes only, so their number is bounded.
    """

    def request_began(self, operation: str) -> Callable[[int], None]:
        """
        Begin to time a request.

        Args:
            operation: The operation id of its route, or `unmatched`.

        Returns:
            A function to be called once with the status of the answer.
        """
        ...

    def timing(self, what: str) -> AbstractContextManager[None]:
        """Time the block under the name *what*, such as `password_hash` or `uow_commit`."""
        ...

    def count(self, what: str, *, outcome: str = "ok", times: int = 1) -> None:
        """Count *times* occurrences of *what* with this outcome."""
        ...

    def gauge(self, what: str, value: float) -> None:
        """Set *what* to *value*, such as the records waiting in the outbox."""
        ...

    def render(self) -> tuple[bytes, str]:
        """Return everything in Prometheus' text format, and its content type."""
        ...
