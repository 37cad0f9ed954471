"""Reads JSON lines with DuckDB's parser, and says which lines it cannot be trusted with.

DuckDB reads ``12.5`` into a BIGINT as 12, ``true`` as 1, and the text of ``1.50`` as ``1.5``. So
each value is taken in a form that shows such things, and a line that shows one is doubtful: the
careful reader reads it again. What is not doubtful is read as the careful reader does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_jobs.engine.session import quote_name, quote_text
from beam_jobs.formats import casts
from beam_jobs.formats.json_values import FLOATS, INTEGERS, shape_of

_LINES = "_json_lines"
_DOUBTFUL = "doubtful"
_SPACES = r" \t\r\n"
_COLON = rf"[{_SPACES}]*:[{_SPACES}]*"
# What the parser writes in another way than it stands in the file.
_CHANGED_IN_JSON = r"[0-9][.eE]|-0|(?i:nan|inf)|\\u"
# No number's text is a date: what begins with a digit and can be cast was a string.
_TIMES = ("DATE", "TIME", "TIMESTAMP")


def can_be_fast(wanted: Mapping[str, str]) -> bool:
    """Whether the values of the columns can be taken from DuckDB's parser."""
    shapes = [shape_of(kind) for kind in wanted.values()]
    return bool(shapes) and all(shape.is_leaf for shape in shapes)


