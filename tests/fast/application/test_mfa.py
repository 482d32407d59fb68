"""Signing in with a second factor, and turning it on and off."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import pyotp
import pytest

from tests.fast.application.conftest import ORIGIN, PASSWORD, World
from userservice_core.application.authentication import MfaRequired, SignedIn
from userservice_core.application.mfa import Mfa, SealedAnew
from userservice_core.application.second_factors import GivenCode, SecondFactors
from userservice_core.domain.credentials import LoginState
from userservice_core.domain.ids import UserId
from userservice_core.domain.mfa import MAX_CHALLENGE_TRIES, MAX_WRONG_CODES
from userservice_core.domain.users import Mover, User, UserStatus
from userservice_core.errors import (
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    MfaAlreadyEnabledError,
    MfaChallengeInvalidError,
    MfaCodeRequiredError,
    MfaCodeWrongError,
    MfaNotEnabledError,
    MfaNotSetUpError,
    OneTimeTokenInvalidError,
    SealBrokenError,
    TargetOutranksActorError,
    TooManyRequestsError,
    UserNotFoundError,
)
from userservice_core.infrastructure.memory import InMemoryFactorSecrets, InMemoryStore, InMemoryUnitOfWork
from userservice_core.infrastructure.security.keys import KeyRing, KeyState
from userservice_core.infrastructure.security.sealing import AesGcmSecretSealer
from userservice_core.infrastructure.security.totp import PyotpOneTimePasswords
from userservice_core.infrastructure.system.clock import SystemEntropy
from userservice_core.testing.clocks import NOON, FakeClock, SequentialIds
from userservice_core.testing.samples import sample_user, sample_user_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from userservice_core.application.access import Principal
    from userservice_core.ports.unit_of_work import Transaction

_SHARED: Final = Path(__file__).parents[3].parent / "shared"
_STEP: Final = timedelta(seconds=30)


@attrs.define
class _Owner:
    """Ada, whose second factor is on."""

    world: World
    user: User
    session: SignedIn
    secret: str
    recovery_codes: tuple[str, ...]

    def code(self, *, steps: int = 0) -> str:
        """Return what the authenticator shows now, or so many steps later."""
        return pyotp.TOTP(self.secret).at(int((self.world.clock.now() + steps * _STEP).timestamp()))

    def next_code(self) -> str:
        """Wait for a code that was not used yet."""
        self.world.clock.advance(_STEP)
        return self.code()

    def wrong_code(self) -> str:
        """Return a code of no step that is accepted now."""
        right = {self.code(steps=steps) for steps in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in right)

    def challenge(self, password: str = PASSWORD) -> str:
        """Give the password, and return the token for the code."""
        begun = self.world.use_cases.authentication.sign_in(email="ada@example.com", password=password, origin=ORIGIN)
        assert isinstance(begun, MfaRequired)
        return begun.session_token

    def answer(self, token: str, code: str | None = None, *, recovery: str | None = None) -> SignedIn:
        """Give the code."""
        return self.world.use_cases.authentication.answer_challenge(
            session_token=token, given=GivenCode(totp=code, recovery=recovery), origin=ORIGIN
        )

    def sign_in(self) -> SignedIn:
        """Sign in with the next code."""
        return self.answer(self.challenge(), self.next_code())

    def told(self) -> list[str]:
        """Return what events said of the second factor."""
        return [data["change"] for kind, _, data in self.world.events() if kind == "auth.mfa_changed"]

    def mails(self) -> list[str]:
        """Return the kinds of the notices about it."""
        self.world.events()
        return [mail.kind for mail in self.world.installed.mails.sent if mail.kind.startswith(("mfa_", "recovery_"))]


def _caller(world: World, signed_in: SignedIn) -> Principal:
    return world.use_cases.access.authenticate_user(token=signed_in.access_token)


def _enrol(world: World) -> _Owner:
    user, session = world.active_user(), world.sign_in()
    caller = _caller(world, session)
    secret = world.use_cases.mfa.set_up(caller=caller).secret
    owner = _Owner(world, user, session, secret, ())
    owner.recovery_codes = world.use_cases.mfa.verify(caller=caller, code=owner.code())
    return owner


@pytest.fixture
def owner(world: World) -> _Owner:
    """Ada."""
    return _enrol(world)


def _stored_user(owner: _Owner) -> User:
    return owner.world.installed.store.rows.users[owner.user.id]


# --- turning it on ----------------------------------------------------------------------------------------------------


def test_it_counts_from_the_first_code_on(world: World) -> None:
    """Not from the secret: whoever fails to put it into an app is not locked out."""
    user, session = world.active_user(), world.sign_in()
    caller = _caller(world, session)

    world.use_cases.mfa.set_up(caller=caller)
    assert isinstance(world.sign_in(), SignedIn)
    enrolment = world.use_cases.mfa.set_up(caller=caller)
    codes = world.use_cases.mfa.verify(caller=caller, code=pyotp.TOTP(enrolment.secret).at(world.clock.now()))

    assert len(codes) == len(set(codes)) == 10
    assert all(len(code.replace("-", "")) == 24 for code in codes), "120 bits in base32"
    stored = world.installed.store.rows.users[user.id]
    assert (stored.mfa_enabled, stored.version) == (True, user.version + 1)


@pytest.mark.asvs("6.5.3", "6.5.4")
def test_secrets_and_recovery_codes_are_random() -> None:
    """From the system's entropy, 160 and 120 bits of it, none twice, and each byte as often as any other (χ²)."""
    entropy = SystemEntropy()
    sealer = AesGcmSecretSealer(KeyRing.generate(NOON, entropy), entropy)
    factors = SecondFactors(passwords=PyotpOneTimePasswords(issuer="A Service"), sealer=sealer, entropy=entropy)
    user_id = UserId(UUID(int=7))
    made = [factors.begin(user_id, account="ada@example.com", now=NOON) for _ in range(50)]
    secrets = [base64.b32decode(enrolment.secret) for _, enrolment in made]
    printed = [code for factor, _ in made for code in factors.new_recovery_codes(factor, now=NOON)[0]]
    codes = [base64.b32decode(code.replace("-", "")) for code in printed]

    assert {len(secret) for secret in secrets} == {20}
    assert {len(code) for code in codes} == {15}
    assert len({*secrets, *codes}) == 50 + 500
    counts = Counter(b"".join([*secrets, *codes]))
    expected = counts.total() / 256
    deviation = sum((counts[byte] - expected) ** 2 / expected for byte in range(256))
    # 255 on average; by chance over 400 or below 140 once in ten million times.
    assert 140 < deviation < 400


