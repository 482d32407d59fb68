"""
The passwords that attackers try first, made by rule.

Lists of leaked passwords are other people's; what fills them is not their secret: rows of keys, counting, repetition,
and the same few words with a year or a digit behind them. Only what a policy could let through by length is kept.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Final

from userservice_core.domain.passwords import LEAST_MIN_CHARACTERS, MAX_PASSWORD_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROUNDS: Final = ("1234567890", "123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop")
"""Walked on and on: after the last comes the first."""

_WALKS: Final = (
    "1234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "wxcvbn",
    "abcdefghijklmnopqrstuvwxyz",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "qazwsxedcrfvtgbyhnujmikolp",
    "qweasdzxc",
    "qwerasdfzxcv",
    "147258369",
    "123qweasdzxc",
    "741852963",
    "!@#$%^&*()",
)
_WORDS: Final = (
    *("password", "passwort", "motdepasse", "contrasena", "parola", "wachtwoord", "senha", "haslo", "passphrase"),
    *("admin", "administrator", "root", "user", "username", "guest", "test", "testing", "demo", "login", "welcome"),
    *("letmein", "changeme", "default", "secret", "access", "master", "server", "system", "service", "userservice"),
    *("iloveyou", "love", "lovely", "sunshine", "princess", "dragon", "monkey", "shadow", "football", "baseball"),
    *("soccer", "hockey", "superman", "batman", "pokemon", "starwars", "computer", "internet", "whatever", "freedom"),
    *("summer", "winter", "spring", "autumn", "january", "february", "march", "april", "june", "july", "august"),
    *("september", "october", "november", "december", "monday", "friday", "company", "office", "hello", "qwerty"),
    *("abc", "letmeinplease", "trustno", "michael", "jennifer", "charlie", "jordan", "london", "berlin", "paris"),
)
_SENTENCES: Final = (
    "thisismypassword",
    "mypasswordissecret",
    "passwordpassword",
    "correcthorsebatterystaple",
    "ihatepasswords",
    "iloveyouforever",
    "letmeinletmein",
    "pleaseletmein",
    "donotforgetthis",
    "iforgotmypassword",
    "nobodyknowsthis",
    "tobeornottobe",
    "thequickbrownfox",
    "thequickbrownfoxjumpsoverthelazydog",
    "opensesame",
    "administratorpassword",
    "temporarypassword",
    "changethispassword",
)
_ENDINGS: Final = (
    *("", "!", "!!", "?", ".", "1", "2", "3", "7", "9", "01", "11", "12", "21", "22", "23", "69", "77", "88", "99"),
    *("00", "007", "111", "123", "123!", "1234", "12345", "123456", "1234567", "12345678", "123456789", "321"),
    *("@123", "#123", "_123", "1!", "1234!", "@1", "abc", "qwerty"),
    *(str(year) for year in range(1960, 2036)),
    *(f"{year}!" for year in range(2015, 2036)),
)
_LOOKALIKES: Final = str.maketrans({"a": "@", "e": "3", "i": "1", "o": "0", "s": "$"})
_DIGITS_FOR_LETTERS: Final = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5"})
_UNITS: Final = (
    "12",
    "123",
    "1234",
    "ab",
    "abc",
    "abcd",
    "xyz",
    "qwe",
    "asd",
    "zxc",
    "qwerty",
    "asdf",
    "aa",
    "1a",
    "a1",
)
_LONGEST_REPEAT: Final = 32


class CommonPasswords:
    """Holds what :func:`common_passwords` returns, which is made when it is first asked for one."""

    def __contains__(self, password: object) -> bool:
        """Tell it."""
        return password in common_passwords()


@functools.cache
def common_passwords() -> frozenset[str]:
    """Return them casefolded, as the password policy compares them."""
    found = map(str.casefold, itertools.chain(_from_walks(), _from_repetition(), _from_words()))
    return frozenset(word for word in found if LEAST_MIN_CHARACTERS <= len(word) <= MAX_PASSWORD_CHARACTERS)


def _from_walks() -> Iterator[str]:
    """Walk along the keys: any stretch, there, back, and there and back."""
    for walk in itertools.chain.from_iterable((walk, walk[::-1]) for walk in _WALKS):
        for start, end in itertools.combinations(range(len(walk) + 1), 2):
            stretch = walk[start:end]
            yield stretch
            if start == 0:
                yield from (stretch + stretch, stretch + stretch[::-1], f"{stretch}!", f"{stretch}1")
    yield from (a + b for a, b in itertools.permutations(_WALKS, 2))
    for circle in itertools.chain.from_iterable((circle, circle[::-1]) for circle in _ROUNDS):
        rounds = circle * (_LONGEST_REPEAT // len(circle) + 2)
        yield from (
            rounds[start : start + length]
            for start in range(len(circle))
            for length in range(LEAST_MIN_CHARACTERS, _LONGEST_REPEAT + 1)
        )


def _from_repetition() -> Iterator[str]:
    characters = "abcdefghijklmnopqrstuvwxyz0123456789!.*-_ "
    for unit in itertools.chain(characters, _UNITS, _WORDS):
        for times in range(2, _LONGEST_REPEAT // len(unit) + 1):
            yield unit * times
    digits = "0123456789"
    yield from (a * length + b * length for a in digits for b in digits for length in (4, 5, 6))


def _from_words() -> Iterator[str]:
    words = (*_WORDS, *_SENTENCES)
    for word, ending in itertools.product(_spellings(words), _ENDINGS):
        yield word + ending
    yield from (f"{beginning}{word}" for beginning in ("my", "the", "123", "1234", "!") for word in words)
    yield from (a + b for a, b in itertools.permutations(_WORDS, 2))


def _spellings(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        yield from {word, word.translate(_LOOKALIKES), word.translate(_DIGITS_FOR_LETTERS)}
