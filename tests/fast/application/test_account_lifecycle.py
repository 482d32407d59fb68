"""Accounts are suspended, deactivated, deleted, and come back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.fast.application.conftest import PASSWORD, World
from tests.paths import NOBODY
from userservice_core.domain.ids import UserId
from userservice_core.domain.roles import ADMIN_ROLE
from userservice_core.domain.users import Mover, UserStatus
from userservice_core.errors import (
    AccountDeactivatedError,
    AccountSuspendedError,
    EmailTakenError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    InvalidRefreshTokenError,
    LastAdministratorError,
    OneTimeTokenInvalidError,
    StaleVersionError,
    StatusChangeNotAllowedError,
    TargetOutranksActorError,
    UserNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.application.authentication import SignedIn
    from userservice_core.domain.users import User

_NEW = "another sentence, as long"


@attrs.frozen
class Staff:
    """An administrator, and what they do."""

    world: World
    admin: UserId

    def move(self, user_id: UserId, status: UserStatus, reason: str | None = "spam", **options: object) -> User:
        """Give a user another status."""
        return self.world.use_cases.account_administration.update(
            actor=self.admin,
            user_id=user_id,
            revise=lambda user, now: user.moved_to(status, by=Mover.ADMINISTRATOR, now=now),
            reason=reason,
            **options,  # type: ignore[arg-type]
        )

    def suspend(self, user_id: UserId) -> User:
        """Suspend a user."""
        return self.move(user_id, UserStatus.SUSPENDED)

    def delete(self, user_id: UserId) -> None:
        """Delete a user, so that they can be restored."""
        self.world.use_cases.account_administration.delete(actor=self.admin, user_id=user_id)

    def erase(self, user_id: UserId) -> None:
        """Erase a user."""
        self.world.use_cases.account_administration.erase(actor=self.admin, user_id=user_id)

    def restore(self, user_id: UserId) -> User:
        """Restore a user."""
        return self.world.use_cases.account_administration.restore(actor=self.admin, user_id=user_id)

    def kinds(self, *prefixes: str) -> list[str]:
        """Return the types of all events so far that begin like one of these."""
        return [kind for kind, _, _ in self.world.events() if kind.startswith(prefixes)]

    def mails(self) -> list[str]:
        """Relay, and return the kinds of the mails so far."""
        self.world.events()
        return [mail.kind.value for mail in self.world.installed.mails.sent]


@pytest.fixture
def staff(world: World) -> Staff:
    """One administrator."""
    world.use_cases.accounts.create_first_administrator(email="root@example.com")
    (admin,) = world.installed.store.rows.users
    return Staff(world, admin)


def _require_out(world: World, signed_in: SignedIn) -> None:
    with pytest.raises(InvalidRefreshTokenError):
        world.refresh(signed_in)
    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=signed_in.access_token)


def _link(world: World, email: str) -> str:
    world.events()
    return [mail.token for mail in world.installed.mails.sent if mail.to == email and mail.token is not None][-1]


# --- out --------------------------------------------------------------------------------------------------------------

_ENDS: dict[str, Callable[[Staff, UserId], object]] = {
    "suspended": Staff.suspend,
    "deleted": Staff.delete,
    "erased": Staff.erase,
    "deactivated by owner": lambda staff, user_id: staff.world.use_cases.own_account.deactivate(user_id=user_id),
    "deleted by owner": lambda staff, user_id: staff.world.use_cases.own_account.delete(user_id=user_id),
}


@pytest.mark.asvs("7.4.2")
@pytest.mark.parametrize("end", _ENDS)
def test_whoever_is_out_is_out_at_once(staff: Staff, end: str) -> None:
    """Sessions, access tokens, mailed links and cached permissions all end, whatever the way out is."""
    world = staff.world
    user = world.active_user()
    sessions = [world.sign_in() for _ in range(2)]
    world.use_cases.role_assignments.assign(actor=staff.admin, user_id=user.id, role_ids=[ADMIN_ROLE.id])
    assert world.use_cases.access.permissions_of(user_id=user.id).allows("user:list")
    world.use_cases.passwords.request_reset(email="ada@example.com")
    link = world.mailed_token()

    _ENDS[end](staff, user.id)

    for signed_in in sessions:
        _require_out(world, signed_in)
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=link, password=_NEW)
    with pytest.raises((AccountSuspendedError, AccountDeactivatedError, InvalidCredentialsError)):
        world.sign_in()
    if end == "erased":
        with pytest.raises(UserNotFoundError):
            world.use_cases.access.permissions_of(user_id=user.id)
    else:
        assert not world.use_cases.access.permissions_of(user_id=user.id).names
    assert staff.kinds("auth.session_revoked") == ["auth.session_revoked"] * 2
    numbers = [
        number for kind, number, data in world.events() if data.get("userId") == str(user.id) and kind[:4] == "user"
    ]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_token_that_outlived_its_session_is_refused(staff: Staff) -> None:
    """The session cannot be used any more, so nothing ends it; the token is refused by its user."""
    world = staff.world
    user = world.active_user()
    signed_in = world.sign_in()
    rows = world.installed.store.rows
    ((key, session),) = rows.sessions.items()
    rows.sessions[key] = attrs.evolve(session, expires_at=world.clock.now())
    world.clock.advance(timedelta(minutes=1))
    world.use_cases.access.authenticate(token=signed_in.access_token)

    staff.suspend(user.id)

    with pytest.raises(InvalidAccessTokenError):
        world.use_cases.access.authenticate(token=signed_in.access_token)


def test_what_is_issued_later_in_the_same_second_is_accepted(staff: Staff) -> None:
    """Suspended and reactivated, a user signs in again and is no stranger; what they had before stays refused."""
    world = staff.world
    user = world.active_user()
    before = world.sign_in()
    staff.suspend(user.id)
    assert staff.move(user.id, UserStatus.ACTIVE, None).status is UserStatus.ACTIVE
    after = world.sign_in()

    assert world.use_cases.access.authenticate_user(token=after.access_token).user_id == user.id
    _require_out(world, before)


@pytest.mark.asvs("7.4.5")
def test_a_suspension_has_a_reason_and_a_trace(staff: Staff) -> None:
    """Without one it is refused; the event has it, and the mail to the owner has not."""
    user = staff.world.active_user()
    for bad in (None, " ", "x" * 501, "a\x1bb"):
        with pytest.raises(InvalidInputError) as caught:
            staff.move(user.id, UserStatus.SUSPENDED, bad)
        assert {fault.field for fault in caught.value.faults} == {("statusReason",)}

    staff.move(user.id, UserStatus.SUSPENDED, "chargeback")
    staff.move(user.id, UserStatus.ACTIVE, None)

    told = [data for kind, _, data in staff.world.events() if kind == "user.status_changed"]
    assert [(each["previousStatus"], each["status"], each["by"], each["reason"]) for each in told] == [
        ("active", "suspended", "administrator", "chargeback"),
        ("suspended", "active", "administrator", None),
    ]
    assert staff.mails()[-2:] == ["account_suspended", "account_reactivated"]


def test_asking_for_what_is_there_changes_nothing(staff: Staff) -> None:
    """Neither version nor event nor mail, and no reason is needed."""
    user = staff.suspend(staff.world.active_user().id)
    before = staff.world.installed.store.rows

    assert staff.move(user.id, UserStatus.SUSPENDED, None) == user
    staff.world.use_cases.account_administration.restore(actor=staff.admin, user_id=user.id)
    assert staff.world.installed.store.rows == before
    staff.delete(user.id)
    before = staff.world.installed.store.rows
    staff.delete(user.id)
    assert staff.world.installed.store.rows == before


@pytest.mark.parametrize("status", [UserStatus.PENDING_VERIFICATION, UserStatus.DEACTIVATED])
def test_what_is_the_owners_is_not_the_administrators(staff: Staff, status: UserStatus) -> None:
    """They neither deactivate nor take back a confirmation, nor confirm for the owner."""
    user = staff.world.active_user()
    with pytest.raises(StatusChangeNotAllowedError):
        staff.move(user.id, status)
    with pytest.raises(StatusChangeNotAllowedError):
        staff.move(staff.world.register("eve@example.com").id, UserStatus.ACTIVE)


def test_a_stale_version_is_told(staff: Staff) -> None:
    """On every way, and nothing is done."""
    user = staff.world.active_user()
    administration = staff.world.use_cases.account_administration
    with pytest.raises(StaleVersionError):
        staff.move(user.id, UserStatus.SUSPENDED, expected={1})
    for way in (administration.delete, administration.erase, administration.restore):
        with pytest.raises(StaleVersionError):
            way(actor=staff.admin, user_id=user.id, expected={1})
    for own in (staff.world.use_cases.own_account.delete, staff.world.use_cases.own_account.deactivate):
        with pytest.raises(StaleVersionError):
            own(user_id=user.id, expected={1})
    assert staff.world.use_cases.accounts.who_am_i(user_id=user.id) == user


def test_owners_who_are_out_cannot_leave(staff: Staff) -> None:
    """Whose token was good a moment ago is told that it is not any more."""
    user = staff.world.active_user()
    staff.suspend(user.id)
    for own in (staff.world.use_cases.own_account.delete, staff.world.use_cases.own_account.deactivate):
        with pytest.raises(InvalidAccessTokenError):
            own(user_id=user.id)
        with pytest.raises(InvalidAccessTokenError):
            own(user_id=staff.world.register(f"{own.__name__}@example.com").id)
    staff.erase(user.id)
    with pytest.raises(InvalidAccessTokenError):
        staff.world.use_cases.own_account.delete(user_id=user.id)


# --- rank and the last administrator ----------------------------------------------------------------------------------


def test_nobody_touches_who_holds_more(staff: Staff) -> None:
    """Whatever they may do to others."""
    world = staff.world
    clerk = world.active_user("clerk@example.com")
    lower = Staff(world, clerk.id)
    for way in (lower.suspend, lower.delete, lower.erase, lower.restore):
        with pytest.raises(TargetOutranksActorError):
            way(staff.admin)
    with pytest.raises(TargetOutranksActorError):
        world.use_cases.account_administration.unlock(actor=clerk.id, user_id=staff.admin)
    lower.suspend(world.active_user("user@example.com").id)


def test_the_last_administrator_stays(staff: Staff) -> None:
    """By any way; once there is another one they may go, and then that one is the last."""
    world = staff.world
    ways: tuple[Callable[[UserId], object], ...] = (
        staff.suspend,
        staff.delete,
        staff.erase,
        lambda user_id: world.use_cases.own_account.delete(user_id=user_id),
        lambda user_id: world.use_cases.own_account.deactivate(user_id=user_id),
    )
    for way in ways:
        with pytest.raises(LastAdministratorError):
            way(staff.admin)
    second = world.active_user("second@example.com")
    world.use_cases.role_assignments.assign(actor=staff.admin, user_id=second.id, role_ids=[ADMIN_ROLE.id])
    for way in ways:
        staff.suspend(second.id)
        with pytest.raises(LastAdministratorError):
            way(staff.admin)
        staff.move(second.id, UserStatus.ACTIVE, None)
    world.use_cases.own_account.delete(user_id=staff.admin)
    with pytest.raises(LastAdministratorError):
        world.use_cases.own_account.delete(user_id=second.id)


# --- back -------------------------------------------------------------------------------------------------------------


def test_a_deactivated_owner_comes_back_by_password_and_mail(staff: Staff) -> None:
    """Neither of the two suffices, and the link works once."""
    world = staff.world
    user = world.active_user()
    own = world.use_cases.own_account
    own.deactivate(user_id=user.id)
    assert staff.mails()[-1] == "account_deactivated"
    world.use_cases.passwords.request_reset(email="ada@example.com")
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password="not the password at all")
    assert staff.mails()[-1] == "account_deactivated"

    with pytest.raises(AccountDeactivatedError):
        world.sign_in()
    token = world.mailed_token()
    with pytest.raises(AccountDeactivatedError):
        world.sign_in()
    with pytest.raises(OneTimeTokenInvalidError):
        own.take_up_again(token=token)
    token = world.mailed_token()
    assert own.take_up_again(token=token).status is UserStatus.ACTIVE
    with pytest.raises(OneTimeTokenInvalidError):
        own.take_up_again(token=token)

    assert world.sign_in().user.id == user.id
    assert staff.kinds("user.status_changed") == ["user.status_changed"] * 2


@pytest.mark.parametrize("ask", ["reset", "register"])
def test_the_owner_of_a_deleted_account_has_it_back_by_mail(staff: Staff, ask: str) -> None:
    """They are answered like everybody else; the account comes back as it was, without sessions."""
    world = staff.world
    user = world.active_user()
    signed_in = world.sign_in()
    world.use_cases.own_account.delete(user_id=user.id)
    assert staff.mails()[-1] == "account_deleted"
    with pytest.raises(InvalidCredentialsError):
        world.sign_in()

    if ask == "reset":
        world.use_cases.passwords.request_reset(email="ada@example.com")
    else:
        with pytest.raises(EmailTakenError):
            world.use_cases.registration.register(email="ADA@example.com", password=PASSWORD)
    token = world.mailed_token()
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.passwords.reset(token=token, password=_NEW)
    restored = world.use_cases.own_account.take_up_again(token=token)

    assert (restored.status, restored.deleted_at) == (UserStatus.ACTIVE, None)
    _require_out(world, signed_in)
    assert world.sign_in().user.id == user.id
    with pytest.raises(OneTimeTokenInvalidError):
        world.use_cases.own_account.take_up_again(token=token)
    told = [data for kind, _, data in world.events() if kind in {"user.deleted", "user.restored"}]
    assert [(each.get("erased"), each.get("status"), each["by"]) for each in told] == [
        (False, None, "owner"),
        (None, "active", "owner"),
    ]


def test_restoring_lifts_no_suspension(staff: Staff) -> None:
    """Also one that came after the deletion; and links of either kind do only what they are for."""
    world = staff.world
    user = world.active_user()
    staff.delete(user.id)
    assert staff.suspend(user.id).deleted_at is not None
    world.use_cases.passwords.request_reset(email="ada@example.com")
    assert world.use_cases.own_account.take_up_again(token=world.mailed_token()).status is UserStatus.SUSPENDED
    with pytest.raises(AccountSuspendedError):
        world.sign_in()


def test_links_of_a_restoration_last_thirty_days_and_those_of_a_reactivation_one(staff: Staff) -> None:
    """To the microsecond."""
    world = staff.world
    own = world.use_cases.own_account
    deleted, deactivated = world.active_user(), world.active_user("eve@example.com")
    staff.delete(deleted.id)
    own.deactivate(user_id=deactivated.id)
    world.use_cases.passwords.request_reset(email="ada@example.com")
    restoring = _link(world, "ada@example.com")
    with pytest.raises(AccountDeactivatedError):
        world.sign_in("eve@example.com")
    reactivating = _link(world, "eve@example.com")
    world.clock.advance(timedelta(hours=24))
    with pytest.raises(OneTimeTokenInvalidError):
        own.take_up_again(token=reactivating)
    world.clock.advance(timedelta(days=29) - timedelta(microseconds=1))
    assert own.take_up_again(token=restoring).id == deleted.id


@pytest.mark.asvs("10.3.3")
def test_an_erased_account_leaves_nothing_and_frees_its_address(staff: Staff) -> None:
    """Also one that was deleted before; someone else may take the address."""
    world = staff.world
    user = world.active_user()
    world.sign_in()
    staff.delete(user.id)
    staff.erase(user.id)

    rows = attrs.asdict(world.installed.store.rows, recurse=False)
    for name in ("users", "credentials", "login_states", "sessions", "one_time_tokens", "user_by_email"):
        assert str(user.id) not in str(rows[name])
    with pytest.raises(UserNotFoundError):
        staff.restore(user.id)
    told = [(number, data["erased"]) for kind, number, data in world.events() if kind == "user.deleted"]
    assert [erased for _, erased in told] == [False, True]
    assert world.active_user().id != user.id


def test_unlocking_forgets_failures(staff: Staff) -> None:
    """And changes nothing else."""
    world = staff.world
    user = world.active_user()
    with pytest.raises(InvalidCredentialsError):
        world.sign_in(password=_NEW)
    state = world.installed.store.rows.login_states[user.id]
    assert state.failed_attempts == 1
    world.use_cases.account_administration.unlock(actor=staff.admin, user_id=user.id)

    assert world.installed.store.rows.login_states[user.id] == attrs.evolve(state, failed_attempts=0)
    with pytest.raises(UserNotFoundError):
        world.use_cases.account_administration.unlock(actor=staff.admin, user_id=UserId(NOBODY))