def test_its_owner_is_told(owner: _Owner) -> None:
    """By event, by mail and in the log."""
    assert owner.told() == ["enabled"]
    assert owner.mails() == ["mfa_enabled"]
    actions = [record.entry.action for record in owner.world.installed.store.rows.audit]
    assert actions.count("auth.mfa_enabled") == 1


@pytest.mark.asvs("6.5.2", "11.3.1")
def test_nothing_that_is_stored_gives_the_codes_away(owner: _Owner) -> None:
    """Neither the secret nor a recovery code is found in the rows."""
    rows = owner.world.installed.store.rows
    stored = str(rows.mfa_factors) + rows.mfa_factors[owner.user.id].sealed_secret + str(rows.recovery_codes)
    published = json.dumps(owner.world.events()) + str(rows.audit)

    for secret in (owner.secret, *owner.recovery_codes):
        assert secret not in stored + published
        assert secret.replace("-", "") not in stored + published


def test_a_wrong_first_code_is_refused(world: World) -> None:
    """With a pointer to it; the right one still counts."""
    world.active_user()
    caller = _caller(world, world.sign_in())
    enrolment = world.use_cases.mfa.set_up(caller=caller)
    right = pyotp.TOTP(enrolment.secret).at(world.clock.now())

    for wrong in (str((int(right) + 500_000) % 1_000_000).zfill(6), "12345", "½½½½½½", "٣٣٣٣٣٣", right + "0"):
        with pytest.raises(InvalidInputError) as refused:
            world.use_cases.mfa.verify(caller=caller, code=wrong)
        assert [(fault.field, fault.code) for fault in refused.value.faults] == [(("code",), "wrong-code")]

    assert world.use_cases.mfa.verify(caller=caller, code=f" {right[:3]} {right[3:]}")


