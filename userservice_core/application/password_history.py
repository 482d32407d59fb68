"""Passwords that an account had before, which are no new ones where the settings say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.domain.passwords import reused

if TYPE_CHECKING:
    from userservice_core.domain.credentials import Credential
    from userservice_core.domain.ids import UserId
    from userservice_core.errors import Fault
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.security import PasswordHasher


class PasswordHistory:
    """
    Compares a new password with those before it, whose hashes the credential keeps.

    Each comparison is the work of one sign-in and takes a hash slot of its own, one after the other; all are made
    whatever comes of them, so that the time says nothing of which one it was.

    Args:
        remembered: How many former passwords are refused, and their hashes kept; 0 for none, which costs nothing.
    """

    def __init__(self, *, remembered: int, sign_ins: SignInReader, hasher: PasswordHasher) -> None:
        self._remembered = remembered
        self._sign_ins = sign_ins
        self._hasher = hasher

    def faults(self, new: str, *, instead_of: Credential | None, field: str = "newPassword") -> tuple[Fault, ...]:
        """
        Tell whether *new* is one of the passwords before the present one; asked once that one was proved.

        Args:
            new: As typed.
            instead_of: What holds the former ones.
            field: The member of the input to blame.

        Raises:
            OverloadedError: If too many passwords are being hashed already.
        """
        former = () if instead_of is None else instead_of.former_hashes[: self._remembered]
        return self._compared(new, former, field)

    def reset_faults(self, new: str, *, user_id: UserId) -> tuple[Fault, ...]:
        """
        Tell whether *new* is the present password of the user or one before it; nobody has proved that one.

        Raises:
            UserNotFoundError: If the account was erased.
            OverloadedError: If too many passwords are being hashed already.
        """
        if not self._remembered:
            return ()
        credential = self._sign_ins.get(user_id).credential
        if credential is None:
            return ()
        known = (credential.password_hash, *credential.former_hashes[: self._remembered])
        return self._compared(new, known, "password")

    def after(self, replaced: Credential | None) -> tuple[str, ...]:
        """Return the hashes to keep beside the one that takes the place of *replaced*, the newest first."""
        if replaced is None:
            return ()
        return (replaced.password_hash, *replaced.former_hashes)[: self._remembered]

    def _compared(self, new: str, hashes: tuple[str, ...], field: str) -> tuple[Fault, ...]:
        matches = [self._hasher.verify(each, new) for each in hashes]
        return (reused(field),) if any(matches) else ()
