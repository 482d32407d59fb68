"""What a new password has to pass, wherever one is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.domain.passwords import breached, known_words, normalise_password

if TYPE_CHECKING:
    from userservice_core.domain.emails import EmailAddress
    from userservice_core.domain.passwords import PasswordPolicy
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.errors import Fault
    from userservice_core.ports.breached_passwords import BreachedPasswords


class PasswordRules:
    """
    The policy, which needs nothing but itself, and then the check for leaked passwords, which may ask others.

    Nothing is asked about a password that is refused in any case.
    """

    def __init__(self, *, policy: PasswordPolicy, breached: BreachedPasswords) -> None:
        self.policy = policy
        self._breached = breached

    def faults(self, password: str, *, context: tuple[str, ...], field: str = "password") -> tuple[Fault, ...]:
        """
        List every rule that *password* breaks; arguments as for :meth:`PasswordPolicy.faults`.

        Raises:
            BreachCheckUnavailableError: If it cannot be told whether it was leaked, and must be.
        """
        return self.policy.faults(password, context=context, field=field) or self._leak(password, field)

    def change_faults(
        self, new: str, *, current: str, email: EmailAddress, profile: UserProfile | None = None
    ) -> tuple[Fault, ...]:
        """
        List every rule that *new* breaks in the place of *current*.

        Raises:
            BreachCheckUnavailableError: If it cannot be told whether it was leaked, and must be.
        """
        context = known_words(email, profile)
        return self.policy.change_faults(new, current=current, context=context) or self._leak(new, "newPassword")

    def _leak(self, password: str, field: str) -> tuple[Fault, ...]:
        if not self._breached.is_breached(normalise_password(password)):
            return ()
        return (breached(field),)
