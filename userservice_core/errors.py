"""
The errors of the service: one tree, each with a stable code.

An error says what went wrong in the terms of the domain. It knows nothing of HTTP: which status a code answers with is
decided in :mod:`userservice_core.http.problems`, and the code is the last part of the problem's ``type`` (RFC 9457
§3.1.1).
"""

from __future__ import annotations

from typing import ClassVar

import attrs

ParamValue = str | int | float | bool | None


class UserServiceError(Exception):
    """
    The root of everything this library raises on purpose.

    Attributes:
        code: Stable, kebab-case name of the error; part of the public API.
        detail: One sentence that a person can act on. Never holds a secret or another person's data.
        params: Machine-readable facts that belong to the error.
    """

    code: ClassVar[str] = "internal-error"
    default_detail: ClassVar[str] = "The service met a condition it did not expect."

    def __init__(self, detail: str | None = None, **params: ParamValue) -> None:
        self.detail = self.default_detail if detail is None else detail
        self.params: dict[str, ParamValue] = params
        super().__init__(self.detail)


@attrs.frozen
class Fault:
    """
    One thing that is wrong with an input.

    Attributes:
        field: Path to the faulty member from the root of the input, empty for the input as a whole.
        code: Stable, kebab-case name of the fault.
        message: One sentence that a person can act on; never repeats a secret.
    """

    field: tuple[str | int, ...]
    code: str
    message: str


# --- input ---------------------------------------------------------------------------------------------------------


class InvalidInputError(UserServiceError):
    """The input breaks rules of the domain; :attr:`faults` names all of them, not only the first."""

    code = "invalid-input"
    default_detail = "The input is not valid; see the list of errors."

    def __init__(self, faults: tuple[Fault, ...], detail: str | None = None) -> None:
        super().__init__(detail)
        self.faults = faults


class OneTimeTokenInvalidError(UserServiceError):
    """A mailed token is unknown, expired, used, replaced by a newer one or made for another purpose."""

    code = "token-invalid"
    default_detail = "The link is not valid any more. Ask for a new one."


class UnauthorizedClientError(UserServiceError):
    """A client wants to revoke a token that was issued to another client (RFC 7009 §2.1)."""

    code = "unauthorized-client"
    default_detail = "The token was issued to another client."


class InvalidScopeError(UserServiceError):
    """The scope asked for is not a list of permissions, or holds one that the client does not."""

    code = "invalid-scope"
    default_detail = "Ask for permissions that the client holds, separated by single spaces."


class IdempotencyKeyInvalidError(UserServiceError):
    """The header `Idempotency-Key` is no key, or one that others could guess."""

    code = "idempotency-key-invalid"
    default_detail = (
        "Send one Idempotency-Key of at most 255 visible characters; without an access token it needs 128 random bits,"
        " such as a UUID."
    )


class IdempotencyKeyReusedError(UserServiceError):
    """The key named another request before; nothing was done."""

    code = "idempotency-key-reused"
    default_detail = "This Idempotency-Key was used for another request. Take a new key for a new request."


class CurrentPasswordWrongError(UserServiceError):
    """A new password was refused since the current one that came with it is wrong."""

    code = "current-password-wrong"
    default_detail = "The current password is wrong."


# --- absence -------------------------------------------------------------------------------------------------------


class NotFoundError(UserServiceError):
    """What was asked for does not exist, or not for this caller."""

    code = "not-found"
    default_detail = "There is no such resource."


class UserNotFoundError(NotFoundError):
    """No user has this id, or it was erased."""

    code = "user-not-found"
    default_detail = "There is no such user."


class SessionNotFoundError(NotFoundError):
    """No session has this id, or it was purged."""

    code = "session-not-found"
    default_detail = "There is no such session."


class RoleNotFoundError(NotFoundError):
    """No role has this id or name."""

    code = "role-not-found"
    default_detail = "There is no such role."


class AddressNotFoundError(NotFoundError):
    """The user has no address with this id; that of another user is none of theirs."""

    code = "address-not-found"
    default_detail = "There is no such address."


class PermissionNotFoundError(NotFoundError):
    """No permission has this id."""

    code = "permission-not-found"
    default_detail = "There is no such permission."


class ClientNotFoundError(NotFoundError):
    """No service client has this id."""

    code = "client-not-found"
    default_detail = "There is no such client."


