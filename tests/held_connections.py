"""
Looking that nobody holds a connection longer than they need it.

Within a transaction, or with a connection in hand, nobody hashes a password, asks another service, or takes a second
connection: with all of them taken, those who did would wait for each other.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

from userservice_core.infrastructure.memory import InMemoryBreachedPasswords, InMemoryUnitOfWork
from userservice_core.infrastructure.postgres.database import Database
from userservice_core.infrastructure.security import strict_http
from userservice_core.infrastructure.security.breached_passwords import RangeBreachedPasswords
from userservice_core.infrastructure.security.passwords import Argon2PasswordHasher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from userservice_core.infrastructure.postgres.database import Link

_SLOW: Final = (
    (Argon2PasswordHasher, "hash"),
    (Argon2PasswordHasher, "verify"),
    (Argon2PasswordHasher, "verify_nobody"),
    (RangeBreachedPasswords, "is_breached"),
    (InMemoryBreachedPasswords, "is_breached"),
    (strict_http, "fetch"),
)


class HeldConnections:
    """
    What threads hold.

    Attributes:
        lent: How often a connection was taken, or a transaction in memory begun.
        slow: How often something slow was done.
        wrong: What was done by a thread that held one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Look at all that happens until *monkeypatch* is undone."""
        self.lent = 0
        self.slow = 0
        self.wrong: list[str] = []
        self._of_thread = threading.local()
        lend, run = Database.lend, InMemoryUnitOfWork.run

        @contextlib.contextmanager
        def lending(database: Database) -> Iterator[Link]:
            if database._own.get() is not None:  # noqa: SLF001 - the one that is held already
                with lend(database) as link:
                    yield link
                return
            with lend(database) as link, self._holding("a second connection"):
                yield link

        def running(uow: InMemoryUnitOfWork, work: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - whatever work returns
            if uow._call.get() is not None:  # noqa: SLF001 - one transaction of those that a call joins
                return run(uow, work)
            with self._holding("a second transaction"):
                return run(uow, work)

        monkeypatch.setattr(Database, "lend", lending)
        monkeypatch.setattr(InMemoryUnitOfWork, "run", running)
        for owner, name in _SLOW:
            monkeypatch.setattr(owner, name, self._slow(name, getattr(owner, name)))

    @property
    def _held(self) -> int:
        return int(getattr(self._of_thread, "held", 0))

    @contextlib.contextmanager
    def _holding(self, what: str) -> Iterator[None]:
        if self._held:
            self.wrong.append(what)
        self.lent += 1
        self._of_thread.held = self._held + 1
        try:
            yield
        finally:
            self._of_thread.held = self._held - 1

    def _slow(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the function has it
            self.slow += 1
            if self._held:
                self.wrong.append(name)
            return work(*args, **kwargs)

        return noted
