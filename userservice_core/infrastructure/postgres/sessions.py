"""Sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Integer, and_, bindparam, func, insert, select, update

from userservice_core.domain.sessions import Origin
from userservice_core.domain.users import UserStatus
from userservice_core.errors import SessionNotFoundError, UserNotFoundError
from userservice_core.infrastructure.postgres.rows import (
    SESSION_COLUMNS,
    USER_COLUMNS,
    session_of,
    user_after_session,
)
from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.infrastructure.postgres.tables import sessions, users
from userservice_core.ports.sessions import SessionOfUser

if TYPE_CHECKING:
    from datetime import datetime

    from userservice_core.domain.ids import SessionId, UserId
    from userservice_core.domain.sessions import Session
    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction
    from userservice_core.ports.sessions import Rotation

_OF_USER: Final = sessions.c.user_id == bindparam("of_user_id", type_=sessions.c.user_id.type)
_ONE: Final = sessions.c.session_id == bindparam("of_session_id", type_=sessions.c.session_id.type)
_NOW: Final = bindparam("now", type_=sessions.c.expires_at.type)
_OPEN: Final = (sessions.c.revoked_at.is_(None), sessions.c.expires_at > _NOW)

_FIND: Final = Statement(
    select(*SESSION_COLUMNS, *USER_COLUMNS)
    .select_from(sessions.join(users, users.c.user_id == sessions.c.user_id))
    .where(_OF_USER, _ONE)
)
# Suspending or deleting a user ends their sessions in the same transaction. So whoever waits here for that row finds it
# ended, although the user's row is not locked.
_ROTATE: Final = Statement(
    update(sessions)
    .where(
        _OF_USER,
        _ONE,
        *_OPEN,
        sessions.c.generation == bindparam("presented_generation", type_=sessions.c.generation.type),
        sessions.c.current_hash == bindparam("presented_hash", type_=sessions.c.current_hash.type),
        users.c.user_id == sessions.c.user_id,
        users.c.status == UserStatus.ACTIVE.value,
        users.c.deleted_at.is_(None),
    )
    .values(
        generation=sessions.c.generation + 1,
        current_hash=bindparam("next_hash", type_=sessions.c.current_hash.type),
        previous_hash=sessions.c.current_hash,
        rotated_at=_NOW,
        last_used_at=_NOW,
        expires_at=func.least(_NOW + (sessions.c.expires_at - sessions.c.last_used_at), sessions.c.absolute_expires_at),
    )
    .returning(*SESSION_COLUMNS, *USER_COLUMNS)
)

_LOCK: Final = Statement(select(sessions.c.session_id).where(_OF_USER, _ONE).with_for_update(key_share=True))
_GET: Final = Statement(select(*SESSION_COLUMNS).where(_OF_USER, _ONE))
# In one order, so that two who lock all of a user's sessions do not block each other.
_LOCK_OPEN: Final = Statement(
    select(sessions.c.session_id)
    .where(_OF_USER, *_OPEN)
    .order_by(sessions.c.session_id)
    .with_for_update(key_share=True)
)
_LIST_OPEN: Final = Statement(
    select(*SESSION_COLUMNS)
    .where(_OF_USER, *_OPEN)
    .order_by(sessions.c.last_used_at.desc(), sessions.c.session_id.desc())
)
_LIST_ORIGINS: Final = Statement(
    select(sessions.c.ip, sessions.c.user_agent)
    .where(_OF_USER)
    .order_by(sessions.c.session_id.desc())
    .limit(bindparam("limit", type_=Integer))
)
# The one row of a user without any is empty, so that it can be told from no user.
_LIST_OPEN_OF_USER: Final = Statement(
    select(*SESSION_COLUMNS)
    .select_from(users.outerjoin(sessions, and_(sessions.c.user_id == users.c.user_id, *_OPEN)))
    .where(users.c.user_id == bindparam("of_user_id", type_=users.c.user_id.type))
    .order_by(sessions.c.last_used_at.desc(), sessions.c.session_id.desc())
)
_INSERT: Final = Statement(insert(sessions), columns=[column.name for column in sessions.c])
_SAVE: Final = Statement(update(sessions).where(_OF_USER, _ONE), columns=["revoked_at", "auth_time", "amr"])


class PostgresSessionStore:
    """Sessions in autocommit; a `ports.sessions.SessionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rotate(self, rotation: Rotation) -> SessionOfUser | None:
        # Repeated after a lost connection it finds its own work done and returns None; the caller then looks at the
        # session, where the token presented is the one before the current, and gives its successor again.
        row = self._database.fetch_one(
            _ROTATE,
            of_user_id=rotation.user_id,
            of_session_id=rotation.session_id,
            presented_generation=rotation.generation,
            presented_hash=rotation.secret_hash,
            next_hash=rotation.next_hash,
            now=rotation.now,
        )
        return None if row is None else SessionOfUser(session=session_of(row), user=user_after_session(row))

    def find(self, user_id: UserId, session_id: SessionId) -> SessionOfUser | None:
        row = self._database.fetch_one(_FIND, of_user_id=user_id, of_session_id=session_id)
        return None if row is None else SessionOfUser(session=session_of(row), user=user_after_session(row))

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        rows = self._database.fetch_all(_LIST_OPEN_OF_USER, of_user_id=user_id, now=now)
        if not rows:
            raise UserNotFoundError
        return tuple(session_of(row) for row in rows if row[0] is not None)


class PostgresSessionRepository:
    """The sessions of one transaction; a `ports.sessions.SessionRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def get(self, user_id: UserId, session_id: SessionId) -> Session:
        which = {"of_user_id": user_id, "of_session_id": session_id}
        _, found = self._transaction.read_locked(_LOCK(**which), _GET(**which))
        row = found.fetchone()
        if row is None:
            raise SessionNotFoundError
        return session_of(row)

    def list_open(self, user_id: UserId, *, now: datetime) -> tuple[Session, ...]:
        which = {"of_user_id": user_id, "now": now}
        _, found = self._transaction.read_locked(_LOCK_OPEN(**which), _LIST_OPEN(**which))
        return tuple(map(session_of, found.fetchall()))

    def list_origins(self, user_id: UserId, *, limit: int) -> tuple[Origin, ...]:
        found = self._transaction.read(_LIST_ORIGINS(of_user_id=user_id, limit=limit))
        return tuple(Origin(ip=ip, user_agent=user_agent) for ip, user_agent in found.fetchall())

    def add(self, session: Session) -> None:
        self._transaction.write(
            _INSERT(
                user_id=session.user_id,
                session_id=session.id,
                created_at=session.created_at,
                last_used_at=session.last_used_at,
                expires_at=session.expires_at,
                absolute_expires_at=session.absolute_expires_at,
                ip=session.ip,
                user_agent=session.user_agent,
                auth_time=session.auth_time,
                amr=list(session.amr),
                generation=session.generation,
                current_hash=session.current_hash,
                previous_hash=session.previous_hash,
                rotated_at=session.rotated_at,
                revoked_at=session.revoked_at,
            )
        )

    def save(self, session: Session) -> None:
        self._transaction.write(
            _SAVE(
                of_user_id=session.user_id,
                of_session_id=session.id,
                revoked_at=session.revoked_at,
                auth_time=session.auth_time,
                amr=list(session.amr),
            )
        )
