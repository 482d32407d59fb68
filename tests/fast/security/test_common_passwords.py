"""The block list: what everybody tries first is on it, what nobody would think of is not."""

from __future__ import annotations

import pytest

from userservice_core.domain.passwords import LEAST_MIN_CHARACTERS, PasswordPolicy
from userservice_core.infrastructure.security.common_passwords import common_passwords


@pytest.mark.asvs("6.2.4")
@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "1234567890",
        "123456789012345",
        "qwertyuiop",
        "qwertyuiopasdfghjkl",
        "1qaz2wsx3edc4rfv",
        "aaaaaaaaaaaaaaaa",
        "abcabcabcabcabc",
        "passwordpassword",
        "password123",
        "Password2024!",
        "p@$$w0rd",
        "administrator1",
        "ThisIsMyPassword1",
        "CorrectHorseBatteryStaple",
        "letmeinletmein",
        "987654321",
        "Summer2025",
    ],
)
def test_what_everybody_tries_is_blocked(password: str) -> None:
    """In any case."""
    policy = PasswordPolicy(min_characters=8, blocked=common_passwords())

    assert "password-too-common" in {fault.code for fault in policy.faults(password)}


@pytest.mark.parametrize("password", ["mauve otter climbs slowly", "kV9#tq2!mZp0", "ein Fahrrad ohne Bremse"])
def test_what_nobody_would_think_of_is_not(password: str) -> None:
    """A sentence of one's own passes."""
    assert password.casefold() not in common_passwords()


def test_the_list_is_casefolded_and_holds_no_dead_weight() -> None:
    """What the shortest policy refuses anyway takes no memory, and the whole stays small."""
    passwords = common_passwords()

    assert all(password == password.casefold() and len(password) >= LEAST_MIN_CHARACTERS for password in passwords)
    assert 20_000 < len(passwords) < 100_000
