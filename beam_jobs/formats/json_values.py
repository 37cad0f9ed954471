"""How a JSON value becomes the text that is cast to its column's type, and which it cannot become.

A text for every leaf: `beam_jobs.formats.casts` judges it as it judges the texts of CSV files.
Before that, the JSON type speaks: a number is no DATE, ``true`` no BIGINT, and ``12.0`` a BIGINT,
for it is 12.
"""

from __future__ import annotations

import decimal
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa

from beam_jobs.engine.reports import VALUE_CHARACTERS
from beam_jobs.formats import casts
from beam_jobs.formats.json_parse import Value, compact, elements, members

INTEGERS = frozenset(
    "TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split()
)
FLOATS = frozenset(("FLOAT", "DOUBLE"))
_PLAIN_INTEGER = re.compile("-?[0-9]+")
# Of a number with an exponent, at most so many digits are written out: no type has more.
_MOST_DIGITS = 100

Tree = str | list["Tree"] | dict[str, "Tree"] | None


class NoValueError(Exception):
    """A value of another type than its column; says which, within the column."""


@dataclass(frozen=True)
class Shape:
    """A type, taken apart: a leaf, a list, or a struct.

    Attributes:
        kind: As DuckDB spells it.
        item: Of a list, the type of its elements.
        fields: Of a struct, its fields' types.
    """

    kind: str
    item: Shape | None = None
    fields: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def is_leaf(self) -> bool:
        """Whether it is neither a list nor a struct."""
        return self.item is None and not self.fields

    @property
    def texts(self) -> pa.DataType:
        """The type in Arrow of the same shape with a text for each leaf."""
        if self.item is not None:
            return pa.list_(self.item.texts)
        if self.fields:
            return pa.struct([(name, shape.texts) for name, shape in self.fields.items()])
        return pa.string()


@dataclass(frozen=True)
class Leaf:
    """A text to be judged: where it stands, what to show of it, and its type."""

    place: str
    shown: str
    text: str
    kind: str


@functools.cache
def shape_of(kind: str) -> Shape:
    """Return a type taken apart."""
    found = duckdb.sqltype(kind)
    match str(found.id):
        case "list":
            ((_, item),) = found.children
            return Shape(str(found), item=shape_of(str(item)))
        case "struct":
            return Shape(str(found), fields={n: shape_of(str(k)) for n, k in found.children})
        case _:
            return Shape(str(found))


def can_be_read(kind: str) -> bool:
    """Whether a column of a JSON-lines file can have a type of DuckDB's."""
    return _can_be_read(shape_of(kind))


def _can_be_read(shape: Shape) -> bool:
    if shape.item is not None:
        return _can_be_read(shape.item)
    if shape.fields:
        return all(map(_can_be_read, shape.fields.values()))
    return casts.can_be_read(shape.kind)


def to_texts(value: Value, shape: Shape, place: str, leaves: list[Leaf]) -> Tree:
    """Return a value as texts in its type's shape.

    Args:
        value: The value.
        shape: The type.
        place: What to call it: the column, and the fields within.
        leaves: The texts that are to be judged are added.

    Raises:
        NoValueError: The value is of another JSON type.
    """
    if value.kind == "null":
        return None
    if shape.item is not None and value.kind == "array":
        item = shape.item
        return [to_texts(one, item, place, leaves) for one in elements(value.raw)]
    if shape.fields and value.kind == "object":
        found = matched(list(members(value.raw)), list(shape.fields), place)
        return {
            name: to_texts(found[name], inner, f"{place}.{name}", leaves) if name in found else None
            for name, inner in shape.fields.items()
        }
    text = leaf_text(value, shape.kind) if shape.is_leaf else None
    if text is None:
        raise NoValueError(problem(place, value.text, shape.kind))
    if shape.kind != "VARCHAR":
        leaves.append(Leaf(place, value.text, text, shape.kind))
    return text


def matched(
    found: Sequence[tuple[str, Value]], names: Sequence[str], place: str = ""
) -> dict[str, Value]:
    """Return the values of an object's keys by the names of the run.

    A key that is spelled as the name goes before those that are but for case.

    Raises:
        NoValueError: Two keys are equally good for a name.
    """
    spelled = {name: name for name in names}
    lowered = {name.lower(): name for name in names}
    values: dict[str, Value] = {}
    others: dict[str, list[tuple[str, Value]]] = {}
    for key, value in found:
        if key in spelled:
            if key in values:
                raise NoValueError(f"the key {_in(place, key)} stands twice")
            values[key] = value
        elif name := lowered.get(key.lower()):
            others.setdefault(name, []).append((key, value))
    for name, alike in others.items():
        if name in values:
            continue
        if len(alike) > 1:
            keys = " and ".join(repr(_in(place, key)) for key, _ in alike[:2])
            raise NoValueError(f"the keys {keys} are the same column")
        values[name] = alike[0][1]
    return values


def _in(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def problem(place: str, shown: str, kind: str) -> str:
    """Return the reason for a reject, in the words of the CSV reader."""
    return f"column {place}: '{shown[:VALUE_CHARACTERS]}' is no {kind}"


def leaf_text(value: Value, kind: str) -> str | None:
    """Return the text to cast to a type that is not nested; None if there is none."""
    if kind == "JSON":
        return compact(value.raw)
    if kind == "VARCHAR" or value.kind == "string":
        return value.text
    if value.kind == "boolean":
        return value.raw if kind == "BOOLEAN" else None
    return _number(value.raw, kind) if value.kind == "number" else None


def _number(raw: str, kind: str) -> str | None:
    if kind in FLOATS:
        return _float(raw, kind)
    if kind in INTEGERS and not _PLAIN_INTEGER.fullmatch(raw):
        plain = _plain(raw)
        return plain if plain and "." not in plain else None
    if kind.startswith("DECIMAL"):
        return _plain(raw)
    return raw if kind in INTEGERS else None


def _float(raw: str, kind: str) -> str | None:
    if raw == "-0":
        return "0"  # An integer, which has no sign for 0, as DuckDB's parser has it.
    if kind == "DOUBLE":
        return raw
    # By way of DOUBLE, as DuckDB's parser goes.
    with np.errstate(over="ignore"):
        single = np.float32(float(raw))
    beyond = np.isinf(single) and "inf" not in raw.lower()
    return None if beyond else str(single)


def _plain(raw: str) -> str | None:
    """Return a number exactly, without an exponent or zeros at its end; None if it is too long."""
    try:
        number = decimal.Decimal(raw)
    except decimal.InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        return "0" if number == 0 else None
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
