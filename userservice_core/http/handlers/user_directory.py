"""Users as administrators find and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never
from uuid import UUID

import msgspec
from msgspec import UNSET

from userservice_core.domain.addresses import MAX_ADDRESSES
from userservice_core.domain.emails import EmailAddress, search_keys
from userservice_core.domain.ids import RoleId, UserId
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.call import json_response
from userservice_core.http.conditional import PRIVATE, etag_of, etag_of_content
from userservice_core.http.handlers.profiles import profile_response
from userservice_core.http.lists import asked_list
from userservice_core.http.wire import (
    MIN_EMAIL_PART_CHARACTERS,
    AddressAnswer,
    AddressListAnswer,
    AdminUserAnswer,
    IncludeQuery,
    ListedUserAnswer,
    PageItem,
    RoleUsersQuery,
    UsersQuery,
)
from userservice_core.ports.users import UserFilter

if TYPE_CHECKING:
    from userservice_core.application.user_directory import UserDirectory
    from userservice_core.http.call import Call
    from userservice_core.http.messages import Response
    from userservice_core.http.wire import Deleted

ADMIN_VARIANT: Final = "admin1"
"""Names the shape of the answer; raised whenever the same version of a user is shown differently."""


def list_users(call: Call) -> Response:
    """Show some of the users."""
    asked = asked_list(call, UsersQuery, of=ListedUserAnswer)
    page = _directory(call).list_page(users=_filter_of(call.query(UsersQuery)), request=asked.request)
    return asked.answer(page, ListedUserAnswer.of_overview)


def list_role_users(call: Call) -> Response:
    """Show some of the users who hold a role."""
    asked = asked_list(call, RoleUsersQuery, of=ListedUserAnswer)
    query = call.query(RoleUsersQuery)
    users = UserFilter(status=None if query.status is UNSET else query.status, deleted=_deleted(query.deleted))
    page = _directory(call).list_holders(role_id=RoleId(call.parameter("id")), users=users, request=asked.request)
    return asked.answer(page, ListedUserAnswer.of_overview)


def get_user(call: Call) -> Response:
    """Show a user."""
    overview = _directory(call).get(user_id=_user_id(call))
    wants_state = call.query(IncludeQuery).include is not UNSET
    answer = AdminUserAnswer.of(overview.user, state=overview.state if wants_state else None)
    variant = ADMIN_VARIANT
    if answer.login_state is not UNSET:
        # A sign-in is no change of the user, and yet of this answer.
        state = etag_of_content(msgspec.json.encode(answer.login_state))
        variant += "-" + state.strip('"')
    return json_response(200, answer, (("etag", etag_of(overview.user.version, variant)), *PRIVATE))


def get_user_profile(call: Call) -> Response:
    """Show a user's profile."""
    return profile_response(_directory(call).get_profile(user_id=_user_id(call)), PRIVATE)


def list_user_addresses(call: Call) -> Response:
    """Show all of a user's addresses."""
    addresses = _directory(call).list_addresses(user_id=_user_id(call))
    answer = AddressListAnswer(
        data=tuple(map(AddressAnswer.of, addresses)), page=PageItem(limit=MAX_ADDRESSES, total=len(addresses))
    )
    return json_response(200, answer, (("etag", etag_of_content(msgspec.json.encode(answer))), *PRIVATE))


def _directory(call: Call) -> UserDirectory:
    return call.services.use_cases.user_directory


def _user_id(call: Call) -> UserId:
    return UserId(call.parameter("id"))


def _filter_of(query: UsersQuery) -> UserFilter:
    """
    Return which users a query is about.

    Raises:
        InvalidInputError: If the part of an address is too short, or what should be an address is none.
    """
    faults: tuple[Fault, ...] = ()
    email_parts = () if query.email is UNSET else search_keys(query.email)
    if any(len(part) < MIN_EMAIL_PART_CHARACTERS for part in email_parts):
        message = f"Give at least {MIN_EMAIL_PART_CHARACTERS} characters of the address."
        faults += (Fault(("email",), "too-short", message),)
    email_key = None
    if query.exact_email is not UNSET:
        try:
            email_key = EmailAddress.parse(query.exact_email, field="exactEmail").key
        except InvalidInputError as error:
            faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    role_id, role_name = _role_of(query)
    return UserFilter(
        email_parts=email_parts,
        email_key=email_key,
        status=None if query.status is UNSET else query.status,
        role_id=role_id,
        role_name=role_name,
        created_from=None if query.created_after is UNSET else query.created_after,
        created_before=None if query.created_before is UNSET else query.created_before,
        deleted=_deleted(query.deleted),
        ids=frozenset(map(UserId, query.id)) or None,
    )


def _role_of(query: UsersQuery) -> tuple[RoleId | None, str | None]:
    """Tell a role's id from a name."""
    if query.role is UNSET:
        return None, None
    try:
        return RoleId(UUID(query.role)), None
    except ValueError:
        return None, query.role


def _deleted(choice: Deleted) -> bool | None:
    match choice:
        case "true":
            return True
        case "false":
            return False
        case "any":
            return None
    assert_never(choice)
