"""Signing in, staying signed in, signing out."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

from userservice_core.application.mailed_tokens import MAILED_TO_ANYONE, may_mail, read_mailed_token
from userservice_core.application.password_proofs import require_same_password
from userservice_core.application.second_factors import GivenCode
from userservice_core.application.security_notices import security_notice
from userservice_core.application.session_ends import end_session, revoke_session
from userservice_core.application.token_times import jittered
from userservice_core.domain.audit import ANONYMOUS, Actor, AuditAction, AuditEntry, Outcome, Subject
from userservice_core.domain.credentials import Credential
from userservice_core.domain.emails import EmailAddress
from userservice_core.domain.events import (
    LoggedIn,
    LoggedOut,
    LoginFailed,
    MfaChange,
    MfaChanged,
    NotificationKind,
    PasswordChange,
    RefreshReused,
    UnknownLoginFailed,
    UserPasswordChanged,
)
from userservice_core.domain.ids import AuditEntryId, EventId, SessionId, UserId
from userservice_core.domain.mfa import MAX_CHALLENGE_TRIES
from userservice_core.domain.one_time_tokens import KEPT_BESIDE_NEWER, TokenPurpose
from userservice_core.domain.passwords import NOT_ISSUED, normalise_password
from userservice_core.domain.sessions import (
    MAX_ORIGINS_COMPARED,
    MAX_SESSIONS_PER_USER,
    Origin,
    RefreshVerdict,
    Session,
    SessionLifetime,
    judge_refresh,
)
from userservice_core.domain.users import User, UserStatus
from userservice_core.errors import (
    ForbiddenError,
    InvalidAccessTokenError,
    InvalidCredentialsError,
    InvalidInputError,
    InvalidRefreshTokenError,
    MfaChallengeInvalidError,
    MfaCodeRequiredError,
    MfaCodeWrongError,
    OneTimeTokenInvalidError,
    PasswordChangeRequiredError,
    SessionNotFoundError,
    UserNotFoundError,
)
from userservice_core.ports.security import AccessClaims
from userservice_core.ports.sessions import Rotation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from userservice_core.application.access import Access, Principal
    from userservice_core.application.failed_sign_ins import FailedSignIns
    from userservice_core.application.hash_mix import HashMix
    from userservice_core.application.known_devices import Device, KnownDevices
    from userservice_core.application.mailed_tokens import MailedTokens, TokenReference
    from userservice_core.application.password_history import PasswordHistory
    from userservice_core.application.password_proofs import PasswordProofs
    from userservice_core.application.password_rules import PasswordRules
    from userservice_core.application.rate_limits import RateLimits
    from userservice_core.application.second_factors import Judgement, SecondFactors
    from userservice_core.application.security_notices import NoticeKind
    from userservice_core.domain.credentials import SignIn
    from userservice_core.domain.events import NotificationRequested
    from userservice_core.domain.mfa import MfaFactor
    from userservice_core.domain.permission_sets import PermissionSet
    from userservice_core.domain.roles import AssignedRole
    from userservice_core.ports.clock import Clock, Entropy, IdGenerator
    from userservice_core.ports.credentials import SignInReader
    from userservice_core.ports.pacing import Pacer
    from userservice_core.ports.security import (
        AccessTokenIssuer,
        PasswordHasher,
        RefreshToken,
        RefreshTokens,
        SecretSealer,
    )
    from userservice_core.ports.sessions import SessionStore
    from userservice_core.ports.unit_of_work import Transaction, UnitOfWork

CLIENT_ID = "userservice"
"""Claim `client_id` of tokens had by password, which RFC 9068 §2.2 requires: the service's own sign-in."""

ORDINARY_SESSION = SessionLifetime()
ADMINISTRATOR_SESSION = SessionLifetime(idle=timedelta(hours=1), absolute=timedelta(hours=12))

_WRONG = "wrong-password"
_UNKNOWN_EMAIL = "unknown-email"
_LOCKED = "account-locked"


@attrs.frozen(kw_only=True)
class SignedIn:
    """
    The tokens of a session and whose it is.

    Attributes:
        device_token: For later sign-ins from the same device; None after a refresh, which changes nothing of it.
    """

    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    expires_in_seconds: int
    refresh_expires_in_seconds: int
    user: User
    device_token: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class MfaRequired:
    """
    The password was right, and a second factor is wanted.

    Attributes:
        session_token: To be given with the code, within the lifetime of its purpose.
    """

    session_token: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Reauthenticated:
    """A new access token of the same session."""

    access_token: str = attrs.field(repr=False)
    expires_in_seconds: int


