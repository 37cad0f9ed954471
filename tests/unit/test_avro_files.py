"""Avro files are read exactly, by columns or record by record, or are refused by name."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import io
import itertools
import json
import random
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.formats import avro_blocks, avro_files
from beam_jobs.formats.avro_blocks import AvroRun, ChainError, cut, read_header, zigzag
from beam_jobs.formats.avro_codecs import DamagedError, decompress
from beam_jobs.formats.avro_files import find_columns, load

Rows = list[tuple[Any, ...]]
_PATH = "bucket/data.avro"
_SYNC = b"0123456789abcdef"


def record(**fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "r",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def write(schema: Any, records: Iterable[Mapping[str, Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    fastavro.writer(sink, fastavro.parse_schema(schema), records, sync_marker=_SYNC, **options)
    return sink.getvalue()


def file_of(schema: Any, *blocks: tuple[int, bytes], codec: str = "null") -> bytes:
    """Write a file by hand."""
    header = [b"avro.schema", json.dumps(schema).encode(), b"avro.codec", codec.encode()]
    metadata = zigzag(2) + b"".join(zigzag(len(item)) + item for item in header) + b"\0"
    framed = (zigzag(count) + zigzag(len(data)) + data + _SYNC for count, data in blocks)
    return b"Obj\x01" + metadata + _SYNC + b"".join(framed)


def runs_of(data: bytes, start: int = 0, end: int | None = None) -> list[AvroRun]:
    stream = io.BytesIO(data)
    header = read_header(stream, _PATH)
    return list(cut(stream, header, start, len(data) if end is None else end, _PATH))


def columns_of(data: bytes) -> dict[str, str]:
    fields = avro_files._fields(read_header(io.BytesIO(data), _PATH), _PATH)
    return {name: node.kind for name, node in fields if node.kind}


def read(
    data: bytes, wanted: Mapping[str, str] | None = None
) -> tuple[Rows, list[BlockReport], list[str]]:
    """Read a file; returns the rows, the reports, and the types that DuckDB sees."""
    columns = wanted if wanted is not None else columns_of(data)
    header = read_header(io.BytesIO(data), _PATH)
    rows: Rows = []
    reports, kinds = [], []
    session = open_session()
    for run in runs_of(data):
        table, report = load(header, run, _PATH, columns, list(columns))
        assert table.num_rows == report.rows
        session.register("loaded", table)
        kinds = [str(row[1]) for row in session.execute("DESCRIBE loaded").fetchall()]
        rows += session.execute("FROM loaded").fetchall()
        reports.append(report)
    return rows, reports, kinds


@pytest.fixture
def only_by_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("was not read by columns")

    monkeypatch.setattr(avro_files, "_by_records", fail)


# Whatever the types.

_UTC = dt.UTC


def _logical(kind: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical, **more}


_ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B", "C"]}
_TYPES: list[tuple[Any, str, list[Any]]] = [
    ("boolean", "BOOLEAN", [True, False]),
    ("int", "INTEGER", [-(2**31), 2**31 - 1]),
    ("long", "BIGINT", [-(2**63), 2**63 - 1]),
    ("float", "FLOAT", [1.5, -0.0]),
    ("double", "DOUBLE", [0.1, 1e300]),
    ("string", "VARCHAR", ["", "é\0x"]),
    ("bytes", "BLOB", [b"", b"\xff\0"]),
    ({"type": "fixed", "name": "f", "size": 3}, "BLOB", [b"abc", b"\xff\0\0"]),
    (_ENUM, "VARCHAR", ["C", "A"]),
    (_logical("int", "date"), "DATE", [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    (_logical("int", "time-millis"), "TIME", [dt.time(0), dt.time(23, 59, 59, 999000)]),
    (_logical("long", "time-micros"), "TIME", [dt.time(0), dt.time(23, 59, 59, 999999)]),
    (
        _logical("long", "timestamp-millis"),
        "TIMESTAMP WITH TIME ZONE",
        [dt.datetime(1, 1, 1, tzinfo=_UTC), dt.datetime(2020, 1, 1, 1, 2, 3, 4000, tzinfo=_UTC)],
    ),
    (
        _logical("long", "timestamp-micros"),
        "TIMESTAMP WITH TIME ZONE",
        [dt.datetime(1969, 1, 1, tzinfo=_UTC), dt.datetime(2020, 1, 1, 1, 2, 3, 4, tzinfo=_UTC)],
    ),
    (
        _logical("long", "local-timestamp-millis"),
        "TIMESTAMP",
        [dt.datetime(2020, 1, 1, 1, 2, 3, 4000)],  # noqa: DTZ001
    ),
    (
        _logical("long", "local-timestamp-micros"),
        "TIMESTAMP",
        [dt.datetime(2020, 1, 1, 1, 2, 3, 4)],  # noqa: DTZ001
    ),
    (
        _logical("bytes", "decimal", precision=38, scale=2),
        "DECIMAL(38,2)",
        [decimal.Decimal("-1.23"), decimal.Decimal(10**35) + decimal.Decimal("0.99")],
    ),
    (
        {"type": "fixed", "name": "d", "size": 9, **_logical("fixed", "decimal", precision=10)},
        "DECIMAL(10,0)",
        [decimal.Decimal(-5), decimal.Decimal(9999999999)],
    ),
    (_logical("string", "uuid"), "VARCHAR", ["00000000-0000-0000-0000-000000000005"]),
    (_logical("string", "unknown"), "VARCHAR", ["x"]),
    ({"type": "array", "items": "int"}, "INTEGER[]", [[1, 2], []]),
    ({"type": "array", "items": ["null", _ENUM]}, "VARCHAR[]", [["B", None], []]),
    ({"type": "map", "values": "boolean"}, "MAP(VARCHAR, BOOLEAN)", [{"a": True, "b": False}, {}]),
    (
        record(x=_logical("int", "date"), y=["null", {"type": "array", "items": "int"}]),
        "STRUCT(x DATE, y INTEGER[])",
        [{"x": dt.date(2020, 1, 1), "y": [1]}, {"x": dt.date(2020, 1, 2), "y": None}],
    ),
]


@pytest.mark.parametrize("union", [0, 1, 2])
@pytest.mark.parametrize(("kind", "duckdb", "values"), _TYPES, ids=[case[1] for case in _TYPES])
@pytest.mark.usefixtures("only_by_columns")
def test_a_value_is_read_exactly(kind: Any, duckdb: str, values: list[Any], union: int) -> None:
    if kind == _TYPES[-1][0]:
        kind = {**kind, "name": "inner"}
    schema = record(a=[kind, ["null", kind], [kind, "null"]][union], mark="string")
    expected = [*values, None] if union else values
    data = write(schema, [{"a": value, "mark": "x"} for value in expected])
    assert columns_of(data) == {"a": duckdb, "mark": "VARCHAR"}
    rows, _, kinds = read(data)
    assert kinds == [duckdb, "VARCHAR"]
    if "TIME ZONE" in duckdb:
        rows = [(a.astimezone(_UTC) if a else a, b) for a, b in rows]
    assert rows == [(value, "x") for value in expected]


@pytest.mark.parametrize(
    ("kind", "values"), [(case[0], case[2]) for case in _TYPES], ids=[case[1] for case in _TYPES]
)
def test_both_ways_read_the_same(
    kind: Any, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == _TYPES[-1][0]:
        kind = {**kind, "name": "inner"}
    schema = record(a=["null", kind], b="long")
    data = write(schema, [{"a": value, "b": 1} for value in [None, *values]])
    fast = read(data)
    monkeypatch.setattr(avro_files, "_by_columns", lambda *_: None)
    assert read(data) == fast


def test_nanoseconds_are_kept() -> None:
    kinds = {
        "a": _logical("long", "timestamp-nanos"),
        "b": _logical("long", "local-timestamp-nanos"),
    }
    data = file_of(record(**kinds, c="long"), (1, zigzag(1_000_000_001) * 2 + b"\0"))
    header = read_header(io.BytesIO(data), _PATH)
    columns = {"a": "TIMESTAMPTZ_NS", "b": "TIMESTAMP_NS"}
    assert columns_of(data) == {**columns, "c": "BIGINT"}
    table, _ = load(header, runs_of(data)[0], _PATH, columns, [])
    session = open_session()
    session.register("loaded", table)
    assert session.execute("SELECT a::VARCHAR, b::VARCHAR FROM loaded").fetchall() == [
        ("1970-01-01 00:00:01.000000001+00", "1970-01-01 00:00:01.000000001")
    ]


def test_a_null_field_takes_no_bytes() -> None:
    data = write(record(a="null", b="long"), [{"a": None, "b": 5}] * 3)
    assert read(data, {"a": "VARCHAR", "b": "BIGINT"})[0] == [(None, 5)] * 3
    data = write(record(a="null"), [{"a": None}] * 3)
    assert read(data, {"a": "DATE"})[0] == [(None,)] * 3


def test_numbers_of_several_types_are_of_one_that_holds_all() -> None:
    data = write(record(a=["null", "int", "double"]), [{"a": 1}, {"a": None}, {"a": 0.5}])
    assert columns_of(data) == {"a": "DOUBLE"}
    assert read(data)[0] == [(1.0,), (None,), (0.5,)]


def test_other_unions_are_refused_where_they_are_used() -> None:
    schema = record(a=["long", "string"], b="long")
    data = write(schema, [{"a": 1, "b": 2}, {"a": "x", "b": 3}])
    assert columns_of(data) == {"b": "BIGINT"}
    rows, (report,), _ = read(data, {"b": "BIGINT"})
    assert (rows, report.ignored) == ([(2,), (3,)], ("a",))
    with pytest.raises(InputError, match=r"data\.avro: column a has values of types that no type"):
        read(data, {"a": "VARCHAR"})


def test_a_named_type_is_used_again() -> None:
    inner = {**record(x="long"), "name": "inner", "namespace": "n"}
    schema = record(a=inner, b="n.inner", c=_ENUM, d=["null", "e"])
    rows = [{"a": {"x": 1}, "b": {"x": 2}, "c": "A", "d": "B"}]
    assert read(write(schema, rows))[0] == [({"x": 1}, {"x": 2}, "A", "B")]


@pytest.mark.parametrize("codec", ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"])
def test_every_codec(codec: str) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "snappy": lambda data: (
            pa.compress(data, codec="snappy", asbytes=True) + zlib.crc32(data).to_bytes(4, "big")
        ),
        "zstandard": zstandard.ZstdCompressor().compress,
    }
    schema = record(a="long", b="string")
    plain = (zigzag(7) + zigzag(2) + b"xy") * 100
    if codec in pack:
        data = file_of(schema, (100, pack[codec](plain)), (0, pack[codec](b"")), codec=codec)
    else:
        data = write(schema, [{"a": 7, "b": "xy"}] * 100, codec=codec)
    assert read(data)[0] == [(7, "xy")] * 100
    (run,) = runs_of(data)
    for damaged in (run.blocks[0].data[:-8], run.blocks[0].data + b"xxxx", b"", b"\xff" * 40):
        if codec != "null":
            with pytest.raises(DamagedError, match=f"its {codec} data is damaged"):
                decompress(codec, damaged)


# Whatever the range.


def ranges(data: bytes, ends: Sequence[int]) -> list[AvroRun] | None:
    """Read the ranges between some offsets; None if they do not chain."""
    found: list[AvroRun] = []
    position = read_header(io.BytesIO(data), _PATH).size
    for start, end in itertools.pairwise(sorted({0, len(data), *ends})):
        try:
            runs = runs_of(data, start, end)
        except ChainError:
            return None
        for run in runs:
            if run.first != position:
                return None
            position = run.last
        assert runs[0].is_first == (start == 0)
        found += runs
    return found if position == len(data) else None


def _adversarial() -> dict[str, bytes]:
    schema = record(a="bytes")

    def block(*values: bytes) -> tuple[int, bytes]:
        return len(values), b"".join(zigzag(len(value)) + value for value in values)

    return {
        "markers in the data": file_of(schema, block(b"x", _SYNC, b"y"), block(_SYNC * 3)),
        "a block in the data": file_of(
            schema,
            block(b"x" + _SYNC + zigzag(1) + zigzag(2) + zigzag(1) + b"z" + _SYNC),
            block(b"q"),
        ),
        "half markers": file_of(schema, block(_SYNC[:9]), block(_SYNC[7:]), block(_SYNC[:15])),
        "empty blocks": file_of(schema, (0, b""), block(b"x"), (0, b""), (0, b"")),
        "one large block": file_of(schema, block(b"x" * 200), block(b"y")),
        "no block": file_of(schema),
        "the marker in the header": file_of({**schema, "doc": _SYNC.decode()}, block(b"x")),
    }


@pytest.mark.parametrize("name", _adversarial())
@pytest.mark.parametrize("searched", [5, 1024])
def test_every_split_gives_the_blocks_of_the_file_or_breaks_the_chain(
    name: str, searched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avro_blocks, "_SEARCHED_BYTES", searched)
    data = _adversarial()[name]
    whole = [block for run in runs_of(data) for block in run.blocks]
    chained = 0
    for split in range(1, len(data)):
        found = ranges(data, [split])
        if found is not None:
            assert [block for run in found for block in run.blocks] == whole
            chained += 1
    assert chained > len(data) / 3
    if "data" not in name:
        assert chained == len(data) - 1


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_ranges_give_the_blocks_of_the_file_or_break_the_chain(data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [b"", b"x", _SYNC, _SYNC[:8], _SYNC[8:], _SYNC + b"\2\2\0" + _SYNC, b"\0"]
    )
    values = data.draw(st.lists(st.lists(pieces, max_size=4), max_size=5))
    blocks = [
        (len(block), b"".join(zigzag(len(value)) + value for value in block)) for block in values
    ]
    content = file_of(record(a="bytes"), *blocks)
    ends = data.draw(st.lists(st.integers(1, len(content)), max_size=5))
    found = ranges(content, ends)
    if found is not None:
        read_blocks = [(block.count, block.data) for run in found for block in run.blocks]
        assert read_blocks == blocks


def test_a_file_that_ends_early_never_chains() -> None:
    data = file_of(record(a="bytes"), (1, zigzag(9) + b"x" * 9), (1, zigzag(60) + b"y" * 60))
    boundaries = {run.first for run in runs_of(data)} | {
        block.offset for run in runs_of(data) for block in run.blocks
    }
    for size in range(min(boundaries), len(data)):
        if size in boundaries:
            continue  # Nothing tells this file from a shorter one.
        with pytest.raises(InputError, match=r"data\.avro: byte \d+: .*is truncated"):
            runs_of(data[:size])
        for split in range(1, size, 5):
            with contextlib.suppress(InputError):
                assert ranges(data[:size], [split]) is None


def test_runs_are_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_blocks, "RUN_BYTES", 25)
    data = file_of(record(a="bytes"), *[(1, zigzag(9) + b"x" * 9)] * 7)
    runs = runs_of(data)
    assert [len(run.blocks) for run in runs] == [3, 3, 1]
    assert [run.is_first for run in runs] == [True, False, False]
    assert all(one.last == other.first for one, other in itertools.pairwise(runs))
    assert read(data)[0] == [(b"x" * 9,)] * 7


# Drift.


def test_columns_match_by_name_and_others_are_told() -> None:
    data = write(record(z="long", B="int", A="string"), [{"z": 1, "B": 2, "A": "x"}])
    rows, (report,), kinds = read(data, {"a": "VARCHAR", "b": "DECIMAL(12,1)", "c": "UUID"})
    assert rows == [("x", decimal.Decimal(2), None)]
    assert kinds == ["VARCHAR", "DECIMAL(12,1)", "UUID"]
    assert (report.missing, report.ignored) == (("c",), ("z",))


def test_a_type_widens_or_is_refused(tmp_path: Path) -> None:
    files = []
    for name, kind, value in (("a", "int", 1), ("b", "long", 2), ("c", "string", "x")):
        path = tmp_path / f"{name}.avro"
        path.write_bytes(write(record(a=kind), [{"a": value}]))
        files.append(InputFile(str(path), path.stat().st_size))
    assert find_columns(files[:2], {}) == {"a": "BIGINT"}
    with pytest.raises(InputError, match=r"c\.avro: column a is VARCHAR, but BIGINT in .*b\.avro"):
        find_columns(files, {})
    assert find_columns(files, {"A": "INTEGER", "x": "DATE"}) == {"a": "INTEGER", "x": "DATE"}
    data = Path(files[0].path).read_bytes()
    assert read(data, {"a": "BIGINT"}) == ([(1,)], [BlockReport(_PATH, 1)], ["BIGINT"])
    assert read(data, {"a": "HUGEINT"})[2] == ["HUGEINT"]
    with pytest.raises(InputError, match=r"data\.avro: column a is INTEGER, which SMALLINT"):
        read(data, {"a": "SMALLINT"})


def test_without_any_column_the_rows_are_counted() -> None:
    data = write(record(a="long"), [{"a": 1}] * 5)
    assert len(read(data, {})[0]) == 5
    assert read(data, {"other": "DATE"})[0] == [(None,)] * 5


def test_a_file_without_records() -> None:
    data = write(record(a="long"), [])
    assert read(data, {"a": "BIGINT"}) == ([], [BlockReport(_PATH, 0)], ["BIGINT"])


# Whatever is wrong with the file.


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: b"", "the file is empty, and no Avro file"),
        (lambda _: b"a,b\n1,2\n", "is no Avro file"),
        (lambda data: data[:20], "the Avro header is broken: it is truncated"),
        (lambda _: b"Obj\x01" + b"\xff" * 20, "too many digits"),
        (
            lambda data: data.replace(b"avro.schema", b"avro.schemx"),
            "the Avro header has no schema",
        ),
        (lambda data: data.replace(b"null", b"nulx"), "codec 'nulx' is none of null, deflate"),
        (lambda data: data.replace(b"record", b"recurd"), "header is none of records"),
        (lambda data: data.replace(b'"long"', b'"lung"'), "has the unknown type 'lung'"),
        (lambda data: data.replace(b'"long"', b'long""'), "is no JSON"),
    ],
)
def test_a_broken_header_is_refused(damage: Any, message: str) -> None:
    good = file_of(record(a="long"), (1, b"\2"))
    with pytest.raises(InputError, match=rf"data\.avro: .*{message}"):
        read(damage(good))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('"long"', "is none of records"),
        (record(a="long", A="long"), "has two fields of the names 'a' and 'A'"),
        (record(a=["null", "r"]), "has the type r, which contains itself"),
        (record(a={"type": "array", "items": "null"}), "items that take no bytes"),
        ({"type": "record"}, "is no schema of Avro"),
    ],
)
def test_a_schema_that_cannot_be_read_is_refused(schema: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"data\.avro: the Avro schema in the header .*{message}"):
        read(file_of(schema))


_LONG = zigzag(2) + zigzag(3)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ((1, _LONG), "its 1 records end 1 bytes early"),
        ((3, _LONG), "it claims 3 records in 2 bytes"),
        ((2**50, _LONG), r"it claims \d+ records in 2 bytes"),
        ((2, b"\xff" * 30), "a record cannot be read"),
        ((2, _LONG[:1] + b"\xff"), "a record cannot be read"),
    ],
)
def test_a_block_that_does_not_hold_its_records_is_refused(
    block: tuple[int, bytes], message: str
) -> None:
    data = file_of(record(a="long"), (2, _LONG), block)
    offset = runs_of(data)[0].blocks[1].offset
    with pytest.raises(InputError, match=rf"data\.avro: byte {offset}: .*{message}"):
        read(data)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", zigzag(2**34)),
        ("boolean", b"\7"),
        (_ENUM, zigzag(3)),
        (_logical("int", "time-millis"), zigzag(24 * 60 * 60 * 1000)),
        (_logical("long", "timestamp-millis"), zigzag(2**62)),
        (_logical("bytes", "decimal", precision=2), zigzag(2) + b"\x7f\xff"),
        ("string", zigzag(2) + b"\xff\xfe"),
        ("string", zigzag(-2)),
        ("string", zigzag(2**45)),
    ],
)
def test_a_value_out_of_its_type_is_refused(kind: Any, value: bytes) -> None:
    data = file_of(record(a=kind, b="long"), (1, value + b"\2"))
    with pytest.raises(InputError, match=r"data\.avro: byte \d+: the Avro block is broken"):
        read(data)


@pytest.mark.parametrize("place", [-1, -16, -21])
def test_a_bad_sync_marker_is_refused(place: int) -> None:
    data = bytearray(file_of(record(a="long"), (2, _LONG), (2, _LONG)))
    data[place] ^= 1
    with pytest.raises(InputError, match=r"data\.avro: byte \d+: .*write the file again"):
        read(bytes(data))


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_whatever_is_damaged_is_read_alike_or_refused(data: st.DataObject) -> None:
    schema = record(a="long", b="string", c={"type": "array", "items": "int"})
    rows = [{"a": n, "b": "x" * n, "c": [n] * n} for n in range(4)]
    content = bytearray(write(schema, rows))
    start = read_header(io.BytesIO(content), _PATH).size
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(start, len(content) - 1))] = data.draw(st.integers(0, 255))
    wanted = {"a": "BIGINT", "b": "VARCHAR", "c": "INTEGER[]"}
    try:
        rows_read, _, _ = read(bytes(content), wanted)
    except InputError as error:
        assert "data.avro: byte" in str(error)  # noqa: PT017  (either outcome is right)
    else:
        expected = [tuple(row.values()) for row in fastavro.reader(io.BytesIO(content))]  # type: ignore[union-attr]
        assert rows_read == expected


def test_random_records_are_read_exactly() -> None:
    numbers = random.Random(7)  # noqa: S311
    schema = record(a="long", b=["string", "null"], c={"type": "map", "values": "double"})
    rows = [
        {
            "a": numbers.randrange(-(2**63), 2**63),
            "b": numbers.choice([None, "x" * numbers.randrange(300)]),
            "c": {str(n): numbers.random() for n in range(numbers.randrange(4))},
        }
        for _ in range(2000)
    ]
    data = write(schema, rows, sync_interval=3000, codec="deflate")
    assert read(data)[0] == [tuple(row.values()) for row in rows]
