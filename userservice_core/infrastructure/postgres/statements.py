"""Statements of SQLAlchemy Core, compiled once, so that running one costs what the driver costs."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ClauseElement

_DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Statement:
    """
    A statement as the driver takes it.

    Parameters go to the driver as they are, without the processing of SQLAlchemy's types; values of JSON columns are
    given as text and cast.
    """

    __slots__ = ("_fixed", "text")

    def __init__(self, clause: ClauseElement, *, columns: Sequence[str] | None = None) -> None:
        """
        Compile *clause*.

        Args:
            columns: What an INSERT or UPDATE without values is to set, each from the parameter of its own name.
        """
        compiled = clause.compile(dialect=_DIALECT, column_keys=columns)
        self.text = str(compiled).encode()
        # Literals of the clause, such as a status it compares with, are parameters too.
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def explained(self) -> Statement:
        """Return the statement that tells how the planner means to run this one, and runs nothing; one row of JSON."""
        explained = copy.copy(self)
        explained.text = b"EXPLAIN (FORMAT JSON) " + self.text
        return explained

    def __call__(self, **given: Any) -> Step:  # noqa: ANN401 - as many types as columns
        """Bind the parameters."""
        return self, {**self._fixed, **given}


Step = tuple[Statement, dict[str, Any]]
"""A statement with its parameters."""
