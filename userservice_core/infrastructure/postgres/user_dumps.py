"""All users, one after the other, with what belongs to them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, select

from userservice_core.domain.profiles import UserProfile
from userservice_core.infrastructure.postgres.rows import (
    ADDRESS_COLUMNS,
    PROFILE_COLUMNS,
    SIGN_IN_COLUMNS,
    address_of,
    profile_of,
    sign_in_of,
)
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import addresses, credentials, login_states, user_profiles, users
from userservice_core.ports.user_dumps import UserDump

if TYPE_CHECKING:
    from sqlalchemy import Table

    from userservice_core.domain.addresses import Address
    from userservice_core.domain.ids import UserId
    from userservice_core.infrastructure.postgres.database import Database

_FIRST: Final = UUID(int=0)

_PAGE: Final = (
    select(users.c.user_id)
    .where(users.c.user_id > bindparam("after", type_=users.c.user_id.type), users.c.deleted_at.is_(None))
    .order_by(users.c.user_id)
    .limit(bindparam("limit", type_=Integer))
)


def _on_page(table: Table) -> ColumnElement[bool]:
    return table.c.user_id.in_(_PAGE.scalar_subquery())


_SIGN_INS: Final = Statement(
    select(*SIGN_IN_COLUMNS)
    .select_from(
        users.outerjoin(credentials, credentials.c.user_id == users.c.user_id).outerjoin(
            login_states, login_states.c.user_id == users.c.user_id
        )
    )
    .where(_on_page(users))
    .order_by(users.c.user_id)
)
_PROFILES: Final = Statement(select(*PROFILE_COLUMNS).where(_on_page(user_profiles)))
_ADDRESSES: Final = Statement(select(*ADDRESS_COLUMNS).where(_on_page(addresses)).order_by(addresses.c.address_id))


class PostgresUserDumpReader:
    """Reads each page in a transaction of its own; a `ports.user_dumps.UserDumpReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, *, after: UserId | None, limit: int) -> tuple[UserDump, ...]:
        page = {"after": after or _FIRST, "limit": limit}
        found, profiles, kept_addresses = self._database.fetch_snapshot(
            _SIGN_INS(**page), _PROFILES(**page), _ADDRESSES(**page)
        )
        profile_by_user = {profile.user_id: profile for profile in map(profile_of, profiles)}
        addresses_by_user: defaultdict[UserId, list[Address]] = defaultdict(list)
        for address in map(address_of, kept_addresses):
            addresses_by_user[address.user_id].append(address)
        return tuple(
            UserDump(
                sign_in=sign_in,
                profile=profile_by_user.get(sign_in.user.id) or UserProfile(user_id=sign_in.user.id),
                addresses=tuple(addresses_by_user[sign_in.user.id]),
            )
            for sign_in in map(sign_in_of, found)
        )
