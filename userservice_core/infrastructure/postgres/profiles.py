"""Profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Text, bindparam, func, insert, literal, select, update

from userservice_core.domain.profiles import UserProfile
from userservice_core.errors import UserNotFoundError
from userservice_core.infrastructure.postgres.errors import PROFILES_VERSION
from userservice_core.infrastructure.postgres.rows import PROFILE_COLUMNS, Row, profile_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import user_profiles, users

if TYPE_CHECKING:
    from userservice_core.domain.ids import UserId
    from userservice_core.infrastructure.postgres.database import Reads
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_SAVED_COLUMNS: Final = [column.name for column in user_profiles.c if column.name != "user_id"]
_OF_USER: Final = users.c.user_id == bindparam("of_user_id", type_=users.c.user_id.type)

# The user's row is there whether they ever wrote a profile or not.
_GET: Final = Statement(
    select(*PROFILE_COLUMNS)
    .select_from(users.outerjoin(user_profiles, user_profiles.c.user_id == users.c.user_id))
    .where(_OF_USER)
)
# The first version of a profile has no row to lock.
_LOCK: Final = Statement(select(users.c.user_id).where(_OF_USER).with_for_update(key_share=True))
_INSERT: Final = Statement(insert(user_profiles), columns=[column.name for column in user_profiles.c])

_saved = (
    update(user_profiles)
    .where(
        user_profiles.c.user_id == bindparam("of_user_id", type_=user_profiles.c.user_id.type),
        user_profiles.c.version == bindparam("new_version", type_=user_profiles.c.version.type) - 1,
    )
    .values({name: bindparam(f"new_{name}", type_=user_profiles.c[name].type) for name in _SAVED_COLUMNS})
    .returning(user_profiles.c.user_id)
    .cte("saved")
)
_SAVE: Final = Statement(
    select(
        func.require_row(select(func.count()).select_from(_saved).scalar_subquery(), literal(PROFILES_VERSION, Text))
    )
)


class PostgresProfileReader:
    """Reads profiles in autocommit; a `ports.profiles.ProfileReader`."""

    def __init__(self, database: Reads) -> None:
        self._database = database

    def get(self, user_id: UserId) -> UserProfile:
        return _found(user_id, self._database.fetch_one(_GET, of_user_id=user_id))


class PostgresProfileRepository:
    """The profiles of one transaction; a `ports.profiles.ProfileRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def get(self, user_id: UserId) -> UserProfile:
        _, found = self._transaction.read_locked(_LOCK(of_user_id=user_id), _GET(of_user_id=user_id))
        return _found(user_id, found.fetchone())

    def save(self, profile: UserProfile) -> None:
        values = _values_of(profile)
        if profile.version == 1:
            self._transaction.write(_INSERT(user_id=profile.user_id, **values))
        else:
            renamed = {f"new_{name}": value for name, value in values.items()}
            self._transaction.write(_SAVE(of_user_id=profile.user_id, **renamed))


def _found(user_id: UserId, row: Row | None) -> UserProfile:
    if row is None:
        raise UserNotFoundError
    is_written = row[0] is not None
    return profile_of(row) if is_written else UserProfile(user_id=user_id)


def _values_of(profile: UserProfile) -> dict[str, Any]:
    """Return what :data:`_SAVED_COLUMNS` are to hold."""
    return {
        "first_name": profile.first_name,
        "last_name": profile.last_name,
        "display_name": profile.display_name,
        "phone_number": profile.phone_number,
        "phone_verified": profile.phone_verified,
        "date_of_birth": profile.date_of_birth,
        "gender": profile.gender,
        "profile_picture_url": profile.profile_picture_url,
        "bio": profile.bio,
        "language": profile.language,
        "timezone": profile.timezone,
        "preferences": msgspec.json.encode(dict(profile.preferences)).decode(),
        "communication_preferences": msgspec.json.encode(dict(profile.communication_preferences)).decode(),
        "version": profile.version,
    }
