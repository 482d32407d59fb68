"""Password hashing that costs nothing; only for testing."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import threading
from typing import TYPE_CHECKING, Final

from userservice_core.domain.passwords import spellings

if TYPE_CHECKING:
    from userservice_core.errors import UserServiceError

_NAME: Final = "only-for-testing"


class FakePasswordHasher:
    """
    A :class:`~userservice_core.ports.security.PasswordHasher` for tests alone: anybody reverses its hashes at once.

    They are in PHC string format (``$only-for-testing$v=1$salt$hash``), so they can be stored as real ones are.

    Attributes:
        work: How often a password was hashed, to see that two ways through a use case cost the same.
        failure: Raised instead of hashing, such as an OverloadedError; to be set by a test.
    """

    def __init__(self, *, version: int = 1) -> None:
        self.work = 0
        self.failure: UserServiceError | None = None
        self._version = version
        self._salts = itertools.count(1)
        self._lock = threading.Lock()

    def hash(self, password: str) -> str:
        return self._hash(password, salt=next(self._salts), version=self._version)

    def verify(self, password_hash: str, password: str) -> bool:
        version, salt = _parameters_of(password_hash) or (self._version, 0)
        made = [
            self._hash(spelling.decode(errors="surrogatepass"), salt=salt, version=version)
            for spelling in spellings(password)
        ]
        stored = password_hash.encode(errors="replace")
        return any(hmac.compare_digest(each.encode(), stored) for each in made)

    def verify_nobody(self, password: str, *, like: str | None = None) -> None:
        self.verify(like or "", password)

    def is_outdated(self, password_hash: str) -> bool:
        parameters = _parameters_of(password_hash)
        return parameters is None or parameters[0] != self._version

    def is_verifiable(self, password_hash: str) -> bool:
        return _parameters_of(password_hash) is not None

    def _hash(self, password: str, *, salt: int, version: int) -> str:
        with self._lock:
            self.work += 1
        if self.failure is not None:
            raise self.failure
        digest = hashlib.sha256(f"{salt}${password}".encode(errors="surrogatepass")).hexdigest()
        return f"${_NAME}$v={version}${salt}${digest}"


def _parameters_of(password_hash: str) -> tuple[int, int] | None:
    """Return version and salt, None for what is no hash of ours."""
    match password_hash.split("$"):
        case ["", name, version, salt, _] if name == _NAME and version[2:].isdecimal() and salt.isdecimal():
            return int(version[2:]), int(salt)
        case _:
            return None
