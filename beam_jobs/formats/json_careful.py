"""Reads JSON lines one by one: exact about each, and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from beam_jobs.engine.session import quote_name
from beam_jobs.formats import casts
from beam_jobs.formats.csv_records import MAX_RECORD
from beam_jobs.formats.json_parse import MalformedError, read_object
from beam_jobs.formats.json_values import (
    Leaf,
    NoValueError,
    Shape,
    Tree,
    matched,
    problem,
    shape_of,
    to_texts,
)

_TEXTS = "_json_texts"


@dataclass(frozen=True)
class CarefulLines:
    """What is in some lines of a block.

    Attributes:
        table: The columns of the good ones.
        numbers: Of the good ones, in the order of the table.
        problems: What is wrong with the others, by number.
    """

    table: pa.Table
    numbers: list[int]
    problems: dict[int, str]


@dataclass(frozen=True)
class _Line:
    number: int
    trees: list[Tree]
    leaves: list[Leaf]


def read_lines(
    session: duckdb.DuckDBPyConnection,
    lines: Sequence[tuple[int, bytes]],
    wanted: Mapping[str, str],
) -> CarefulLines:
    """Read lines, with any number to call each by, that are not blank.

    Args:
        session: Any; it casts the texts.
        lines: Number and bytes of each.
        wanted: Name and DuckDB type of the columns to return.
    """
    shapes = {name: shape_of(kind) for name, kind in wanted.items()}
    problems: dict[int, str] = {}
    read: list[_Line] = []
    for number, raw in lines:
        try:
            read.append(_read(number, raw, shapes))
        except (MalformedError, NoValueError) as error:
            problems[number] = str(error)
        except UnicodeDecodeError as error:
            problems[number] = f"not UTF-8 ({error.reason})"
    bad = _bad_texts(session, [leaf for line in read for leaf in line.leaves])
    good: list[_Line] = []
    for line in read:
        found = [leaf for leaf in line.leaves if (leaf.kind, leaf.text) in bad]
        if found:
            reasons = (problem(leaf.place, leaf.shown, leaf.kind) for leaf in found)
            problems[line.number] = "; ".join(reasons)
        else:
            good.append(line)
    table = _cast(session, [line.trees for line in good], shapes)
    return CarefulLines(table, [line.number for line in good], problems)


def _read(number: int, raw: bytes, shapes: Mapping[str, Shape]) -> _Line:
    """Read a line.

    Raises:
        MalformedError: It is no JSON, or too long.
        NoValueError: It is no object, or a value is of another JSON type than its column.
        UnicodeDecodeError: It is not UTF-8.
    """
    if len(raw) > MAX_RECORD:
        raise MalformedError(f"longer than {MAX_RECORD:,} bytes")
    members = read_object(raw.rstrip(b"\r\n").decode())
    if members is None:
        raise NoValueError("the line is no JSON object")
    values = matched(members, list(shapes))
    trees: list[Tree] = []
    leaves: list[Leaf] = []
    reasons: list[str] = []
    for name, shape in shapes.items():
        try:
            trees.append(to_texts(values[name], shape, name, leaves) if name in values else None)
        except NoValueError as error:
            reasons.append(str(error))
    if reasons:
        raise NoValueError("; ".join(reasons))
    return _Line(number, trees, leaves)


def _bad_texts(session: duckdb.DuckDBPyConnection, leaves: Sequence[Leaf]) -> set[tuple[str, str]]:
    """Return kind and text of the leaves whose text is no value of their kind."""
    texts: dict[str, dict[str, None]] = {}
    for leaf in leaves:
        texts.setdefault(leaf.kind, {})[leaf.text] = None
    bad: set[tuple[str, str]] = set()
    for kind, found in texts.items():
        value = casts.cast("text", kind)
        session.register(_TEXTS, pa.table({"text": pa.array(list(found), pa.string())}))
        rows = session.execute(
            f"SELECT text FROM {_TEXTS} WHERE {casts.is_bad('text', value, kind)}"
        ).fetchall()
        bad.update((kind, text) for (text,) in rows)
    return bad


def _cast(
    session: duckdb.DuckDBPyConnection,
    rows: Sequence[Sequence[Tree]],
    shapes: Mapping[str, Shape],
) -> pa.Table:
    """Return the columns of rows of texts that are all good."""
    if not shapes:
        return pa.table({})
    columns = [
        pa.array([row[place] for row in rows], shape.texts)
        for place, shape in enumerate(shapes.values())
    ]
    names = [f"c{place}" for place in range(len(columns))]
    session.register(_TEXTS, pa.table(columns, names))
    values = ", ".join(
        f"CAST({text} AS {shape.kind}) AS {quote_name(name)}"
        for text, (name, shape) in zip(names, shapes.items(), strict=True)
    )
    table: pa.Table = session.sql(f"SELECT {values} FROM {_TEXTS}").to_arrow_table()
    session.unregister(_TEXTS)
    return table
