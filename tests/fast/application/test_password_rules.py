"""Which passwords are taken: by their length and by how common they are, and by nothing else."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.fast.application.conftest import PASSWORD
from userservice_core.domain.passwords import PasswordPolicy
from userservice_core.errors import AuthenticationError, InvalidInputError
from userservice_core.http import wire
from userservice_core.infrastructure.postgres.tables import metadata
from userservice_core.infrastructure.security.common_passwords import common_passwords

if TYPE_CHECKING:
    from tests.fast.application.conftest import World

_DEFAULT_LENGTH = 15


def _policy(min_characters: int = _DEFAULT_LENGTH) -> PasswordPolicy:
    return PasswordPolicy(min_characters=min_characters, blocked=common_passwords())


@pytest.mark.asvs("6.2.1")
@pytest.mark.parametrize("least", [8, 15])
@pytest.mark.parametrize("sign", ["\u00e9", "\U0001f511", "\u4e2d", "e\u0301"])
def test_a_character_is_a_character_whatever_its_bytes(least: int, sign: str) -> None:
    """One less than the least is refused, the least is taken; what is composed counts once."""
    password = "kV9#tq2!mZp0xyz"[: least - 1]

    assert [fault.code for fault in _policy(least).faults(password)] == ["password-too-short"]
    assert _policy(least).faults(password + sign) == ()


@pytest.mark.asvs("6.2.1")
def test_no_setting_allows_less_than_eight() -> None:
    """Whatever an installation wants."""
    with pytest.raises(ValueError, match="min_characters"):
        PasswordPolicy(min_characters=7)


@pytest.mark.asvs("6.2.4")
def test_thousands_that_are_long_enough_are_refused() -> None:
    """Of the list, those that the default length would let through are more than 3,000."""
    long_enough = [password for password in common_passwords() if len(password) >= _DEFAULT_LENGTH]

    assert len(long_enough) >= 3_000
    for password in long_enough:
        assert "password-too-common" in {fault.code for fault in _policy().faults(password)}


@pytest.mark.asvs("6.2.5")
@pytest.mark.parametrize(
    "password",
    [
        "mauveotterclimbsslowly",
        "MAUVEOTTERCLIMBSSLOWLY",
        "83017465920184736529",
        "!%&/()=?+*#-_.:,;<>|",
        "mauve otter climbs slowly",
        "\U0001f98a\U0001f9ca\U0001f427\U0001f9ed\U0001f9f7" * 4,
        "\u6211\u7684\u4e2d\u6587\u5bc6\u7801\u6ca1\u6709\u9650\u5236\u8fd9\u662f\u4e00\u4e2a\u53e5\u5b50",
        "' OR 1=1; DROP TABLE users; --",
    ],
)
def test_one_kind_of_character_is_enough(world: World, password: str) -> None:
    """Small or capital letters, digits, signs, spaces, other scripts; and one signs in with it."""
    user = world.use_cases.registration.register(email="ada@example.com", password=password)
    world.use_cases.email_verification.confirm(token=world.mailed_token())

    assert world.sign_in(password=password).user.id == user.id


@pytest.mark.asvs("6.2.8")
@pytest.mark.parametrize(
    "other",
    [PASSWORD.upper(), f"{PASSWORD} ", f" {PASSWORD}", PASSWORD[:-1], f"{PASSWORD}.", PASSWORD.replace(" ", "")],
)
def test_what_only_resembles_a_password_is_not_it(world: World, other: str) -> None:
    """Case and spaces count."""
    world.active_user()

    with pytest.raises(AuthenticationError):
        world.sign_in(password=other)


@pytest.mark.asvs("6.2.8", "6.2.9")
@pytest.mark.parametrize("place", [14, 71, 72, 127])
def test_each_of_128_characters_counts(world: World, place: int) -> None:
    """Nothing is cut, at none of the lengths that other hashes cut at."""
    password = "abcdefgh" * 16
    world.use_cases.registration.register(email="ada@example.com", password=password)
    world.use_cases.email_verification.confirm(token=world.mailed_token())

    with pytest.raises(AuthenticationError):
        world.sign_in(password=f"{password[:place]}X{password[place + 1 :]}")
    assert world.sign_in(password=password).user.email_verified
    with pytest.raises(InvalidInputError):
        world.use_cases.registration.register(email="eve@example.com", password=f"{password}x")


@pytest.mark.asvs("6.2.8")
def test_two_ways_to_type_a_password_are_one(world: World) -> None:
    """It is compared in NFC; that is the one thing done to it."""
    typed = "caf\u00e9 with much sugar"
    world.use_cases.registration.register(email="ada@example.com", password=typed)
    world.use_cases.email_verification.confirm(token=world.mailed_token())

    assert world.sign_in(password=unicodedata.normalize("NFD", typed)).user.email_verified


def _names() -> set[str]:
    columns = {f"{table.name}.{column.name}" for table in metadata.tables.values() for column in table.columns}
    members = {
        f"{shape.__name__}.{field.encode_name}"
        for shape in vars(wire).values()
        if isinstance(shape, type) and issubclass(shape, msgspec.Struct)
        for field in msgspec.structs.fields(shape)
    }
    return {name.lower() for name in columns | members}


@pytest.mark.asvs("6.4.2")
def test_there_are_no_hints_and_no_questions() -> None:
    """No table has a column for one, and no body a member."""
    names = _names()

    assert len(names) > 100
    # What a client says of the token that it asks about (RFC 7662) is no hint at a password.
    suspicious = {name for name in names if any(word in name for word in ("hint", "question", "reminder"))}
    assert suspicious == {"presentedtokenform.token_type_hint"}


@pytest.mark.asvs("6.2.10")
def test_a_password_does_not_expire() -> None:
    """Nothing keeps when one would."""
    assert [name for name in _names() if "password" in name and ("expire" in name or "until" in name)] == []
