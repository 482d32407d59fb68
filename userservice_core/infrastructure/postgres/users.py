"""Users."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import attrs
import msgspec
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    delete,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from userservice_core.domain.events import SequencedBy
from userservice_core.domain.lists import COUNTED_ROWS
from userservice_core.domain.one_time_tokens import TokenPurpose
from userservice_core.domain.roles import role_name_key
from userservice_core.domain.users import UserStatus
from userservice_core.errors import UserNotFoundError
from userservice_core.infrastructure.postgres.errors import USERS_VERSION, RetriableError
from userservice_core.infrastructure.postgres.idempotency import removal_of_answers_to
from userservice_core.infrastructure.postgres.lists import (
    LOOKED_UP_ROWS,
    SEARCHED_ROWS,
    Gathering,
    PagedList,
    Path,
    SortColumn,
)
from userservice_core.infrastructure.postgres.rows import OVERVIEW_COLUMNS, USER_COLUMNS, overview_of, user_of
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import login_states, roles, user_emails, user_roles, users
from userservice_core.infrastructure.postgres.transactions import WriteOrder

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.credentials import UserOverview
    from userservice_core.domain.ids import RoleId, UserId
    from userservice_core.domain.lists import Page, PageRequest
    from userservice_core.domain.users import User
    from userservice_core.infrastructure.postgres.database import Reads
    from userservice_core.infrastructure.postgres.event_recorder import EventRecorder
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction
    from userservice_core.ports.users import UserFilter

_SAVED_COLUMNS: Final = (
    *("email", "email_key", "email_verified", "pending_email", "email_undeliverable_since", "status", "attributes"),
    *("updated_at", "mfa_enabled", "deleted_at", "version", "access_version"),
)

_BY_ID: Final = users.c.user_id == bindparam("user_id")
_BY_EMAIL: Final = user_emails.c.email_key == bindparam("email_key")
_USERS_BY_EMAIL: Final = users.join(user_emails, user_emails.c.user_id == users.c.user_id)

_GET: Final = Statement(select(*USER_COLUMNS).where(_BY_ID))
_FIND_BY_EMAIL: Final = Statement(select(*USER_COLUMNS).select_from(_USERS_BY_EMAIL).where(_BY_EMAIL))
# Rows that refer to the user may still be added: they do not depend on what is changed under this lock.
_LOCK: Final = Statement(select(users.c.user_id).where(_BY_ID).with_for_update(key_share=True))
_HELD_BY: Final = (
    select(user_roles.c.user_id)
    .where(user_roles.c.role_id == bindparam("role_id"))
    .order_by(user_roles.c.user_created_at, user_roles.c.user_id)
    .limit(bindparam("limit", type_=Integer))
)
_LOCK_HOLDERS: Final = Statement(
    select(users.c.user_id)
    .where(users.c.user_id.in_(_HELD_BY))
    .order_by(users.c.user_id)
    .with_for_update(key_share=True)
)
_HOLDERS: Final = Statement(select(*USER_COLUMNS).where(users.c.user_id.in_(_HELD_BY)).order_by(users.c.user_id))
# What is due, from the indexes that give it in the order of its time. The condition is repeated where rows are locked:
# a user who was restored meanwhile is read as they are then, while the list of what is due is not read again.
_IS_DELETED_LONG: Final = "deleted_at < :deleted_before"
_IS_PENDING_LONG: Final = f"""
    status = '{UserStatus.PENDING_VERIFICATION}' AND deleted_at IS NULL AND created_at < :pending_before
    AND NOT EXISTS (
        SELECT FROM one_time_tokens
        WHERE one_time_tokens.user_id = users.user_id AND purpose = '{TokenPurpose.INVITE}' AND used_at IS NULL
            AND expires_at > :now
    )
"""
_DUE: Final = f"""
    (SELECT user_id FROM users WHERE {_IS_DELETED_LONG} ORDER BY deleted_at LIMIT :limit)
    UNION ALL
    (SELECT user_id FROM users WHERE {_IS_PENDING_LONG} ORDER BY created_at LIMIT :limit)
