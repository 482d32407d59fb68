"""Users as lines of JSON: what is imported from another system, and what an export consists of."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, TypeVar
from uuid import UUID

import attrs
import msgspec

from userservice_core.application.user_imports import ReadRecord, UserDraft
from userservice_core.domain.foreign_hashes import phc_of_keycloak
from userservice_core.domain.ids import UserId
from userservice_core.domain.roles import INITIAL_ROLES
from userservice_core.domain.users import UserStatus
from userservice_core.errors import Fault, InvalidInputError
from userservice_core.http.decoding import convert_document, read_json
from userservice_core.http.wire import (
    AddressAnswer,
    AddressBody,
    Body,
    LongText,
    Moment,
    ProfileAnswer,
    ProfileBody,
    Text,
    given_members,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from userservice_core.ports.user_dumps import UserDump

S = TypeVar("S", bound=msgspec.Struct)

MAX_LINE_BYTES: Final = 1_048_576
"""Of a line; a user with the most of everything that the rules allow takes less than half of it."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UserRecord(Body, frozen=True, kw_only=True):
    """
    A user on a line; what is absent is null, or empty.

    Attributes:
        id: Kept where it is given.
        status: `active` where it is absent and the address is confirmed, else `pending_verification`.
        roles: Names of exactly those to be held; absent for what everybody starts with.
        password_hash: In one of the forms that a sign-in verifies.
        profile: As `PUT /users/me/profile` takes it, and whether the telephone number was verified.
        addresses: As `POST /users/me/addresses` takes them, each with an id if it is to be kept.
    """

    id: UUID | None = None
    email: Text
    email_verified: bool = False
    status: UserStatus | None = None
    roles: tuple[Text, ...] | None = None
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    created_at: Moment | None = None
    last_login_at: Moment | None = None
    password_hash: LongText | None = None
    password_changed_at: Moment | None = None
    password_must_change: bool = False
    profile: dict[str, Any] = msgspec.field(default_factory=dict)
    addresses: tuple[dict[str, Any], ...] = ()


def read_lines(file: BinaryIO) -> Iterator[ReadRecord]:
    """Read one record a line; empty lines are none. The file is read as its records are."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield ReadRecord(number, (Fault((), "too-large", f"Use at most {MAX_LINE_BYTES} bytes a line."),))
            continue
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line.strip():
            yield ReadRecord(number, _draft_of_line(line))


def line_of(dump: UserDump, *, with_hash: bool) -> bytes:
    """Return a user as a line that :func:`read_lines` takes; their password's hash only where that is asked for."""
    user, credential = dump.sign_in.user, dump.sign_in.credential
    record: dict[str, Any] = {
        "id": user.id,
        "email": user.email.address,
        "emailVerified": user.email_verified,
        "status": user.status,
        "roles": user.role_names,
        "createdAt": user.created_at,
    }
    optional: dict[str, Any] = {
        "attributes": dict(user.attributes),
        "lastLoginAt": dump.sign_in.state.last_login_at,
        "profile": _given(ProfileAnswer.of(dump.profile)),
        "addresses": [_given(AddressAnswer.of(address)) for address in dump.addresses],
    }
    if with_hash and credential is not None:
        optional["passwordHash"] = credential.password_hash
        optional["passwordChangedAt"] = credential.changed_at
        optional["passwordMustChange"] = credential.must_change
    record.update((name, value) for name, value in optional.items() if value)
    return msgspec.json.encode(record) + b"\n"


def _given(body: Body) -> dict[str, Any]:
    """Return what says something; that nothing is said needs no room."""
    members: dict[str, Any] = msgspec.to_builtins(body)
    return {name: value for name, value in members.items() if value not in (None, {}, False) and name != "userId"}


def _draft_of_line(line: bytes) -> UserDraft | tuple[Fault, ...]:
    try:
        document = read_json(line)
    except InvalidInputError as error:
        return error.faults
    faults: list[Fault] = []
    record = _read(document, UserRecord, (), faults)
    members = document if isinstance(document, dict) else {}
    profile = members.get("profile", {})
    read_profile = _read(profile, ProfileBody, ("profile",), faults) if isinstance(profile, dict) else None
    listed = members.get("addresses", ())
    read_addresses = [
        _read(address, AddressBody, ("addresses", index), faults)
        for index, address in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(address, dict)
    ]
    if record is None or read_profile is None or faults:
        return tuple(faults)
    return UserDraft(
        id=None if record.id is None else UserId(record.id),
        email=record.email,
        email_verified=record.email_verified,
        status=record.status,
        role_names=record.roles,
        attributes=record.attributes,
        created_at=_utc(record.created_at),
        last_login_at=_utc(record.last_login_at),
        password_hash=record.password_hash,
        password_changed_at=_utc(record.password_changed_at),
        password_must_change=record.password_must_change,
        profile=given_members(read_profile),
        addresses=tuple(given_members(address) for address in read_addresses if address is not None),
    )