@attrs.frozen(kw_only=True)
class TokenLifetimes:
    """
    How long tokens and sessions last.

    Attributes:
        access: Of an access token, less up to a twentieth by random so that they are not all renewed at once.
        session: Of the session of a user who holds no permission.
        administrator_session: Of the session of a user who holds any.
    """

    access: timedelta = timedelta(minutes=10)
    session: SessionLifetime = ORDINARY_SESSION
    administrator_session: SessionLifetime = ADMINISTRATOR_SESSION


class Authentication:
    """Passwords become sessions; a session is a refresh token that changes with each use, and short access tokens."""

    def __init__(
        self,
        *,
        uow: UnitOfWork,
        sign_ins: SignInReader,
        sessions: SessionStore,
        access: Access,
        hasher: PasswordHasher,
        mix: HashMix,
        proofs: PasswordProofs,
        rules: PasswordRules,
        history: PasswordHistory,
        factors: SecondFactors,
        failures: FailedSignIns,
        limits: RateLimits,
        devices: KnownDevices,
        pacer: Pacer,
        sealer: SecretSealer,
        mailed_tokens: MailedTokens,
        issuer: AccessTokenIssuer,
        refresh_tokens: RefreshTokens,
        clock: Clock,
        ids: IdGenerator,
        entropy: Entropy,
        lifetimes: TokenLifetimes,
    ) -> None:
        self._uow = uow
        self._sign_ins = sign_ins
        self._sessions = sessions
        self._access = access
        self._hasher = hasher
        self._mix = mix
        self._proofs = proofs
        self._rules = rules
        self._history = history
        self._factors = factors
        self._failures = failures
        self._limits = limits
        self._devices = devices
        self._pacer = pacer
        self._sealer = sealer
        self._mailed_tokens = mailed_tokens
        self._issuer = issuer
        self._refresh_tokens = refresh_tokens
        self._clock = clock
        self._ids = ids
        self._entropy = entropy
        self._lifetimes = lifetimes

    # --- signing in -------------------------------------------------------------------------------------------------

    def sign_in(
        self,
        *,
        email: str,
        password: str,
        origin: Origin,
        new_password: str | None = None,
        device_token: str | None = None,
    ) -> SignedIn | MfaRequired:
        """
        Begin a session for whoever knows the password, or ask them for the second factor where there is one.

        One that was issued has to be replaced by *new_password* at the first sign-in.

        Unknown address, wrong password and an account without one are one error after the same work. What is wrong with
        an account is told only to who knows its password. The owner of an account that they deactivated is mailed a
        link to take it up again.

        Failures are counted by address and e-mail, or by the device where *device_token* was given to one of this user.
        Too many in a row lock the account for devices that are not known: the right password is then one more wrong
        one, so that nobody learns of the lock what guessing would not tell.

        Raises:
            TooManyRequestsError: If there were too many failures of late; no password was hashed.
            InvalidCredentialsError: If address and password do not belong together, or the account is locked.
            EmailNotVerifiedError: If the address is not confirmed.
            AccountSuspendedError: If an administrator suspended the account.
            AccountDeactivatedError: If its owner deactivated it.
            PasswordChangeRequiredError: If the password was issued, and no new one is given.
            InvalidInputError: If the new password breaks a rule, or none is wanted.
            OverloadedError: If too many passwords are being hashed already.
            BreachCheckUnavailableError: If it cannot be told whether the new password was leaked, and must be.
        """
        began = self._pacer.start()
        key = _sign_in_key(email)
        device = self._devices.find(device_token)
        counted = self._limits.admit_sign_in(key, origin=origin) if device is None else ()
        found = self._sign_ins.find_sign_in(key)
        if device is not None:
            if found is None or not device.is_of(found):
                device = None
                counted = self._limits.admit_sign_in(key, origin=origin)
            else:
                counted = self._limits.admit_device(device)
        self._mix.renew()
        credential = self._verified_credential(found, password, key)
        is_locked = found is not None and device is None and found.state.is_locked(now=self._clock.now())
        if found is None or credential is None or is_locked:
            self._record_failure(found, key, reason=_WRONG if credential is None else _LOCKED, origin=origin)
            self._pacer.hold("failed sign-in", since=began)
            raise InvalidCredentialsError
        try:
            found.user.require_sign_in_allowed()
            if credential.must_change and new_password is None:
                raise PasswordChangeRequiredError
        except (ForbiddenError, InvalidCredentialsError) as refusal:
            self._record_refusal(found.user, reason=refusal.code, origin=origin)
            raise
        self._limits.forgive(counted)
        if new_password is None:
            credential = self._renewed(credential, password)
        else:
            credential = self._replaced(found.user, credential, password, new_password)
        return self._begin_session(found, credential, device=device, origin=origin)

    def _verified_credential(self, found: SignIn | None, password: str, key: str) -> Credential | None:
        """Return the credential that *password* opens; takes the same work whether there is one or not."""
        if found is None or found.credential is None:
            self._hasher.verify_nobody(password, like=self._mix.pick(key))
            return None
        return found.credential if self._hasher.verify(found.credential.password_hash, password) else None

    def _renewed(self, credential: Credential, password: str) -> Credential:
        """Replace a hash made with outdated parameters, now that the password is at hand."""
        if not self._hasher.is_outdated(credential.password_hash):
            return credential
        return attrs.evolve(credential, password_hash=self._hasher.hash(normalise_password(password)))

    def _replaced(self, user: User, credential: Credential, issued: str, chosen: str) -> Credential:
        """Put the password that was chosen in the place of the one that was issued."""
        if not credential.must_change:
            raise InvalidInputError((NOT_ISSUED,))
        if faults := self._rules.change_faults(chosen, current=issued, email=user.email):
            raise InvalidInputError(faults)
        if faults := self._history.faults(chosen, instead_of=credential):
            raise InvalidInputError(faults)
        return Credential(
            user_id=user.id,
            password_hash=self._hasher.hash(normalise_password(chosen)),
            changed_at=self._clock.now(),
            former_hashes=self._history.after(credential),
        )

    def _begin_session(
        self, found: SignIn, credential: Credential, *, device: Device | None, origin: Origin
    ) -> SignedIn | MfaRequired:
        now = self._clock.now()
        permissions = self._access.permissions_of_roles(found.user.roles)
        session, token = self._new_session(found.user, permissions, now=now, origin=origin)

        def work(transaction: Transaction) -> User | MfaRequired:
            latest = transaction.sign_ins.get(found.user.id)
            require_same_password(found, latest)
            if device is None and latest.state.is_locked(now=now):
                raise InvalidCredentialsError
            latest.user.require_sign_in_allowed()
            is_replaced = _is_issued(latest)
            if is_replaced and not _is_issued(found):
                raise PasswordChangeRequiredError
            sessions = transaction.sessions.list_open(found.user.id, now=now)
            is_new_device = self._is_new_device(transaction, latest, origin)
            if is_replaced:
                self._end_surplus(transaction, sessions, reason="password-changed", now=now)
                sessions = ()
            if credential != latest.credential:
                transaction.sign_ins.save_credential(credential)
            if not latest.user.mfa_enabled:
                self._open(transaction, latest, session, sessions, is_new_device=is_new_device)
            if is_replaced:
                self._tell_of_first_password(transaction, latest.user, now=now)
            return self._challenge(transaction, latest.user, now=now) if latest.user.mfa_enabled else latest.user

        try:
            begun = self._uow.run(work)
        except UserNotFoundError as error:
            raise InvalidCredentialsError from error
        if isinstance(begun, MfaRequired):
            return begun
        answer = self._answer(session, begun, token, permissions=permissions)
        return attrs.evolve(answer, device_token=self._devices.token_for(begun.id, device))

    def _new_session(
        self, user: User, permissions: PermissionSet, *, now: datetime, origin: Origin
    ) -> tuple[Session, RefreshToken]:
        """Make a session and its first refresh token; nothing is stored."""
        session_id = SessionId(self._ids.new())
        token = self._refresh_tokens.first(user_id=user.id, session_id=session_id)
        session = Session.start(
            session_id=session_id,
            user_id=user.id,
            now=now,
            lifetime=self._lifetimes.administrator_session if permissions.names else self._lifetimes.session,
            first_hash=token.secret_hash,
            origin=origin,
        )
        return session, token

    def _open(
        self,
        transaction: Transaction,
        latest: SignIn,
        session: Session,
        others: tuple[Session, ...],
        *,
        is_new_device: bool,
    ) -> None:
        """Store a session that begins, end those that there is no room for beside it, and tell of it."""
        now = session.created_at
        self._end_surplus(transaction, others[MAX_SESSIONS_PER_USER - 1 :], reason="session-limit", now=now)
        transaction.sessions.add(session)
        transaction.sign_ins.save_state(latest.state.signed_in(now=now))
        transaction.record(self._logged_in(session, now=now))
        transaction.audit.add(
            self._own_action(AuditAction.LOGGED_IN, session.user_id, now=now, after={"sessionId": session.id})
        )
        if is_new_device:
            transaction.record(self._notice(latest.user, NotificationKind.NEW_DEVICE, now=now))

    def _end_surplus(
        self, transaction: Transaction, sessions: tuple[Session, ...], *, reason: str, now: datetime
    ) -> None:
        for surplus in sessions:
            revoke_session(
                transaction,
                surplus,
                reason=reason,
                event_id=EventId(self._ids.new()),
                now=now,
                access_lifetime=self._lifetimes.access,
            )
            transaction.audit.add(self._session_ended(surplus, cause=reason, now=now))

    # --- the second factor ------------------------------------------------------------------------------------------

    def _challenge(self, transaction: Transaction, user: User, *, now: datetime) -> MfaRequired:
        """Let a sign-in wait for the second factor; one that waits already ends."""
        stored, text = self._mailed_tokens.challenge(user, now=now)
        transaction.one_time_tokens.add(stored)
        transaction.audit.add(self._own_action(AuditAction.MFA_CHALLENGED, user.id, now=now, after={}))
        return MfaRequired(session_token=text)

    def answer_challenge(self, *, session_token: str, given: GivenCode, origin: Origin) -> SignedIn:
        """
        Finish a sign-in that waits for its second factor.

        A token that names nobody takes the work and the time of one that names somebody, with a second factor or not.

        Raises:
            MfaChallengeInvalidError: If none waits, or no longer: it is over, ended, or had too many wrong codes.
            MfaCodeWrongError: If the code is wrong, or was used already.
            TooManyRequestsError: If too many wrong ones were given for the user of late.
        """
        began = self._pacer.start()
        try:
            reference = read_mailed_token(session_token)
            # Whoever is wrong is told so by the transaction; this is for the length of the session alone.
            permissions = self._access.permissions_of_roles(self._roles_of(reference.user_id))
            done = self._uow.run(lambda transaction: self._pass(transaction, reference, given, permissions, origin))
        except OneTimeTokenInvalidError as error:
            raise MfaChallengeInvalidError from error
        except MfaChallengeInvalidError:
            self._pacer.hold("failed second factor", since=began)
            raise
        if done is None:
            raise MfaCodeWrongError
        session, user, token = done
        answer = self._answer(session, user, token, permissions=permissions)
        return attrs.evolve(answer, device_token=self._devices.token_for(user.id, None))

    def _pass(
        self,
        transaction: Transaction,
        reference: TokenReference,
        given: GivenCode,
        permissions: PermissionSet,
        origin: Origin,
    ) -> tuple[Session, User, RefreshToken] | None:
        """Begin the session, or count a wrong code and return None."""
        now = self._clock.now()
        latest = self._found(transaction, reference.user_id)
        stored = transaction.one_time_tokens.find(reference.user_id, reference.digest)
        factor = transaction.mfa.find(reference.user_id)
        if latest is None or stored is None or factor is None:
            raise MfaChallengeInvalidError
        user = latest.user
        is_open = stored.is_good_for(TokenPurpose.MFA_CHALLENGE, email_key=user.email.key, now=now)
        if not (is_open and factor.is_on and user.is_live):
            raise MfaChallengeInvalidError
        judged = self._factors.judge(transaction, factor, given, now=now)
        if not judged.is_good:
            judged.write_into(transaction)
            transaction.one_time_tokens.save(stored.failed(now=now, allowed=MAX_CHALLENGE_TRIES))
            self._tell_of_wrong_code(transaction, user, AuditAction.LOGGED_IN, origin=origin, now=now)
            return None
        begun, token = self._new_session(user, permissions, now=now, origin=origin)
        session = attrs.evolve(begun, amr=judged.amr)
        sessions = transaction.sessions.list_open(user.id, now=now)
        is_new_device = self._is_new_device(transaction, latest, origin)
        judged.write_into(transaction)
        transaction.one_time_tokens.save(stored.used(now=now))
        self._open(transaction, latest, session, sessions, is_new_device=is_new_device)
        if judged.recovery_code is not None:
            self._tell_of_recovery_code(transaction, user, now=now)
        return session, user, token

    def _roles_of(self, user_id: UserId) -> tuple[AssignedRole, ...]:
        try:
            return self._sign_ins.get(user_id).user.roles
        except UserNotFoundError:
            return ()

    @staticmethod
    def _found(transaction: Transaction, user_id: UserId) -> SignIn | None:
        try:
            return transaction.sign_ins.get(user_id)
        except UserNotFoundError:
            return None

    def _tell_of_wrong_code(
        self, transaction: Transaction, user: User, action: AuditAction, *, origin: Origin, now: datetime
    ) -> None:
        reason = MfaCodeWrongError.code
        transaction.record(self._login_failed(user.id, reason=reason, origin=origin, now=now))
        transaction.audit.add(
            AuditEntry(
                id=AuditEntryId(self._ids.new()),
                at=now,
                action=action,
                actor=ANONYMOUS if action is AuditAction.LOGGED_IN else Actor.user(user.id),
                subject=Subject.user(user.id),
                outcome=Outcome.REFUSED,
                reason=reason,
            )
        )

    def _tell_of_recovery_code(self, transaction: Transaction, user: User, *, now: datetime) -> None:
        transaction.record(
            MfaChanged(
                id=EventId(self._ids.new()),
                occurred_at=now,
                user_id=user.id,
                change=MfaChange.RECOVERY_CODE_USED.value,
            )
        )
        transaction.record(self._notice(user, NotificationKind.RECOVERY_CODE_USED, now=now))
        transaction.audit.add(
            self._own_action(AuditAction.MFA_RECOVERY_CODE_USED, user.id, now=now, after={}, changed=("mfa",))
        )

    def _tell_of_first_password(self, transaction: Transaction, user: User, *, now: datetime) -> None:
        transaction.one_time_tokens.end_all(user.id, now=now, keep=KEPT_BESIDE_NEWER)
        transaction.record(
            UserPasswordChanged(
                id=EventId(self._ids.new()), occurred_at=now, user_id=user.id, method=PasswordChange.FIRST_SIGN_IN
            )
        )
        transaction.record(self._notice(user, NotificationKind.PASSWORD_CHANGED, now=now))
        transaction.audit.add(
            self._own_action(
                AuditAction.USER_PASSWORD_CHANGED,
                user.id,
                now=now,
                after={"method": PasswordChange.FIRST_SIGN_IN},
                changed=("password",),
            )
        )

    @staticmethod
    def _is_new_device(transaction: Transaction, sign_in: SignIn, origin: Origin) -> bool:
        """Tell whether none of the latest sign-ins came from there; the first of all is none to be told of."""
        if sign_in.state.last_login_at is None:
            return False
        known = transaction.sessions.list_origins(sign_in.user.id, limit=MAX_ORIGINS_COMPARED)
        return not any(origin.is_like(each) for each in known)

    def _record_failure(self, found: SignIn | None, key: str, *, reason: str, origin: Origin) -> None:
        """Count and tell of a wrong password; for an unknown address the same statements run and count nobody."""
        now = self._clock.now()
        user_id = UserId(self._ids.new()) if found is None else found.user.id
        event: LoginFailed | UnknownLoginFailed
        if found is None:
            digest = self._sealer.digest(key, context="login-email")
            event = UnknownLoginFailed(
                id=EventId(self._ids.new()),
                occurred_at=now,
                email_hmac=digest,
                reason=_UNKNOWN_EMAIL,
                ip=origin.ip,
                user_agent=origin.user_agent,
            )
        else:
            event = self._login_failed(found.user.id, reason=reason, origin=origin, now=now)
        entry = self._sign_in_refused(None if found is None else found.user, reason=event.reason, now=now)

        def work(transaction: Transaction) -> None:
            self._failures.count(transaction, user_id, origin=origin, now=now)
            transaction.record(event)
            transaction.audit.add(entry)

        self._uow.run(work)

    def _record_refusal(self, user: User, *, reason: str, origin: Origin) -> None:
        """Tell that the right password was refused; it is no failed attempt at guessing."""
        now = self._clock.now()
        event = self._login_failed(user.id, reason=reason, origin=origin, now=now)
        entry = self._sign_in_refused(user, reason=reason, now=now)

        def work(transaction: Transaction) -> None:
            latest = transaction.sign_ins.get(user.id).user
            is_asleep = latest.status is UserStatus.DEACTIVATED and latest.deleted_at is None
            wants_mail = is_asleep and may_mail(transaction, latest.id, MAILED_TO_ANYONE, now=now)
            transaction.record(event)
            transaction.audit.add(entry)
            if wants_mail:
                self._mailed_tokens.issue(
                    latest,
                    purpose=TokenPurpose.REACTIVATE_ACCOUNT,
                    kind=NotificationKind.REACTIVATE_ACCOUNT,
                    now=now,
                ).write_into(transaction)

        with contextlib.suppress(UserNotFoundError):  # erased meanwhile
            self._uow.run(work)

    # --- staying signed in ------------------------------------------------------------------------------------------

    def refresh(self, *, refresh_token: str, origin: Origin) -> SignedIn:
        """
        Exchange a refresh token for the next one and a new access token (RFC 9700 §4.14.2).

        Presenting the same token again within the grace window gives the same successor again. An older one after the
        window ends the session, because someone else holds a copy; the owner is told by mail.

        Raises:
            InvalidRefreshTokenError: If it is not ours, superseded, or its session has ended.
        """
        token = self._refresh_tokens.parse(refresh_token)
        successor = self._refresh_tokens.successor(token)
        rotated = self._sessions.rotate(
            Rotation(
                user_id=token.user_id,
                session_id=token.session_id,
                generation=token.generation,
                secret_hash=token.secret_hash,
                next_hash=successor.secret_hash,
                now=self._clock.now(),
            )
        )
        if rotated is not None:
            return self._answer(rotated.session, rotated.user, successor)
        return self._repeat_or_refuse(token, successor, origin=origin)

    def _repeat_or_refuse(self, token: RefreshToken, successor: RefreshToken, *, origin: Origin) -> SignedIn:
        found = self._sessions.find(token.user_id, token.session_id)
        if found is None or not found.user.is_live:
            raise InvalidRefreshTokenError
        verdict = self._judge(found.session, token)
        if verdict is RefreshVerdict.REPEAT:
            return self._answer(found.session, found.user, successor)
        if verdict is RefreshVerdict.REUSED:
            self._end_reused_session(token, origin=origin)
        raise InvalidRefreshTokenError(has_successor=verdict is RefreshVerdict.SUPERSEDED)

    def _judge(self, session: Session, token: RefreshToken) -> RefreshVerdict:
        return judge_refresh(session, generation=token.generation, secret_hash=token.secret_hash, now=self._clock.now())

    def _end_reused_session(self, token: RefreshToken, *, origin: Origin) -> None:
        def work(transaction: Transaction) -> None:
            user = transaction.sign_ins.get(token.user_id).user
            session = transaction.sessions.get(token.user_id, token.session_id)
            if self._judge(session, token) is not RefreshVerdict.REUSED:
                return
            now = self._clock.now()
            self._end_session(transaction, session, now=now)
            transaction.record(
                RefreshReused(
                    id=EventId(self._ids.new()),
                    occurred_at=now,
                    user_id=user.id,
                    session_id=session.id,
                    ip=origin.ip,
                    user_agent=origin.user_agent,
                )
            )
            transaction.record(self._notice(user, NotificationKind.REFRESH_REUSED, now=now))
            transaction.audit.add(
                AuditEntry(
                    id=AuditEntryId(self._ids.new()),
                    at=now,
                    action=AuditAction.REFRESH_REUSED,
                    actor=ANONYMOUS,
                    subject=Subject.user(user.id),
                    outcome=Outcome.REFUSED,
                    reason=InvalidRefreshTokenError.code,
                    after={"sessionId": session.id},
                )
            )

        try:
            self._uow.run(work)
        except (UserNotFoundError, SessionNotFoundError) as error:
            raise InvalidRefreshTokenError from error

    # --- proving it again -------------------------------------------------------------------------------------------

    def reauthenticate(
        self, *, caller: Principal, password: str | None = None, code: str | None = None, origin: Origin
    ) -> Reauthenticated:
        """
        Let a user who is signed in prove again who they are, for operations that want a recent proof (RFC 9470).

        The session and its refresh token stay as they are; tokens that a refresh yields say the new time from then on.
        Where a second factor is on, its code is wanted, and suffices: the password alone does not, or whoever has
        learnt it could turn the second factor off in a session that they took over.

        Args:
            caller: Who is signed in.
            password: Checked if given.
            code: That the authenticator shows; None where there is none.
            origin: Where the request came from.

        Raises:
            InvalidCredentialsError: If the password is wrong, or neither is given.
            MfaCodeRequiredError: If a second factor is on, and no code is given.
            MfaCodeWrongError: If the code is wrong, or was used already.
            TooManyRequestsError: If too many wrong ones were given of late.
            InvalidAccessTokenError: If the session has ended, or the account cannot be used.
            OverloadedError: If too many passwords are being hashed already.
        """
        checked = None
        if password is not None:
            checked = self._proofs.require(caller=caller, password=password, origin=origin)

        def work(transaction: Transaction) -> tuple[User, Session] | None:
            now = self._clock.now()
            latest = transaction.sign_ins.get(caller.user_id)
            if checked is not None:
                require_same_password(checked, latest)
            session = transaction.sessions.get(caller.user_id, caller.session_id)
            factor = transaction.mfa.find(caller.user_id)
            if not (latest.user.is_live and session.is_open(now=now)):
                raise InvalidAccessTokenError
            if factor is not None and factor.is_on:
                judged = self._judged_code(transaction, factor, code, now=now)
                judged.write_into(transaction)
                if not judged.is_good:
                    self._tell_of_wrong_code(
                        transaction, latest.user, AuditAction.REAUTHENTICATED, origin=origin, now=now
                    )
                    return None
                session = session.proved(now=now, amr=judged.amr)
            elif checked is None:
                raise InvalidCredentialsError
            else:
                session = session.proved(now=now)
            transaction.sessions.save(session)
            transaction.audit.add(
                self._own_action(AuditAction.REAUTHENTICATED, session.user_id, now=now, after={"sessionId": session.id})
            )
            return latest.user, session

        try:
            proved = self._uow.run(work)
        except (UserNotFoundError, SessionNotFoundError) as error:
            raise InvalidAccessTokenError from error
        if proved is None:
            raise MfaCodeWrongError
        user, session = proved
        claims = self._claims(session, user, permissions=self._access.permissions_of_roles(user.roles))
        return Reauthenticated(access_token=self._issuer.issue(claims), expires_in_seconds=_lifetime_of(claims))

    def _judged_code(
        self, transaction: Transaction, factor: MfaFactor, code: str | None, *, now: datetime
    ) -> Judgement:
        if code is None:
            raise MfaCodeRequiredError
        return self._factors.judge(transaction, factor, GivenCode(totp=code), now=now)

    # --- signing out ------------------------------------------------------------------------------------------------

    def sign_out(self, *, access_token: str | None, refresh_token: str | None) -> None:
        """
        End the session that the tokens belong to; one that has ended already is no error.

        A good refresh token suffices, also beside an access token that has expired.

        Raises:
            InvalidAccessTokenError: If neither token is good.
        """
        user_id, session_id = self._session_named_by(access_token, refresh_token)
        self._end_sessions(user_id, only=session_id)

    def sign_out_everywhere(self, *, access_token: str | None, refresh_token: str | None) -> None:
        """
        End all sessions of the user that the tokens belong to.

        Raises:
            InvalidAccessTokenError: If neither token is good.
        """
        user_id, _ = self._session_named_by(access_token, refresh_token)
        self._end_sessions(user_id, only=None)

    def _session_named_by(self, access_token: str | None, refresh_token: str | None) -> tuple[UserId, SessionId]:
        if refresh_token is not None:
            try:
                token = self._refresh_tokens.parse(refresh_token)
            except InvalidRefreshTokenError:
                if access_token is None:
                    raise
            else:
                return token.user_id, token.session_id
        if access_token is None:
            raise InvalidAccessTokenError
        principal = self._access.authenticate_user(token=access_token)
        return principal.user_id, principal.session_id

    def _end_sessions(self, user_id: UserId, *, only: SessionId | None) -> None:
        def work(transaction: Transaction) -> None:
            now = self._clock.now()
            transaction.sign_ins.get(user_id)
            if only is None:
                sessions = transaction.sessions.list_open(user_id, now=now)
            else:
                session = transaction.sessions.get(user_id, only)
                sessions = (session,) if session.is_open(now=now) else ()
            for session in sessions:
                self._end_session(transaction, session, now=now)
            if sessions:
                transaction.record(self._logged_out(user_id, sessions, now=now))
                ended = [session.id for session in sessions]
                transaction.audit.add(
                    self._own_action(AuditAction.LOGGED_OUT, user_id, now=now, after={"sessionIds": ended})
                )

        try:
            self._uow.run(work)
        except (UserNotFoundError, SessionNotFoundError):
            return  # the account was erased, and its sessions with it

    # --- what they share --------------------------------------------------------------------------------------------

    def _end_session(self, transaction: Transaction, session: Session, *, now: datetime) -> None:
        end_session(transaction, session, now=now, access_lifetime=self._lifetimes.access)

    def _answer(
        self, session: Session, user: User, token: RefreshToken, *, permissions: PermissionSet | None = None
    ) -> SignedIn:
        now = self._clock.now()
        if permissions is None:
            permissions = self._access.permissions_of_roles(user.roles)
        claims = self._claims(session, user, permissions=permissions)
        return SignedIn(
            access_token=self._issuer.issue(claims),
            refresh_token=token.text,
            expires_in_seconds=_lifetime_of(claims),
            refresh_expires_in_seconds=max(0, int((session.expires_at - now).total_seconds())),
            user=user,
        )

    def _claims(self, session: Session, user: User, *, permissions: PermissionSet) -> AccessClaims:
        now = self._clock.now()
        return AccessClaims(
            user_id=user.id,
            session_id=session.id,
            client_id=CLIENT_ID,
            token_id=str(self._ids.new()),
            issued_at=now,
            # None outlives its session: nothing would refuse it then, since only open sessions are revoked.
            expires_at=min(now + jittered(self._lifetimes.access, self._entropy), session.expires_at),
            auth_time=session.auth_time,
            amr=session.amr,
            roles=user.role_names,
            permissions=tuple(sorted(permissions.names)),
        )

    def _own_action(
        self,
        action: AuditAction,
        user_id: UserId,
        *,
        now: datetime,
        after: Mapping[str, object],
        changed: tuple[str, ...] = (),
    ) -> AuditEntry:
        """Write down what a user did with their own account; *after* are the circumstances, and no change."""
        return AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=action,
            actor=Actor.user(user_id),
            subject=Subject.user(user_id),
            after=after,
            changed=changed,
        )

    def _session_ended(self, session: Session, *, cause: str, now: datetime) -> AuditEntry:
        return self._own_action(
            AuditAction.SESSION_REVOKED, session.user_id, now=now, after={"sessionId": session.id, "cause": cause}
        )

    def _sign_in_refused(self, user: User | None, *, reason: str, now: datetime) -> AuditEntry:
        return AuditEntry(
            id=AuditEntryId(self._ids.new()),
            at=now,
            action=AuditAction.LOGGED_IN,
            actor=ANONYMOUS,
            subject=None if user is None else Subject.user(user.id),
            outcome=Outcome.REFUSED,
            reason=reason,
        )

    def _notice(self, user: User, kind: NoticeKind, *, now: datetime) -> NotificationRequested:
        return security_notice(user, kind, event_id=EventId(self._ids.new()), now=now)

    def _logged_in(self, session: Session, *, now: datetime) -> LoggedIn:
        return LoggedIn(
            id=EventId(self._ids.new()),
            occurred_at=now,
            user_id=session.user_id,
            session_id=session.id,
            amr=session.amr,
            ip=session.ip,
            user_agent=session.user_agent,
        )

    def _login_failed(self, user_id: UserId, *, reason: str, origin: Origin, now: datetime) -> LoginFailed:
        return LoginFailed(
            id=EventId(self._ids.new()),
            occurred_at=now,
            user_id=user_id,
            reason=reason,
            ip=origin.ip,
            user_agent=origin.user_agent,
        )

    def _logged_out(self, user_id: UserId, sessions: tuple[Session, ...], *, now: datetime) -> LoggedOut:
        return LoggedOut(
            id=EventId(self._ids.new()),
            occurred_at=now,
            user_id=user_id,
            session_ids=tuple(session.id for session in sessions),
        )


def _sign_in_key(email: str) -> str:
    """Return the key of *email*; what is no address is looked up like one, and found by nobody."""
    try:
        return EmailAddress.parse(email).key
    except InvalidInputError:
        return f"not an address: {email.strip()}"


def _is_issued(sign_in: SignIn) -> bool:
    return sign_in.credential is not None and sign_in.credential.must_change


def _lifetime_of(claims: AccessClaims) -> int:
    return int((claims.expires_at - claims.issued_at).total_seconds())