class ClientSecretNotFoundError(NotFoundError):
    """The client has no secret with this id."""

    code = "client-secret-not-found"
    default_detail = "The client has no such secret."


class SigningKeyNotFoundError(NotFoundError):
    """The database holds no signing key with this id, or none in the state that is asked for."""

    code = "signing-key-not-found"
    default_detail = "There is no such signing key."


# --- conflicts -----------------------------------------------------------------------------------------------------


class ConflictError(UserServiceError):
    """The request contradicts the present state."""

    code = "conflict"
    default_detail = "The request contradicts the present state of the resource."


class RotationUnderWayError(ConflictError):
    """There is a signing key already that does not sign yet."""

    code = "rotation-under-way"
    default_detail = "The next signing key does not sign yet; rotate again once it does."


class EmailTakenError(ConflictError):
    """Another account holds this e-mail address (compared by its key, see :mod:`userservice_core.domain.emails`)."""

    code = "email-taken"
    default_detail = "An account with this e-mail address exists already. Sign in, or ask for a password reset."


class AlreadyExistsError(ConflictError):
    """An object with this id or name exists already."""

    code = "already-exists"
    default_detail = "An object with this name or id exists already."


class TooManyAddressesError(ConflictError):
    """The user has as many addresses as anybody may have."""

    code = "too-many-addresses"
    default_detail = "You have as many addresses as there is room for. Delete one first."


class StaleVersionError(ConflictError):
    """The object was changed by someone else since it was read."""

    code = "stale-version"
    default_detail = "The resource was changed in the meantime. Read it again and repeat your change."


class RoleInUseError(ConflictError):
    """A role cannot be deleted while users hold it."""

    code = "role-in-use"
    default_detail = "Users hold this role. Take it from them first, or delete it with `force=true`."


class PermissionInUseError(ConflictError):
    """A permission cannot be deleted while roles grant it or clients hold it."""

    code = "permission-in-use"
    default_detail = "Roles or clients have this permission. Withdraw it first, or delete it with `force=true`."


class SystemObjectError(ConflictError):
    """A role or permission that the service itself relies on can be neither deleted nor renamed."""

    code = "system-object"
    default_detail = "This belongs to the system: it can be neither deleted nor renamed."


class LastAdministratorError(ConflictError):
    """The change would leave nobody who may do everything."""

    code = "last-administrator"
    default_detail = "This would leave no active administrator. Appoint another one first."


class IdempotencyKeyInUseError(ConflictError):
    """Another call with the same key is still under way; nothing was done."""

    code = "idempotency-key-in-use"
    default_detail = "A request with this Idempotency-Key is still being served. Send the same again shortly."


class StatusChangeNotAllowedError(ConflictError):
    """No such change of an account's status is allowed from the one it has; the parameter `status` tells that one."""

    code = "status-change-not-allowed"
    default_detail = "The account cannot go from the status it has to this one."


class AccountStatusError(ConflictError):
    """What is asked for makes no sense for an account of this status, which the parameter `status` tells."""

    code = "account-status"
    default_detail = "This cannot be done to an account of this status, or to one that is deleted."


class MfaAlreadyEnabledError(ConflictError):
    """A second factor is on already."""

    code = "mfa-already-enabled"
    default_detail = "A second factor is on already. Turn it off first, to set up another one."


class MfaNotSetUpError(ConflictError):
    """There is no secret that a code could confirm, or it was shown too long ago."""

    code = "mfa-not-set-up"
    default_detail = "There is nothing to confirm, or no longer. Set the second factor up anew."


class MfaNotEnabledError(ConflictError):
    """No second factor is on."""

    code = "mfa-not-enabled"
    default_detail = "No second factor is on."


class LimitReachedError(ConflictError):
    """There are as many objects of this kind as an installation may have."""

    code = "limit-reached"
    default_detail = "There are as many of these as there may be. Delete one first."


class TooManyClientSecretsError(ConflictError):
    """The client has as many secrets as any may have at a time."""

    code = "too-many-client-secrets"
    default_detail = "The client has two secrets already. Delete the one that is not in use any more first."


# --- who is calling ------------------------------------------------------------------------------------------------


class AuthenticationError(UserServiceError):
    """The caller did not prove who they are."""

    code = "authentication-required"
    default_detail = "Sign in and send the access token in the Authorization header."


class InvalidCredentialsError(AuthenticationError):
    """Unknown e-mail, wrong password or no password: one error for all of them, so that none can be told apart."""

    code = "invalid-credentials"
    default_detail = "The e-mail address or the password is wrong."