def test_what_was_not_set_up_is_not_turned_on(world: World) -> None:
    """Nor what was shown too long ago."""
    world.active_user()
    session = world.sign_in()
    with pytest.raises(MfaNotSetUpError):
        world.use_cases.mfa.verify(caller=_caller(world, session), code="123456")
    secret = world.use_cases.mfa.set_up(caller=_caller(world, session)).secret
    world.clock.advance(timedelta(minutes=15))
    with pytest.raises(MfaNotSetUpError):
        world.use_cases.mfa.verify(
            caller=_caller(world, world.sign_in()), code=pyotp.TOTP(secret).at(world.clock.now())
        )


def test_what_is_on_is_not_set_up_over(owner: _Owner) -> None:
    """It has to be turned off first."""
    caller = _caller(owner.world, owner.session)

    with pytest.raises(MfaAlreadyEnabledError):
        owner.world.use_cases.mfa.set_up(caller=caller)
    with pytest.raises(MfaAlreadyEnabledError):
        owner.world.use_cases.mfa.verify(caller=caller, code=owner.next_code())


# --- signing in -------------------------------------------------------------------------------------------------------


@pytest.mark.asvs("6.3.3")
def test_signing_in_takes_both(owner: _Owner) -> None:
    """The password alone begins nothing; session and event tell of both."""
    world = owner.world
    before = len(world.installed.store.rows.sessions)
    token = owner.challenge()
    assert len(world.installed.store.rows.sessions) == before

    signed_in = owner.answer(token, owner.next_code())

    claims = _caller(world, signed_in).claims
    assert claims.amr == ("pwd", "otp", "mfa")
    assert [data["amr"] for kind, _, data in world.events() if kind == "auth.logged_in"][-1] == ["pwd", "otp", "mfa"]
    assert _caller(world, world.refresh(signed_in)).claims.amr == ("pwd", "otp", "mfa")


@pytest.mark.asvs("6.5.1")
def test_a_code_counts_once(owner: _Owner) -> None:
    """Also for another sign-in, and also the one that turned it on; one from before it is over, too."""
    with pytest.raises(MfaCodeWrongError):
        owner.answer(owner.challenge(), owner.code())
    code = owner.next_code()
    owner.answer(owner.challenge(), code)
    for used in (code, owner.code(steps=-1)):
        with pytest.raises(MfaCodeWrongError):
            owner.answer(owner.challenge(), used)


