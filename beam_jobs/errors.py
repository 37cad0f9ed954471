"""The errors a user sees. Each is one plain message and an exit code; no traceback is shown.

Exit code 2 means that the call itself has to change (an option, a query, a pattern that matches
nothing) and that nothing was read or written; 1 means that the work failed.
"""

from __future__ import annotations


class TallyflowError(Exception):
    """The work failed for a reason the user can act on; the message says what to do next."""

    exit_code = 1


class UsageError(TallyflowError):
    """The call has to change: nothing was read or written."""

    exit_code = 2


class InputError(TallyflowError):
    """An input file cannot be read, or holds more rejects than allowed."""


class QueryError(UsageError):
    """A query that is not run, with the place in it.

    Args:
        problem: What is wrong and what to write instead, in one sentence.
        query: The whole query as the user wrote it.
        position: Offset in characters of the offending part, None where none is known.
    """

    def __init__(self, problem: str, query: str, position: int | None = None) -> None:
        self.problem = problem
        self.query = query
        self.position = position
        super().__init__(self._render())

    @property
    def line(self) -> int:
        """Line of the offending part within the query, from 1."""
        return self.query.count("\n", 0, self.position or 0) + 1

    @property
    def column(self) -> int:
        """Column of the offending part within its line, from 1."""
        position = self.position or 0
        return position - (self.query.rfind("\n", 0, position) + 1) + 1

    def _render(self) -> str:
        if self.position is None:
            return f"query: {self.problem}"
        text = self.query.splitlines()[self.line - 1] if self.query.strip() else ""
        caret = " " * (self.column - 1) + "^"
        return f"query, line {self.line}, column {self.column}: {self.problem}\n  {text}\n  {caret}"
