"""Leaked passwords that a test names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.errors import BreachCheckUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable


class InMemoryBreachedPasswords:
    """
    A :class:`~userservice_core.ports.breached_passwords.BreachedPasswords` that knows what it is given.

    Attributes:
        is_away: Whether it cannot tell now; to be set by a test.
    """

    def __init__(self, passwords: Iterable[str] = ()) -> None:
        self._passwords = frozenset(passwords)
        self.is_away = False

    def is_breached(self, password: str) -> bool:
        if self.is_away:
            raise BreachCheckUnavailableError
        return password in self._passwords
