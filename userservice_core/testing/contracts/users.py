"""What :mod:`userservice_core.ports.users` promises."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from userservice_core.domain.credentials import LoginState, SignIn, UserOverview
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.ids import RoleId
from userservice_core.domain.lists import PageRequest, Sort
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.roles import ADMIN_ROLE, USER_ROLE, AssignedRole
from userservice_core.domain.users import UserStatus
from userservice_core.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    EmailTakenError,
    RoleNotFoundError,
    StaleVersionError,
    UserNotFoundError,
)
from userservice_core.ports.context import deadline_after
from userservice_core.ports.users import USER_SORTS, UserFilter
from userservice_core.testing.contracts.backend import StoredContract
from userservice_core.testing.contracts.races import Meeting, contend, race, sole
from userservice_core.testing.samples import (
    NOW,
    changed,
    registered,
    sample_credential,
    sample_email,
    sample_one_time_token,
    sample_role,
    sample_session,
    sample_user,
    sample_user_id,
)

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.users import User
    from userservice_core.ports.unit_of_work import Transaction
    from userservice_core.testing.contracts.backend import Backend


class UsersContract(StoredContract):
    """For :class:`~userservice_core.ports.users.UserReader` and ``UserRepository``."""

    # --- reading ------------------------------------------------------------------------------------------------------

    def test_who_is_known_is_told_by_id_and_by_address(self, backend: Backend) -> None:
        """Each once, deleted ones too, and nobody else."""
        first, second, gone = backend.add_user(), backend.add_user(), backend.add_user()
        backend.save_user(changed(gone, deleted_at=NOW + timedelta(hours=1)))
        stranger = sample_user()

        known = backend.users.list_known(
            ids=[first.id, gone.id, stranger.id], email_keys=[first.email.key, second.email.key, stranger.email.key]
        )

        assert sorted(known) == sorted((user.id, user.email.key) for user in (first, second, gone))
        assert backend.users.list_known(ids=[], email_keys=[]) == ()

    def test_a_user_is_read_as_it_was_added(self, backend: Backend) -> None:
        """Each attribute, times to the microsecond, from reader and transaction, by id and by address."""
        user = sample_user(
            email_verified=True,
            pending_email="new@example.org",
            email_undeliverable_since=NOW + timedelta(microseconds=2),
            status=UserStatus.SUSPENDED,
            attributes={"text": "é\U0001f600", "number": 1.5, "list": [1, None, True], "object": {"": []}},
            updated_at=NOW + timedelta(microseconds=1),
            mfa_enabled=True,
            deleted_at=NOW + timedelta(days=1),
            version=7,
            access_version=3,
        )
        backend.add_user(user)

        assert user == backend.users.get(user.id)
        assert user == backend.users.find_by_email(user.email.key)
        assert user == backend.uow.run(lambda transaction: transaction.users.get(user.id))
        assert user == backend.uow.run(lambda transaction: transaction.users.find_by_email(user.email.key))

    @pytest.mark.parametrize("status", UserStatus)
    def test_users_are_read_whatever_their_status(self, backend: Backend, status: UserStatus) -> None:
        """Whether an account may be used is not the reader's to decide."""
        user = backend.add_user(sample_user(status=status))

        assert user == backend.users.get(user.id)

    def test_whose_time_is_up(self, backend: Backend) -> None:
        """Deleted or pending for long enough, by id; an invitation that is good keeps a pending user."""
        day = timedelta(days=1)
        deleted = backend.add_user(sample_user(deleted_at=NOW - 2 * day))
        pending = {"status": UserStatus.PENDING_VERIFICATION, "email_verified": False}
        waiting = backend.add_user(sample_user(**pending, created_at=NOW - 2 * day))
        invited = backend.add_user(sample_user(**pending, created_at=NOW - 2 * day))
        invitation = sample_one_time_token(invited, purpose=TokenPurpose.INVITE, expires_at=NOW + day)
        backend.add_one_time_token(invitation)
        for kept in (
            sample_user(created_at=NOW - 2 * day),
            sample_user(deleted_at=NOW - day),
            sample_user(**pending, created_at=NOW - day),
            # The longer time counts for one who is both.
            sample_user(**pending, created_at=NOW - 2 * day, deleted_at=NOW - day),
        ):
            backend.add_user(kept)

        def expired(now: datetime = NOW, limit: int = 1_000) -> tuple[User, ...]:
            return backend.uow.run(
                lambda transaction: transaction.users.list_expired(
                    deleted_before=NOW - day, pending_before=NOW - day, now=now, limit=limit
                )
            )

        ours = {deleted.id, waiting.id, invited.id}
        assert expired(limit=0) == ()
        assert len(expired(limit=1)) == 1
        assert [user for user in expired() if user.id in ours] == [deleted, waiting]
        assert [user for user in expired(NOW + day) if user.id in ours] == [deleted, waiting, invited]
        backend.save_user(changed(backend.users.get(deleted.id), deleted_at=None))
        backend.uow.run(lambda transaction: transaction.one_time_tokens.save(invitation.used(now=NOW)))
        assert [user for user in expired() if user.id in ours] == [waiting, invited]
        for user in (waiting, invited):
            backend.uow.run(lambda transaction, user=user: transaction.users.remove(user.id))  # type: ignore[misc]
        assert [user for user in expired() if user.id in ours] == []

    def test_an_unknown_user_is_not_found(self, backend: Backend) -> None:
        """By id that is an error, by address it is None."""
        with pytest.raises(UserNotFoundError):
            backend.users.get(sample_user_id())
        with pytest.raises(UserNotFoundError):
            backend.uow.run(lambda transaction: transaction.users.get(sample_user_id()))
        assert backend.users.find_by_email(sample_email().key) is None
        assert backend.uow.run(lambda transaction: transaction.users.find_by_email(sample_email().key)) is None

    def test_an_address_is_found_by_its_key_only(self, backend: Backend) -> None:
        """Two spellings are one mailbox if their keys are the same, and that was decided before."""
        email = sample_email()
        user = backend.add_user(sample_user(email=attrs.evolve(email, address=email.address.upper())))

        assert user == backend.users.find_by_email(email.key)
        assert backend.users.find_by_email(email.key.upper()) is None

    def test_nothing_is_read_past_the_deadline(self, backend: Backend) -> None:
        """Whoever asked does not wait any more."""
        user = backend.add_user()

        with deadline_after(0), pytest.raises(DeadlineExceededError):
            backend.users.get(user.id)

    def test_roles_come_under_their_present_names(self, backend: Backend) -> None:
        """In the order of the names, whatever the user was told when they were given."""
        role = sample_role(name="Zz" + sample_email().key)
        backend.uow.run(lambda transaction: transaction.roles.add(role))
        given = tuple(AssignedRole(each.id, each.name) for each in (role, USER_ROLE, ADMIN_ROLE))
        user = backend.add_user(sample_user(roles=given))
        names = ["administrator", "user"]

        assert [role.name, *names] == [held.name for held in backend.users.get(user.id).roles]

        renamed = attrs.evolve(role, name=f"~ {role.name}", version=2)
        backend.uow.run(lambda transaction: transaction.roles.save(renamed))

        assert [*names, renamed.name] == [held.name for held in backend.users.get(user.id).roles]

    def test_a_read_in_a_transaction_locks_the_user(self, backend: Backend) -> None:
        """Whoever reads the same user next waits, and sees what was committed."""
        user = backend.add_user()
        suspended = changed(user, status=UserStatus.SUSPENDED)

        def hold(transaction: Transaction) -> None:
            transaction.users.get(user.id)
            transaction.users.save(suspended)

        seen = contend(backend.uow, hold, lambda: backend.uow.run(lambda rival: rival.users.get(user.id)))

        assert suspended == seen

    def test_a_look_for_an_address_locks_the_user(self, backend: Backend) -> None:
        """As a read by id does."""
        user = backend.add_user()
        suspended = changed(user, status=UserStatus.SUSPENDED)

        def hold(transaction: Transaction) -> None:
            transaction.users.find_by_email(user.email.key)
            transaction.users.save(suspended)

        def find(rival: Transaction) -> User | None:
            return rival.users.find_by_email(user.email.key)

        assert suspended == contend(backend.uow, hold, lambda: backend.uow.run(find))

    # --- lists --------------------------------------------------------------------------------------------------------

    def test_an_overview_has_the_state_of_sign_ins(self, backend: Backend) -> None:
        """By id and in the list; deleted users are shown like others where they are wanted."""
        user = backend.add_user(sample_user(deleted_at=NOW))
        state = LoginState(user_id=user.id, last_login_at=NOW, failed_attempts=3, locked_until=NOW)
        save_state = partial(_save_state, state)
        backend.uow.run(save_state)
        wanted = UserFilter(ids=frozenset({user.id}), deleted=None)

        assert UserOverview(user, state) == backend.users.get_overview(user.id)
        for by in USER_SORTS:
            page = backend.users.list_page(wanted, PageRequest(sort=Sort(by=by)))
            assert (page.rows, page.total) == ((UserOverview(user, state),), 1)
        with pytest.raises(UserNotFoundError):
            backend.users.get_overview(sample_user_id())

    def test_users_are_found_by_what_they_are(self, backend: Backend) -> None:
        """Each condition by itself, and all at once."""
        role = sample_role()
        backend.uow.run(lambda transaction: transaction.roles.add(role))
        later = NOW + timedelta(days=1)
        wanted_user = backend.add_user(
            sample_user(status=UserStatus.SUSPENDED, roles=(AssignedRole(role.id, role.name),), created_at=later)
        )
        other = backend.add_user()
        deleted = backend.add_user(sample_user(deleted_at=NOW))
        everybody = UserFilter(ids=frozenset({wanted_user.id, other.id, deleted.id, sample_user_id()}), deleted=None)

        def found(**conditions: Any) -> set[UserId]:  # noqa: ANN401 - each has its own type
            page = backend.users.list_page(attrs.evolve(everybody, **conditions), PageRequest(sort=Sort(by="email")))
            assert page.total == len(page.rows)
            return {overview.user.id for overview in page.rows}

        assert found() == {wanted_user.id, other.id, deleted.id}
        assert found(deleted=False) == {wanted_user.id, other.id}
        assert found(deleted=True) == {deleted.id}
        assert found(ids=frozenset()) == set()
        conditions: dict[str, Any] = {
            "email_parts": ("nobody has this", wanted_user.email.key[20:34]),
            "email_key": wanted_user.email.key,
            "status": UserStatus.SUSPENDED,
            "role_id": role.id,
            "role_name": role.name.upper(),
            "created_from": later,
            "deleted": False,
        }
        for name, value in conditions.items():
            assert wanted_user.id in found(**{name: value})
            assert name == "deleted" or found(**{name: value}) == {wanted_user.id}
        assert found(**conditions) == {wanted_user.id}
        assert found(created_before=later) == {other.id, deleted.id}
        assert found(role_id=RoleId(sample_user_id())) == found(role_name="nobody's") == set()

    @pytest.mark.parametrize("part", ["%", "_", "\\", "a_c", "%%%", "'"])
    def test_a_part_of_an_address_is_taken_to_the_letter(self, backend: Backend, part: str) -> None:
        """Nothing in it stands for something else."""
        unique = sample_email().key.partition("@")[0]
        users = [
            backend.add_user(sample_user(email=EmailAddress.parse(f"{name}{unique}@example.org")))
            for name in ("a_c", "abc", "100%%%", "it's")
        ]
        wanted = UserFilter(email_parts=(part,), ids=frozenset(user.id for user in users))
        page = backend.users.list_page(wanted, PageRequest(sort=Sort(by="email")))

        assert [each.user.email.key for each in page.rows] == sorted(
            user.email.key for user in users if part in user.email.key
        )

    @pytest.mark.parametrize("sort", [Sort(by=by, descending=falls) for by in USER_SORTS for falls in (False, True)])
    def test_users_are_walked_through_in_order(self, backend: Backend, sort: Sort) -> None:
        """To the end and back; who never signed in comes last in both directions, equals in the order of their ids."""
        users = [backend.add_user(sample_user(created_at=NOW + timedelta(days=number // 2))) for number in range(7)]
        for number, user in enumerate(users[:4]):
            state = LoginState(user_id=user.id, last_login_at=NOW + timedelta(microseconds=number // 2))
            backend.uow.run(partial(_save_state, state))
        wanted = UserFilter(ids=frozenset(user.id for user in users))
        overviews = [backend.users.get_overview(user.id) for user in users]
        requests = [PageRequest(sort=sort, limit=2)]
        pages = []
        while requests:
            pages.append(backend.users.list_page(wanted, requests.pop()))
            if pages[-1].following is not None:
                requests = [PageRequest(sort=sort, limit=2, start=pages[-1].following)]
        back = [backend.users.list_page(wanted, PageRequest(sort=sort, limit=9, start=pages[-1].preceding))]

        assert [row for page in pages for row in page.rows] == _in_order(overviews, sort)
        assert [*back[0].rows, *pages[-1].rows] == _in_order(overviews, sort)
        assert {page.total for page in pages} == {7}

    # --- adding -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("deleted_at", [None, NOW])
    def test_an_address_belongs_to_one_user(self, backend: Backend, deleted_at: datetime | None) -> None:
        """A deleted one keeps it too. The transaction that would take it does nothing."""
        first = backend.add_user(sample_user(deleted_at=deleted_at))
        second = sample_user(email=first.email)

        with pytest.raises(EmailTakenError):
            backend.register(second)

        assert first == backend.users.find_by_email(first.email.key)
        with pytest.raises(UserNotFoundError):
            backend.users.get(second.id)
        assert backend.waiting(str(second.id)) == ()

    def test_an_id_belongs_to_one_user(self, backend: Backend) -> None:
        """Nothing of the second one is stored."""
        first = backend.add_user()
        second = sample_user(id=first.id)

        with pytest.raises(AlreadyExistsError):
            backend.uow.run(lambda transaction: transaction.users.add(second))

        assert first == backend.users.get(first.id)
        assert backend.users.find_by_email(second.email.key) is None

    def test_a_user_holds_roles_that_exist(self, backend: Backend) -> None:
        """An unknown one is refused with all that comes with it."""
        role = sample_role()
        user = sample_user(roles=(AssignedRole(role.id, role.name),))

        with pytest.raises(RoleNotFoundError):
            backend.add_user(user)

        assert backend.users.find_by_email(user.email.key) is None

    def test_one_of_many_who_want_an_address_gets_it(self, backend: Backend) -> None:
        """Uniqueness is decided at commit, whatever was read before."""
        email = sample_email()
        users = [sample_user(email=email) for _ in range(4)]
        meeting = Meeting(len(users))

        def register(user: User) -> User:
            def work(transaction: Transaction) -> User:
                assert transaction.users.find_by_email(email.key) in (None, *users)
                meeting.wait()
                transaction.users.add(user)
                transaction.sign_ins.add(sample_credential(user))
                return user

            return backend.uow.run(work)

        outcomes = race([lambda user=user: register(user) for user in users])  # type: ignore[misc]

        assert sole(outcomes, EmailTakenError), outcomes
        assert backend.users.find_by_email(email.key) in outcomes

    # --- saving -------------------------------------------------------------------------------------------------------

    def test_a_saved_user_is_read_as_it_was_saved(self, backend: Backend) -> None:
        """Except for the roles, which are given and taken by other means."""
        user = backend.add_user()
        saved = changed(
            user,
            email=sample_email(),
            email_verified=False,
            pending_email="pending@example.org",
            email_undeliverable_since=NOW + timedelta(minutes=1),
            status=UserStatus.DEACTIVATED,
            attributes={"a": {"b": [1, 2]}},
            updated_at=NOW + timedelta(hours=1),
            mfa_enabled=True,
            deleted_at=NOW + timedelta(hours=2),
            access_version=2,
        )

        backend.save_user(attrs.evolve(saved, roles=(AssignedRole(ADMIN_ROLE.id, ADMIN_ROLE.name),)))

        assert saved == backend.users.get(user.id)

    @pytest.mark.parametrize("version", [1, 2, 4])
    def test_a_stale_version_is_refused(self, backend: Backend, version: int) -> None:
        """Only the one after the stored one will do."""
        stored = backend.save_user(changed(backend.add_user()))

        with pytest.raises(StaleVersionError):
            backend.save_user(changed(stored, version=version, status=UserStatus.SUSPENDED))

        assert stored == backend.users.get(stored.id)

    def test_a_user_who_is_gone_is_not_saved(self, backend: Backend) -> None:
        """Its version is stale: there is none any more."""
        user = sample_user()

        with pytest.raises(StaleVersionError):
            backend.save_user(changed(user))

        assert backend.users.find_by_email(user.email.key) is None

    def test_one_of_many_changes_of_a_version_succeeds(self, backend: Backend) -> None:
        """All others are told that theirs is stale."""
        user = backend.add_user()
        changes = [changed(user, pending_email=f"{number}@example.org") for number in range(4)]

        outcomes = race([lambda change=change: backend.save_user(change) for change in changes])  # type: ignore[misc]

        assert sole(outcomes, StaleVersionError), outcomes
        assert backend.users.get(user.id) in outcomes

    def test_a_changed_address_moves(self, backend: Backend) -> None:
        """The user is found by the new one, and the old one is free at once."""
        user = backend.add_user()
        moved = backend.save_user(changed(user, email=sample_email()))

        assert moved == backend.users.find_by_email(moved.email.key)
        assert backend.users.find_by_email(user.email.key) is None
        backend.add_user(sample_user(email=user.email))

    def test_a_changed_address_may_keep_its_key(self, backend: Backend) -> None:
        """It is spelled in another way."""
        user = backend.add_user()
        respelled = attrs.evolve(user.email, address=user.email.address.upper())

        saved = backend.save_user(changed(user, email=respelled))

        assert saved == backend.users.find_by_email(user.email.key)

    @pytest.mark.parametrize("reads_first", [False, True])
    def test_a_taken_address_is_not_moved_to(self, backend: Backend, reads_first: bool) -> None:  # noqa: FBT001
        """Whether the transaction has read the user or not."""
        user, other = backend.add_user(), backend.add_user()

        def work(transaction: Transaction) -> None:
            if reads_first:
                transaction.users.get(user.id)
            transaction.users.save(changed(user, email=other.email))

        with pytest.raises(EmailTakenError):
            backend.uow.run(work)

        assert user == backend.users.find_by_email(user.email.key)
        assert other == backend.users.find_by_email(other.email.key)

    # --- removing -----------------------------------------------------------------------------------------------------

    def test_a_removed_user_is_gone(self, backend: Backend) -> None:
        """Their address is free, and other users stay."""
        user, other = backend.add_user(), backend.add_user()

        backend.uow.run(lambda transaction: transaction.users.remove(user.id))

        with pytest.raises(UserNotFoundError):
            backend.users.get(user.id)
        assert backend.users.find_by_email(user.email.key) is None
        assert backend.sign_ins.find_sign_in(user.email.key) is None
        assert other == backend.users.get(other.id)
        successor = backend.add_user(sample_user(email=user.email))
        assert successor == backend.users.find_by_email(user.email.key)

    def test_a_removed_user_leaves_nothing(self, backend: Backend) -> None:
        """Whatever was stored under the id: a user who comes under the same one finds none of it."""
        user = backend.register()
        session = backend.add_session(sample_session(user))
        token = backend.add_one_time_token(sample_one_time_token(user))
        backend.uow.run(lambda transaction: transaction.sign_ins.count_failure(user.id))

        backend.uow.run(lambda transaction: transaction.users.remove(user.id))

        assert backend.sessions.find(user.id, session.id) is None
        assert backend.one_time_tokens.find(user.id, token.digest) is None

        def register_again(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.record(registered(user))

        backend.uow.run(register_again)

        expected = SignIn(user=user, credential=None, state=LoginState(user_id=user.id))
        assert expected == backend.sign_ins.find_sign_in(user.email.key)
        assert backend.sessions.find(user.id, session.id) is None
        assert backend.one_time_tokens.find(user.id, token.digest) is None
        assert [record.sequence for record in backend.waiting(str(user.id))] == [1, 1]

    def test_removing_an_unknown_user_has_no_effect(self, backend: Backend) -> None:
        """It is gone, which is what was asked for."""
        backend.uow.run(lambda transaction: transaction.users.remove(sample_user_id()))


def _save_state(state: LoginState, transaction: Transaction) -> None:
    transaction.sign_ins.get(state.user_id)
    transaction.sign_ins.save_state(state)


def _in_order(overviews: list[UserOverview], sort: Sort) -> list[UserOverview]:
    def key(overview: UserOverview) -> datetime | str | None:
        by: dict[str, datetime | str] = {"createdAt": overview.user.created_at, "email": overview.user.email.key}
        return by.get(sort.by, overview.state.last_login_at)

    known = [overview for overview in overviews if key(overview) is not None]
    by_id = [
        sorted(each, key=lambda overview: overview.user.id, reverse=sort.descending)
        for each in (known, [overview for overview in overviews if key(overview) is None])
    ]
    return sorted(by_id[0], key=lambda overview: str(key(overview)), reverse=sort.descending) + by_id[1]