class InvalidAccessTokenError(AuthenticationError):
    """The access token is malformed, expired, not ours, or its session has ended."""

    code = "invalid-token"
    default_detail = "The access token is not valid. Refresh it, or sign in again."


class InvalidRefreshTokenError(AuthenticationError):
    """
    The refresh token is malformed, not ours, superseded, or its session has ended.

    Attributes:
        has_successor: Whether a later token of the session may be good, so that the client should keep that one.
    """

    code = "invalid-refresh-token"
    default_detail = "The refresh token is not valid. Sign in again."

    def __init__(self, detail: str | None = None, *, has_successor: bool = False, **params: ParamValue) -> None:
        super().__init__(detail, **params)
        self.has_successor = has_successor


class MfaChallengeInvalidError(AuthenticationError):
    """A sign-in that waits for its second factor is unknown, over, ended, or had too many wrong codes."""

    code = "mfa-challenge-invalid"
    default_detail = "This sign-in cannot be finished any more. Begin again with the password."


class MfaCodeWrongError(AuthenticationError):
    """A one-time password or recovery code is wrong, over, or was used already."""

    code = "mfa-code-wrong"
    default_detail = "The code is wrong, or was used already. Each code counts once: wait for the next one."


class MfaCodeRequiredError(AuthenticationError):
    """The account has a second factor, and no code of it was given."""

    code = "mfa-code-required"
    default_detail = "Give the code that your authenticator shows."


class InvalidClientError(AuthenticationError):
    """Unknown client, wrong secret or a disabled client: one error for all of them, so that none can be told apart."""

    code = "invalid-client"
    default_detail = "The client is not known, or its secret is wrong."


class ForbiddenError(UserServiceError):
    """The caller is known, and may not do this."""

    code = "forbidden"
    default_detail = "You may not do this."


class PermissionDeniedError(ForbiddenError):
    """The caller lacks the permission that the operation asks for."""

    code = "permission-denied"
    default_detail = "You lack a permission that this operation asks for."


class UserTokenRequiredError(ForbiddenError):
    """The operation is for users, and the token is that of a service client."""

    code = "user-token-required"
    default_detail = "This is for users who have signed in; the token of a service client does not do."


class GrantNotHeldError(ForbiddenError):
    """Nobody gives others a permission that they do not hold themselves."""

    code = "grant-not-held"
    default_detail = "You cannot give others a permission that you do not hold yourself."


class TargetOutranksActorError(ForbiddenError):
    """Nobody changes a user or a role that holds a permission which they lack."""

    code = "target-outranks-actor"
    default_detail = "You cannot change this: it holds a permission that you lack."


class WildcardGrantError(ForbiddenError):
    """Only system roles may grant wildcards."""

    code = "wildcard-grant"
    default_detail = "Only a system role may grant a wildcard. Grant the permissions one by one."


class EmailNotVerifiedError(ForbiddenError):
    """Right password, but nobody has shown yet that the e-mail address is theirs."""

    code = "email-not-verified"
    default_detail = "Confirm your e-mail address first: open the link that was mailed to you, or ask for a new one."


class AccountSuspendedError(ForbiddenError):
    """Right password, but an administrator has suspended the account."""

    code = "account-suspended"
    default_detail = "This account is suspended. Contact support."


class AccountDeactivatedError(ForbiddenError):
    """Right password, but the owner has deactivated the account."""

    code = "account-deactivated"
    default_detail = "This account was deactivated by its owner. Confirm by mail to use it again."


class RegistrationClosedError(ForbiddenError):
    """The settings let nobody register."""

    code = "registration-closed"
    default_detail = "Nobody can register at present. Ask whoever runs the service for an invitation."


class PasswordChangeRequiredError(ForbiddenError):
    """Right password, but it must be replaced before anything else."""

    code = "password-change-required"
    default_detail = "This password was issued to you. Sign in with a `newPassword` beside it, or ask for a reset."


# --- not now -------------------------------------------------------------------------------------------------------


class UnavailableError(UserServiceError):
    """
    The request could not be served now; the same request may succeed later.

    Attributes:
        retry_after_seconds: When it is worth trying again.
    """

    code = "unavailable"
    default_detail = "The service cannot answer this now. Try again shortly."

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1, **params: ParamValue) -> None:
        super().__init__(detail, **params)
        self.retry_after_seconds = retry_after_seconds