@pytest.mark.asvs("6.5.5")
@pytest.mark.parametrize(("steps", "is_good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_clocks_may_differ_by_a_step(owner: _Owner, steps: int, is_good: bool) -> None:  # noqa: FBT001
    """And no more."""
    owner.world.clock.advance(4 * _STEP)
    token, code = owner.challenge(), owner.code(steps=steps)

    if is_good:
        owner.answer(token, code)
    else:
        with pytest.raises(MfaCodeWrongError):
            owner.answer(token, code)


def test_a_challenge_counts_once(owner: _Owner) -> None:
    """And ends with a newer one."""
    older = owner.challenge()
    newer = owner.challenge()
    code = owner.next_code()

    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(older, code)
    owner.answer(newer, code)
    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(newer, owner.next_code())


def test_a_challenge_is_over_after_five_minutes(owner: _Owner) -> None:
    """The password has to be given again."""
    token = owner.challenge()
    owner.world.clock.advance(timedelta(minutes=5))

    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(token, owner.code())


@pytest.mark.asvs("6.6.3")
def test_five_wrong_codes_end_a_challenge(owner: _Owner) -> None:
    """The right one comes too late then."""
    token = owner.challenge()
    for _ in range(MAX_CHALLENGE_TRIES):
        with pytest.raises(MfaCodeWrongError):
            owner.answer(token, owner.wrong_code())

    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(token, owner.next_code())
    owner.sign_in()
    failed = [data["reason"] for kind, _, data in owner.world.events() if kind == "auth.login_failed"]
    assert failed == ["mfa-code-wrong"] * MAX_CHALLENGE_TRIES


def test_ten_wrong_codes_an_hour_are_the_most(owner: _Owner) -> None:
    """Over all challenges and operations; a right one is not looked at, and the hour is told."""
    for _ in range(MAX_WRONG_CODES):
        with pytest.raises(MfaCodeWrongError):
            owner.answer(owner.challenge(), owner.wrong_code())
    token = owner.challenge()

    with pytest.raises(TooManyRequestsError) as refused:
        owner.answer(token, owner.next_code())
    with pytest.raises(TooManyRequestsError):
        owner.answer(token, recovery=owner.recovery_codes[0])
    assert refused.value.retry_after_seconds == 3_570
    owner.world.clock.advance(timedelta(minutes=59, seconds=30))
    owner.sign_in()


def test_what_ends_mailed_links_ends_a_challenge(owner: _Owner) -> None:
    """A new password, here; and the second factor stays on through it."""
    token = owner.challenge()
    owner.world.use_cases.passwords.request_reset(email="ada@example.com")
    owner.world.use_cases.passwords.reset(token=owner.world.mailed_token(), password="another sentence, as long")

    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(token, owner.next_code())
    assert _stored_user(owner).mfa_enabled
    owner.answer(owner.challenge("another sentence, as long"), owner.next_code())


def test_a_suspension_ends_a_challenge(owner: _Owner) -> None:
    """For good: it is none after a reactivation, either."""
    token = owner.challenge()
    world = owner.world
    administrator = world.use_cases.accounts.create_first_administrator(email="root@example.com")
    assert administrator is not None
    (actor,) = (user.id for user in world.installed.store.rows.users.values() if user.email.key == "root@example.com")
    for status in (UserStatus.SUSPENDED, UserStatus.ACTIVE):
        world.use_cases.account_administration.update(
            actor=actor,
            user_id=owner.user.id,
            revise=lambda user, now, status=status: user.moved_to(status, by=Mover.ADMINISTRATOR, now=now),  # type: ignore[misc]
            reason="a reason" if status is UserStatus.SUSPENDED else None,
        )
        with pytest.raises(MfaChallengeInvalidError):
            owner.answer(token, owner.next_code())


@pytest.mark.parametrize("token", ["", "x", "é" * 64, "A" * 64])
def test_what_is_no_challenge_is_refused(owner: _Owner, token: str) -> None:
    """As one that is over."""
    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(token, owner.next_code())


def test_a_mailed_token_is_no_challenge_and_the_reverse(owner: _Owner) -> None:
    """Each is good for its purpose alone."""
    challenge = owner.challenge()
    owner.world.use_cases.passwords.request_reset(email="ada@example.com")
    mailed = owner.world.mailed_token()

    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(mailed, owner.next_code())
    with pytest.raises(OneTimeTokenInvalidError):
        owner.world.use_cases.passwords.reset(token=challenge, password="another sentence, as long")
    with pytest.raises(OneTimeTokenInvalidError):
        owner.world.use_cases.email_verification.confirm(token=challenge)
    assert not owner.world.use_cases.email_verification.inspect(token=challenge).valid


def test_a_wrong_password_asks_for_no_code(owner: _Owner) -> None:
    """Nobody learns who has a second factor."""
    with pytest.raises(InvalidCredentialsError):
        owner.challenge("not this one, I think")


# --- recovery codes ---------------------------------------------------------------------------------------------------


def test_a_recovery_code_signs_in_once(owner: _Owner) -> None:
    """However it is typed; its owner is told."""
    code = owner.recovery_codes[3]

    signed_in = owner.answer(owner.challenge(), recovery=f" {code.lower().replace('-', ' ')} ")

    assert _caller(owner.world, signed_in).claims.amr == ("pwd", "mfa")
    with pytest.raises(MfaCodeWrongError):
        owner.answer(owner.challenge(), recovery=code)
    owner.answer(owner.challenge(), recovery=owner.recovery_codes[4])
    assert owner.told() == ["enabled", "recovery-code-used", "recovery-code-used"]
    assert owner.mails() == ["mfa_enabled", "recovery_code_used", "recovery_code_used"]


def test_new_recovery_codes_replace_the_earlier_ones(owner: _Owner) -> None:
    """All ten."""
    codes = owner.world.use_cases.mfa.replace_recovery_codes(caller=_caller(owner.world, owner.session))

    assert len(set(codes) | set(owner.recovery_codes)) == 20
    with pytest.raises(MfaCodeWrongError):
        owner.answer(owner.challenge(), recovery=owner.recovery_codes[0])
    owner.answer(owner.challenge(), recovery=codes[0])
    assert owner.told()[:2] == ["enabled", "recovery-codes-replaced"]


def test_one_kind_of_code_is_not_taken_for_the_other(owner: _Owner) -> None:
    """Each has its own place."""
    with pytest.raises(MfaCodeWrongError):
        owner.answer(owner.challenge(), owner.recovery_codes[0])
    with pytest.raises(MfaCodeWrongError):
        owner.answer(owner.challenge(), recovery=owner.next_code())


# --- proving again ----------------------------------------------------------------------------------------------------


def _prove(owner: _Owner, **given: Any) -> Principal:  # noqa: ANN401 - password or code
    caller = _caller(owner.world, owner.session)
    again = owner.world.use_cases.authentication.reauthenticate(caller=caller, origin=ORIGIN, **given)
    return owner.world.use_cases.access.authenticate_user(token=again.access_token)


def test_proving_again_takes_the_code(owner: _Owner) -> None:
    """Alone or beside the password, and never the password alone; it counts once here, too."""
    with pytest.raises(MfaCodeRequiredError):
        _prove(owner, password=PASSWORD)
    code = owner.next_code()

    proved = _prove(owner, code=code)

    assert (proved.claims.amr, proved.claims.auth_time) == (("pwd", "otp", "mfa"), owner.world.clock.now())
    with pytest.raises(MfaCodeWrongError):
        _prove(owner, code=code)
    with pytest.raises(InvalidCredentialsError):
        _prove(owner, password="not this one, I think", code=owner.next_code())
    _prove(owner, password=PASSWORD, code=owner.code())


def test_wrong_codes_count_wherever_they_are_given(owner: _Owner) -> None:
    """Whoever took over a session may not guess on."""
    for _ in range(MAX_WRONG_CODES):
        with pytest.raises(MfaCodeWrongError):
            _prove(owner, code=owner.wrong_code())

    with pytest.raises(TooManyRequestsError):
        _prove(owner, code=owner.next_code())


def test_a_code_proves_nothing_where_there_is_no_second_factor(world: World) -> None:
    """The password does."""
    world.active_user()
    caller = _caller(world, world.sign_in())

    with pytest.raises(InvalidCredentialsError):
        world.use_cases.authentication.reauthenticate(caller=caller, code="123456", origin=ORIGIN)


# --- turning it off ---------------------------------------------------------------------------------------------------


def test_it_is_turned_off_by_its_owner(owner: _Owner) -> None:
    """Nothing of it is left; a challenge that waits is none any more."""
    token = owner.challenge()

    owner.world.use_cases.mfa.disable(caller=_caller(owner.world, owner.session))

    rows = owner.world.installed.store.rows
    assert (rows.mfa_factors, rows.recovery_codes) == ({}, {})
    assert not _stored_user(owner).mfa_enabled
    with pytest.raises(MfaChallengeInvalidError):
        owner.answer(token, owner.next_code())
    owner.world.sign_in()
    assert owner.told() == ["enabled", "disabled"]
    assert owner.mails() == ["mfa_enabled", "mfa_disabled"]


def test_what_is_off_is_not_turned_off(world: World) -> None:
    """Nor has it recovery codes; a secret that was not confirmed is nothing yet."""
    world.active_user()
    caller = _caller(world, world.sign_in())
    for _ in range(2):
        with pytest.raises(MfaNotEnabledError):
            world.use_cases.mfa.disable(caller=caller)
        with pytest.raises(MfaNotEnabledError):
            world.use_cases.mfa.replace_recovery_codes(caller=caller)
        world.use_cases.mfa.set_up(caller=caller)


def test_an_ended_session_changes_nothing(owner: _Owner) -> None:
    """Also one that ended after its token was looked at."""
    caller = _caller(owner.world, owner.session)
    owner.world.use_cases.authentication.sign_out(access_token=None, refresh_token=owner.session.refresh_token)
    before = owner.world.installed.store.rows
    works: list[Callable[[], object]] = [
        lambda: owner.world.use_cases.mfa.set_up(caller=caller),
        lambda: owner.world.use_cases.mfa.verify(caller=caller, code=owner.code()),
        lambda: owner.world.use_cases.mfa.disable(caller=caller),
        lambda: owner.world.use_cases.mfa.replace_recovery_codes(caller=caller),
    ]

    for work in works:
        with pytest.raises(InvalidAccessTokenError):
            work()

    assert owner.world.installed.store.rows is before


def test_administrators_reset_it(owner: _Owner) -> None:
    """The owner is told; a second time nothing happens; whoever outranks them is out of reach."""
    world = owner.world
    assert world.use_cases.accounts.create_first_administrator(email="root@example.com") is not None
    (root,) = (user.id for user in world.installed.store.rows.users.values() if user.email.key == "root@example.com")

    with pytest.raises(TargetOutranksActorError):
        world.use_cases.mfa.reset(actor=owner.user.id, user_id=root)
    with pytest.raises(UserNotFoundError):
        world.use_cases.mfa.reset(actor=root, user_id=sample_user_id())
    for _ in range(2):
        world.use_cases.mfa.reset(actor=root, user_id=owner.user.id)

    assert not _stored_user(owner).mfa_enabled
    assert (world.installed.store.rows.mfa_factors, world.installed.store.rows.recovery_codes) == ({}, {})
    world.sign_in()
    assert owner.told() == ["enabled", "reset"]
    assert owner.mails() == ["mfa_enabled", "mfa_reset"]


# --- keys -------------------------------------------------------------------------------------------------------------


def _with_a_newer_key(ring: KeyRing) -> KeyRing:
    newer = KeyRing.generate(NOON, SystemEntropy())
    retired = tuple(attrs.evolve(key, state=KeyState.RETIRED) for key in ring.secret_keys)
    return attrs.evolve(newer, secret_keys=(*newer.secret_keys, *retired))


class _Process:
    """The use cases of the second factor in a process with a key ring."""

    def __init__(self, store: InMemoryStore, ring: KeyRing, clock: FakeClock) -> None:
        sealer = AesGcmSecretSealer(ring, SystemEntropy())
        self.clock = clock
        self.uow = InMemoryUnitOfWork(store, clock=clock)
        self.factors = SecondFactors(
            passwords=PyotpOneTimePasswords(issuer="tests"), sealer=sealer, entropy=SystemEntropy()
        )
        self.mfa = Mfa(
            uow=self.uow,
            factors=self.factors,
            secrets=InMemoryFactorSecrets(store),
            sealer=sealer,
            clock=clock,
            ids=SequentialIds(clock.now()),
            access_lifetime=timedelta(minutes=10),
        )

    def enrol(self) -> tuple[User, str, str]:
        """Turn a second factor on, and return whose it is, its secret and a recovery code."""
        user, now = sample_user(), self.clock.now()
        factor, enrolment = self.factors.begin(user.id, account="ada@example.com", now=now)
        texts, codes = self.factors.new_recovery_codes(factor, now=now)

        def work(transaction: Transaction) -> None:
            transaction.users.add(user)
            transaction.sign_ins.add_state(LoginState(user_id=user.id))
            transaction.mfa.save(factor.confirmed(now=now))
            transaction.mfa.replace_codes(user.id, codes)

        self.uow.run(work)
        return user, enrolment.secret, texts[0]

    def is_good(self, user: User, given: GivenCode) -> bool:
        """Have a code judged."""

        def work(transaction: Transaction) -> bool:
            factor = transaction.mfa.find(user.id)
            assert factor is not None
            judged = self.factors.judge(transaction, factor, given, now=self.clock.now())
            judged.write_into(transaction)
            return judged.is_good

        return self.uow.run(work)


def test_keys_are_changed_while_everything_runs() -> None:
    """Secrets and recovery codes outlast the key that sealed them, once they are sealed anew."""
    store, clock, first_ring = InMemoryStore(), FakeClock(NOON), KeyRing.generate(NOON, SystemEntropy())
    second_ring = _with_a_newer_key(first_ring)
    alone = attrs.evolve(second_ring, secret_keys=second_ring.secret_keys[:1])
    before, during, after = (_Process(store, ring, clock) for ring in (first_ring, second_ring, alone))
    people = [before.enrol() for _ in range(5)]
    codes = [GivenCode(totp=pyotp.TOTP(secret).at(clock.now())) for _, secret, _ in people]

    assert during.is_good(people[0][0], codes[0]), "which seals it anew"
    with pytest.raises(SealBrokenError):
        after.is_good(people[1][0], codes[1])
    assert during.mfa.seal_anew(is_stopped=lambda: True) == SealedAnew(0, 0)
    assert after.mfa.seal_anew() == SealedAnew(0, 4)
    assert [during.mfa.seal_anew() for _ in range(2)] == [SealedAnew(4, 0), SealedAnew(0, 0)]

    assert not after.is_good(people[0][0], codes[0])
    assert [after.is_good(user, code) for (user, _, _), code in zip(people[1:], codes[1:], strict=True)] == [True] * 4
    assert all(after.is_good(user, GivenCode(recovery=text)) for user, _, text in people)


@pytest.mark.asvs("6.5.5")
@pytest.mark.skipif(not _SHARED.is_dir(), reason="no test vectors in ../shared")
def test_codes_are_those_of_the_published_vectors() -> None:
    """Of RFC 6238, appendix B: of eight digits the last six."""
    vectors = json.loads((_SHARED / "vectors" / "rfc6238_rfc4226.json").read_text(encoding="utf-8"))
    passwords = PyotpOneTimePasswords(issuer="tests")
    ours = [vector for vector in vectors["totp"] if vector["alg"] == "sha1" and vector["time"] > 60]

    assert len(ours) >= 5
    for vector in ours:
        now = datetime.fromtimestamp(vector["time"], UTC)
        secret, code = vector["secret_ascii"].encode(), vector["code"][-6:]
        assert passwords.accepted_step(secret, code, now=now, after=None) == vector["time"] // vector["period"]
