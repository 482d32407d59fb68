"""What :mod:`userservice_core.ports.profiles` promises."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import pytest

from userservice_core.domain.profiles import UserProfile
from userservice_core.errors import DeadlineExceededError, StaleVersionError, UserNotFoundError
from userservice_core.ports.context import deadline_after
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import contend, race, sole
from userservice_core.testing.samples import sample_profile, sample_user, sample_user_id

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


class ProfilesContract(StoredContract):
    """For :class:`~userservice_core.ports.profiles.ProfileReader` and ``ProfileRepository``."""

    def test_everybody_has_a_profile(self, backend: Backend) -> None:
        """An empty one of version 0, from reader and transaction."""
        user = backend.add_user()

        assert UserProfile(user_id=user.id) == backend.profiles.get(user.id)
        assert UserProfile(user_id=user.id) == _get(backend, user.id)

    def test_nobody_has_no_profile(self, backend: Backend) -> None:
        """Neither to the reader nor to a transaction."""
        with pytest.raises(UserNotFoundError):
            backend.profiles.get(sample_user_id())
        with pytest.raises(UserNotFoundError):
            _get(backend, sample_user_id())

    def test_a_profile_is_read_as_it_was_saved(self, backend: Backend) -> None:
        """Each member, the objects to the last digit and in their order."""
        profile = backend.save_profile(sample_profile(backend.add_user()))

        for read in (backend.profiles.get(profile.user_id), _get(backend, profile.user_id)):
            assert profile == read
            assert json.dumps(dict(profile.preferences)) == json.dumps(dict(read.preferences))

    def test_a_later_version_replaces_all_of_the_earlier(self, backend: Backend) -> None:
        """Also by nothing; profiles of others stay as they are."""
        first = backend.save_profile(sample_profile(backend.add_user()))
        other = backend.save_profile(sample_profile(backend.add_user()))

        second = backend.save_profile(UserProfile(user_id=first.user_id, version=2))

        assert second == backend.profiles.get(first.user_id)
        assert other == backend.profiles.get(other.user_id)

    @pytest.mark.parametrize("version", [0, 1, 3])
    def test_another_version_than_the_next_is_stale(self, backend: Backend, version: int) -> None:
        """Then nothing is stored."""
        first = backend.save_profile(sample_profile(backend.add_user()))

        with pytest.raises(StaleVersionError):
            backend.save_profile(attrs.evolve(first, bio="another", version=version))

        assert first == backend.profiles.get(first.user_id)

    def test_the_first_version_is_one(self, backend: Backend) -> None:
        """A later one has nothing that it could replace."""
        user = backend.add_user()

        with pytest.raises(StaleVersionError):
            backend.save_profile(sample_profile(user, version=2))

        assert backend.profiles.get(user.id).version == 0

    def test_a_profile_is_somebodys(self, backend: Backend) -> None:
        """Nobody's cannot be stored."""
        with pytest.raises(UserNotFoundError):
            backend.save_profile(sample_profile(sample_user()))

    def test_a_profile_goes_with_its_user(self, backend: Backend) -> None:
        """Erasing leaves nothing."""
        profile = backend.save_profile(sample_profile(backend.add_user()))

        backend.uow.run(lambda transaction: transaction.users.remove(profile.user_id))

        with pytest.raises(UserNotFoundError):
            backend.profiles.get(profile.user_id)

    def test_a_profile_in_use_is_locked(self, backend: Backend) -> None:
        """Also one that was never written: whoever comes later sees it."""
        user = backend.add_user()

        def hold(transaction: Transaction) -> None:
            transaction.profiles.get(user.id)
            transaction.profiles.save(sample_profile(user))

        assert sample_profile(user) == contend(backend.uow, hold, lambda: _get(backend, user.id))

    def test_of_first_versions_at_once_one_is_stored(self, backend: Backend) -> None:
        """The others are stale, although none of them read before."""
        user = backend.add_user()

        outcomes = race([lambda: backend.save_profile(sample_profile(user))] * 6)

        assert sole(outcomes, StaleVersionError), outcomes

    def test_nothing_is_read_past_the_deadline(self, backend: Backend) -> None:
        """An answer would come too late for anybody."""
        user = backend.add_user()

        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.profiles.get(user.id)


def _get(backend: Backend, user_id: UserId) -> UserProfile:
    return backend.uow.run(lambda transaction: transaction.profiles.get(user_id))