"""  # noqa: S608 - as above
_LOCK_EXPIRED: Final = Statement(
    text(f"SELECT FROM login_states WHERE user_id IN ({_DUE}) ORDER BY user_id FOR UPDATE SKIP LOCKED")
)
_EXPIRED: Final = Statement(
    select(*USER_COLUMNS)
    .where(users.c.user_id.in_(text(_DUE)), text(f"({_IS_DELETED_LONG} OR ({_IS_PENDING_LONG}))"))
    .order_by(users.c.user_id)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(of=users, skip_locked=True)
)
_LOCK_BY_EMAIL: Final = Statement(
    select(users.c.user_id)
    .where(users.c.user_id == select(user_emails.c.user_id).where(_BY_EMAIL).scalar_subquery())
    .with_for_update(key_share=True)
)

_OVERVIEWS: Final = users.outerjoin(login_states)
_GET_OVERVIEW: Final = Statement(select(*OVERVIEW_COLUMNS).select_from(_OVERVIEWS).where(_BY_ID))
# A value, unlike EXISTS, is looked up for the one user, and never for all at once.
_IS_HOLDER: Final = (
    select(true())
    .where(user_roles.c.user_id == users.c.user_id, user_roles.c.role_id == bindparam("role_id"))
    .correlate(users)
    .scalar_subquery()
)
_FILTERS: Final[dict[str, ColumnElement[bool]]] = {
    # An array even of one pattern; the backslash is what escapes unless something else is said.
    "email_parts": users.c.email_key.like(any_(bindparam("email_parts", type_=ARRAY(Text)))),
    "email_key": users.c.email_key == bindparam("email_key"),
    "status": users.c.status == bindparam("status"),
    "role_id": func.coalesce(_IS_HOLDER, false()),
    "created_from": users.c.created_at >= bindparam("created_from"),
    "created_before": users.c.created_at < bindparam("created_before"),
    "is_deleted": users.c.deleted_at.is_not(None),
    "is_not_deleted": users.c.deleted_at.is_(None),
    "ids": users.c.user_id == any_(bindparam("ids", type_=ARRAY(Uuid))),
}
_OF_USERS: Final = {name: condition for name, condition in _FILTERS.items() if name != "role_id"}
_RANGE: Final = frozenset({"created_from", "created_before"})
_KEYS_OF_USERS: Final = {"createdAt": users.c.created_at, "email": users.c.email_key}
_BY_CREATION: Final = (users.c.created_at, users.c.user_id)
# Deleted users are found beside those that hold a role by an index that has nobody else, so that no user is looked up.
_GONE: Final = users.alias("gone")
_HOLDERS_OF_ROLE: Final = user_roles.outerjoin(
    _GONE,
    and_(
        _GONE.c.deleted_at.is_not(None),
        _GONE.c.created_at == user_roles.c.user_created_at,
        _GONE.c.user_id == user_roles.c.user_id,
    ),
)
_HOLDS: Final = user_roles.c.role_id == bindparam("role_id")


def _path(*answers: str, known: Collection[str] = tuple(_OF_USERS), **further: Any) -> Path:  # noqa: ANN401 - as a path has
    """Return a path by an index of the users, in the order in which they came, that knows what *known* names."""
    conditions = {name: _OF_USERS[name] for name in (*answers, *known)}
    path = Path(
        table=users,
        row_id=users.c.user_id,
        answers=frozenset(answers),
        within=_RANGE,
        conditions=conditions,
        order=_BY_CREATION,
        sort="createdAt",
        keys=_KEYS_OF_USERS,
    )
    return attrs.evolve(path, **further)


_BY_EMAIL_PARTS: Final = _path(
    "email_parts",
    within=frozenset(),
    conditions={
        **_OF_USERS,
        # IS TRUE keeps the trigrams of the whole from being looked up, and changes nothing of what is expected.
        "email_parts": and_(
            users.c.email_key.like(any_(bindparam("email_words", type_=ARRAY(Text)))),
            users.c.email_key.like(any_(bindparam("email_parts", type_=ARRAY(Text)))).is_(true()),
        ),
    },
    # Without an order, the search in the table ends with the last row that is wanted.
    order=(),
    sort=None,
    is_scattered=True,
)
_BY_ROLE: Final = Path(
    table=_HOLDERS_OF_ROLE,
    row_id=user_roles.c.user_id,
    answers=frozenset({"role_id"}),
    within=_RANGE,
    conditions={
        "role_id": _HOLDS,
        "created_from": user_roles.c.user_created_at >= bindparam("created_from"),
        "created_before": user_roles.c.user_created_at < bindparam("created_before"),
        "is_deleted": _GONE.c.user_id.is_not(None),
        "is_not_deleted": _GONE.c.user_id.is_(None),
    },
    order=(user_roles.c.user_created_at, user_roles.c.user_id),
    sort="createdAt",
    keys={"createdAt": user_roles.c.user_created_at},
)
_IN_INDEXES: Final = ("is_deleted", "is_not_deleted", "email_parts", "email_key", *_RANGE)
_IN_CREATION: Final = _path()
_IN_EMAIL: Final = _path(
    known=("status", *_IN_INDEXES), within=frozenset(), order=(users.c.email_key, users.c.user_id), sort="email"
)
_IN_LAST_SIGN_IN: Final = Path(
    table=login_states,
    row_id=login_states.c.user_id,
    conditions={},
    keys={"lastLoginAt": login_states.c.last_login_at},
    is_scattered=True,
)
_GATHERING: Final = Gathering(
    filtered=users,
    row_id=users.c.user_id,
    keys={**_KEYS_OF_USERS, "lastLoginAt": login_states.c.last_login_at},
    paths=(
        _path("ids", within=frozenset(), sort=None),
        _path("email_key", within=frozenset(), sort=None),
        _BY_EMAIL_PARTS,
        _BY_ROLE,
        _path("status", known=_IN_INDEXES),
        _path("is_deleted", known=("email_parts", "email_key", *_RANGE)),
        _IN_CREATION,
    ),
    walks={"createdAt": _IN_CREATION, "email": _IN_EMAIL, "lastLoginAt": _IN_LAST_SIGN_IN},
    held_in={"role_id": (user_roles.c.user_id, _HOLDS)},
)
# Deleted users are few: they are erased after a while.
_FOUND_BY_MOST: Final = frozenset({"is_not_deleted"})
_NO_ROLE: Final = UUID(int=0)
_FIND_ROLE: Final = Statement(select(roles.c.role_id).where(roles.c.name_key == bindparam("role_name")))
_ESCAPED: Final = r"\\\1"
_PATTERN_CHARACTERS: Final = re.compile(r"([\\%_])")

# Words as the index of trigrams knows them.
_WORD: Final = re.compile(r"[^\W_]+")
_WORD_OR_NOT: Final = re.compile(r"[^\W_]+|[\W_]+")
_LEAST_TRIGRAM: Final = 3
_COMMON_AMONG_KNOWN: Final = 0.05
# The statistics have some of the addresses. An index that finds a part of an address by what a twentieth of all have,
# like the end of a domain, reads more than it saves; so such words are left to be compared with what it finds.
_COMMON_WORDS: Final = Statement(
    text(
        """
        SELECT array_agg(word) FILTER (WHERE (
            SELECT count(*) FILTER (WHERE strpos(key, word) > 0) >= CAST(:least AS double precision) * count(*)
            FROM unnest(known) AS key
        ))
        FROM unnest(CAST(:words AS text[])) AS word, (
            SELECT CAST(CAST(histogram_bounds AS text) AS text[]) AS known FROM pg_stats
            WHERE schemaname = current_schema() AND tablename = 'users' AND attname = 'email_key'
        ) AS statistics
        """
    )
)

_LIST_KNOWN: Final = Statement(
    select(users.c.user_id, users.c.email_key).where(
        or_(
            users.c.user_id == any_(bindparam("ids", type_=ARRAY(Uuid))),
            users.c.email_key == any_(bindparam("email_keys", type_=ARRAY(Text))),
        )
    )
)

_INSERT: Final = Statement(insert(users), columns=[column.name for column in users.c])
_INSERT_EMAIL: Final = Statement(insert(user_emails), columns=["email_key", "user_id"])
_INSERT_ROLES: Final = Statement(
    text(
        "INSERT INTO user_roles (user_id, role_id, user_created_at)"
        " SELECT user_id, unnest(CAST(:role_ids AS uuid[])), created_at FROM users WHERE user_id = :user_id"
    )
)
_WITHDRAW_ROLES: Final = Statement(
    text("DELETE FROM user_roles WHERE user_id = :user_id AND role_id <> ALL (CAST(:role_ids AS uuid[]))")
)
_ADD_ROLES: Final = Statement(
    text(
        "INSERT INTO user_roles (user_id, role_id, user_created_at)"
        " SELECT user_id, unnest(CAST(:role_ids AS uuid[])), created_at FROM users WHERE user_id = :user_id"
        " ON CONFLICT DO NOTHING"
    )
)

_saved = (
    update(users)
    .where(_BY_ID, users.c.version == bindparam("new_version", type_=users.c.version.type) - 1)
    .values({name: bindparam(f"new_{name}", type_=users.c[name].type) for name in _SAVED_COLUMNS})
    .returning(users.c.user_id)
    .cte("saved")
)
_SAVE: Final = Statement(
    select(func.require_row(select(func.count()).select_from(_saved).scalar_subquery(), literal(USERS_VERSION, Text)))
)
# Runs before the user's row is changed, so the row still tells the old key.
_MOVE_EMAIL: Final = Statement(
    text(
        """
        WITH freed AS (
            DELETE FROM user_emails USING users
            WHERE users.user_id = :user_id AND user_emails.email_key = users.email_key
                AND users.email_key <> :email_key
            RETURNING user_emails.user_id
        )
        INSERT INTO user_emails (email_key, user_id) SELECT :email_key, user_id FROM freed
        """
    )
)
_FREE_EMAIL: Final = Statement(
    delete(user_emails).where(
        user_emails.c.email_key == select(users.c.email_key).where(_BY_ID).scalar_subquery(),
    )
)
_DELETE: Final = Statement(delete(users).where(_BY_ID))


class PostgresUserReader:
    """Reads users in autocommit; a `ports.users.UserReader`."""

    def __init__(
        self,
        database: Reads,
        *,
        counted_rows: int = COUNTED_ROWS,
        searched_rows: int = SEARCHED_ROWS,
        looked_up_rows: int = LOOKED_UP_ROWS,
    ) -> None:
        """
        Read from *database*.

        Args:
            database: Where they are.
            counted_rows: Up to how many the total of a list is exact.
            searched_rows: How many are walked along for one page, where a filter finds more than that.
            looked_up_rows: How many are looked up one by one for one page.
        """
        self._database = database
        by_user = PagedList(
            database,
            columns=OVERVIEW_COLUMNS,
            source=_OVERVIEWS,
            row_id=users.c.user_id,
            sorts={
                "createdAt": SortColumn(key=users.c.created_at),
                "email": SortColumn(key=users.c.email_key),
            },
            # In this order rows lie beside each other.
            counted=(users, (users.c.created_at, users.c.user_id)),
            filters=_FILTERS,
            counted_rows=counted_rows,
            searched_rows=searched_rows,
            looked_up_rows=looked_up_rows,
            gathering=_GATHERING,
            found_by_most=_FOUND_BY_MOST,
        )
        # Each user has a login state, so these are the same rows; from there the index on it can be used.
        by_state = PagedList(
            database,
            columns=OVERVIEW_COLUMNS,
            source=login_states.join(users),
            row_id=login_states.c.user_id,
            sorts={"lastLoginAt": SortColumn.of_time_or_null(login_states.c.last_login_at)},
            counted=(users, (users.c.created_at, users.c.user_id)),
            filters=_FILTERS,
            counted_rows=counted_rows,
            searched_rows=searched_rows,
            looked_up_rows=looked_up_rows,
            gathering=_GATHERING,
            found_by_most=_FOUND_BY_MOST,
        )
        self._lists = {"createdAt": by_user, "email": by_user, "lastLoginAt": by_state}

    def get(self, user_id: UserId) -> User:
        row = self._database.fetch_one(_GET, user_id=user_id)
        if row is None:
            raise UserNotFoundError
        return user_of(row)

    def get_overview(self, user_id: UserId) -> UserOverview:
        row = self._database.fetch_one(_GET_OVERVIEW, user_id=user_id)
        if row is None:
            raise UserNotFoundError
        return overview_of(row)

    def list_page(self, users: UserFilter, request: PageRequest) -> Page[UserOverview]:
        filters = _filters_of(users)
        if users.role_name is not None:
            # By its id the planner knows how many hold the role; a name would leave it guessing.
            row = self._database.fetch_one(_FIND_ROLE, role_name=role_name_key(users.role_name))
            role_id = _NO_ROLE if row is None else row[0]
            filters["role_id"] = role_id if filters.get("role_id") in {None, role_id} else _NO_ROLE
        hints = {"email_words": [self._with_rare_words(part) for part in users.email_parts]}
        return self._lists[request.sort.by].page(request, filters=filters, make=overview_of, hints=hints)

    def _with_rare_words(self, part: str) -> str:
        """Return the pattern of a part of an address in which words that many addresses have may be any text."""
        words = [word for word in _WORD.findall(part) if len(word) >= _LEAST_TRIGRAM]
        common: set[str] = set()
        if len(words) > 1:
            row = self._database.fetch_one(_COMMON_WORDS, words=words, least=_COMMON_AMONG_KNOWN)
            common = set(row[0] or ()) if row else set()
        if common.issuperset(words):
            return _pattern_of(part)
        return _pattern_of(part, common)

    def find_by_email(self, email_key: str) -> User | None:
        row = self._database.fetch_one(_FIND_BY_EMAIL, email_key=email_key)
        return None if row is None else user_of(row)

    def list_known(self, *, ids: Collection[UserId], email_keys: Collection[str]) -> tuple[tuple[UserId, str], ...]:
        found = self._database.fetch_all(_LIST_KNOWN, ids=list(ids), email_keys=list(email_keys))
        return tuple((user_id, email_key) for user_id, email_key in found)


class PostgresUserRepository:
    """The users of one transaction; a `ports.users.UserRepository`."""

    def __init__(self, transaction: OpenTransaction, recorder: EventRecorder) -> None:
        self._transaction = transaction
        self._recorder = recorder
        self._known_keys: dict[UserId, str] = {}

    def get(self, user_id: UserId) -> User:
        _, found = self._transaction.read_locked(_LOCK(user_id=user_id), _GET(user_id=user_id))
        row = found.fetchone()
        if row is None:
            raise UserNotFoundError
        return self._known(user_of(row))

    def find_by_email(self, email_key: str) -> User | None:
        locked, found = self._transaction.read_locked(
            _LOCK_BY_EMAIL(email_key=email_key), _FIND_BY_EMAIL(email_key=email_key)
        )
        row = found.fetchone()
        if row is None:
            return None
        user = user_of(row)
        if locked.fetchone() != (user.id,):
            # The address came to this user between the two statements.
            raise RetriableError
        return self._known(user)

    def list_holders(self, role_id: RoleId, *, limit: int) -> tuple[User, ...]:
        _, found = self._transaction.read_locked(
            _LOCK_HOLDERS(role_id=role_id, limit=limit), _HOLDERS(role_id=role_id, limit=limit)
        )
        return tuple(self._known(user_of(row)) for row in found)

    def list_expired(
        self, *, deleted_before: datetime, pending_before: datetime, now: datetime, limit: int
    ) -> tuple[User, ...]:
        which = {"deleted_before": deleted_before, "pending_before": pending_before, "now": now, "limit": limit}
        _, found = self._transaction.read_locked(_LOCK_EXPIRED(**which), _EXPIRED(**which))
        return tuple(self._known(user_of(row)) for row in found)

    def add(self, user: User) -> None:
        insert_user = _INSERT(**_values_of(user), user_id=user.id, created_at=user.created_at, event_version=0)
        self._recorder.starts_with(SequencedBy.USER, user.id, insert_user)
        self._write(insert_user)
        self._write(_INSERT_EMAIL(email_key=user.email.key, user_id=user.id))
        if user.roles:
            self._write(_INSERT_ROLES(user_id=user.id, role_ids=[role.id for role in user.roles]))
        self._known(user)

    def save(self, user: User) -> None:
        if self._known_keys.get(user.id) != user.email.key:
            self._write(_MOVE_EMAIL(user_id=user.id, email_key=user.email.key))
        self._write(_SAVE(user_id=user.id, **{f"new_{name}": value for name, value in _values_of(user).items()}))
        self._known(user)

    def save_roles(self, user: User) -> None:
        role_ids = [role.id for role in user.roles]
        self._write(_WITHDRAW_ROLES(user_id=user.id, role_ids=role_ids))
        self._write(_ADD_ROLES(user_id=user.id, role_ids=role_ids))

    def remove(self, user_id: UserId) -> None:
        self._transaction.write(_FREE_EMAIL(user_id=user_id), order=WriteOrder.REMOVAL)
        self._transaction.write(removal_of_answers_to(user_id), order=WriteOrder.REMOVAL)
        self._transaction.write(_DELETE(user_id=user_id), order=WriteOrder.REMOVAL)

    def _write(self, step: tuple[Statement, dict[str, Any]]) -> None:
        self._transaction.write(step, order=WriteOrder.USER)

    def _known(self, user: User) -> User:
        """Remember the key of an address that is the user's once the writes so far are done."""
        self._known_keys[user.id] = user.email.key
        return user


