"""Hashes that other systems made: each form is verified, and nothing that is stored there can break a sign-in."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import time
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from userservice_core.domain.foreign_hashes import phc_of_keycloak
from userservice_core.errors import InvalidInputError
from userservice_core.infrastructure.memory.metrics import InMemoryMetrics
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher
from userservice_core.infrastructure.security.stored_hashes import HashRefusedError, read_hash

PASSWORD: Final = "correct horse battery staple \u00e9"
SALT: Final = base64.b64encode(bytes(range(16))).decode()

# Made by Django 5.2, Werkzeug 3.1 and bcrypt 5.0; the last ones by hashlib and argon2-cffi with Keycloak's parameters.
HASHES: Final = {
    "django-pbkdf2": "pbkdf2_sha256$1000$saltsaltsalt$mti9/5RSqxylYzgGlTfgWSC2R+gvienJC6iN0ReaZdg=",
    "django-pbkdf2-sha1": "pbkdf2_sha1$1000$saltsaltsalt$1qedgoFu0E7TEndfgNDDoVd8Ybs=",
    "django-scrypt": "scrypt$256$saltsaltsalt$8$1$4DFjO8F6cH06dLW9IGC3Bv5ujTYmJ4bcNKlH2rKzA+FO1Pf66f"
    "0bNkzrtFVlGM3/TaLy7bTj"
    "zD2GpVuUm0q0Ww==",
    "django-argon2": "argon2$argon2id$v=19$m=102400,t=2,p=8$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN"
    "23Ufq258rZLF/AFTcWw0",
    "django-bcrypt-sha256": "bcrypt_sha256$$2b$04$hVbQmyllbksVX2LjB5Tr9OqnHqQmCadnNUo8HgVGe668TygT7lcU.",
    "django-bcrypt": "bcrypt$$2b$04$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
    "bcrypt": "$2b$04$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
    "bcrypt-of-php": "$2y$04$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
    "werkzeug-pbkdf2": "pbkdf2:sha256:1000$vvTbQ11XQbjwsrlf$2e343c6709166425aaed8071aff0cb7bbca09250"
    "47f80da4e8f65e29fa346ef0",
    "werkzeug-pbkdf2-sha512": "pbkdf2:sha512:1000$9tPu40cvNZnIfTup$564a022aeb72bae02f2c3ab82fb97cee8"
    "349e08f25e90019a1eab624"
    "edf765ce35763dbabe73f9b001551da4030a6d58862d8e20f2978be80bf66ea523995892",
    "werkzeug-scrypt": "scrypt:256:8:1$zIp397GERPBnd6Gb$1e655ce2ccf7962a8749a1ce1131c15db28fc98a8ae9afc85498c0fded387"
    "3737a3bc57d2d6e34bc8cb2835c937f8644045405d5f59ed2af34280538f3fb1852",
    "keycloak-pbkdf2": phc_of_keycloak(
        {"hashIterations": 1000, "algorithm": "pbkdf2"},
        {
            "salt": SALT,
            "value": "dIQvD/fQQPayZts620xJV+mEdkGd+OzO9MdBHOrVVlhzSI37SCZSRX/bNNQpio5ZZ/jB2xDZugABHdacVLN9ww==",
        },
    ),
    "keycloak-pbkdf2-sha256": phc_of_keycloak(
        {"hashIterations": 1000, "algorithm": "pbkdf2-sha256", "additionalParameters": {}},
        {
            "salt": SALT,
            "value": "BpGQ72lAklm0rubSec6djy2bQa+0nWqM+F/VuIp2uuGOVrBiv6D4Og+n8k7R8zQJJSZ29C/P+MTGZCzqXkzbvQ==",
        },
    ),
    "keycloak-pbkdf2-sha512": phc_of_keycloak(
        {"hashIterations": 1000, "algorithm": "pbkdf2-sha512"},
        {
            "salt": SALT,
            "value": "BHFEyZg2GLbPEwPkPgcuKS8pvRXo44sFa3Vdq/mgoUXnsdw/GPEoZwx3wW9aJZttT0N4QP+pP0yJ9O6PJn+vtg==",
        },
    ),
    "keycloak-argon2": phc_of_keycloak(
        {
            "hashIterations": 3,
            "algorithm": "argon2",
            "additionalParameters": {
                "hashLength": ["32"],
                "memory": ["64"],
                "type": ["id"],
                "version": ["1.3"],
                "parallelism": ["1"],
            },
        },
        {"salt": SALT, "value": "MXT54/tAvwFr0RGgAOiXHD4jwbQCnuNCs2oWo9m5WbI="},
    ),
}


@pytest.fixture(scope="module")
def metrics() -> InMemoryMetrics:
    """What is counted."""
    return InMemoryMetrics()


@pytest.fixture(scope="module")
def hasher(metrics: InMemoryMetrics) -> Argon2PasswordHasher:
    """One with parameters that are only for testing."""
    return Argon2PasswordHasher(slots=1, queue=1, memory_kib=64, time_cost=1, metrics=metrics)


@pytest.mark.asvs("11.2.2")
@pytest.mark.parametrize("name", HASHES)
def test_the_hash_of_another_system_belongs_to_its_password(
    hasher: Argon2PasswordHasher, metrics: InMemoryMetrics, name: str
) -> None:
    """In both spellings, and to no other; it is outdated, so that it is replaced, and that is counted."""
    stored = HASHES[name]
    outdated = sum(count for (what, _), count in metrics.counts.items() if what == "password_hash_outdated")

    assert hasher.is_verifiable(stored)
    assert hasher.verify(stored, PASSWORD)
    assert hasher.verify(stored, PASSWORD.replace("\u00e9", "e\u0301"))
    assert not hasher.verify(stored, PASSWORD + " ")
    assert not hasher.verify(stored, "")
    assert hasher.is_outdated(stored)
    assert outdated + 2 == sum(count for (what, _), count in metrics.counts.items() if what == "password_hash_outdated")


@pytest.mark.parametrize("name", HASHES)
def test_an_imitation_takes_the_same_work_and_is_nobodys(name: str) -> None:
    """It has the parameters of the original, and does not open with its password."""
    original = read_hash(HASHES[name])
    decoy = original.decoy()

    assert type(decoy) is type(original)
    assert original.matches(PASSWORD.encode())
    assert not decoy.matches(PASSWORD.encode())
    assert decoy != original.decoy()


def test_a_hash_made_of_what_was_typed_is_verified_as_typed(hasher: Argon2PasswordHasher) -> None:
    """Other systems did not normalise: whoever registered with a decomposed letter still gets in."""
    decomposed = "cafe\u0301"
    stored = "pbkdf2:sha256:1$salt$" + hashlib.pbkdf2_hmac("sha256", decomposed.encode(), b"salt", 1).hex()

    assert hasher.verify(stored, decomposed)
    assert not hasher.verify(stored, "caf\u00e9")


def test_bcrypt_reads_seventy_two_bytes(hasher: Argon2PasswordHasher) -> None:
    """What stands behind them never had an effect where the hash was made, and has none here."""
    stored = "$2b$04$IzyZiAx/vwM5uMYcnairc.Aj6ifXm9fgLhVpReAlnndd5shS/b6VG"  # of 72 times the letter a

    assert hasher.verify(stored, "a" * 72)
    assert hasher.verify(stored, "a" * 72 + "X")
    assert hasher.verify(stored, "a" * 72 + "Y" * 900)
    assert not hasher.verify(stored, "a" * 71)
    assert not hasher.verify(stored, "a" * 71 + "\u00e9")


@pytest.mark.parametrize(
    "costly",
    [
        "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN23Ufq258rZLF/AFTcWw0",
        "$argon2id$v=19$m=65536,t=100000,p=1$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN23Ufq258rZLF/AFTcWw0",
        "$argon2id$v=19$m=65536,t=1,p=64$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN23Ufq258rZLF/AFTcWw0",
        "$2b$31$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
        "pbkdf2_sha256$999999999$saltsaltsalt$mti9/5RSqxylYzgGlTfgWSC2R+gvienJC6iN0ReaZdg=",
        "pbkdf2:sha1:3000000$salt$" + "00" * 128,
        "scrypt:1048576:8:1$salt$" + "00" * 32,
        "scrypt:16384:8:900$salt$" + "00" * 32,
    ],
)
def test_a_hash_that_costs_too_much_is_not_verified(
    hasher: Argon2PasswordHasher, metrics: InMemoryMetrics, costly: str
) -> None:
    """Whoever made it would decide how long a sign-in holds a processor; it is counted."""
    before = metrics.counts["password_hash_refused", "too-costly"]
    began = time.monotonic()

    assert not hasher.verify(costly, PASSWORD)
    assert time.monotonic() - began < 1
    assert not hasher.is_verifiable(costly)
    assert before + 1 == metrics.counts["password_hash_refused", "too-costly"]


@pytest.mark.parametrize(
    "broken",
    [
        "pbkdf2_sha256$0$salt$AAAA",
        "pbkdf2_sha256$1000$salt$A",
        "pbkdf2:md5:1000$salt$00",
        "pbkdf2:sha256:1000$salt$0",
        "scrypt:255:8:1$salt$00",
        "scrypt:1:8:1$salt$00",
        "scrypt:256:0:1$salt$00",
        "scrypt:65536:1:1$salt$00",
        "$2b$03$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
        "$2b$04$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6M",
        "$2x$04$FmOLxoC0KgxudybUCyJKuOwdI.zC4xn.tbkr56Y5PMJIhOzo7X6MS",
        "$argon2id$v=19$m=64,t=1,p=1$A$A",
        "$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA",
        "$argon2id$v=19$m=1,t=1,p=1$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN23Ufq258rZLF/AFTcWw0",
        "$argon2xx$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$vFtd9zyfh/uTr14A2nS6PWN23Ufq258rZLF/AFTcWw0",
        "md5$salt$0123456789abcdef",
        "!unusable",
        "x" * 2_000,
    ],
)
def test_a_broken_hash_belongs_to_nothing(hasher: Argon2PasswordHasher, metrics: InMemoryMetrics, broken: str) -> None:
    """It is refused and counted, and no error."""
    before = metrics.counts["password_hash_refused", "unreadable"]

    assert not hasher.verify(broken, PASSWORD)
    assert before + 1 == metrics.counts["password_hash_refused", "unreadable"]


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(HASHES)), data=st.data())
def test_no_change_of_a_hash_breaks_anything(name: str, data: st.DataObject) -> None:
    """A few characters of it are replaced by others: it is refused, or it is a hash of something else."""
    text = list(HASHES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from("$:=,/+.0123456789aZ\0 \u00e9"))
    try:
        stored = read_hash("".join(text))
    except HashRefusedError:
        return
    stored.decoy()


def test_without_bcrypt_its_hashes_are_refused(
    hasher: Argon2PasswordHasher, metrics: InMemoryMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted by a name of their own, so that somebody installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert not hasher.verify(HASHES["bcrypt"], PASSWORD)
    assert metrics.counts["password_hash_refused", "not-installed"] == 1


@pytest.mark.parametrize(
    ("credential", "secret"),
    [
        ({}, {}),
        ({"algorithm": "md5", "hashIterations": 1}, {"salt": SALT, "value": SALT}),
        ({"algorithm": "pbkdf2", "hashIterations": "many"}, {"salt": SALT, "value": SALT}),
        ({"algorithm": "pbkdf2", "hashIterations": 1}, {"salt": 5, "value": SALT}),
        ({"algorithm": "argon2", "hashIterations": 1, "additionalParameters": []}, {"salt": SALT, "value": SALT}),
        ({"algorithm": "argon2", "hashIterations": 1, "additionalParameters": {"type": "id"}}, {"salt": SALT}),
    ],
)
def test_what_keycloak_would_not_export_is_refused(credential: dict[str, object], secret: dict[str, object]) -> None:
    """As input that cannot be used."""
    with pytest.raises(InvalidInputError):
        phc_of_keycloak(credential, secret)
