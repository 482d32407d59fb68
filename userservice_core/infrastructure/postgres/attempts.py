"""Attempts to connect, of which nothing is left when they fail."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def attempt_to_connect() -> Iterator[None]:
    """
    Close what the driver has opened within the block, if it fails to connect there.

    The error of an attempt that took too long refers to itself by the frames that it came through, and in these is the
    socket: it would stay open until somebody looks for garbage, with a server at the other end that waits for a
    password. On a standby of PostgreSQL 15 the replay of DROP DATABASE would wait for that, for up to a minute.
    """
    try:
        yield
    except psycopg.Error as error:
        traceback.clear_frames(error.__traceback__)
        raise