class TooManyRequestsError(UnavailableError):
    """Somebody asked for this too often; nothing was done."""

    code = "too-many-requests"
    default_detail = "This was asked for too often. Nothing was done; try again later."


class OverloadedError(UnavailableError):
    """A bounded queue is full; nothing was begun."""

    code = "overloaded"
    default_detail = "The service is busy. Nothing was done; try again shortly."


class BreachCheckUnavailableError(UnavailableError):
    """Whether a new password was leaked cannot be told, and the settings do not let it pass unchecked."""

    code = "breach-check-unavailable"
    default_detail = "Your new password cannot be checked now. Nothing was changed; try again shortly."


class DatabaseUnavailableError(UnavailableError):
    """The database cannot be reached, or refused the work before any of it was committed; nothing was changed."""

    code = "database-unavailable"
    default_detail = "The database cannot be reached. Nothing was changed; try again shortly."


class DeadlineExceededError(UnavailableError):
    """The time allowed for the request was used up before its work was committed; nothing was changed."""

    code = "deadline-exceeded"
    default_detail = "The request took too long and was given up. Nothing was changed; try again."


class OutcomeUnknownError(UnavailableError):
    """
    The connection was lost, or the deadline passed, while COMMIT was under way.

    The change may or may not have been made: whole, or not at all. A call that carried an `Idempotency-Key` can be
    repeated with it, and has effect once; before another one is repeated, look.
    """

    code = "outcome-unknown"
    default_detail = (
        "It is not known whether the change was made. Repeat the request with the same Idempotency-Key if it had one;"
        " look before you repeat it otherwise."
    )


class RevocationsUnknownError(UnavailableError):
    """The list of revoked tokens is too old to trust and the primary cannot be asked."""

    code = "revocations-unknown"
    default_detail = "It cannot be told now whether your session still stands. Try again shortly."


class SigningKeysUnavailableError(UnavailableError):
    """The keys that access tokens are verified with cannot be had, so it cannot be told whether a token is good."""

    code = "signing-keys-unavailable"
    default_detail = "Your access token cannot be verified now. Try again shortly."


class PermissionsUnknownError(UnavailableError):
    """The token does not say what its user may do, as where that is too much to fit, and it could not be looked up."""

    code = "permissions-unknown"
    default_detail = "It cannot be told now what you may do. Try again shortly."


class MailDeliveryError(UserServiceError):
    """
    A mail was not handed over; it stays in the outbox.

    Attributes:
        permanent: Whether trying the same mail again cannot help (SMTP 5xx on the recipient, RFC 5321 §4.2.1).
        of_recipient: Whether it was this recipient or mail that was refused, so that other mails may pass.
    """

    code = "mail-delivery-failed"
    default_detail = "The mail was not accepted."

    def __init__(
        self,
        detail: str | None = None,
        *,
        permanent: bool = False,
        of_recipient: bool = False,
        **params: ParamValue,
    ) -> None:
        super().__init__(detail, **params)
        self.permanent = permanent
        self.of_recipient = of_recipient


class BusUnavailableError(UnavailableError):
    """The broker, or whatever carries the events, does not answer."""

    code = "bus-unavailable"
    default_detail = "Events cannot be exchanged now. Try again shortly."


class EventRejectedError(UserServiceError):
    """Raised by a handler of events: no repetition can make it take this one, so it belongs to the dead letters."""

    code = "event-rejected"
    default_detail = "The event cannot be handled."


class SealBrokenError(UserServiceError):
    """A sealed value was altered, or its key is not in the key ring."""

    code = "seal-broken"
    default_detail = "A sealed value cannot be opened with the keys at hand."


# --- start-up ------------------------------------------------------------------------------------------------------


class ConfigurationError(UserServiceError):
    """
    The settings are wrong or incomplete.

    Attributes:
        problems: One line for each wrong or missing setting, all of them.
    """

    code = "configuration-invalid"
    default_detail = "The settings are not valid."

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class SchemaMismatchError(UserServiceError):
    """The database lacks a migration that this version needs, or cannot be used by it."""

    code = "schema-mismatch"
    default_detail = "The database schema is older than this version needs. Run `userservice migrate`."


class ProgrammingError(UserServiceError):
    """The library was called in a way its contract excludes; a bug in the caller, never the input's fault."""

    code = "programming-error"
    default_detail = "The library was called in a way that its contract excludes."
