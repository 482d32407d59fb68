"""A database server that comes with the program: for a developer's machine and for tests."""

from __future__ import annotations

from typing import Protocol


class EmbeddedDatabase(Protocol):
    """
    A database server in a folder, started and stopped by this program.

    The folder outlives the program, so that a later start finds its data. One process at a time owns the server of a
    folder; others may use it, and find it gone when the owner stops it.
    """

    def start(self) -> str:
        """
        See to it that the server runs, and return the DSN of its database.

        May be called again at any time; a server that died meanwhile is started anew. A server that a killed owner left
        behind in this folder is taken over with its data, and a server that another process owns is used as it is.

        Raises:
            ConfigurationError: If the server cannot run on this machine or in this folder at all.
            DatabaseUnavailableError: If it did not answer in time; the detail ends with the last lines of its log.
        """

    def stop(self) -> None:
        """
        Stop the server if this object owns it, and wait until it is gone.

        Does nothing when it was not started, when it is gone already, or when another process owns it.
        """
