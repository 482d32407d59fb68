"""
Reading stored password hashes: our own, and those that other systems made and an import brought in.

| scheme | forms |
| --- | --- |
| Argon2 (RFC 9106) | PHC: ``$argon2id$v=19$m=…,t=…,p=…$salt$digest``, also ``argon2i`` and ``argon2d``; Django's |
| bcrypt | ``$2b$12$…``, ``$2a$``, ``$2y$``; Django's ``bcrypt$…`` and ``bcrypt_sha256$…`` |
| scrypt (RFC 7914) | Django's ``scrypt$n$salt$r$p$digest``, Werkzeug's ``scrypt:n:r:p$salt$digest`` |
| PBKDF2 (RFC 8018) | ``$pbkdf2-sha256$i=…$salt$digest``; Django's ``pbkdf2_sha256$…``, Werkzeug's ``pbkdf2:sha256:…`` |

Whoever made a hash chose what verifying it costs, so each scheme has bounds, and a hash past them is not verified.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import re
import secrets
import string
from typing import TYPE_CHECKING, Final, Protocol, Self

import argon2
import attrs
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError
from argon2.low_level import error_to_str

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_TEXT: Final = 1_000
MAX_DIGEST_BYTES: Final = 128
MAX_PBKDF2_ITERATIONS: Final = 3_000_000
MAX_BCRYPT_COST: Final = 14
MAX_SCRYPT_BYTES: Final = 128 * 1_024 * 1_024
MAX_SCRYPT_WORK: Final = 2**21
"""Of n · r · p, which the time grows with; about eight times that of Werkzeug's default."""

MAX_ARGON2_KIB: Final = 262_144
MAX_ARGON2_WORK: Final = 1_048_576
"""Of memory in KiB times passes."""

MAX_ARGON2_LANES: Final = 16
BCRYPT_BYTES: Final = 72
"""What bcrypt reads of a password; the rest has no effect."""

