"""The caller's own profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from userservice_core.http.call import json_response
from userservice_core.http.conditional import PRIVATE, etag_of
from userservice_core.http.wire import ProfileAnswer, ProfileBody, ProfilePatchBody, given_members

if TYPE_CHECKING:
    from userservice_core.domain.profiles import UserProfile
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Headers, Response

_VARIANT: Final = "profile1"
"""Names the shape of the answer; raised whenever the same version of a profile is shown differently."""


def get_profile(call: Call) -> Response:
    """Show the caller's profile."""
    return profile_response(call.services.use_cases.profiles.get(user_id=call.require_caller().user_id), PRIVATE)


def replace_profile(call: Call) -> Response:
    """Replace the caller's profile."""
    values = given_members(call.body(ProfileBody))
    return profile_response(
        call.services.use_cases.profiles.replace(
            user_id=call.require_caller().user_id, values=values, versions=call.versions
        )
    )


def patch_profile(call: Call) -> Response:
    """Change members of the caller's profile."""
    patch = given_members(call.body(ProfilePatchBody))
    return profile_response(
        call.services.use_cases.profiles.patch(
            user_id=call.require_caller().user_id, patch=patch, versions=call.versions
        )
    )


def profile_response(profile: UserProfile, headers: Headers = ()) -> Response:
    """Answer with *profile*."""
    return json_response(200, ProfileAnswer.of(profile), (("etag", etag_of(profile.version, _VARIANT)), *headers))
