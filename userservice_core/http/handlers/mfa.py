"""The second factor: it is turned on and off, and finishes a sign-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from userservice_core.application.second_factors import GivenCode
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.call import empty_response, json_response
from userservice_core.http.signed_in import signed_in_response
from userservice_core.http.wire import (
    MfaChallengeBody,
    MfaCodeBody,
    MfaSetupAnswer,
    RecoveryCodesAnswer,
)

if TYPE_CHECKING:
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response


def answer_mfa_challenge(call: Call) -> Response:
    """Finish a sign-in that waits for its second factor."""
    body = call.body(MfaChallengeBody)
    if body.code is None and body.recovery_code is None:
        raise InvalidInputError((Fault(("code",), "required", "Give the code, or a recoveryCode."),))
    if body.code is not None and body.recovery_code is not None:
        raise InvalidInputError((Fault(("recoveryCode",), "conflicting", "Give either code or recoveryCode."),))
    signed_in = call.services.use_cases.authentication.answer_challenge(
        session_token=body.mfa_session_token,
        given=GivenCode(totp=body.code, recovery=body.recovery_code),
        origin=call.origin,
    )
    return signed_in_response(call, signed_in)


def set_up_mfa(call: Call) -> Response:
    """Make a secret for the caller's authenticator."""
    return json_response(200, MfaSetupAnswer.of(call.services.use_cases.mfa.set_up(caller=call.require_caller())))


def verify_mfa(call: Call) -> Response:
    """Turn the second factor on."""
    codes = call.services.use_cases.mfa.verify(caller=call.require_caller(), code=call.body(MfaCodeBody).code)
    return json_response(200, RecoveryCodesAnswer(recovery_codes=codes))


def disable_mfa(call: Call) -> Response:
    """Turn the second factor off."""
    call.services.use_cases.mfa.disable(caller=call.require_caller())
    return empty_response(204)


def replace_recovery_codes(call: Call) -> Response:
    """Make new recovery codes in the place of the earlier ones."""
    codes = call.services.use_cases.mfa.replace_recovery_codes(caller=call.require_caller())
    return json_response(200, RecoveryCodesAnswer(recovery_codes=codes))