def well_formed(session: duckdb.DuckDBPyConnection, lines: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    """Return for each line whether it is JSON, UTF-8 included."""
    session.register(_LINES, pa.table({"line": lines}))
    found = session.sql(f"SELECT json_valid(line) AS ok FROM {_LINES}").to_arrow_table()
    session.unregister(_LINES)
    return np.asarray(found.column("ok").to_numpy(), np.bool_)


def read_objects(
    session: duckdb.DuckDBPyConnection,
    lines: pa.Array[Any],
    wanted: Mapping[str, str],
    *,
    complete: bool,
) -> tuple[pa.Table, npt.NDArray[np.bool_]] | None:
    """Read lines that begin with a brace.

    Args:
        session: Any.
        lines: Each with its end or without.
        wanted: Name and type of the columns to return, for which it `can_be_fast`.
        complete: Whether every line has every column's key, once: this is the faster way.

    Returns:
        The columns, and for each line whether its values are doubtful; None if a line is malformed
        or, where that is asked for, incomplete.
    """
    columns = [_Column(name, kind, complete) for name, kind in wanted.items()]
    form = json.dumps({column.name: column.form for column in columns}, ensure_ascii=False)
    function = "json_transform_strict" if complete else "json_transform"
    fields = ", ".join(
        f"struct_extract(found, {quote_text(column.name)}) AS v{place}"
        for place, column in enumerate(columns)
    )
    values = ", ".join(
        f"{column.value(f'v{place}')} AS {quote_name(f'v{place}')}"
        for place, column in enumerate(columns)
    )
    doubts = " OR ".join(column.doubt(f"v{place}") for place, column in enumerate(columns))
    doubts += f" OR {_boolean_doubt(columns)}"
    session.register(_LINES, pa.table({"line": lines}))
    try:
        table = session.sql(
            f"SELECT {values}, coalesce({doubts}, false) AS {_DOUBTFUL} FROM ("
            f"SELECT line, {fields} FROM ("
            f"SELECT line, {function}(line, {quote_text(form)}) AS found FROM {_LINES}))"
        ).to_arrow_table()
    except (duckdb.InvalidInputException, UnicodeDecodeError):
        return None  # The error of a line that is not UTF-8 is not UTF-8 either.
    finally:
        session.unregister(_LINES)
    doubtful = np.asarray(table.column(_DOUBTFUL).to_numpy(), np.bool_)
    return table.drop_columns([_DOUBTFUL]).rename_columns(list(wanted)), doubtful


def _boolean_doubt(columns: Sequence[_Column]) -> str:
    """Return SQL for whether a 1 or a 0 may have been true or false."""
    floats = [(f"v{n}", column) for n, column in enumerate(columns) if column.kind in FLOATS]
    if not floats:
        return "false"
    found = " OR ".join(f"{name} = 0 OR {name} = 1" for name, _ in floats)
    begins = " OR ".join(column.begins("[tf]") for _, column in floats)
    return (
        f"CASE WHEN {found} THEN CASE WHEN contains(line, 'true') OR contains(line, 'false') "
        f"THEN {begins} ELSE false END ELSE false END"
    )


class _Column:
    """A column: the form in which DuckDB's parser gives its values, and what is doubtful then."""

    def __init__(self, name: str, kind: str, complete: bool) -> None:
        self.name = name
        self.kind = casts.spelled(kind)
        self.form = self.kind if self.kind in (*FLOATS, "JSON") else "VARCHAR"
        self._complete = complete
        self._key = rf'"{re.escape(name)}"'
        # Where a key may be spelled with escapes, and is not found by its characters.
        escape = "\\u" if re.search(r'["\\/\x00-\x1f\x7f]', name) is None else "\\"
        self._hidden = f"contains(line, {quote_text(escape)})"

    def value(self, found: str) -> str:
        """Return SQL for the value, from what the parser gives."""
        return found if self.form == self.kind else casts.cast(found, self.kind)

    def doubt(self, found: str) -> str:
        """Return SQL for whether the value may be another; NULL is no."""
        doubt = f"coalesce({self._value_doubt(found)}, false)"
        if self._complete:
            return doubt
        # A key may be absent or in another case; what is NULL may be a text that is no number.
        other = f"(?i){self._key}{_COLON}[^n{_SPACES}]"
        null = f"regexp_matches(line, {quote_text(other)})" if self.name.isascii() else "true"
        twice = f"regexp_matches(line, {quote_text(f'(?s){self._key}.*{self._key}')})"
        return (
            f"CASE WHEN {self._hidden} THEN true WHEN {found} IS NULL THEN {null} "
            f"ELSE {twice} OR {doubt} END"
        )

    def _value_doubt(self, found: str) -> str:
        if self.kind in FLOATS:
            return f"NOT isfinite({found})"
        bad = casts.is_bad(found, casts.cast(found, self.kind), self.kind) or "false"
        if self.kind == "BOOLEAN":
            other = f"{found} NOT IN ('true', 'false')"
        elif self.kind == "JSON":
            other = f"regexp_matches({found}, {quote_text(_CHANGED_IN_JSON)})"
        elif self.kind in INTEGERS:
            other = "false"
        elif self.kind.startswith("DECIMAL"):
            # Numbers that are longer, or have an exponent, lost digits in a DOUBLE.
            other = self.begins("-?(?:[0-9.]{16}|[0-9.]+[eE])")
        elif self.kind.startswith(_TIMES):
            other = f"NOT ({found} >= '0' AND {found} < ':')"
        else:
            other = self._text_doubt(found)
        return f"{bad} OR {other}"

    def _text_doubt(self, text: str) -> str:
        """Return SQL for whether a text may have stood in the line without quotes."""
        number = f"({text} >= '-' AND {text} < ':')"
        nested = f"({text} >= '[' AND {text} < '\\') OR ({text} >= '{{' AND {text} < '|')"
        words = "'nan', 'inf', 'infinity'"
        if self.kind == "VARCHAR":
            # An integer is written as it stands in the file, but for -0.
            number = (
                f"CASE WHEN {number} THEN NOT regexp_full_match({text}, '-?[1-9][0-9]*') "
                "ELSE false END"
            )
        else:
            words += ", 'true', 'false'"
        word = f"CASE WHEN strlen({text}) IN (3, 4, 5, 8) THEN lower({text}) IN ({words}) END"
        unquoted = self.begins(f'[^"{_SPACES}]')
        return f"CASE WHEN {number} OR {nested} OR {word} THEN {unquoted} ELSE false END"

    def begins(self, value: str) -> str:
        """Return SQL for whether a line may have a value of the column that begins so."""
        pattern = quote_text(f"{self._key}{_COLON}{value}")
        return f"({self._hidden} OR regexp_matches(line, {pattern}))"
