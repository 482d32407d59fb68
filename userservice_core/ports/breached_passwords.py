"""What became of passwords elsewhere."""

from __future__ import annotations

from typing import Protocol


class BreachedPasswords(Protocol):
    """Knows which passwords were found in leaked data. Safe for many threads."""

    def is_breached(self, password: str) -> bool:
        """
        Tell whether *password* (in NFC) was found.

        Waits for a second at most, and not past the call's deadline; to be called while no connection is held. Whoever
        is asked outside this process learns no more than which of many sets of passwords it belongs to.

        Raises:
            BreachCheckUnavailableError: If it cannot be told now, and must be told by the settings; where they allow
                it to pass, False is returned and counted.
        """
        ...
