"""Parses CSV blocks that are without fault at the speed of Arrow's reader.

What Arrow's reader takes is what the careful reader takes, with the same values: whatever it
refuses, or would read in another way, is None here and goes to the careful reader, which sets
rejects aside.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

_INTEGERS: Mapping[str, pa.DataType] = MappingProxyType(
    {
        "TINYINT": pa.int8(),
        "SMALLINT": pa.int16(),
        "INTEGER": pa.int32(),
        "BIGINT": pa.int64(),
        "UTINYINT": pa.uint8(),
        "USMALLINT": pa.uint16(),
        "UINTEGER": pa.uint32(),
        "UBIGINT": pa.uint64(),
    }
)
# The types that Arrow reads as DuckDB casts them; others are read as texts and cast by DuckDB.
ARROW_TYPES: Mapping[str, pa.DataType] = MappingProxyType(
    {
        **_INTEGERS,
        "BOOLEAN": pa.bool_(),
        "DOUBLE": pa.float64(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    }
)


# A value that begins so, and not the end of a tail number such as N710XX.
_HEXADECIMAL = re.compile(rb"(?<![0-9A-Za-z])0[xX]")


def arrow_types(
    kinds: Mapping[str, str], block: bytes, delimiter: str
) -> dict[str, pa.DataType | None]:
    """Return the types to read the columns of a block as; None for texts that DuckDB casts.

    Args:
        kinds: Type of each column by name, as DuckDB spells it.
        block: The block. Arrow takes ``0x1F`` for an integer, and a tab beside one for a space.
        delimiter: Between values; a tab that is one stands in a value only within quotes.
    """
    known = ARROW_TYPES
    hexadecimal = (b"0x" in block or b"0X" in block) and _HEXADECIMAL.search(block)
    tabs = b"\t" in block and (delimiter != "\t" or b'"' in block)
    if hexadecimal or tabs:
        known = {kind: found for kind, found in ARROW_TYPES.items() if kind not in _INTEGERS}
    return {name: known.get(kind) for name, kind in kinds.items()}


def parse(
    block: bytes,
    names: Sequence[str],
    types: Mapping[str, pa.DataType],
    delimiter: str,
    null_strings: Sequence[str],
) -> pa.Table | None:
    """Parse a block of whole records without a header.

    Args:
        block: The records; its quotes are known to be regular.
        names: Names for all columns of the file, in the file's order.
        types: Type of each column to read, by name.
        delimiter: Between values, one character of ASCII.
        null_strings: Texts that are NULL.

    Returns:
        The columns asked for, or None where the careful reader has to look at the block.
    """
    if b"\x00" in block:
        return None
    try:
        table = pa.csv.read_csv(
            io.BytesIO(block),
            read_options=pa.csv.ReadOptions(
                use_threads=False, column_names=list(names), block_size=len(block) + 1
            ),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                # An empty line is a record where there is one column only.
                ignore_empty_lines=len(names) > 1,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict(types),
                include_columns=list(types),
                null_values=list(null_strings),
                strings_can_be_null=True,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
    except pa.ArrowInvalid:
        return None
    for column in table.columns:
        # A number beyond the range of DOUBLE becomes infinity.
        if column.type == pa.float64() and pa.compute.any(pa.compute.is_inf(column)).as_py():
            return None
    return table
