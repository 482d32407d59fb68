"""Statements of SQLAlchemy Core, compiled once, when first needed, so that running one costs what the driver costs."""

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

    __slots__ = ("_clause", "_columns", "_fixed", "text")

    text: bytes
    _fixed: dict[str, Any]

    def __init__(self, clause: ClauseElement, *, columns: Sequence[str] | None = None) -> None:
        """
        Take over *clause*, to compile it when it is first run: most processes run few of the statements they know.

        Args:
            columns: What an INSERT or UPDATE without values is to set, each from the parameter of its own name.
        """
        self._clause = clause
        self._columns = columns

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - either of two
        """Compile, since what that gives is not there yet; threads that meet here compile the same."""
        if name not in {"text", "_fixed"}:
            raise AttributeError(name)
        compiled = self._clause.compile(dialect=_DIALECT, column_keys=self._columns)
        # Literals of the clause, such as a status it compares with, are parameters too.
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}
        self.text = str(compiled).encode()
        return getattr(self, name)

    def explained(self) -> Statement:
        """Return the statement that tells how the planner means to run this one, and runs nothing; one row of JSON."""
        text = b"EXPLAIN (FORMAT JSON) " + self.text
        explained = copy.copy(self)
        explained.text = text
        return explained

    def __call__(self, **given: Any) -> Step:  # noqa: ANN401 - as many types as columns
        """Bind the parameters."""
        return self, {**self._fixed, **given}


Step = tuple[Statement, dict[str, Any]]
"""A statement with its parameters."""
