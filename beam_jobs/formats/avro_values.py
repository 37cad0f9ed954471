"""Turns what is read of an Avro field into what it stands for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.formats.avro_codecs import DamagedError
from beam_jobs.formats.avro_schema import Node

_MILLISECONDS = 1000
_DAY = 24 * 60 * 60 * 1_000_000


def convert(array: Any, node: Node) -> Any:
    """Return the values of a field, as an Arrow array.

    Args:
        array: Arrow array of the type `node.arrow`, without an offset.
        node: The field's type.

    Raises:
        DamagedError: A value is out of its type's range.
        pyarrow.ArrowInvalid: Likewise.
    """
    if node.children:
        return _nested(array, node)
    meaning = node.meaning
    if meaning == "boolean":
        # Read as a number, the byte 1 is -1.
        _check(array, -1, 0, "boolean")
        return pc.equal(array, pa.scalar(-1))
    if meaning == "enum":
        _check(array, 0, len(node.symbols) - 1, "symbol's number")
        symbols = pa.array(node.symbols, pa.string())
        return pa.DictionaryArray.from_arrays(array.cast(pa.int32()), symbols)
    if meaning in ("int", "date"):
        numbers = array.cast(pa.int32())
        return numbers.cast(pa.date32()) if meaning == "date" else numbers
    if meaning == "union" and node.kind == "INTEGER":
        return array.cast(pa.int32())
    if meaning == "decimal":
        array.validate(full=True)
    return _time(array, meaning) if "time" in meaning else array


def _time(array: Any, meaning: str) -> Any:
    if meaning.startswith("time-"):
        factor = _MILLISECONDS if meaning == "time-millis" else 1
        _check(array, 0, _DAY // factor - 1, "time of day")
        return pc.multiply(array, factor).cast(pa.time64("us"))
    zone = None if meaning.startswith("local-") else "UTC"
    if meaning.endswith("-nanos"):
        return array.cast(pa.timestamp("ns", zone))
    if meaning.endswith("-millis"):
        array = pc.multiply_checked(array, _MILLISECONDS)
    return array.cast(pa.timestamp("us", zone))


def _nested(array: Any, node: Node) -> Any:
    nulls = array.is_null()
    if node.meaning == "record":
        parts = [convert(array.field(n), child) for n, (_, child) in enumerate(node.children)]
        return pa.StructArray.from_arrays(parts, [name for name, _ in node.children], mask=nulls)
    if node.meaning == "array":
        values = convert(array.values, node.children[0][1])
        return pa.LargeListArray.from_arrays(array.offsets, values, mask=nulls)
    entries = array.values
    keys, values = (convert(entries.field(n), node.children[n][1]) for n in (0, 1))
    return pa.MapArray.from_arrays(array.offsets.cast(pa.int32()), keys, values, mask=nulls)


def _check(array: Any, low: int, high: int, what: str) -> None:
    """Fail on a number out of a range."""
    extremes = pc.min_max(array)
    least, most = extremes["min"].as_py(), extremes["max"].as_py()
    if least is not None and (least < low or most > high):
        raise DamagedError(f"{least if least < low else most} is no {what}")
