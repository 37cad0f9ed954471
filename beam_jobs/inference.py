"""Finds out the types of CSV columns, and what stands for NULL in them, from a sample of texts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from beam_jobs import casts
from beam_jobs.session import quote_name, quote_text

_LOG = logging.getLogger(__name__)

SAMPLE = "sample"
_FIRST_ROWS = 100
# Tried, where no null strings are given, on columns that would be numbers or dates but for these.
USUAL_NULL_STRINGS = ("NA", "N/A", "NULL", "null", r"\N")


def infer_types(
    session: duckdb.DuckDBPyConnection, names: Sequence[str], null_strings: Sequence[str]
) -> dict[str, str]:
    """Return the type of each column: the first that fits all its values, else VARCHAR."""
    candidates = [(name, kind) for name in names for kind in casts.INFERRED]
    # The first rows rule out most types of most columns; the rest is tried on all.
    for rows in (f"(FROM {SAMPLE} LIMIT {_FIRST_ROWS})", SAMPLE):
        tests = [casts.matches(name, kind, null_strings) for name, kind in candidates]
        fits = _one_row(session, tests, rows)
        candidates = [one for one, fit in zip(candidates, fits, strict=True) if fit is not False]
    nulls = ", ".join(map(quote_text, null_strings))
    counts = [f"count(*) FILTER ({quote_name(name)} NOT IN ({nulls}))" for name in names]
    filled = dict(zip(names, _one_row(session, counts, SAMPLE), strict=True))
    # Of several types that fit, the first is the most particular; the last one put in stays.
    fitting = {name: kind for name, kind in reversed(candidates) if filled[name]}
    return {name: fitting.get(name, "VARCHAR") for name in names}


def _one_row(
    session: duckdb.DuckDBPyConnection, expressions: Sequence[str], rows: str
) -> tuple[Any, ...]:
    if not expressions:
        return ()
    (row,) = session.execute(f"SELECT {', '.join(expressions)} FROM {rows}").fetchall()
    return row


def find_null_strings(
    session: duckdb.DuckDBPyConnection, types: Mapping[str, str]
) -> tuple[str, ...]:
    """Return which usual null strings stand in columns that are numbers or dates but for them."""
    texts = [name for name, kind in types.items() if kind == "VARCHAR"]
    typed = [
        name
        for name, kind in infer_types(session, texts, ("", *USUAL_NULL_STRINGS)).items()
        if kind != "VARCHAR"
    ]
    found = [
        null
        for null in USUAL_NULL_STRINGS
        if any(
            session.execute(
                f"SELECT 1 FROM {SAMPLE} WHERE {quote_name(name)} = ? LIMIT 1", [null]
            ).fetchall()
            for name in typed
        )
    ]
    if found:
        _LOG.info(
            "%s read as NULL: columns %s are numbers or dates but for that "
            "(--null_strings says otherwise)",
            ", ".join(found),
            ", ".join(typed),
        )
    return ("", *found)