_DIGESTS: Final = {"sha1", "sha256", "sha512"}
_BCRYPT_LETTERS: Final = "./" + string.ascii_letters + string.digits
_BCRYPT: Final = re.compile(r"(\$2[aby]\$(\d\d)\$)[./A-Za-z0-9]{53}")
_PBKDF2_DJANGO: Final = re.compile(r"pbkdf2_(sha1|sha256)\$(\d{1,9})\$([^$]+)\$([A-Za-z0-9+/=]+)")
_PBKDF2_WERKZEUG: Final = re.compile(r"pbkdf2:(\w+):(\d{1,9})\$([^$]+)\$([0-9a-f]+)")
_PBKDF2_PHC: Final = re.compile(r"\$pbkdf2-(\w+)\$i=(\d{1,9})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_SCRYPT_DJANGO: Final = re.compile(r"scrypt\$(\d{1,9})\$([^$]+)\$(\d{1,4})\$(\d{1,4})\$([A-Za-z0-9+/=]+)")
_SCRYPT_WERKZEUG: Final = re.compile(r"scrypt:(\d{1,9}):(\d{1,4}):(\d{1,4})\$([^$]+)\$([0-9a-f]+)")


class HashRefusedError(Exception):
    """
    A stored hash is not verified.

    Attributes:
        reason: `unreadable`, `too-costly` or `not-installed`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StoredHash(Protocol):
    """A stored hash that can be verified."""

    @property
    def scheme(self) -> str:
        """Its name, for metrics."""
        ...

    def matches(self, password: bytes) -> bool:
        """
        Tell whether it is that of *password*; takes the time that its parameters ask for.

        Raises:
            HashRefusedError: If it turns out to be unreadable.
            argon2.exceptions.VerificationError: If there is no memory for it.
        """
        ...

    def decoy(self) -> Self:
        """Return one of the same parameters that is nobody's."""
        ...


def read_hash(text: str, *, argon2_allowed: tuple[int, int] = (0, 0)) -> StoredHash:
    """
    Read a stored hash.

    Args:
        argon2_allowed: Memory in KiB and passes that are allowed in any case: those of new hashes.

    Raises:
        HashRefusedError: If it has no known form, costs too much, or what verifies it is not installed.
    """
    if len(text) > MAX_TEXT or not text.isascii():
        raise HashRefusedError("unreadable")
    bare = text.removeprefix("argon2") if text.startswith("argon2$argon2") else text
    if bare.startswith("$argon2"):
        return _read_argon2(bare, *argon2_allowed)
    for form, read in _FORMS:
        if match := form.fullmatch(text):
            try:
                return read(*match.groups())
            except ValueError as error:
                raise HashRefusedError("unreadable") from error
    return _read_bcrypt(text)


# --- Argon2 -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Argon2Hash:
    """Of any of the three types."""

    text: str = attrs.field(repr=False)
    scheme: str = "argon2"

    def matches(self, password: bytes) -> bool:
        try:
            return _ARGON2.verify(self.text, password)
        except VerifyMismatchError:
            return False
        except VerificationError as error:
            if str(error) in NO_ROOM:
                raise
            raise HashRefusedError("unreadable") from error

    def decoy(self) -> Self:
        *head, salt, digest = self.text.split("$")
        return attrs.evolve(self, text="$".join([*head, _other(salt), _other(digest)]))


_ARGON2: Final = argon2.PasswordHasher()
NO_ROOM: Final = frozenset(error_to_str(code) for code in (-22, -33))
"""What the library says where memory or a thread could not be had (argon2.h: ARGON2_MEMORY_ALLOCATION_ERROR, …)."""


def _read_argon2(text: str, allowed_kib: int, allowed_passes: int) -> StoredHash:
    try:
        found = argon2.extract_parameters(text)
        # Written otherwise than the library writes it, one would be taken for wrong when it is verified.
        *_, salt, digest = (_from_base64(part) for part in text.split("$")[-2:])
    except (InvalidHashError, ValueError) as error:
        raise HashRefusedError("unreadable") from error
    if not salt or len(digest) > MAX_DIGEST_BYTES or found.memory_cost < 1 or found.time_cost < 1:
        raise HashRefusedError("unreadable")
    is_ours = found.memory_cost <= allowed_kib and found.time_cost <= allowed_passes
    is_cheap = found.memory_cost <= MAX_ARGON2_KIB and found.memory_cost * found.time_cost <= MAX_ARGON2_WORK
    if not (is_ours or is_cheap) or found.parallelism > MAX_ARGON2_LANES:
        raise HashRefusedError("too-costly")
    return Argon2Hash(text)


def argon2id_of_nobody(*, memory_kib: int, time_cost: int, parallelism: int) -> str:
    """Return a hash that is no password's, and takes as long to verify as one; to make it takes no time."""
    parameters = f"m={memory_kib},t={time_cost},p={parallelism}"
    return "$".join(
        [
            "",
            "argon2id",
            "v=19",
            parameters,
            _random(argon2.DEFAULT_RANDOM_SALT_LENGTH),
            _random(argon2.DEFAULT_HASH_LENGTH),
        ]
    )


def _other(encoded: str) -> str:
    """Return as many random bytes as *encoded* stands for, in the same encoding."""
    return _random(len(_from_base64(encoded)))


def _random(size: int) -> str:
    """Return as many random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")


# --- bcrypt -----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class BcryptHash:
    """
    Of 72 bytes at most: what stands behind them has no effect, as it had none where the hash was made.

    Attributes:
        is_of_sha256: Whether it was made of the hexadecimal SHA-256 of the password, as Django can.
    """

    text: str = attrs.field(repr=False)
    is_of_sha256: bool
    scheme: str = "bcrypt"

    def matches(self, password: bytes) -> bool:
        import bcrypt

        hashed = hashlib.sha256(password).hexdigest().encode() if self.is_of_sha256 else password
        try:
            return bcrypt.checkpw(hashed[:BCRYPT_BYTES], self.text.encode())
        except ValueError as error:
            raise HashRefusedError("unreadable") from error

    def decoy(self) -> Self:
        head = self.text[:7]
        # The last letters of salt and digest hold fewer bits than the others.
        salt = "".join(secrets.choice(_BCRYPT_LETTERS) for _ in range(21)) + "."
        digest = "".join(secrets.choice(_BCRYPT_LETTERS) for _ in range(30)) + "."
        return attrs.evolve(self, text=head + salt + digest)


def _read_bcrypt(text: str) -> StoredHash:
    is_of_sha256 = text.startswith("bcrypt_sha256$")
    bare = text.removeprefix("bcrypt_sha256$").removeprefix("bcrypt$")
    match = _BCRYPT.fullmatch(bare)
    if match is None or int(match[2]) < 4:  # noqa: PLR2004 - the least that there is
        raise HashRefusedError("unreadable")
    if int(match[2]) > MAX_BCRYPT_COST:
        raise HashRefusedError("too-costly")
    if importlib.util.find_spec("bcrypt") is None:
        raise HashRefusedError("not-installed")
    # $2y$ is what PHP calls $2b$.
    return BcryptHash(text=bare.replace("$2y$", "$2b$", 1), is_of_sha256=is_of_sha256)


# --- PBKDF2 and scrypt ------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Pbkdf2Hash:
    """By HMAC with SHA-1, SHA-256 or SHA-512; how weak SHA-1 is elsewhere does not matter here."""

    algorithm: str
    iterations: int
    salt: bytes = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)
    scheme: str = "pbkdf2"

    def __attrs_post_init__(self) -> None:
        """
        Check the bounds.

        Raises:
            HashRefusedError: If one is passed.
        """
        if self.algorithm not in _DIGESTS or not 0 < len(self.digest) <= MAX_DIGEST_BYTES or self.iterations < 1:
            raise HashRefusedError("unreadable")
        blocks = -(-len(self.digest) // hashlib.new(self.algorithm, usedforsecurity=False).digest_size)
        if self.iterations * blocks > MAX_PBKDF2_ITERATIONS:
            raise HashRefusedError("too-costly")

    def matches(self, password: bytes) -> bool:
        made = hashlib.pbkdf2_hmac(self.algorithm, password, self.salt, self.iterations, len(self.digest))
        return hmac.compare_digest(made, self.digest)

    def decoy(self) -> Self:
        return attrs.evolve(
            self, salt=secrets.token_bytes(len(self.salt)), digest=secrets.token_bytes(len(self.digest))
        )


@attrs.frozen(kw_only=True)
class ScryptHash:
    """With cost n, block size r and parallelisation p."""

    n: int
    r: int
    p: int
    salt: bytes = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)
    scheme: str = "scrypt"

    def __attrs_post_init__(self) -> None:
        """
        Check the bounds.

        Raises:
            HashRefusedError: If one is passed.
        """
        is_power = self.n > 1 and self.n & (self.n - 1) == 0
        # RFC 7914 §2 on n and r; past it, there is no such hash.
        is_possible = is_power and self.r > 0 and self.p > 0 and self.n.bit_length() <= 16 * self.r
        if not is_possible or not 0 < len(self.digest) <= MAX_DIGEST_BYTES:
            raise HashRefusedError("unreadable")
        if self._bytes > MAX_SCRYPT_BYTES or self.n * self.r * self.p > MAX_SCRYPT_WORK:
            raise HashRefusedError("too-costly")

    @property
    def _bytes(self) -> int:
        return 128 * self.r * (self.n + self.p + 2)

    def matches(self, password: bytes) -> bool:
        made = hashlib.scrypt(
            password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=self._bytes, dklen=len(self.digest)
        )
        return hmac.compare_digest(made, self.digest)

    def decoy(self) -> Self:
        return attrs.evolve(
            self, salt=secrets.token_bytes(len(self.salt)), digest=secrets.token_bytes(len(self.digest))
        )


def _from_base64(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def _pbkdf2_of_django(algorithm: str, iterations: str, salt: str, digest: str) -> StoredHash:
    return Pbkdf2Hash(algorithm=algorithm, iterations=int(iterations), salt=salt.encode(), digest=_from_base64(digest))


def _pbkdf2_of_werkzeug(algorithm: str, iterations: str, salt: str, digest: str) -> StoredHash:
    return Pbkdf2Hash(algorithm=algorithm, iterations=int(iterations), salt=salt.encode(), digest=bytes.fromhex(digest))


def _pbkdf2_of_phc(algorithm: str, iterations: str, salt: str, digest: str) -> StoredHash:
    return Pbkdf2Hash(
        algorithm=algorithm, iterations=int(iterations), salt=_from_base64(salt), digest=_from_base64(digest)
    )


def _scrypt_of_django(n: str, salt: str, r: str, p: str, digest: str) -> StoredHash:
    return ScryptHash(n=int(n), r=int(r), p=int(p), salt=salt.encode(), digest=_from_base64(digest))


def _scrypt_of_werkzeug(n: str, r: str, p: str, salt: str, digest: str) -> StoredHash:
    return ScryptHash(n=int(n), r=int(r), p=int(p), salt=salt.encode(), digest=bytes.fromhex(digest))


_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[..., StoredHash]], ...]] = (
    (_PBKDF2_DJANGO, _pbkdf2_of_django),
    (_PBKDF2_WERKZEUG, _pbkdf2_of_werkzeug),
    (_PBKDF2_PHC, _pbkdf2_of_phc),
    (_SCRYPT_DJANGO, _scrypt_of_django),
    (_SCRYPT_WERKZEUG, _scrypt_of_werkzeug),
)
