"""Whether a resource answers."""

from __future__ import annotations

from typing import Protocol


class Ping(Protocol):
    """One resource's health, asked by a background probe and never on a request."""

    @property
    def name(self) -> str:
        """What the resource is called in the answer of the readiness route."""
        ...

    def ping(self) -> None:
        """
        Return if the resource answers within the call's deadline.

        Raises:
            Exception: Any, if it does not.
        """
        ...
