"""Reads Avro files: by columns where every byte is accounted for, else record by record."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.engine.inputs import null_field
from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile, open_input
from beam_jobs.formats import casts
from beam_jobs.formats.avro_blocks import (
    AvroBlock,
    AvroHeader,
    AvroRun,
    mini_file,
    read_header,
)
from beam_jobs.formats.avro_codecs import DamagedError, decompress
from beam_jobs.formats.avro_schema import Node, SchemaError, parse_schema, sentinel, sentinel_place
from beam_jobs.formats.avro_values import convert
from beam_jobs.formats.widening import columns_of_all, no_fit, widens

# Of records that take no bytes, more than this are taken for damage.
_EMPTY_RECORDS = 100_000_000

Fields = tuple[tuple[str, Node], ...]


def find_columns(files: Sequence[InputFile], declared: Mapping[str, str]) -> dict[str, str]:
    """Return name and DuckDB type of the columns of a run, from a sample of its files.

    A field that DuckDB has no type for, such as a union of a text and a number, is no column.

    Args:
        files: The sample.
        declared: Types that are given; they are not questioned.

    Raises:
        InputError: A file cannot be read, or the types of two files have none in common.
    """
    return columns_of_all(_sampled_columns(files), declared)


def load(
    header: AvroHeader,
    run: AvroRun,
    path: str,
    wanted: Mapping[str, str],
    known: Collection[str],
) -> tuple[pa.Table, BlockReport]:
    """Load blocks of a file.

    Args:
        header: Of the file.
        run: The blocks.
        path: The file.
        wanted: Name to DuckDB type of the run's columns to load.
        known: Names of all columns of the run.

    Returns:
        The wanted columns, and the report.

    Raises:
        InputError: A block is damaged, or a field's type does not fit.
    """
    fields = _fields(header, path)
    places = {name.lower(): place for place, (name, _) in enumerate(fields)}
    used = {name: places[name.lower()] for name in wanted if name.lower() in places}
    for name, place in used.items():
        _check_fits(path, fields[place][0], fields[place][1], wanted[name])
    count = sum(block.count for block in run.blocks)
    arrays = _read(header, run.blocks, path, fields, sorted(set(used.values())))
    columns = [
        _cast(arrays[used[name]], fields[used[name]][1], kind, path, run.first)
        if name in used
        else pa.nulls(count, null_field(kind).type)
        for name, kind in wanted.items()
    ]
    # Without any column there still are rows to count.
    table = (
        pa.table(columns, schema=pa.schema(_schema_fields(wanted, columns)))
        if wanted
        else pa.table({"present": pa.nulls(count)})
    )
    taken = {name.lower() for name in known}
    return table, BlockReport(
        path,
        count,
        missing=tuple(n for n in known if n.lower() not in places) if run.is_first else (),
        ignored=tuple(n for n, _ in fields if n.lower() not in taken) if run.is_first else (),
    )


def _sampled_columns(
    files: Sequence[InputFile],
) -> Iterator[tuple[str, Mapping[str, str | None]]]:
    for file in files:
        with open_input(file) as stream:
            header = read_header(stream, file.path)
        yield file.path, {name: node.kind for name, node in _fields(header, file.path)}


def _fields(header: AvroHeader, path: str) -> Fields:
    try:
        return parse_schema(header.schema)
    except SchemaError as error:
        raise InputError(
            f"{path}: the Avro schema in the header {error}; write the file with another"
        ) from error


def _check_fits(path: str, name: str, node: Node, kind: str) -> None:
    if node.kind is None:
        raise InputError(
            f"{path}: column {name} has values of types that no type of DuckDB holds exactly; "
            "write it as a text, or as several fields"
        )
    if not widens(node.kind, kind):
        raise no_fit(path, name, node.kind, kind)


def _read(
    header: AvroHeader,
    blocks: Sequence[AvroBlock],
    path: str,
    fields: Fields,
    places: Sequence[int],
) -> dict[int, pa.Array[Any]]:
    """Return the values of some fields, by the field's place."""
    offset = blocks[0].offset if blocks else header.size
    try:
        plain: list[tuple[int, bytes]] = []
        for block in blocks:
            offset = block.offset
            data = decompress(header.codec, block.data)
            _check_count(block.count, data, fields)
            plain.append((block.count, data))
        arrays = _by_columns(plain, fields, places)
        if arrays is None:
            read = []
            for block, (count, data) in zip(blocks, plain, strict=True):
                offset = block.offset
                read.append(_by_records(count, data, fields))
            arrays = {
                p: pa.array([v for values in read for v in values[p]], fields[p][1].arrow)
                for p in places
            }
            arrays = {p: convert(array, fields[p][1]) for p, array in arrays.items()}
    except (DamagedError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: byte {offset}: the Avro block is broken: {error}; write the file again"
        ) from error
    return arrays


