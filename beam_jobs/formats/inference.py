"""Finds out the types of CSV columns, and what stands for NULL in them, from a sample of texts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs.formats import casts
from beam_jobs.formats.csv_records import some_of

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
    first = {name: texts[:_FIRST_TEXTS] for name, texts in untyped.items()}
    likely = _fitting(session, first, tuple(casts.INFERRED))
    # Of several types that fit, the first is the most particular.
    for kind in casts.INFERRED:
        tried = {n: texts for n, texts in untyped.items() if kind in likely[n]}
        for name, kinds in _fitting(session, tried, (kind,)).items():
            if kinds:
                types[name] = kind
                del untyped[name]
    return types


def _fitting(
    session: duckdb.DuckDBPyConnection, sample: Sample, kinds: Sequence[str]
) -> dict[str, list[str]]:
    """Return for each column which types all its texts are of.

    One query for all of them, over a row for each text: over a column for each, the time that
    DuckDB takes grows with the columns times the size of what is asked of one.
    """
    if not sample:
        return {}
    session.register("texts", _as_table(sample))
    fits = ", ".join(f"bool_and({casts.matches('text', kind)})" for kind in kinds)
    rows = session.execute(f"SELECT number, {fits} FROM texts GROUP BY number").fetchall()
    names = list(sample)
    return {
        names[number]: [kind for kind, fit in zip(kinds, fitting, strict=True) if fit]
        for number, *fitting in rows
    }


def _as_table(sample: Sample) -> pa.Table:
    """Return the texts, each with its column's number.

    Built from buffers, as pyarrow imports pandas to look at a list, which takes a quarter of a
    second.
    """
    texts = [text.encode() for texts in sample.values() for text in texts]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    counts = [len(texts) for texts in sample.values()]
    numbers = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    arrays: list[pa.Array[Any]] = [
        pa.Array.from_buffers(pa.int64(), len(texts), [None, pa.py_buffer(numbers.tobytes())]),
        pa.Array.from_buffers(
            pa.large_string(),
            len(texts),
            [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(texts))],
        ),
    ]
    return pa.Table.from_arrays(arrays, names=["number", "text"])


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
            "%s read as NULL, in all columns: %s are numbers or dates but for that "
            "(--null_strings says otherwise)",
            ", ".join(nulls),
            some_of(types),
        )
    return ("", *nulls), types


def _all_texts(columns: Iterable[Sequence[str]]) -> set[str]:
    return {text for texts in columns for text in texts}