def _read(document: Any, shape: type[S], place: tuple[str | int, ...], faults: list[Fault]) -> S | None:  # noqa: ANN401 - JSON of any shape
    try:
        return convert_document(document, shape)
    except InvalidInputError as error:
        faults.extend(attrs.evolve(fault, field=(*place, *fault.field)) for fault in error.faults)
        return None


def _utc(moment: datetime | None) -> datetime | None:
    """Return the moment in UTC; one at the end of the calendar stays, and is refused as too early or late."""
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        return moment


# --- Keycloak ---------------------------------------------------------------------------------------------------------

_KEYCLOAKS_OWN_ROLES: Final = ("offline_access", "uma_authorization")


class _Foreign(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of what Keycloak exports; members that are of no use here are not named."""


class _KeycloakCredential(_Foreign, frozen=True, kw_only=True):
    type: str
    secret_data: str
    credential_data: str


class _KeycloakUser(_Foreign, frozen=True, kw_only=True):
    id: UUID | None = None
    email: str = ""
    email_verified: bool = False
    enabled: bool = True
    first_name: str | None = None
    last_name: str | None = None
    created_timestamp: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_000)] | None = None
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    credentials: tuple[_KeycloakCredential, ...] = ()
    realm_roles: tuple[str, ...] = ()


class _KeycloakRealm(_Foreign, frozen=True, kw_only=True):
    users: tuple[msgspec.Raw, ...] = ()


def read_keycloak(file: BinaryIO, *, confirmed: bool) -> Iterator[ReadRecord]:
    """
    Read the users of a realm as Keycloak exports it (`kc.sh export`), each under its number in `users`, from 1.

    Disabled ones are suspended. Roles are those of the realm, under the same names here; Keycloak's own are left out.

    Args:
        file: Read as a whole: Keycloak splits exports into files of some users each.
        confirmed: Whether every address counts as confirmed, also where Keycloak did not ask for that.

    Raises:
        InvalidInputError: If it is no such export.
    """
    try:
        realm = msgspec.json.decode(file.read(), type=_KeycloakRealm)
    except msgspec.MsgspecError as error:
        fault = Fault((), "malformed-json", f"This is no export of a realm of Keycloak: {error}")
        raise InvalidInputError((fault,)) from error
    for number, raw in enumerate(realm.users, start=1):
        yield ReadRecord(number, _draft_of_keycloak(bytes(raw), confirmed=confirmed))


def _draft_of_keycloak(raw: bytes, *, confirmed: bool) -> UserDraft | tuple[Fault, ...]:
    faults: list[Fault] = []
    try:
        user = _read(read_json(raw), _KeycloakUser, (), faults)
    except InvalidInputError as error:
        return error.faults
    if user is None:
        return tuple(faults)
    try:
        password_hash = _hash_of_keycloak(user)
    except InvalidInputError as error:
        return error.faults
    is_confirmed = confirmed or user.email_verified
    locale = user.attributes.get("locale")
    profile = {
        "first_name": user.first_name or None,
        "last_name": user.last_name or None,
        "language": locale[0] if isinstance(locale, list) and locale and isinstance(locale[0], str) else None,
    }
    own = [name for name in user.realm_roles if not _is_keycloaks_own(name)]
    created_at = None if user.created_timestamp is None else _EPOCH + timedelta(milliseconds=user.created_timestamp)
    return UserDraft(
        id=None if user.id is None else UserId(user.id),
        email=user.email,
        email_verified=is_confirmed,
        status=UserStatus.SUSPENDED if is_confirmed and not user.enabled else None,
        role_names=(*(role.name for role in INITIAL_ROLES), *own),
        attributes={name: value for name, value in user.attributes.items() if name != "locale"},
        created_at=created_at,
        password_hash=password_hash,
        profile={name: value for name, value in profile.items() if value is not None},
    )


def _hash_of_keycloak(user: _KeycloakUser) -> str | None:
    for index, credential in enumerate(user.credentials):
        if credential.type == "password":
            try:
                return phc_of_keycloak(json.loads(credential.credential_data), json.loads(credential.secret_data))
            except (InvalidInputError, ValueError) as error:
                message = "Expected a password of Keycloak by PBKDF2 or Argon2."
                raise InvalidInputError((Fault(("credentials", index), "unknown-hash", message),)) from error
    return None


def _is_keycloaks_own(role: str) -> bool:
    return role in _KEYCLOAKS_OWN_ROLES or role.startswith("default-roles-")
