"""Finds out the types of CSV columns, and what stands for NULL in them, from a sample of texts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import duckdb
import pyarrow as pa

from beam_jobs import casts
from beam_jobs.csv_records import some_of

_LOG = logging.getLogger(__name__)

# The texts of each column, each of them once.
Sample = Mapping[str, Sequence[str]]
# The first texts rule out most types of most columns; the rest is tried on all.
_FIRST_TEXTS = 10
# Tried, where no null strings are given, on columns that would be numbers or dates but for these.
USUAL_NULL_STRINGS = ("NA", "N/A", "NULL", "null", r"\N")


def infer_types(
    session: duckdb.DuckDBPyConnection, sample: Sample, null_strings: Sequence[str]
) -> dict[str, str]:
    """Return the type of each column: the first that fits all its values, else VARCHAR."""
    types = dict.fromkeys(sample, "VARCHAR")
    nulls = frozenset(null_strings)
    filled = {name: [text for text in texts if text not in nulls] for name, texts in sample.items()}
    untyped = {name: texts for name, texts in filled.items() if texts}
    # Of several types that fit, the first is the most particular.
    for kind in casts.INFERRED:
        likely = _fitting(session, {n: t[:_FIRST_TEXTS] for n, t in untyped.items()}, kind)
        for name in _fitting(session, {name: untyped[name] for name in likely}, kind):
            types[name] = kind
            del untyped[name]
    return types


def _fitting(session: duckdb.DuckDBPyConnection, sample: Sample, kind: str) -> list[str]:
    """Return the columns of which all texts are of a type.

    One query for all of them, over a row for each text: over a column for each, the time that
    DuckDB takes grows with the columns times the size of what is asked of one.
    """
    names = list(sample)
    numbers = [number for number, texts in enumerate(sample.values()) for _ in texts]
    texts = [text for texts in sample.values() for text in texts]
    session.register("texts", pa.table({"name": pa.array(numbers, pa.int64()), "text": texts}))
    rows = session.execute(
        f"SELECT name FROM texts GROUP BY name HAVING bool_and({casts.matches('text', kind)})"
    ).fetchall()
    return [names[number] for (number,) in rows]


def find_null_strings(
    session: duckdb.DuckDBPyConnection, sample: Sample
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return which usual null strings stand in columns that are numbers or dates but for them.

    Args:
        session: Any.
        sample: Of the columns that are texts otherwise.

    Returns:
        The null strings, the empty one among them, and the types of these columns.
    """
    usual = frozenset(USUAL_NULL_STRINGS)
    doubtful = {name: texts for name, texts in sample.items() if not usual.isdisjoint(texts)}
    found = infer_types(session, doubtful, ("", *USUAL_NULL_STRINGS))
    types = {name: kind for name, kind in found.items() if kind != "VARCHAR"}
    stand = _all_texts(sample[name] for name in types) & usual
    nulls = [null for null in USUAL_NULL_STRINGS if null in stand]
    if nulls:
        _LOG.info(
            "%s read as NULL: columns %s are numbers or dates but for that "
            "(--null_strings says otherwise)",
            ", ".join(nulls),
            some_of(types),
        )
    return ("", *nulls), types


def _all_texts(columns: Iterable[Sequence[str]]) -> set[str]:
    return {text for texts in columns for text in texts}
