"""Where the hashes of mailed tokens live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from userservice_core.domain.ids import UserId
    from userservice_core.domain.one_time_tokens import OneTimeToken, TokenPurpose


class OneTimeTokenReader(Protocol):
    """Reads tokens from the primary without using them up."""

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        """Return the token with this SHA-256, used ones included, or None."""
        ...


class OneTimeTokenRepository(Protocol):
    """The tokens of one transaction."""

    def find(self, user_id: UserId, digest: bytes) -> OneTimeToken | None:
        """Return the latest committed token and lock its row, or None; used ones are returned too."""
        ...

    def add(self, token: OneTimeToken) -> None:
        """Store a token and, unless its purpose is kept beside newer ones, end every unused one of user and purpose."""
        ...

    def save(self, token: OneTimeToken) -> None:
        """Store that a token was used, and how many wrong codes were given with it."""
        ...

    def count_since(self, user_id: UserId, purposes: Collection[TokenPurpose], *, since: datetime) -> int:
        """
        Tell how many tokens of these purposes were made after *since*, used ones included.

        Exact for who holds the user's lock; nothing is locked here.
        """
        ...

    def end_all(
        self,
        user_id: UserId,
        *,
        now: datetime,
        keep: Collection[TokenPurpose] = (),
        made_since: datetime | None = None,
    ) -> None:
        """
        End every unused token of the user, except for those of the purposes in *keep*.

        Where *made_since* is given, only tokens that were made then or later end.

        Takes effect after every :meth:`add` and :meth:`save` before it, and before those that follow.
        """
        ...
