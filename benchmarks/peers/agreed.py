"""What the run and the peers agree on; it needs nothing but Python, since each peer has an environment of its own."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DSN_VARIABLE: Final = "PEER_DSN"
READY: Final = "/ready"
"""Answered with 200 by who serves, without the database."""

ROWS: Final = 50
"""Of a page of users."""

PASSWORD: Final = "a sentence works well"
"""Of every account."""

TOKEN_SECONDS: Final = 3600
SECRET: Final = "signs tokens that are good for measuring only"

Signed = dict[str, str]
"""An account as ``id``, ``email`` and ``token``."""


def dsn() -> str:
    """Return where the database of the peer is, as ``postgresql://...``."""
    return os.environ[DSN_VARIABLE]


def emails(number: int) -> list[str]:
    """Return the addresses of so many accounts; the first is that of the administrator."""
    return [f"person{index}@example.com" for index in range(number)]


def tell_accounts(fill: Callable[[int, int], Sequence[Signed]]) -> None:
    """
    Fill the database as the command line says, and print the accounts that got a token as JSON.

    Args:
        fill: Makes the tables and so many accounts, and signs in to so many of them, the administrator first.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("users", type=int)
    parser.add_argument("signed_in", type=int)
    given = parser.parse_args()
    json.dump(fill(given.users, given.signed_in), sys.stdout)


def read_accounts(told: bytes) -> list[Signed]:
    """Read what :func:`tell_accounts` prints."""
    found: list[dict[str, Any]] = json.loads(told)
    return [{name: str(value) for name, value in each.items()} for each in found]
