"""What :mod:`userservice_core.ports.user_dumps` promises."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from userservice_core.domain.profiles import UserProfile
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.samples import NOW, changed, sample_address, sample_profile, sample_user

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.ports.user_dumps import UserDump
    from userservice_core.testing.contracts.backend import Backend


class UserDumpsContract(StoredContract):
    """For :class:`~userservice_core.ports.user_dumps.UserDumpReader`."""

    def test_everybody_comes_once_with_what_belongs_to_them(self, backend: Backend) -> None:
        """In the order of the ids, whatever the size of the parts; deleted ones are left out."""
        users = [backend.add_user() for _ in range(5)]
        gone = backend.save_user(changed(backend.add_user(), deleted_at=NOW + timedelta(days=1)))
        profile = backend.save_profile(sample_profile(users[1]))
        addresses = tuple(backend.add_address(sample_address(users[2])) for _ in range(3))
        bare = sample_user()
        backend.uow.run(lambda transaction: transaction.users.add(bare))

        read = {size: self._read_all(backend, size) for size in (2, 1_000)}

        assert [dump.sign_in for dump in read[2]] == [dump.sign_in for dump in read[1_000]]
        ids = [dump.sign_in.user.id for dump in read[2]]
        assert ids == sorted(set(ids))
        found = {dump.sign_in.user.id: dump for dump in read[2]}
        assert gone.id not in found
        assert found[bare.id].sign_in.credential is None
        assert [found[user.id].sign_in for user in users] == [backend.sign_ins.get(user.id) for user in users]
        assert (found[users[1].id].profile, found[users[0].id].profile) == (profile, UserProfile(user_id=users[0].id))
        assert (found[users[2].id].addresses, found[users[1].id].addresses) == (addresses, ())

    @staticmethod
    def _read_all(backend: Backend, size: int) -> list[UserDump]:
        after: UserId | None = None
        dumps: list[UserDump] = []
        while page := backend.user_dumps.read(after=after, limit=size):
            assert len(page) <= size
            dumps += page
            after = page[-1].sign_in.user.id
        return dumps
