"""What :class:`~userservice_core.ports.breached_passwords.BreachedPasswords` promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.errors import BreachCheckUnavailableError

if TYPE_CHECKING:
    from userservice_core.ports.breached_passwords import BreachedPasswords

BREACHED: Final = "caf\u00e9 au lait for everybody"
"""The one password that leaked."""


class BreachedPasswordsContract:
    """For :class:`~userservice_core.ports.breached_passwords.BreachedPasswords`."""

    @pytest.fixture
    def breached(self) -> BreachedPasswords:
        """One that knows :data:`BREACHED` alone."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def unsure(self) -> BreachedPasswords:
        """One that cannot tell now, and may not let pass."""
        raise NotImplementedError("override this fixture")

    def test_a_leaked_password_is_told_from_others(self, breached: BreachedPasswords) -> None:
        """Letter by letter, however often it is asked."""
        for _ in range(2):
            assert breached.is_breached(BREACHED)
            assert not any(map(breached.is_breached, ("", BREACHED.upper(), f"{BREACHED} ", "another one")))

    def test_not_to_know_is_no_answer(self, unsure: BreachedPasswords) -> None:
        """It is an error of its own."""
        with pytest.raises(BreachCheckUnavailableError):
            unsure.is_breached(BREACHED)
