"""What a new password has to pass, at every place where one is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from userservice_core.application.password_rules import PasswordRules
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.passwords import PasswordPolicy, known_words
from userservice_core.errors import BreachCheckUnavailableError
from userservice_core.infrastructure.memory import InMemoryBreachedPasswords
from userservice_core.testing.contracts.breached_passwords import BREACHED, BreachedPasswordsContract
from userservice_core.testing.samples import sample_email, sample_profile, sample_user

if TYPE_CHECKING:
    from userservice_core.errors import Fault

LEAKED: Final = "mauve otter climbs slowly"


class _Leaks:
    """Knows one leaked password, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_away = False

    def is_breached(self, password: str) -> bool:
        self.asked.append(password)
        if self.is_away:
            raise BreachCheckUnavailableError
        return password == LEAKED


class TestInMemoryBreachedPasswords(BreachedPasswordsContract):
    """What the other tests use."""

    @pytest.fixture
    def breached(self) -> InMemoryBreachedPasswords:
        """Of one password."""
        return InMemoryBreachedPasswords([BREACHED])

    @pytest.fixture
    def unsure(self) -> InMemoryBreachedPasswords:
        """As if nobody answered."""
        unsure = InMemoryBreachedPasswords([BREACHED])
        unsure.is_away = True
        return unsure


def _codes(faults: tuple[Fault, ...]) -> set[str]:
    return {fault.code for fault in faults}


def test_a_leaked_password_is_refused() -> None:
    """Beside nothing else, and where it is the new one of two, by that name."""
    rules = PasswordRules(policy=PasswordPolicy(), breached=_Leaks())

    (fault,) = rules.faults(LEAKED, context=())
    assert (fault.field, fault.code) == (("password",), "password-breached")
    (fault,) = rules.change_faults(LEAKED, current="another one of mine", email=sample_email())
    assert (fault.field, fault.code) == (("newPassword",), "password-breached")
    assert rules.faults("mauve otter climbs quickly", context=()) == ()


def test_nobody_is_asked_about_a_password_that_is_refused_anyway() -> None:
    """Nothing is said about it to others."""
    leaks = _Leaks()
    rules = PasswordRules(policy=PasswordPolicy(blocked=frozenset({"thisismypassword"})), breached=leaks)

    assert _codes(rules.faults("ThisIsMyPassword", context=())) == {"password-too-common"}
    assert _codes(rules.faults("short", context=())) == {"password-too-short"}
    assert leaks.asked == []


def test_the_normal_form_is_looked_up() -> None:
    """The one that is hashed."""
    leaks = _Leaks()
    PasswordRules(policy=PasswordPolicy(), breached=leaks).faults("cafe\u0301 au lait avec sucre", context=())

    assert leaks.asked == ["caf\u00e9 au lait avec sucre"]


def test_that_it_cannot_be_told_is_passed_on() -> None:
    """Whoever asked is told to come again."""
    leaks = _Leaks()
    leaks.is_away = True
    rules = PasswordRules(policy=PasswordPolicy(), breached=leaks)

    with pytest.raises(BreachCheckUnavailableError):
        rules.faults(LEAKED, context=())
    with pytest.raises(BreachCheckUnavailableError):
        rules.change_faults(LEAKED, current="another one of mine", email=sample_email())


@pytest.mark.asvs("6.2.11")
def test_what_is_known_of_an_account_is_no_password() -> None:
    """Address, its parts, names in any order, number, and the service: regardless of case, and only as a whole."""
    profile = sample_profile(
        sample_user(),
        first_name="Wilhelmina",
        last_name="Featherstone",
        display_name="The Ice Queen of Oslo",
        phone_number="+4712345678901",
    )
    email = EmailAddress.parse("wilhelmina.featherstone@accounts.example.org")
    rules = PasswordRules(policy=PasswordPolicy(service_words=("Contoso Travel Agency",)), breached=_Leaks())
    obvious = (
        *("wilhelmina.featherstone@accounts.example.org", "Wilhelmina.Featherstone", "accounts.example.org"),
        *("WilhelminaFeatherstone", "featherstone wilhelmina", "Featherstone.Wilhelmina"),
        *("the ice queen of oslo", "contoso travel agency"),
    )

    for password in obvious:
        faults = rules.change_faults(password, current="x", email=email, profile=profile)
        assert "password-too-obvious" in _codes(faults), password
    allowed = "contoso travel agency in spring"
    assert rules.change_faults(allowed, current="x", email=email, profile=profile) == ()
    assert "wilhelmina.featherstone" in known_words(email)
