"""What :class:`~userservice_core.ports.security.PasswordHasher` promises."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.errors import DeadlineExceededError, OverloadedError, UserServiceError
from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.races import race

if TYPE_CHECKING:
    from userservice_core.ports.security import PasswordHasher

# https://github.com/P-H-C/phc-string-format: $id[$v=version][$parameters][$salt[$hash]]
_NAME: Final = r"[a-z0-9-]{1,32}"
_PHC: Final = re.compile(rf"\${_NAME}(\$v=[0-9]+)?(\${_NAME}=[^,$]+(,{_NAME}=[^,$]+)*)?(\$[^$]+){{2}}")

_PASSWORDS: Final = ("correct horse battery staple", "é" * 100, " ", "a\0b", "\N{GRINNING FACE}" * 128, "x" * 1024)


class PasswordHasherContract:
    """For :class:`~userservice_core.ports.security.PasswordHasher`."""

    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        """One that is idle."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def full_hasher(self) -> PasswordHasher:
        """One whose queue in front of the hash slots is full."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def busy_hasher(self) -> PasswordHasher:
        """One whose hash slots are taken for the whole test, with room in the queue."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def outdated_hash(self) -> str:
        """A hash of `password` that was made with other parameters than those of *hasher*."""
        raise NotImplementedError("override this fixture")

    @pytest.mark.parametrize("password", _PASSWORDS, ids=range(len(_PASSWORDS)))
    def test_a_hash_belongs_to_its_password(self, hasher: PasswordHasher, password: str) -> None:
        """Whatever it is made of, and to no other one, however alike."""
        password_hash = hasher.hash(password)

        assert hasher.verify(password_hash, password)
        for other in ("", f"{password}x", password[:-1], password.upper().lower() + " ", f"{password}\0"):
            assert not hasher.verify(password_hash, other)

    def test_a_hash_is_in_phc_format(self, hasher: PasswordHasher) -> None:
        """So that it says how it was made; the password is not in it."""
        password_hash = hasher.hash("password")

        assert _PHC.fullmatch(password_hash), password_hash
        assert "password" not in password_hash

    def test_hashes_of_one_password_differ(self, hasher: PasswordHasher) -> None:
        """Nobody can tell that two people chose the same."""
        assert hasher.hash("password") != hasher.hash("password")

    @pytest.mark.parametrize("unreadable", ["", "x", "$", "$argon2id$v=19$m=1", "$unknown$v=1$a$b", "$2b$12$", "é"])
    def test_an_unreadable_hash_belongs_to_nothing(self, hasher: PasswordHasher, unreadable: str) -> None:
        """It is no error, and outdated."""
        assert not hasher.verify(unreadable, "password")
        assert hasher.is_outdated(unreadable)
        assert not hasher.is_verifiable(unreadable)

    def test_nobody_is_verified_without_a_hash(self, hasher: PasswordHasher, outdated_hash: str) -> None:
        """Nothing is told about it, whatever hash is imitated."""
        hasher.verify_nobody("password")
        hasher.verify_nobody("")
        hasher.verify_nobody("password", like=outdated_hash)
        hasher.verify_nobody("password", like="unreadable")

    def test_a_password_is_verified_as_typed_and_in_nfc(self, hasher: PasswordHasher) -> None:
        """Whichever of the two the hash was made of."""
        composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"

        assert hasher.verify(hasher.hash(composed), decomposed)
        assert hasher.verify(hasher.hash(decomposed), decomposed)
        assert not hasher.verify(hasher.hash(decomposed), composed)

    def test_a_fresh_hash_is_up_to_date(self, hasher: PasswordHasher) -> None:
        """It was made with the present parameters."""
        password_hash = hasher.hash("password")

        assert not hasher.is_outdated(password_hash)
        assert hasher.is_verifiable(password_hash)

    def test_a_hash_of_other_parameters_is_outdated(self, hasher: PasswordHasher, outdated_hash: str) -> None:
        """And verified all the same, so that it can be replaced."""
        assert hasher.is_outdated(outdated_hash)
        assert hasher.verify(outdated_hash, "password")

    def test_a_full_queue_refuses_at_once(self, full_hasher: PasswordHasher) -> None:
        """Whatever is asked for."""
        for ask in (
            lambda: full_hasher.hash("password"),
            lambda: full_hasher.verify("", "password"),
            lambda: full_hasher.verify_nobody("password"),
        ):
            with pytest.raises(OverloadedError):
                ask()

    def test_a_slot_is_waited_for_until_the_deadline(self, busy_hasher: PasswordHasher) -> None:
        """And no longer."""
        with deadline_after(0.1), pytest.raises(DeadlineExceededError):
            busy_hasher.hash("password")

    def test_many_threads_hash_at_once(self, hasher: PasswordHasher) -> None:
        """Each gets the hash of its own password, or is told that the queue is full."""
        passwords = [f"password {number}" for number in range(6)]

        def hash_and_verify(password: str) -> bool:
            return hasher.verify(hasher.hash(password), password)

        outcomes = race([lambda each=each: hash_and_verify(each) for each in passwords])  # type: ignore[misc]

        assert any(outcome is True for outcome in outcomes)
        assert all(outcome is True or isinstance(outcome, UserServiceError) for outcome in outcomes), outcomes
