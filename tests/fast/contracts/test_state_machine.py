"""The comparison of stores itself: it finds no difference where there is none, and finds one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from userservice_core.infrastructure.system.clock import SystemClock
from userservice_core.testing.contracts.backend import Backend
from userservice_core.testing.state_machine import StorageComparison

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.credentials import UserOverview
    from userservice_core.domain.ids import SessionId, UserId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.sessions import Session
    from userservice_core.domain.users import User
    from userservice_core.ports.sessions import Rotation, SessionOfUser, SessionStore
    from userservice_core.ports.users import UserFilter, UserReader


def _in_memory() -> Backend:
    return Backend.in_memory(clock=SystemClock())


class _OffByOne:
    """A reader that gets one attribute wrong."""

    def __init__(self, reader: UserReader) -> None:
        self._reader = reader

    def get(self, user_id: UserId) -> User:
        """Return a user with another version."""
        user = self._reader.get(user_id)
        return attrs.evolve(user, version=user.version + 1)

    def get_overview(self, user_id: UserId) -> UserOverview:
        """Return the user as they are."""
        return self._reader.get_overview(user_id)

    def list_page(self, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        """Return users as they are."""
        return self._reader.list_page(users, request)

    def find_by_email(self, email_key: str) -> User | None:
        """Return the user as they are."""
        return self._reader.find_by_email(email_key)

    def list_known(self, *, ids: Collection[UserId], email_keys: Collection[str]) -> tuple[tuple[UserId, str], ...]:
        """Return what is known as it is."""
        return self._reader.list_known(ids=ids, email_keys=email_keys)


class _Generous:
    """A store that lets every token rotate."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store

    def rotate(self, rotation: Rotation) -> SessionOfUser | None:
        """Present the right token instead of the one given."""
        found = self._store.find(rotation.user_id, rotation.session_id)
        if found is None:
            return None
        right = (found.session.generation, found.session.current_hash)
        return self._store.rotate(attrs.evolve(rotation, generation=right[0], secret_hash=right[1]))

    def find(self, user_id: UserId, session_id: SessionId) -> SessionOfUser | None:
        """Return the session as it is."""
        return self._store.find(user_id, session_id)

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        """Return the sessions as they are."""
        return self._store.list_open(user_id, now=now)


class _MemoryWithMemory(StorageComparison):
    def __init__(self) -> None:
        super().__init__(_in_memory(), _in_memory())


class _WithAnotherVersion(StorageComparison):
    def __init__(self) -> None:
        subject = _in_memory()
        super().__init__(_in_memory(), attrs.evolve(subject, users=_OffByOne(subject.users)))


class _WithAnyRotation(StorageComparison):
    def __init__(self) -> None:
        subject = _in_memory()
        super().__init__(_in_memory(), attrs.evolve(subject, sessions=_Generous(subject.sessions)))


def test_memory_is_the_same_as_memory() -> None:
    """Whatever is done with it."""
    run_state_machine_as_test(_MemoryWithMemory, settings=settings(max_examples=15, stateful_step_count=30))


@pytest.mark.parametrize("flawed", [_WithAnotherVersion, _WithAnyRotation])
def test_a_difference_is_found(flawed: type[StorageComparison]) -> None:
    """Soon, though it shows only after something was stored."""
    search = settings(max_examples=200, stateful_step_count=30, phases=[Phase.generate], derandomize=True)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(flawed, settings=search)
