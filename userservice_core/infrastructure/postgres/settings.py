"""Settings that change while processes run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from userservice_core.domain.audit import Actor, ActorKind
from userservice_core.domain.settings import SettingChange, StoredSettings
from userservice_core.infrastructure.postgres.statements import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from userservice_core.infrastructure.postgres.database import Database
    from userservice_core.infrastructure.postgres.transactions import OpenTransaction

_CURRENT: Final = Statement(
    text(
        """
        SELECT DISTINCT ON (name) name, version, after
        FROM setting_changes ORDER BY name DESC, version DESC
        """
    )
)
_HISTORY: Final = Statement(
    text(
        """
        SELECT version, name, before, after, at, actor_kind, actor_id, reason
        FROM setting_changes ORDER BY version DESC, name LIMIT :limit
        """
    )
)
# Those that are not there yet are locked, too; who only reads does not wait.
_LOCK: Final = Statement(text("LOCK TABLE setting_changes IN SHARE ROW EXCLUSIVE MODE"))
_ADD: Final = Statement(
    text(
        """
        INSERT INTO setting_changes (version, name, before, after, at, actor_kind, actor_id, reason)
        VALUES (:version, :name, :before, :after, :at, :actor_kind, :actor_id, :reason)
        """
    )
)


class PostgresSettingReader:
    """Reads settings in autocommit; a `ports.settings.SettingReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> StoredSettings:
        return _stored(self._database.fetch_all(_CURRENT))

    def history(self, *, limit: int) -> tuple[SettingChange, ...]:
        return tuple(map(_change_of, self._database.fetch_all(_HISTORY, limit=limit)))


class PostgresSettingRepository:
    """The settings of one transaction; a `ports.settings.SettingRepository`."""

    def __init__(self, transaction: OpenTransaction) -> None:
        self._transaction = transaction

    def read_locked(self) -> StoredSettings:
        _, found = self._transaction.read_locked(_LOCK(), _CURRENT())
        return _stored(found.fetchall())

    def add(self, change: SettingChange) -> None:
        self._transaction.write(
            _ADD(
                version=change.version,
                name=change.name,
                before=change.before,
                after=change.after,
                at=change.at,
                actor_kind=change.actor.kind.value,
                actor_id=change.actor.id,
                reason=change.reason,
            )
        )


def _stored(rows: Iterable[tuple[Any, ...]]) -> StoredSettings:
    found = tuple(rows)
    return StoredSettings(
        version=max((version for _, version, _ in found), default=0),
        texts={name: after for name, _, after in found if after is not None},
    )


def _change_of(row: tuple[Any, ...]) -> SettingChange:
    version, name, before, after, at, actor_kind, actor_id, reason = row
    return SettingChange(
        version=version,
        name=name,
        before=before,
        after=after,
        at=at,
        actor=Actor(ActorKind(actor_kind), actor_id),
        reason=reason,
    )