def _values_of(user: User) -> dict[str, Any]:
    """Return what :data:`_SAVED_COLUMNS` are to hold."""
    return {
        "email": user.email.address,
        "email_key": user.email.key,
        "email_verified": user.email_verified,
        "pending_email": user.pending_email,
        "email_undeliverable_since": user.email_undeliverable_since,
        "status": user.status.value,
        "attributes": msgspec.json.encode(dict(user.attributes)).decode(),
        "updated_at": user.updated_at,
        "mfa_enabled": user.mfa_enabled,
        "deleted_at": user.deleted_at,
        "version": user.version,
        "access_version": user.access_version,
    }


def _pattern_of(part: str, left_out: Collection[str] = ()) -> str:
    """Return the pattern of texts that have *part* in them, with any text for the words that are *left_out*."""
    pieces = [
        "%" if piece in left_out else _PATTERN_CHARACTERS.sub(_ESCAPED, piece) for piece in _WORD_OR_NOT.findall(part)
    ]
    return f"%{''.join(pieces)}%"


def _filters_of(wanted: UserFilter) -> dict[str, Any]:
    """Return which of :data:`_FILTERS` apply, and what they compare with."""
    given: dict[str, Any] = {
        "email_parts": [_pattern_of(part) for part in wanted.email_parts] or None,
        "email_key": wanted.email_key,
        "status": wanted.status and wanted.status.value,
        "role_id": wanted.role_id,
        "created_from": wanted.created_from,
        "created_before": wanted.created_before,
        "is_deleted": wanted.deleted or None,
        "is_not_deleted": True if wanted.deleted is False else None,
        "ids": None if wanted.ids is None else list(wanted.ids),
    }
    return {name: value for name, value in given.items() if value is not None}
