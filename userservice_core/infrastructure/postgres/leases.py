"""Leases of lanes: relays hold the outbox's lanes by them, and members of a group those of the bus."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy import text

from userservice_core.infrastructure.postgres.statements import Statement
from userservice_core.ports.publishing import LANES, Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from userservice_core.infrastructure.postgres.database import Database


@attrs.frozen(kw_only=True)
class LeaseStatements:
    """
    What is run on one table of lanes.

    Attributes:
        claim: Takes `member`, `owner`, `lease_seconds`, and `group_name` where there are groups.
        release: Takes `member`, `owner`, and `group_name` where there are groups.
        held: A query of the lanes whose lease stands, as part of other statements; takes what :func:`held` returns.
        forget_members: Drops what members left behind that have not been seen for a day.
    """

    claim: Statement
    release: Statement
    held: str
    forget_members: Statement


def lease_statements(*, lanes: str, members: str, member: str, has_groups: bool) -> LeaseStatements:
    """
    Write the statements.

    Who owns a lane is a member's id and, after the slash, this run of it: a member that comes back under its id takes
    its lanes at once, but under a new fence.

    A lease stands while its owner is alive, which is one row for all of its lanes: an update each second of each lane
    would leave so many dead rows, while somebody holds an old snapshot open, that every look at a lane became dear.

    Args:
        lanes: Table of the lanes.
        members: Table of who is alive.
        member: Its column of the member's id.
        has_groups: Whether both tables hold several groups, each with all lanes, told apart by `group_name`.
    """
    of_group = "group_name = :group_name AND" if has_groups else ""
    extra_column, extra_value = ("group_name, ", ":group_name, ") if has_groups else ("", "")
    same_group = "AND lane.group_name = :group_name" if has_groups else ""
    alive = f"SELECT owner FROM {members} WHERE {of_group} expires_at > now()"  # noqa: S608 - names of ours
    # A lane that has just been taken is left alone though its new owner may not be seen yet.
    claimable = (
        "(owner IS NULL OR split_part(owner, '/', 1) = :member"
        " OR (expires_at <= now() AND owner NOT IN (SELECT alive.owner FROM alive)))"
    )
    return LeaseStatements(
        # The lanes are locked in their order first, so that two who claim at once wait for each other, and do not
        # each hold what the other wants. A row that stays as it is has no new version.
        claim=Statement(
            text(
                f"""
                WITH alive AS MATERIALIZED ({alive} AND owner IS NOT NULL), seen AS (
                    INSERT INTO {members} ({extra_column}{member}, seen_at, owner, expires_at)
                    VALUES ({extra_value}:member, now(), :owner, now() + make_interval(secs => :lease_seconds))
                    ON CONFLICT ({extra_column}{member}) DO UPDATE
                    SET seen_at = now(), owner = excluded.owner, expires_at = excluded.expires_at
                ), share AS (
                    SELECT ceil({LANES}.0 / (1 + count(*)))::int AS lanes FROM {members}
                    WHERE {of_group} {member} <> :member AND seen_at > now() - make_interval(secs => :lease_seconds)
                ), locked AS MATERIALIZED (
                    SELECT lane, owner, fence, coalesce(
                        owner = :owner AND owner IN (SELECT alive.owner FROM alive), false
                    ) AS is_held, expires_at > now() + make_interval(secs => :lease_seconds) AS is_too_long
                    FROM {lanes} WHERE {of_group} {claimable} ORDER BY lane FOR NO KEY UPDATE
                ), ranked AS (
                    SELECT lane, fence AS old_fence, is_held, is_too_long, row_number() OVER (ORDER BY
                        is_held DESC, coalesce(split_part(owner, '/', 1) = :member, false) DESC, md5(lane || :member)
                    ) AS rank FROM locked
                ), changed AS (
                    UPDATE {lanes} AS lane
                    SET owner = CASE WHEN rank <= lanes THEN :owner END,
                        fence = fence + (rank <= lanes AND NOT is_held)::int,
                        expires_at = CASE WHEN rank <= lanes THEN now() + make_interval(secs => :lease_seconds)
                            ELSE '-infinity' END
                    FROM ranked, share
                    WHERE lane.lane = ranked.lane {same_group} AND {claimable}
                        AND ((rank <= lanes) <> is_held OR is_held AND is_too_long)
                    RETURNING lane.lane, lane.fence, lane.owner IS NOT NULL
                )
                TABLE changed
                UNION ALL SELECT lane, old_fence, true FROM ranked, share
                WHERE is_held AND rank <= lanes AND NOT is_too_long
                """  # noqa: S608 - names of ours
            )
        ),
        release=Statement(
            text(
                f"""
                WITH gone AS (DELETE FROM {members} WHERE {of_group} {member} = :member)
                UPDATE {lanes} SET owner = NULL, expires_at = '-infinity' WHERE {of_group} owner = :owner
                """  # noqa: S608 - names of ours
            )
        ),
        held=f"""
            SELECT held.lane FROM unnest(CAST(:lanes AS smallint[]), CAST(:fences AS bigint[])) AS held (lane, fence)
            JOIN {lanes} AS lane ON lane.lane = held.lane AND lane.fence = held.fence {same_group}
            WHERE lane.owner IN ({alive})
        """,  # noqa: S608 - names of ours
        forget_members=Statement(
            text(f"DELETE FROM {members} WHERE seen_at < now() - interval '1 day'")  # noqa: S608 - names of ours
        ),
    )


class LaneLeases:
    """The leases of one run of a member."""

    def __init__(self, database: Database, statements: LeaseStatements, **group: str) -> None:
        self._database = database
        self._statements = statements
        self._group = group
        self._run: Final = secrets.token_hex(8)

    def claim(self, member: str, *, lease_seconds: float) -> tuple[Lease, ...]:
        """Take or renew the fair share of the lanes, as :meth:`~.ports.publishing.OutboxStore.claim` says."""
        rows = self._database.fetch_all(
            self._statements.claim,
            member=member,
            owner=self._owner(member),
            lease_seconds=lease_seconds,
            **self._group,
        )
        return tuple(Lease(lane, fence) for lane, fence in sorted((lane, fence) for lane, fence, ours in rows if ours))

    def release(self, member: str) -> None:
        """Give all lanes back."""
        self._database.execute(self._statements.release, member=member, owner=self._owner(member), **self._group)

    def forget_members(self) -> None:
        """Drop what members left behind that never came back."""
        self._database.execute(self._statements.forget_members)

    def _owner(self, member: str) -> str:
        return f"{member}/{self._run}"


def held(leases: Sequence[Lease]) -> dict[str, Any]:
    """Return the parameters of :attr:`LeaseStatements.held`."""
    return {"lanes": [lease.lane for lease in leases], "fences": [lease.fence for lease in leases]}