def _check_count(count: int, data: bytes, fields: Fields) -> None:
    size = sum(len(node.zero) > 0 for _, node in fields)
    if count * size > len(data) or count > _EMPTY_RECORDS:
        raise DamagedError(f"it claims {count} records in {len(data)} bytes")


def _by_columns(
    blocks: Sequence[tuple[int, bytes]], fields: Fields, places: Sequence[int]
) -> dict[int, pa.Array[Any]] | None:
    """Read blocks by columns, with Polars; None where that cannot be proven to be right.

    Polars does not look at what follows the last record. So a record of ours is put behind it,
    with a random value that comes out only if every byte before it was taken for what it is.
    """
    plain = tuple((f"f{n}", node) for n, (_, node) in enumerate(fields) if node.meaning != "null")
    names = [f"f{n}" for n in places if fields[n][1].meaning != "null"]
    mark = sentinel_place(plain, names)
    if mark is None or not all(node.is_plain for _, node in plain):
        return None
    import polars

    nonce = secrets.token_hex(8).encode()
    raw = [{"name": name, "type": node.raw} for name, node in plain]
    schema = json.dumps({"type": "record", "name": "row", "fields": raw})
    count = sum(count for count, _ in blocks)
    data = b"".join([*(data for _, data in blocks), sentinel(plain, mark, nonce)])
    marked = plain[mark][0]
    try:
        frame = polars.read_avro(
            io.BytesIO(mini_file(schema, count + 1, data)), columns=[*{*names, marked}]
        )
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError):
        return None
    last = frame[marked][-1]
    expected = {"string": nonce.decode(), "bytes": nonce}.get(
        plain[mark][1].meaning, int.from_bytes(nonce[:7], "big")
    )
    if frame.height != count + 1 or last != expected:
        return None
    table = frame.to_arrow()
    arrays: dict[int, pa.Array[Any]] = {}
    for place in places:
        node = fields[place][1]
        if node.meaning == "null":
            arrays[place] = pa.nulls(count)
        else:
            array = table.column(f"f{place}").combine_chunks()
            if isinstance(array, pa.ChunkedArray):
                array = pa.concat_arrays(array.chunks)
            arrays[place] = convert(array.cast(node.arrow), node).slice(0, count)
    return arrays


def _by_records(count: int, data: bytes, fields: Fields) -> list[list[Any]]:
    """Read a block record by record; returns the values of each field.

    Raises:
        DamagedError: The data is not that of so many records.
    """
    import fastavro

    parsed = fastavro.parse_schema(
        {
            "type": "record",
            "name": "row",
            "fields": [{"name": f"f{n}", "type": node.raw} for n, (_, node) in enumerate(fields)],
        }
    )
    stream = io.BytesIO(data)
    found: list[list[Any]] = [[] for _ in fields]
    names = [f"f{n}" for n in range(len(fields))]
    try:
        for _ in range(count):
            record: Any = fastavro.schemaless_reader(stream, parsed, None)
            for values, name in zip(found, names, strict=True):
                values.append(record[name])
    except Exception as error:
        # Whatever it stumbles over: it has no error of its own.
        raise DamagedError(f"a record cannot be read ({type(error).__name__}: {error})") from error
    if stream.tell() != len(data):
        raise DamagedError(f"its {count} records end {len(data) - stream.tell()} bytes early")
    return found


def _cast(array: pa.Array[Any], node: Node, kind: str, path: str, offset: int) -> pa.Array[Any]:
    """Return values as the type of the run's column, which holds them all."""
    if node.kind == casts.spelled(kind):
        return array.cast(pa.float32()) if node.meaning == "union" and kind == "FLOAT" else array
    target = null_field(kind).type
    try:
        if pa.types.is_primitive(array.type) and pa.types.is_primitive(target):
            return array.cast(target)
        session = open_session()
        session.register("_read", pa.table({"x": array}))
        cast: Any = session.sql(f"SELECT CAST(x AS {kind}) AS x FROM _read").to_arrow_table()
        session.close()
        return pa.concat_arrays(cast.column(0).chunks) if len(array) else array.cast(target)
    except Exception as error:
        raise InputError(
            f"{path}: byte {offset}: a value of the blocks from here is no {kind}: {error}"
        ) from error


def _schema_fields(
    wanted: Mapping[str, str], columns: Sequence[pa.Array[Any]]
) -> Iterator[pa.Field[Any]]:
    """Yield the fields of a table: what tells DuckDB's type beside Arrow's is in their metadata."""
    for (name, kind), column in zip(wanted.items(), columns, strict=True):
        null = null_field(kind)
        yield pa.field(
            name, column.type, metadata=null.metadata if null.type == column.type else None
        )
