"""Accounts come into being, people sign in, stay signed in and sign out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.authentication import MfaRequired
from userservice_core.domain.passwords import MAX_PASSWORD_BYTES, MAX_PASSWORD_CHARACTERS
from userservice_core.errors import Fault, InvalidInputError, InvalidRefreshTokenError
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.signed_in import signed_in_response
from userservice_core.http.wire import (
    AccountRestoredAnswer,
    ChangePasswordBody,
    EmailVerifiedAnswer,
    LoginBody,
    LogoutBody,
    MfaRequiredAnswer,
    PasswordChangedAnswer,
    PasswordPolicyAnswer,
    ReauthenticateBody,
    ReauthenticatedAnswer,
    RefreshTokenBody,
    RegisterBody,
    RequestEmailVerificationBody,
    RequestPasswordResetBody,
    ResetPasswordBody,
    RestoreAccountBody,
    TokenInspectionAnswer,
    UserAnswer,
    VerifyEmailBody,
    VerifyEmailQuery,
)

if TYPE_CHECKING:
    from userservice_core.application.email_verification import TokenInspection
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def register(call: Call) -> Response:
    """Create an account that waits for its e-mail address to be confirmed."""
    body = call.body(RegisterBody)
    registration = call.services.use_cases.registration
    if registration.hides_emails:
        registration.register_or_tell_owner(email=body.email, password=body.password)
        return empty_response(202)
    user = registration.register(email=body.email, password=body.password)
    return json_response(201, UserAnswer.of(user))


def login(call: Call) -> Response:
    """Begin a session, or ask for the second factor."""
    body = call.body(LoginBody)
    signed_in = call.services.use_cases.authentication.sign_in(
        email=body.email,
        password=body.password,
        new_password=body.new_password,
        device_token=body.device_token,
        origin=call.origin,
    )
    if isinstance(signed_in, MfaRequired):
        return json_response(200, MfaRequiredAnswer(mfa_session_token=signed_in.session_token))
    return signed_in_response(call, signed_in)


def reauthenticate(call: Call) -> Response:
    """Give a new access token of the same session to whoever proves again who they are."""
    body = call.body(ReauthenticateBody)
    if body.password is None and body.code is None:
        raise InvalidInputError((Fault(("password",), "required", "Give the password, or the code."),))
    again = call.services.use_cases.authentication.reauthenticate(
        caller=call.require_caller(), password=body.password, code=body.code, origin=call.origin
    )
    answer = ReauthenticatedAnswer(access_token=again.access_token, expires_in=again.expires_in_seconds)
    return json_response(200, answer)


def refresh_token(call: Call) -> Response:
    """Exchange a refresh token for the next one and a new access token."""
    is_in_cookie = call.services.refresh_cookie is not None
    token = call.cookie_token if is_in_cookie else call.body(RefreshTokenBody).refresh_token
    if token is None:
        raise InvalidRefreshTokenError(has_successor=True)  # none that could be read, so none to forget
    signed_in = call.services.use_cases.authentication.refresh(refresh_token=token, origin=call.origin)
    return signed_in_response(call, signed_in)


def logout(call: Call) -> Response:
    """End the session of the tokens presented."""
    call.services.use_cases.authentication.sign_out(
        access_token=call.access_token, refresh_token=_refresh_token_beside(call)
    )
    return empty_response(204, call.services.cookie_removal)


def logout_all(call: Call) -> Response:
    """End every session of the user whose tokens are presented."""
    call.services.use_cases.authentication.sign_out_everywhere(
        access_token=call.access_token, refresh_token=_refresh_token_beside(call)
    )
    return empty_response(204, call.services.cookie_removal)


def request_email_verification(call: Call) -> Response:
    """Mail a new link to a pending account; the answer does not tell whether there is one."""
    body = call.body(RequestEmailVerificationBody)
    call.services.use_cases.email_verification.request(email=body.email)
    return empty_response(202)


def inspect_email_verification(call: Call) -> Response:
    """Tell what the token of a mailed link would do, and use nothing up."""
    return _inspected(call.services.use_cases.email_verification.inspect(token=call.query(VerifyEmailQuery).token))


def verify_email(call: Call) -> Response:
    """Confirm an e-mail address with the token of a mailed link; signs nobody in."""
    body = call.body(VerifyEmailBody)
    user = call.services.use_cases.email_verification.confirm(token=body.token)
    return json_response(200, EmailVerifiedAnswer(email=user.email.address, email_verified=user.email_verified))


def request_password_reset(call: Call) -> Response:
    """Mail a link to choose a new password, if there is an account."""
    call.services.use_cases.passwords.request_reset(email=call.body(RequestPasswordResetBody).email)
    return empty_response(202)


def reset_password(call: Call) -> Response:
    """Choose a new password by a mailed token."""
    body = call.body(ResetPasswordBody)
    user = call.services.use_cases.passwords.reset(token=body.token, password=body.password)
    return json_response(200, EmailVerifiedAnswer(email=user.email.address, email_verified=user.email_verified))


def inspect_account_restoration(call: Call) -> Response:
    """Tell what the token of a mailed link would do, and use nothing up."""
    return _inspected(call.services.use_cases.own_account.inspect(token=call.query(VerifyEmailQuery).token))


def restore_account(call: Call) -> Response:
    """Take up a deleted or deactivated account again with the token of a mailed link; signs nobody in."""
    user = call.services.use_cases.own_account.take_up_again(token=call.body(RestoreAccountBody).token)
    return json_response(200, AccountRestoredAnswer(email=user.email.address, status=user.status.value))


def change_password(call: Call) -> Response:
    """Replace the caller's password."""
    body = call.body(ChangePasswordBody)
    changed = call.services.use_cases.passwords.change(
        caller=call.require_caller(), current=body.current_password, new=body.new_password, origin=call.origin
    )
    return json_response(200, PasswordChangedAnswer.of_change(changed))


def get_password_policy(call: Call) -> Response:
    """Tell what a new password must satisfy."""
    policy = call.services.use_cases.passwords.policy
    answer = PasswordPolicyAnswer(
        min_characters=policy.min_characters,
        max_characters=MAX_PASSWORD_CHARACTERS,
        max_bytes=MAX_PASSWORD_BYTES,
        remembered_passwords=policy.remembered,
    )
    return json_response(200, answer)


def _refresh_token_beside(call: Call) -> str | None:
    """Return the refresh token that may stand beside the access token, or in its place."""
    is_in_cookie = call.services.refresh_cookie is not None
    return call.cookie_token if is_in_cookie else call.body(LogoutBody).refresh_token


def _inspected(inspection: TokenInspection) -> Response:
    purpose = None if inspection.purpose is None else inspection.purpose.value
    return json_response(200, TokenInspectionAnswer(purpose=purpose, valid=inspection.valid))
