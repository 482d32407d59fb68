"""
The one table of what is served: the router, the pipeline and the OpenAPI document are made from it.

A route says who may call it, or it does not import.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Final, get_args

import attrs
import msgspec

from userservice_core import errors
from userservice_core.domain.audit import AuditAction
from userservice_core.http import wire
from userservice_core.http.body_format import BodyFormat
from userservice_core.http.call import Call
from userservice_core.http.errors import UnsupportedGrantTypeError
from userservice_core.http.handlers import (
    addresses,
    admin_users,
    audit,
    auth,
    authorization,
    clients,
    mfa,
    oauth,
    permissions,
    profiles,
    roles,
    sessions,
    settings,
    system,
    user_directory,
    users,
)
from userservice_core.http.messages import Response

Handler = Callable[[Call], Response]

Shape = type[msgspec.Struct] | UnionType


def shapes_of(shape: Shape) -> tuple[type[msgspec.Struct], ...]:
    """Return the shapes that an answer may have."""
    return get_args(shape) if isinstance(shape, UnionType) else (shape,)


PARAMETER: Final = re.compile(r"\{([a-z][A-Za-z]*)\}")
"""A segment of a path that stands for an id."""


class Caller(enum.Enum):
    """Who may call a route, where that does not depend on permissions."""

    ANYONE = "anyone"
    USER = "user"
    BEARER = "bearer"
    """Whoever presents a token that the operation itself takes and checks: refresh, logout, mailed links."""
    CLIENT = "client"
    """A service client that shows its secret to the operation itself; such a route speaks OAuth, errors included."""


@attrs.frozen
class Holder:
    """Users who hold this permission (`resource:action`) may call the route, and clients unless it is fresh."""

    permission: str = attrs.field(validator=attrs.validators.matches_re(r"[a-z_]+:[a-z_]+"))


class Bulkhead(enum.Enum):
    """
    Which bounded pool of threads serves a route, so that one kind of work cannot starve the others.

    What CHECKS serves is nearly always answered from memory, so hosts with an event loop try that there first.
    """

    DATABASE = "database"
    HASHING = "hashing"
    CHECKS = "checks"


class CookieUse(enum.Enum):
    """What a route does with the cookie that holds the refresh token, where refresh tokens travel in one."""

    GIVEN = "given"
    TAKEN = "taken"
    TAKEN_OR_ACCESS_TOKEN = "taken-or-access-token"  # noqa: S105 - the name of a use, no secret


class RateClass(enum.Enum):
    """Which limits of :mod:`~userservice_core.domain.rate_limits` hold for a route; published as `x-rate-class`."""

    READ = "read"
    WRITE = "write"
    SIGN_IN = "sign-in"
    MAIL = "mail"
    REFRESH = "refresh"
    UNLIMITED = "unlimited"


@attrs.frozen(kw_only=True)
class Route:
    """
    One operation.

    Attributes:
        path: With the names of ids in braces, such as ``/things/{id}``; each id is a UUID.
        operation_id: Its name in OpenAPI, metrics and logs, in snake_case; its handler has the same.
        who: Who may call it.
        answers: What it answers with when all is well, by status: a shape, or one of several; None for no body.
        body: The shape of the body it takes, None for none.
        body_format: How the body is written.
        body_required: Whether the body must be there; a missing one counts as ``{}`` otherwise.
        query: The shape of its query parameters, None for none.
        conditional: Whether it changes a resource that has a version, and honours `If-Match`.
        sends: The headers, in lower case, that its answers carry when all is well, beside those that all carry.
        problems: The errors it may answer with, beside those that its other members imply.
        content_type: Of the answer with a body.
        bulkhead: Where it runs, unless it is pure.
        pure: Whether it touches the process's memory only, so that it may run on an event loop.
        replica_ok: Whether its reads may be served by a replica: it shows data, of which nothing is decided.
        sensitive: Whether it asks the primary if the caller's token was revoked, past every cache.
        fresh: Whether it wants a sign-in of the last minutes (RFC 9470).
        repeatable: Whether a POST may be sent again as it is, since it changes nothing or knows its repeats itself; it
            takes no `Idempotency-Key` then.
        counts_itself: Whether it counts its calls itself, since only its body says by what.
        ends_session: Whether it may end the session of the caller, without taking or giving a refresh token.
        cookie: What it does with the cookie; None where refresh tokens travel in bodies.
        audit: What it does, for the audit log to say when it is refused; each administrative change has one.
    """

    method: str = attrs.field(validator=attrs.validators.in_(("GET", "POST", "PUT", "PATCH", "DELETE")))
    path: str = attrs.field(validator=attrs.validators.matches_re(r"(/([A-Za-z0-9._-]+|\{[a-z][A-Za-z]*\}))+"))
    operation_id: str
    summary: str
    handler: Handler
    who: Caller | Holder = attrs.field(validator=attrs.validators.instance_of((Caller, Holder)))
    answers: Mapping[int, Shape | None]
    rate_class: RateClass
    body: type[msgspec.Struct] | None = None
    body_format: BodyFormat = BodyFormat.JSON
    body_required: bool = True
    query: type[msgspec.Struct] | None = None
    conditional: bool = False
    sends: tuple[str, ...] = ()
    problems: tuple[type[errors.UserServiceError], ...] = ()
    content_type: str = "application/json"
    bulkhead: Bulkhead = Bulkhead.DATABASE
    pure: bool = False
    replica_ok: bool = False
    sensitive: bool = False
    fresh: bool = False
    repeatable: bool = False
    counts_itself: bool = False
    ends_session: bool = False
    cookie: CookieUse | None = None
    audit: AuditAction | None = None

    def __attrs_post_init__(self) -> None:
        if getattr(self.handler, "__name__", None) != self.operation_id:
            raise ValueError(f"The handler of {self.operation_id} has another name.")
        if self.pure and (self.who is not Caller.ANYONE or self.body is not None):
            raise ValueError(f"{self.operation_id} cannot be pure: telling who calls, and reading a body, may block.")
        if (self.who is Caller.CLIENT) != (self.body_format is BodyFormat.FORM):
            raise ValueError(f"{self.operation_id} takes a form and is not for clients, or the other way round.")
        if (self.sensitive or self.fresh) and not self.wants_user:
            raise ValueError(f"{self.operation_id} is sensitive or fresh, and yet for others than users.")
        if self.replica_ok and (self.method != "GET" or not self.wants_user or self.sensitive):
            raise ValueError(f"{self.operation_id} changes or decides something, and may not read replicas.")
        if self.repeatable and self.method != "POST":
            raise ValueError(f"{self.operation_id} is no POST, and need not say that it is repeatable.")
        is_administrative_change = self.method != "GET" and self.path.startswith("/admin/")
        if is_administrative_change != (self.audit is not None):
            raise ValueError(f"{self.operation_id} changes something under /admin and has no audit, or the reverse.")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the ids in the path, in their order."""
        return tuple(PARAMETER.findall(self.path))

    @property
    def has_body(self) -> bool:
        """Whether it answers with a body when all is well."""
        return self.content_type != "application/json" or any(self.answers.values())

    @property
    def is_compressible(self) -> bool:
        """
        Whether its answers may be compressed.

        Those that may hold a token or a mailed secret are not: beside something that the sender of a request chose, the
        length of what is compressed tells about the rest (BREACH).
        """
        return self.method == "GET" and not self.path.startswith(("/auth/", "/oauth/"))

    @property
    def is_own(self) -> bool:
        """Whether it is about the caller's own account."""
        return self.path == "/users/me" or self.path.startswith("/users/me/")

    @property
    def takes_key(self) -> bool:
        """Whether it honours `Idempotency-Key`."""
        return self.method == "POST" and not self.repeatable

    @property
    def is_limited(self) -> bool:
        """Whether it may refuse a call that is one too many."""
        return self.rate_class is not RateClass.UNLIMITED and not self.pure

    @property
    def is_counted(self) -> bool:
        """Whether its calls are counted before it begins; those of clients are only where their secret is wrong."""
        return self.is_limited and not self.counts_itself and self.who is not Caller.CLIENT

    @property
    def is_list(self) -> bool:
        """Whether it answers with a page of a list."""
        return self.query is not None and issubclass(self.query, wire.ListQuery)

    @property
    def wants_user(self) -> bool:
        """Whether the caller has to show an access token that stands."""
        return self.who is Caller.USER or isinstance(self.who, Holder)

    @property
    def takes_clients(self) -> bool:
        """Whether the access token may be a service client's; where a recent sign-in is wanted, it has none to show."""
        return isinstance(self.who, Holder) and not self.fresh


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/auth/register",
        operation_id="register",
        summary="Create an account; a link to confirm the e-mail address is mailed",
        handler=auth.register,
        who=Caller.ANYONE,
        body=wire.RegisterBody,
        answers={201: wire.UserAnswer, 202: None},
        problems=(errors.RegistrationClosedError, errors.EmailTakenError, errors.BreachCheckUnavailableError),
        rate_class=RateClass.SIGN_IN,
        bulkhead=Bulkhead.HASHING,
    ),
    Route(
        method="POST",
        path="/auth/login",
        operation_id="login",
        summary="Sign in with e-mail address and password",
        handler=auth.login,
        who=Caller.ANYONE,
        body=wire.LoginBody,
        answers={200: wire.SignedInAnswer | wire.MfaRequiredAnswer},
        problems=(
            errors.InvalidCredentialsError,
            errors.EmailNotVerifiedError,
            errors.AccountSuspendedError,
            errors.AccountDeactivatedError,
            errors.PasswordChangeRequiredError,
            errors.BreachCheckUnavailableError,
        ),
        rate_class=RateClass.SIGN_IN,
        counts_itself=True,
        bulkhead=Bulkhead.HASHING,
    ),
    Route(
        method="POST",
        path="/auth/mfa/challenge",
        operation_id="answer_mfa_challenge",
        summary="Finish a sign-in with the code of an authenticator, or a recovery code",
        handler=mfa.answer_mfa_challenge,
        who=Caller.BEARER,
        body=wire.MfaChallengeBody,
        answers={200: wire.SignedInAnswer},
        problems=(errors.MfaChallengeInvalidError, errors.MfaCodeWrongError, errors.TooManyRequestsError),
        rate_class=RateClass.SIGN_IN,
    ),
    Route(
        method="POST",
        path="/auth/mfa/setup",
        operation_id="set_up_mfa",
        summary="Get a secret for an authenticator; it counts once a code made with it was given",
        handler=mfa.set_up_mfa,
        who=Caller.USER,
        answers={200: wire.MfaSetupAnswer},
        problems=(errors.MfaAlreadyEnabledError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
    ),
    Route(
        method="POST",
        path="/auth/mfa/verify",
        operation_id="verify_mfa",
        summary="Turn the second factor on with the first code of the authenticator, and get recovery codes",
        handler=mfa.verify_mfa,
        who=Caller.USER,
        body=wire.MfaCodeBody,
        answers={200: wire.RecoveryCodesAnswer},
        problems=(errors.MfaAlreadyEnabledError, errors.MfaNotSetUpError, errors.TooManyRequestsError),
        rate_class=RateClass.SIGN_IN,
        sensitive=True,
    ),
    Route(
        method="POST",
        path="/auth/mfa/disable",
        operation_id="disable_mfa",
        summary="Turn the second factor off",
        handler=mfa.disable_mfa,
        who=Caller.USER,
        answers={204: None},
        problems=(errors.MfaNotEnabledError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
    ),
    Route(
        method="POST",
        path="/auth/mfa/recovery-codes",
        operation_id="replace_recovery_codes",
        summary="Get new recovery codes; those from before are good no more",
        handler=mfa.replace_recovery_codes,
        who=Caller.USER,
        answers={200: wire.RecoveryCodesAnswer},
        problems=(errors.MfaNotEnabledError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
    ),
    Route(
        method="POST",
        path="/auth/reauthenticate",
        operation_id="reauthenticate",
        summary="Prove again who you are, for operations that want a recent sign-in",
        handler=auth.reauthenticate,
        who=Caller.USER,
        body=wire.ReauthenticateBody,
        answers={200: wire.ReauthenticatedAnswer},
        problems=(
            errors.InvalidCredentialsError,
            errors.MfaCodeRequiredError,
            errors.MfaCodeWrongError,
            errors.TooManyRequestsError,
        ),
        rate_class=RateClass.SIGN_IN,
        bulkhead=Bulkhead.HASHING,
        sensitive=True,
    ),
    Route(
        method="POST",
        path="/auth/refresh-token",
        operation_id="refresh_token",
        summary="Exchange a refresh token for the next one and a new access token",
        handler=auth.refresh_token,
        who=Caller.BEARER,
        body=wire.RefreshTokenBody,
        answers={200: wire.SignedInAnswer},
        problems=(errors.InvalidRefreshTokenError,),
        rate_class=RateClass.REFRESH,
        repeatable=True,
    ),
    Route(
        method="POST",
        path="/auth/logout",
        operation_id="logout",
        summary="End the session of the access or refresh token presented",
        handler=auth.logout,
        who=Caller.BEARER,
        body=wire.LogoutBody,
        body_required=False,
        answers={204: None},
        problems=(
            errors.InvalidAccessTokenError,
            errors.InvalidRefreshTokenError,
            errors.RevocationsUnknownError,
            errors.UserTokenRequiredError,
        ),
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/logout-all",
        operation_id="logout_all",
        summary="End all sessions of the user whose access or refresh token is presented",
        handler=auth.logout_all,
        who=Caller.BEARER,
        body=wire.LogoutBody,
        body_required=False,
        answers={204: None},
        problems=(
            errors.InvalidAccessTokenError,
            errors.InvalidRefreshTokenError,
            errors.RevocationsUnknownError,
            errors.UserTokenRequiredError,
        ),
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/request-email-verification",
        operation_id="request_email_verification",
        summary="Mail a new link to confirm an e-mail address; the answer is the same for every address",
        handler=auth.request_email_verification,
        who=Caller.ANYONE,
        body=wire.RequestEmailVerificationBody,
        answers={202: None},
        rate_class=RateClass.MAIL,
    ),
    Route(
        method="GET",
        path="/auth/verify-email",
        operation_id="inspect_email_verification",
        summary="Tell whether the token of a mailed link is good, and use nothing up",
        handler=auth.inspect_email_verification,
        who=Caller.BEARER,
        query=wire.VerifyEmailQuery,
        answers={200: wire.TokenInspectionAnswer},
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/verify-email",
        operation_id="verify_email",
        summary="Confirm, change or give back an e-mail address with the token of a mailed link; signs nobody in",
        handler=auth.verify_email,
        who=Caller.BEARER,
        body=wire.VerifyEmailBody,
        answers={200: wire.EmailVerifiedAnswer},
        problems=(errors.OneTimeTokenInvalidError, errors.EmailTakenError),
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/request-password-reset",
        operation_id="request_password_reset",
        summary="Mail a link to choose a new password; the answer is the same for every address",
        handler=auth.request_password_reset,
        who=Caller.ANYONE,
        body=wire.RequestPasswordResetBody,
        answers={202: None},
        rate_class=RateClass.MAIL,
    ),
    Route(
        method="POST",
        path="/auth/reset-password",
        operation_id="reset_password",
        summary="Choose a new password by the token of a mailed link; ends every session and signs nobody in",
        handler=auth.reset_password,
        who=Caller.BEARER,
        body=wire.ResetPasswordBody,
        answers={200: wire.EmailVerifiedAnswer},
        problems=(errors.OneTimeTokenInvalidError, errors.BreachCheckUnavailableError),
        rate_class=RateClass.SIGN_IN,
        bulkhead=Bulkhead.HASHING,
    ),
    Route(
        method="GET",
        path="/auth/restore-account",
        operation_id="inspect_account_restoration",
        summary="Tell whether the token of a mailed link is good, and use nothing up",
        handler=auth.inspect_account_restoration,
        who=Caller.BEARER,
        query=wire.VerifyEmailQuery,
        answers={200: wire.TokenInspectionAnswer},
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/restore-account",
        operation_id="restore_account",
        summary="Take up a deleted or deactivated account again by the token of a mailed link; signs nobody in",
        handler=auth.restore_account,
        who=Caller.BEARER,
        body=wire.RestoreAccountBody,
        answers={200: wire.AccountRestoredAnswer},
        problems=(errors.OneTimeTokenInvalidError,),
        rate_class=RateClass.REFRESH,
    ),
    Route(
        method="POST",
        path="/auth/change-password",
        operation_id="change_password",
        summary="Replace your password, which ends all other sessions and device tokens of yours",
        handler=auth.change_password,
        who=Caller.USER,
        body=wire.ChangePasswordBody,
        answers={200: wire.PasswordChangedAnswer},
        problems=(errors.CurrentPasswordWrongError, errors.BreachCheckUnavailableError),
        rate_class=RateClass.SIGN_IN,
        bulkhead=Bulkhead.HASHING,
        sensitive=True,
    ),
    Route(
        method="GET",
        path="/auth/sessions",
        operation_id="list_sessions",
        summary="Show the caller's open sessions, most recently used first",
        handler=sessions.list_sessions,
        who=Caller.USER,
        answers={200: wire.SessionListAnswer},
        sends=("etag",),
        rate_class=RateClass.READ,
    ),
    Route(
        method="DELETE",
        path="/auth/sessions/{id}",
        operation_id="delete_session",
        summary="End one of the caller's sessions",
        handler=sessions.delete_session,
        who=Caller.USER,
        answers={204: None},
        problems=(errors.SessionNotFoundError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        ends_session=True,
    ),
    Route(
        method="GET",
        path="/auth/password-policy",
        operation_id="get_password_policy",
        summary="What a new password must satisfy",
        handler=auth.get_password_policy,
        who=Caller.ANYONE,
        answers={200: wire.PasswordPolicyAnswer},
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/users/me",
        operation_id="get_current_user",
        summary="Show the caller's account",
        handler=users.get_current_user,
        who=Caller.USER,
        answers={200: wire.UserAnswer},
        sends=("etag",),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PATCH",
        path="/users/me",
        operation_id="update_current_user",
        summary="Have a link mailed that gives the caller's account another e-mail address",
        handler=users.update_current_user,
        who=Caller.USER,
        body=wire.AccountPatchBody,
        conditional=True,
        answers={200: wire.UserAnswer},
        sends=("etag",),
        problems=(errors.TooManyRequestsError,),
        rate_class=RateClass.MAIL,
        sensitive=True,
        fresh=True,
    ),
    Route(
        method="DELETE",
        path="/users/me",
        operation_id="delete_current_user",
        summary="Delete the caller's account; for 30 days its owner can restore it by mail",
        handler=users.delete_current_user,
        who=Caller.USER,
        conditional=True,
        answers={204: None},
        problems=(errors.LastAdministratorError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
        ends_session=True,
    ),
    Route(
        method="POST",
        path="/users/me/deactivate",
        operation_id="deactivate_current_user",
        summary="Put the caller's account aside until they sign in again and confirm it by mail",
        handler=users.deactivate_current_user,
        who=Caller.USER,
        conditional=True,
        answers={204: None},
        problems=(errors.LastAdministratorError,),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
        ends_session=True,
    ),
    Route(
        method="GET",
        path="/users/me/profile",
        operation_id="get_profile",
        summary="Show the caller's profile; one that was never written is empty",
        handler=profiles.get_profile,
        who=Caller.USER,
        answers={200: wire.ProfileAnswer},
        sends=("etag",),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PUT",
        path="/users/me/profile",
        operation_id="replace_profile",
        summary="Replace the caller's profile; members that are left out become empty",
        handler=profiles.replace_profile,
        who=Caller.USER,
        body=wire.ProfileBody,
        conditional=True,
        answers={200: wire.ProfileAnswer},
        sends=("etag",),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="PATCH",
        path="/users/me/profile",
        operation_id="patch_profile",
        summary="Change members of the caller's profile (JSON Merge Patch); null empties a member",
        handler=profiles.patch_profile,
        who=Caller.USER,
        body=wire.ProfilePatchBody,
        conditional=True,
        answers={200: wire.ProfileAnswer},
        sends=("etag",),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="GET",
        path="/users/me/export",
        operation_id="export_current_user",
        summary="Show everything that is held about the caller, in one document",
        handler=users.export_current_user,
        who=Caller.USER,
        answers={200: wire.ExportAnswer},
        sends=("content-disposition",),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
    ),
    Route(
        method="GET",
        path="/users/me/activity",
        operation_id="list_own_activity",
        summary="List what happened to the caller's account, the newest first",
        handler=audit.list_own_activity,
        who=Caller.USER,
        query=wire.ActivityQuery,
        answers={200: wire.ActivityAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/users/me/addresses",
        operation_id="list_addresses",
        summary="Show all of the caller's addresses, the oldest first",
        handler=addresses.list_addresses,
        who=Caller.USER,
        answers={200: wire.AddressListAnswer},
        sends=("etag",),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/users/me/addresses",
        operation_id="add_address",
        summary="Give the caller a new address, of at most 50",
        handler=addresses.add_address,
        who=Caller.USER,
        body=wire.AddressBody,
        answers={201: wire.AddressAnswer},
        sends=("etag", "location"),
        problems=(errors.TooManyAddressesError,),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="GET",
        path="/users/me/addresses/{id}",
        operation_id="get_address",
        summary="Show one of the caller's addresses",
        handler=addresses.get_address,
        who=Caller.USER,
        answers={200: wire.AddressAnswer},
        sends=("etag",),
        problems=(errors.AddressNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PUT",
        path="/users/me/addresses/{id}",
        operation_id="replace_address",
        summary="Replace one of the caller's addresses; members that are left out become empty, defaults false",
        handler=addresses.replace_address,
        who=Caller.USER,
        body=wire.AddressBody,
        conditional=True,
        answers={200: wire.AddressAnswer},
        sends=("etag",),
        problems=(errors.AddressNotFoundError,),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="DELETE",
        path="/users/me/addresses/{id}",
        operation_id="delete_address",
        summary="Erase one of the caller's addresses; no other one becomes the default for it",
        handler=addresses.delete_address,
        who=Caller.USER,
        conditional=True,
        answers={204: None},
        problems=(errors.AddressNotFoundError,),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="PATCH",
        path="/users/me/addresses/{id}/default",
        operation_id="make_address_default",
        summary="Make one of the caller's addresses the default for shipping, for billing, or for both",
        handler=addresses.make_address_default,
        who=Caller.USER,
        body=wire.DefaultAddressBody,
        conditional=True,
        answers={200: wire.AddressAnswer},
        sends=("etag",),
        problems=(errors.AddressNotFoundError,),
        rate_class=RateClass.WRITE,
    ),
    Route(
        method="POST",
        path="/auth/check-permissions",
        operation_id="check_permissions",
        summary="Tell whether a user may do all of something",
        handler=authorization.check_permissions,
        who=Holder("authorization:query"),
        body=wire.CheckPermissionsBody,
        answers={200: wire.CheckPermissionsAnswer},
        bulkhead=Bulkhead.CHECKS,
        rate_class=RateClass.READ,
        repeatable=True,
    ),
    Route(
        method="POST",
        path="/auth/check-permissions/batch",
        operation_id="check_permissions_batch",
        summary="Tell for each of up to 100 checks whether a user may do all of something",
        handler=authorization.check_permissions_batch,
        who=Holder("authorization:query"),
        body=wire.CheckPermissionsBatchBody,
        answers={200: wire.CheckPermissionsBatchAnswer},
        bulkhead=Bulkhead.CHECKS,
        rate_class=RateClass.READ,
        repeatable=True,
    ),
    Route(
        method="GET",
        path="/users/{id}/effective-permissions",
        operation_id="list_effective_permissions",
        summary="Show all that a user may do through their roles",
        handler=authorization.list_effective_permissions,
        who=Holder("user:read_effective_permissions"),
        query=wire.EffectivePermissionsQuery,
        answers={200: wire.EffectivePermissionsAnswer},
        problems=(errors.UserNotFoundError,),
        bulkhead=Bulkhead.CHECKS,
        rate_class=RateClass.READ,
    ),
    Route(
        method="PATCH",
        path="/admin/users/{id}",
        operation_id="update_user",
        summary="Change a user: status, attributes, or an address that has yet to be confirmed",
        handler=admin_users.update_user,
        who=Holder("user:update"),
        body=wire.UserPatchBody,
        conditional=True,
        answers={200: wire.AdminUserAnswer},
        sends=("etag",),
        problems=(
            errors.UserNotFoundError,
            errors.StatusChangeNotAllowedError,
            errors.AccountStatusError,
            errors.TargetOutranksActorError,
            errors.LastAdministratorError,
        ),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.USER_STATUS_CHANGED,
    ),
    Route(
        method="DELETE",
        path="/admin/users/{id}",
        operation_id="delete_user",
        summary="Delete a user, or erase them for good",
        handler=admin_users.delete_user,
        who=Holder("user:delete"),
        query=wire.UserDeletionQuery,
        conditional=True,
        answers={204: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError, errors.LastAdministratorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.USER_DELETED,
    ),
    Route(
        method="POST",
        path="/admin/users/{id}/restore",
        operation_id="restore_user",
        summary="Undo the deletion of a user",
        handler=admin_users.restore_user,
        who=Holder("user:restore"),
        conditional=True,
        answers={200: wire.AdminUserAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.USER_RESTORED,
    ),
    Route(
        method="POST",
        path="/admin/users/{id}/unlock",
        operation_id="unlock_user",
        summary="Forget the failed sign-ins of a user, and the lock that they brought",
        handler=admin_users.unlock_user,
        who=Holder("user:unlock"),
        answers={204: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.USER_UNLOCKED,
    ),
    Route(
        method="DELETE",
        path="/admin/users/{id}/mfa",
        operation_id="reset_user_mfa",
        summary="Turn off the second factor of a user who has lost it",
        handler=admin_users.reset_user_mfa,
        who=Holder("user:reset_mfa"),
        answers={204: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
        audit=AuditAction.MFA_RESET,
    ),
    Route(
        method="GET",
        path="/admin/roles",
        operation_id="list_roles",
        summary="List roles",
        handler=roles.list_roles,
        who=Holder("role:list"),
        query=wire.NamedQuery,
        answers={200: wire.RoleListAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/admin/roles",
        operation_id="create_role",
        summary="Make a role that grants nothing yet",
        handler=roles.create_role,
        who=Holder("role:create"),
        body=wire.NewRoleBody,
        answers={201: wire.RoleAnswer},
        sends=("etag", "location"),
        problems=(errors.AlreadyExistsError, errors.LimitReachedError),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_CREATED,
    ),
    Route(
        method="GET",
        path="/admin/roles/{id}",
        operation_id="get_role",
        summary="Show a role",
        handler=roles.get_role,
        who=Holder("role:read"),
        answers={200: wire.RoleAnswer},
        sends=("etag",),
        problems=(errors.RoleNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PUT",
        path="/admin/roles/{id}",
        operation_id="replace_role",
        summary="Give a role a name and a description",
        handler=roles.replace_role,
        who=Holder("role:update"),
        body=wire.RoleBody,
        conditional=True,
        answers={200: wire.RoleAnswer},
        sends=("etag",),
        problems=(
            errors.RoleNotFoundError,
            errors.AlreadyExistsError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_UPDATED,
    ),
    Route(
        method="PATCH",
        path="/admin/roles/{id}",
        operation_id="update_role",
        summary="Give a role another name or description",
        handler=roles.update_role,
        who=Holder("role:update"),
        body=wire.RolePatchBody,
        conditional=True,
        answers={200: wire.RoleAnswer},
        sends=("etag",),
        problems=(
            errors.RoleNotFoundError,
            errors.AlreadyExistsError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_UPDATED,
    ),
    Route(
        method="DELETE",
        path="/admin/roles/{id}",
        operation_id="delete_role",
        summary="Delete a role; with `force=true` also one that users hold, who lose it",
        handler=roles.delete_role,
        who=Holder("role:delete"),
        query=wire.DeletionQuery,
        conditional=True,
        answers={204: None},
        problems=(
            errors.RoleNotFoundError,
            errors.RoleInUseError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
            errors.LastAdministratorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_DELETED,
    ),
    Route(
        method="GET",
        path="/admin/roles/{id}/users",
        operation_id="list_role_users",
        summary="List the users who hold a role",
        handler=user_directory.list_role_users,
        who=Holder("role:list_users"),
        query=wire.RoleUsersQuery,
        answers={200: wire.UserListAnswer},
        sends=("etag", "link"),
        problems=(errors.RoleNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/admin/roles/{id}/permissions",
        operation_id="list_role_permissions",
        summary="List what a role grants",
        handler=roles.list_role_permissions,
        who=Holder("role:list_permissions"),
        query=wire.NamedQuery,
        answers={200: wire.PermissionListAnswer},
        problems=(errors.RoleNotFoundError,),
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/admin/roles/{id}/permissions",
        operation_id="assign_role_permissions",
        summary="Let a role grant permissions, and list what it grants then",
        handler=roles.assign_role_permissions,
        who=Holder("role:assign_permissions"),
        body=wire.PermissionIdsBody,
        answers={200: wire.PermissionsAnswer},
        problems=(
            errors.RoleNotFoundError,
            errors.PermissionNotFoundError,
            errors.GrantNotHeldError,
            errors.WildcardGrantError,
            errors.TargetOutranksActorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_PERMISSIONS_ASSIGNED,
    ),
    Route(
        method="DELETE",
        path="/admin/roles/{id}/permissions",
        operation_id="remove_role_permissions",
        summary="Let a role grant permissions no longer, and list what it grants then",
        handler=roles.remove_role_permissions,
        who=Holder("role:remove_permissions"),
        query=wire.PermissionIdsQuery,
        answers={200: wire.PermissionsAnswer},
        problems=(
            errors.RoleNotFoundError,
            errors.PermissionNotFoundError,
            errors.TargetOutranksActorError,
            errors.LastAdministratorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.ROLE_PERMISSIONS_REMOVED,
    ),
    Route(
        method="GET",
        path="/admin/permissions",
        operation_id="list_permissions",
        summary="List permissions",
        handler=permissions.list_permissions,
        who=Holder("permission:list"),
        query=wire.NamedQuery,
        answers={200: wire.PermissionListAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/admin/permissions",
        operation_id="create_permission",
        summary="Make a permission that no role grants yet",
        handler=permissions.create_permission,
        who=Holder("permission:create"),
        body=wire.NewPermissionBody,
        answers={201: wire.PermissionAnswer},
        sends=("etag", "location"),
        problems=(errors.AlreadyExistsError, errors.LimitReachedError),
        rate_class=RateClass.WRITE,
        audit=AuditAction.PERMISSION_CREATED,
    ),
    Route(
        method="GET",
        path="/admin/permissions/{id}",
        operation_id="get_permission",
        summary="Show a permission",
        handler=permissions.get_permission,
        who=Holder("permission:read"),
        answers={200: wire.PermissionAnswer},
        sends=("etag",),
        problems=(errors.PermissionNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PUT",
        path="/admin/permissions/{id}",
        operation_id="replace_permission",
        summary="Give a permission a name, a description and a group",
        handler=permissions.replace_permission,
        who=Holder("permission:update"),
        body=wire.PermissionBody,
        conditional=True,
        answers={200: wire.PermissionAnswer},
        sends=("etag",),
        problems=(
            errors.PermissionNotFoundError,
            errors.AlreadyExistsError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
            errors.GrantNotHeldError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.PERMISSION_UPDATED,
    ),
    Route(
        method="PATCH",
        path="/admin/permissions/{id}",
        operation_id="update_permission",
        summary="Give a permission another name, description or group",
        handler=permissions.update_permission,
        who=Holder("permission:update"),
        body=wire.PermissionPatchBody,
        conditional=True,
        answers={200: wire.PermissionAnswer},
        sends=("etag",),
        problems=(
            errors.PermissionNotFoundError,
            errors.AlreadyExistsError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
            errors.GrantNotHeldError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.PERMISSION_UPDATED,
    ),
    Route(
        method="DELETE",
        path="/admin/permissions/{id}",
        operation_id="delete_permission",
        summary="Delete a permission; with `force=true` also one that roles grant",
        handler=permissions.delete_permission,
        who=Holder("permission:delete"),
        query=wire.DeletionQuery,
        conditional=True,
        answers={204: None},
        problems=(
            errors.PermissionNotFoundError,
            errors.PermissionInUseError,
            errors.SystemObjectError,
            errors.TargetOutranksActorError,
        ),
        rate_class=RateClass.WRITE,
        audit=AuditAction.PERMISSION_DELETED,
    ),
    Route(
        method="GET",
        path="/admin/permissions/{id}/roles",
        operation_id="list_permission_roles",
        summary="List the roles that grant a permission by its name",
        handler=permissions.list_permission_roles,
        who=Holder("permission:list_roles"),
        query=wire.NamedQuery,
        answers={200: wire.RoleListAnswer},
        problems=(errors.PermissionNotFoundError,),
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/admin/users",
        operation_id="list_users",
        summary="List users, with their roles and how their sign-ins went",
        handler=user_directory.list_users,
        who=Holder("user:list"),
        query=wire.UsersQuery,
        answers={200: wire.UserListAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/admin/users",
        operation_id="create_user",
        summary="Open an account for somebody, who is mailed a link to choose a password by",
        handler=admin_users.create_user,
        who=Holder("user:create"),
        body=wire.NewUserBody,
        answers={201: wire.AdminUserAnswer},
        sends=("etag", "location"),
        problems=(errors.EmailTakenError, errors.RoleNotFoundError, errors.GrantNotHeldError),
        rate_class=RateClass.MAIL,
        audit=AuditAction.USER_CREATED,
    ),
    Route(
        method="POST",
        path="/admin/users/{id}/invitation",
        operation_id="invite_user",
        summary="Mail another link to the owner of an account that was not taken up; the earlier one ends",
        handler=admin_users.invite_user,
        who=Holder("user:invite"),
        answers={202: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError, errors.AccountStatusError),
        rate_class=RateClass.MAIL,
        audit=AuditAction.USER_INVITED,
    ),
    Route(
        method="POST",
        path="/admin/users/{id}/password-reset",
        operation_id="mail_password_reset",
        summary="Mail the owner of an account a link to choose a new password by; the present one stays until then",
        handler=admin_users.mail_password_reset,
        who=Holder("user:reset_password"),
        answers={202: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError, errors.AccountStatusError),
        rate_class=RateClass.MAIL,
        audit=AuditAction.USER_PASSWORD_RESET_REQUESTED,
    ),
    Route(
        method="GET",
        path="/admin/users/{id}",
        operation_id="get_user",
        summary="Show a user, deleted or not",
        handler=user_directory.get_user,
        who=Holder("user:read"),
        query=wire.IncludeQuery,
        answers={200: wire.AdminUserAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/admin/users/{id}/profile",
        operation_id="get_user_profile",
        summary="Show a user's profile; one that was never written is empty",
        handler=user_directory.get_user_profile,
        who=Holder("user_profile:read_any"),
        answers={200: wire.ProfileAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="PUT",
        path="/admin/users/{id}/profile",
        operation_id="replace_user_profile",
        summary="Replace a user's profile; members that are left out become empty",
        handler=admin_users.replace_user_profile,
        who=Holder("user_profile:update_any"),
        body=wire.ProfileBody,
        conditional=True,
        answers={200: wire.ProfileAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        audit=AuditAction.USER_PROFILE_UPDATED,
    ),
    Route(
        method="GET",
        path="/admin/users/{id}/addresses",
        operation_id="list_user_addresses",
        summary="Show all of a user's addresses, the oldest first",
        handler=user_directory.list_user_addresses,
        who=Holder("user_profile:read_any"),
        answers={200: wire.AddressListAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/admin/users/{id}/sessions",
        operation_id="list_user_sessions",
        summary="Show a user's open sessions, most recently used first",
        handler=sessions.list_user_sessions,
        who=Holder("user:read_sessions"),
        answers={200: wire.SessionListAnswer},
        sends=("etag",),
        problems=(errors.UserNotFoundError,),
        rate_class=RateClass.READ,
    ),
    Route(
        method="DELETE",
        path="/admin/users/{id}/sessions",
        operation_id="delete_user_sessions",
        summary="Sign a user out everywhere",
        handler=sessions.delete_user_sessions,
        who=Holder("user:revoke_sessions"),
        answers={204: None},
        problems=(errors.UserNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.SESSION_REVOKED,
    ),
    Route(
        method="DELETE",
        path="/admin/users/{id}/sessions/{sessionId}",
        operation_id="delete_user_session",
        summary="End one session of a user",
        handler=sessions.delete_user_session,
        who=Holder("user:revoke_sessions"),
        answers={204: None},
        problems=(errors.UserNotFoundError, errors.SessionNotFoundError, errors.TargetOutranksActorError),
        rate_class=RateClass.WRITE,
        sensitive=True,
        audit=AuditAction.SESSION_REVOKED,
    ),
    Route(
        method="GET",
        path="/admin/users/{id}/roles",
        operation_id="list_user_roles",
        summary="List the roles that a user holds",
        handler=roles.list_user_roles,
        who=Holder("user:list_roles"),
        answers={200: wire.AssignedRolesAnswer},
        problems=(errors.UserNotFoundError,),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="POST",
        path="/admin/users/{id}/roles",
        operation_id="assign_user_roles",
        summary="Give roles to a user, and list all that they hold then",
        handler=roles.assign_user_roles,
        who=Holder("user:assign_roles"),
        body=wire.RoleIdsBody,
        answers={200: wire.AssignedRolesAnswer},
        problems=(
            errors.UserNotFoundError,
            errors.RoleNotFoundError,
            errors.TargetOutranksActorError,
            errors.GrantNotHeldError,
        ),
        rate_class=RateClass.WRITE,
        fresh=True,
        audit=AuditAction.USER_ROLES_ASSIGNED,
    ),
    Route(
        method="DELETE",
        path="/admin/users/{id}/roles",
        operation_id="remove_user_roles",
        summary="Take roles from a user, and list all that they hold then",
        handler=roles.remove_user_roles,
        who=Holder("user:remove_roles"),
        query=wire.RoleIdsQuery,
        answers={200: wire.AssignedRolesAnswer},
        problems=(
            errors.UserNotFoundError,
            errors.RoleNotFoundError,
            errors.TargetOutranksActorError,
            errors.LastAdministratorError,
        ),
        rate_class=RateClass.WRITE,
        fresh=True,
        audit=AuditAction.USER_ROLES_REMOVED,
    ),
    Route(
        method="GET",
        path="/admin/audit-log",
        operation_id="list_audit_log",
        summary="List administrative and security actions, the newest first",
        handler=audit.list_audit_log,
        who=Holder("audit:read"),
        query=wire.AuditLogQuery,
        answers={200: wire.AuditLogAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
        replica_ok=True,
    ),
    Route(
        method="GET",
        path="/admin/settings",
        operation_id="get_settings",
        summary="Show the settings that may change at run time",
        handler=settings.get_settings,
        who=Holder("setting:read"),
        answers={200: wire.SettingsAnswer},
        sends=("etag",),
        rate_class=RateClass.READ,
    ),
    Route(
        method="PATCH",
        path="/admin/settings",
        operation_id="update_settings",
        summary="Change settings while the service runs; every process follows within seconds",
        handler=settings.update_settings,
        who=Holder("setting:update"),
        body=wire.SettingsPatchBody,
        conditional=True,
        answers={200: wire.SettingsAnswer},
        sends=("etag",),
        rate_class=RateClass.WRITE,
        sensitive=True,
        fresh=True,
        audit=AuditAction.SETTINGS_CHANGED,
    ),
    Route(
        method="GET",
        path="/admin/clients",
        operation_id="list_clients",
        summary="List service clients",
        handler=clients.list_clients,
        who=Holder("client:list"),
        query=wire.NamedQuery,
        answers={200: wire.ClientListAnswer},
        sends=("etag", "link"),
        rate_class=RateClass.READ,
    ),
    Route(
        method="POST",
        path="/admin/clients",
        operation_id="create_client",
        summary="Make a service client; its first secret is shown this once",
        handler=clients.create_client,
        who=Holder("client:create"),
        body=wire.NewClientBody,
        answers={201: wire.NewClientAnswer},
        sends=("etag", "location"),
        problems=(errors.GrantNotHeldError, errors.WildcardGrantError, errors.LimitReachedError),
        audit=AuditAction.CLIENT_CREATED,
        rate_class=RateClass.WRITE,
        fresh=True,
    ),
    Route(
        method="GET",
        path="/admin/clients/{id}",
        operation_id="get_client",
        summary="Show a service client, without its secrets",
        handler=clients.get_client,
        who=Holder("client:read"),
        answers={200: wire.ClientAnswer},
        sends=("etag",),
        problems=(errors.ClientNotFoundError,),
        rate_class=RateClass.READ,
    ),
    Route(
        method="PATCH",
        path="/admin/clients/{id}",
        operation_id="update_client",
        summary="Give a service client another name or other permissions, disable it, or enable it again",
        handler=clients.update_client,
        who=Holder("client:update"),
        body=wire.ClientPatchBody,
        conditional=True,
        answers={200: wire.ClientAnswer},
        sends=("etag",),
        problems=(
            errors.ClientNotFoundError,
            errors.TargetOutranksActorError,
            errors.GrantNotHeldError,
            errors.WildcardGrantError,
        ),
        audit=AuditAction.CLIENT_UPDATED,
        rate_class=RateClass.WRITE,
        fresh=True,
    ),
    Route(
        method="DELETE",
        path="/admin/clients/{id}",
        operation_id="delete_client",
        summary="Erase a service client; its tokens end at once",
        handler=clients.delete_client,
        who=Holder("client:delete"),
        conditional=True,
        answers={204: None},
        problems=(errors.ClientNotFoundError, errors.TargetOutranksActorError),
        audit=AuditAction.CLIENT_DELETED,
        rate_class=RateClass.WRITE,
        fresh=True,
    ),
    Route(
        method="POST",
        path="/admin/clients/{id}/secrets",
        operation_id="create_client_secret",
        summary="Make a second secret of a service client, which is shown this once",
        handler=clients.create_client_secret,
        who=Holder("client:create_secret"),
        answers={201: wire.NewClientSecretAnswer},
        conditional=True,
        sends=("etag",),
        problems=(errors.ClientNotFoundError, errors.TargetOutranksActorError, errors.TooManyClientSecretsError),
        audit=AuditAction.CLIENT_SECRET_ADDED,
        rate_class=RateClass.WRITE,
        fresh=True,
    ),
    Route(
        method="DELETE",
        path="/admin/clients/{id}/secrets/{secretId}",
        operation_id="delete_client_secret",
        summary="Erase a secret of a service client; all tokens of the client end at once",
        handler=clients.delete_client_secret,
        who=Holder("client:delete_secret"),
        answers={204: None},
        conditional=True,
        problems=(errors.ClientNotFoundError, errors.ClientSecretNotFoundError, errors.TargetOutranksActorError),
        audit=AuditAction.CLIENT_SECRET_REMOVED,
        rate_class=RateClass.WRITE,
        fresh=True,
    ),
    Route(
        method="POST",
        path="/oauth/token",
        operation_id="issue_token",
        summary="Give a service client an access token (RFC 6749, client credentials)",
        handler=oauth.issue_token,
        who=Caller.CLIENT,
        body=wire.TokenForm,
        body_format=BodyFormat.FORM,
        answers={200: wire.ClientTokenAnswer},
        problems=(UnsupportedGrantTypeError, errors.InvalidScopeError),
        repeatable=True,
        rate_class=RateClass.SIGN_IN,
    ),
    Route(
        method="POST",
        path="/oauth/introspect",
        operation_id="introspect_token",
        summary="Tell whether an access token stands, and what it says (RFC 7662)",
        handler=oauth.introspect_token,
        who=Caller.CLIENT,
        body=wire.PresentedTokenForm,
        body_format=BodyFormat.FORM,
        answers={200: wire.IntrospectionAnswer},
        problems=(errors.RevocationsUnknownError,),
        bulkhead=Bulkhead.CHECKS,
        repeatable=True,
        rate_class=RateClass.SIGN_IN,
    ),
    Route(
        method="POST",
        path="/oauth/revoke",
        operation_id="revoke_token",
        summary="End a token, or the session that it belongs to (RFC 7009)",
        handler=oauth.revoke_token,
        who=Caller.CLIENT,
        body=wire.PresentedTokenForm,
        body_format=BodyFormat.FORM,
        answers={200: None},
        problems=(errors.UnauthorizedClientError, errors.RevocationsUnknownError),
        repeatable=True,
        rate_class=RateClass.SIGN_IN,
    ),
    Route(
        method="GET",
        path="/.well-known/oauth-authorization-server",
        operation_id="get_authorization_server",
        summary="Where tokens are issued, and how (RFC 8414)",
        handler=oauth.get_authorization_server,
        who=Caller.ANYONE,
        answers={200: wire.AuthorizationServerAnswer},
        sends=("etag",),
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/.well-known/openid-configuration",
        operation_id="get_openid_configuration",
        summary="The same, at the address that older libraries ask",
        handler=oauth.get_openid_configuration,
        who=Caller.ANYONE,
        answers={200: wire.AuthorizationServerAnswer},
        sends=("etag",),
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        operation_id="get_jwks",
        summary="The keys that verify access tokens",
        handler=system.get_jwks,
        who=Caller.ANYONE,
        answers={200: wire.JwksAnswer},
        sends=("etag",),
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/health/live",
        operation_id="get_liveness",
        summary="Whether the process answers",
        handler=system.get_liveness,
        who=Caller.ANYONE,
        answers={200: wire.LiveAnswer},
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/health/ready",
        operation_id="get_readiness",
        summary="Whether a load balancer should send requests here",
        handler=system.get_readiness,
        who=Caller.ANYONE,
        answers={200: wire.ReadyAnswer, 503: wire.ReadyAnswer},
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        operation_id="get_openapi",
        summary="This description of the API",
        handler=system.get_openapi,
        who=Caller.ANYONE,
        answers={200: wire.OpenApiAnswer},
        sends=("etag",),
        rate_class=RateClass.UNLIMITED,
        pure=True,
    ),
    Route(
        method="GET",
        path="/docs",
        operation_id="get_docs",
        summary="This description of the API as a page to read",
        handler=system.get_docs,
        who=Caller.ANYONE,
        answers={200: None},
        sends=("etag",),
        rate_class=RateClass.UNLIMITED,
        content_type="text/html",
        pure=True,
    ),
)

METRICS_ROUTE: Final = Route(
    method="GET",
    path="/metrics",
    operation_id="get_metrics",
    summary="Metrics in Prometheus' text format",
    handler=system.get_metrics,
    who=Caller.ANYONE,
    answers={200: None},
    rate_class=RateClass.UNLIMITED,
    content_type="text/plain",
    pure=True,
)
"""Served on the public port only where the settings say so."""
