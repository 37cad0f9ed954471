"""Parquet files are read exactly, whatever the ranges, or are refused by name."""

from __future__ import annotations

import decimal
import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.formats import parquet_files, parquet_footer
from beam_jobs.formats.parquet_files import (
    check_unchanged,
    find_columns,
    find_fault,
    load,
    row_groups,
)
from beam_jobs.formats.parquet_scratch import release
from beam_jobs.formats.widening import common, widens

Rows = list[tuple[Any, ...]]


def write(path: Path, table: pa.Table | Mapping[str, Any], **options: Any) -> InputFile:
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return InputFile(str(path), path.stat().st_size)


def read(
    file: InputFile, wanted: Mapping[str, str] | None = None, ranges: list[int] | None = None
) -> tuple[Rows, list[BlockReport]]:
    """Read a file in the ranges between some offsets."""
    columns = wanted if wanted is not None else find_columns([file], {})
    ends = sorted({0, file.size, *(ranges or [])})
    rows: Rows = []
    reports = []
    scratch = Path(file.path).parent / "scratch"
    scratch.mkdir(exist_ok=True)
    session = open_session(str(scratch), [file.path])
    for start, end in itertools.pairwise(ends):
        for block in row_groups(file, start, end):
            select, report = load(session, str(scratch), block, columns, list(columns))
            found = session.execute(select).fetchall()
            assert len(found) == report.rows
            rows += found
            reports.append(report)
            release(str(scratch))
    session.close()
    assert not list(scratch.iterdir())
    return rows, reports


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Read local files as remote ones."""

    def switch() -> None:
        monkeypatch.setattr(parquet_files, "is_remote", lambda _: True)

    return switch


# Whatever the ranges.


@pytest.mark.parametrize("is_remote", [False, True])
def test_every_split_gives_the_rows_of_the_file(
    tmp_path: Path, remote: Callable[[], None], is_remote: bool
) -> None:
    if is_remote:
        remote()
    file = write(tmp_path / "a.parquet", {"a": list(range(10)), "b": ["x"] * 10}, row_group_size=3)
    offsets = {group.offset for group in parquet_footer.read_footer(file).groups()}
    near = {offset + n for offset in offsets for n in (-1, 0, 1)}
    for split in [1, *sorted(near), file.size - 1]:
        rows, reports = read(file, {"a": "BIGINT"}, [split])
        assert rows == [(n,) for n in range(10)]
        assert sum(bool(report.ignored) for report in reports) == 1


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_each_row_group_is_in_one_range(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), max_size=6))
    path = tmp_path_factory.mktemp("split") / "a.parquet"
    schema = pa.schema([("a", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for size in sizes:
            writer.write_table(pa.table({"a": range(size)}, schema))
    file = InputFile(str(path), path.stat().st_size)
    ends = sorted({0, file.size, *data.draw(st.lists(st.integers(0, file.size), max_size=8))})
    blocks = [
        block for start, end in itertools.pairwise(ends) for block in row_groups(file, start, end)
    ]
    assert [n for b in blocks for n in range(b.first_group, b.first_group + b.groups)] == list(
        range(len(sizes))
    )
    assert [n for b in blocks for n in range(b.first_row, b.first_row + b.rows)] == list(
        range(sum(sizes))
    )
    assert [block.is_first for block in blocks] == [True] + [False] * (len(blocks) - 1)


def test_blocks_are_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.parquet", {"a": range(4000)}, row_group_size=500)
    offsets = [group.offset for group in parquet_footer.read_footer(file).groups()]
    size = offsets[1] - offsets[0]
    monkeypatch.setattr(parquet_files, "BLOCK_BYTES", 2 * size + 100)
    assert [block.groups for block in row_groups(file, 0, file.size)] == [2, 2, 2, 2]
    assert [block.groups for block in row_groups(file, 0, offsets[4])] == [2, 2]
    monkeypatch.setattr(parquet_files, "BLOCK_BYTES", 1)
    assert [block.groups for block in row_groups(file, 0, file.size)] == [1] * 8


def test_other_row_groups_are_not_read(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.parquet",
        {"a": ["x" * 50] * 9},
        row_group_size=3,
        compression="none",
        use_dictionary=False,
    )
    blocks = list(row_groups(file, 0, 5)) + list(row_groups(file, 5, file.size))
    assert len(blocks) == 2
    data = bytearray(Path(file.path).read_bytes())
    start = pq.read_metadata(file.path).row_group(1).column(0).data_page_offset
    data[start : start + 30] = b"\xff" * 30
    Path(file.path).write_bytes(data)
    assert find_fault(blocks[0], {"a": "VARCHAR"}, ["a"]) is None
    assert "cannot be read" in str(find_fault(blocks[1], {"a": "VARCHAR"}, ["a"]))


def test_of_a_remote_file_only_what_is_used_is_read(
    tmp_path: Path, remote: Callable[[], None]
) -> None:
    remote()
    noise = [os.urandom(200) for _ in range(6000)]
    table = {"a": range(6000), "big": noise, "b": [str(n % 7) for n in range(6000)]}
    file = write(tmp_path / "a.parquet", table, row_group_size=1000, write_page_index=True)
    (block,) = row_groups(file, 0, file.size)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    session = open_session(str(scratch), [file.path])
    select, _ = load(session, str(scratch), block, {"b": "VARCHAR", "A": "BIGINT"}, ["a", "b"])
    query = f"SELECT count(*), sum(A) FROM ({select}) WHERE b = '3'"
    expected = [n for n in range(6000) if n % 7 == 3]
    assert session.execute(query).fetchall() == [(len(expected), sum(expected))]
    (copy,) = scratch.iterdir()
    assert copy.stat().st_blocks * 512 < file.size / 2


def test_bloom_filters_of_a_remote_file_are_read(
    tmp_path: Path, remote: Callable[[], None]
) -> None:
    remote()
    path = tmp_path / "a.parquet"
    duckdb.execute(
        f"COPY (SELECT (i * 7 % 1000)::BIGINT AS a FROM range(90000) t(i)) TO '{path}' "
        "(FORMAT parquet, ROW_GROUP_SIZE 20480)"
    )
    file = InputFile(str(path), path.stat().st_size)
    chunk: Any = pq.read_metadata(path).row_group(0).column(0)
    assert chunk.bloom_filter_offset is not None
    (block,) = row_groups(file, 0, file.size)
    session = open_session(str(tmp_path), [])
    select, _ = load(session, str(tmp_path), block, {"a": "BIGINT"}, ["a"])
    assert session.execute(f"SELECT count(*) FROM ({select}) WHERE a = 7").fetchall() == [(90,)]


# Whatever the names.


@pytest.mark.parametrize("name", ["a[1]", "b*", "c'd\n e", "x=1"])
def test_a_name_is_no_pattern(tmp_path: Path, name: str) -> None:
    for other in ("a1", "bc"):
        write(tmp_path / f"{other}.parquet", {"a": [2]})
    file = write(tmp_path / f"{name}.parquet", {"a": [1]})
    assert read(file)[0] == [(1,)]


def test_a_session_reads_no_other_file(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    mine, other = (write(tmp_path / f"{name}.parquet", {"a": [1]}) for name in ("mine", "other"))
    session = open_session(str(folder), [mine.path])
    assert session.execute(f"SELECT * FROM '{mine.path}'").fetchall() == [(1,)]
    (folder / "link.parquet").symlink_to(other.path)
    for path in (other.path, str(folder / "link.parquet"), f"{tmp_path}/*.parquet", "/etc/passwd"):
        with pytest.raises(duckdb.PermissionException):
            session.execute(f"SELECT * FROM read_parquet('{path}')")
    with pytest.raises(duckdb.Error, match="locked"):
        session.execute("SET allowed_paths = ['/']")


# Whatever the types.

_TYPES: list[tuple[pa.Array[Any], str]] = [
    (pa.array([-1, None], pa.int8()), "TINYINT"),
    (pa.array([2**64 - 1], pa.uint64()), "UBIGINT"),
    (pa.array([1.5, None], pa.float16()), "FLOAT"),
    (pa.array([decimal.Decimal("1.23")], pa.decimal128(38, 2)), "DECIMAL(38,2)"),
    (pa.array([1_600_000_000_123], pa.timestamp("ms")), "TIMESTAMP"),
    (pa.array([1_600_000_000_123_456], pa.timestamp("us", "UTC")), "TIMESTAMP WITH TIME ZONE"),
    (pa.array([1_600_000_000_123_456_789], pa.timestamp("ns")), "TIMESTAMP_NS"),
    (pa.array([1_600_000_000_123_456_789], pa.timestamp("ns", "UTC")), "TIMESTAMPTZ_NS"),
    (pa.array([1], pa.date32()), "DATE"),
    (pa.array([1001], pa.time64("ns")), "TIME_NS"),
    (pa.array([b"\xff", None]), "BLOB"),
    (pa.array(["x", None, "é"]).dictionary_encode(), "VARCHAR"),
    (pa.array([[1, None], None, []]), "BIGINT[]"),
    (pa.array([{"a": 1, "b": ["x"]}, None]), "STRUCT(a BIGINT, b VARCHAR[])"),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), "MAP(VARCHAR, INTEGER)"),
    (pa.nulls(2), "VARCHAR"),
]


@pytest.mark.parametrize(("array", "kind"), _TYPES, ids=lambda value: str(value)[:20])
def test_a_value_is_read_exactly(tmp_path: Path, array: pa.Array[Any], kind: str) -> None:
    file = write(tmp_path / "a.parquet", {"a": array})
    assert find_columns([file], {}) == {"a": kind}
    (block,) = row_groups(file, 0, file.size)
    session = open_session(str(tmp_path), [file.path])
    select, _ = load(session, str(tmp_path), block, {"a": kind}, ["a"])
    expected = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    found: Any = session.sql(select).to_arrow_table()
    if pa.types.is_float16(array.type):
        expected = array.cast(pa.float32())
    if kind == "VARCHAR" or pa.types.is_nested(array.type):
        assert found["a"].to_pylist() == expected.to_pylist()
    else:
        assert found["a"].combine_chunks().cast(expected.type).equals(expected)


def test_int96_is_a_timestamp(tmp_path: Path) -> None:
    array = pa.array([-1_000, 253402300799000000], pa.timestamp("us"))
    file = write(tmp_path / "a.parquet", {"a": array}, use_deprecated_int96_timestamps=True)
    assert find_columns([file], {}) == {"a": "TIMESTAMP"}
    assert [row[0] for row in read(file)[0]] == array.to_pylist()


def test_decimals_beyond_duckdb_are_refused(tmp_path: Path) -> None:
    wide = pa.array([decimal.Decimal(10**40)], pa.decimal256(41, 0))
    file = write(tmp_path / "a.parquet", {"a": wide, "b": [1]})
    assert find_columns([file], {}) == {"b": "BIGINT"}
    with pytest.raises(InputError, match=r"a\.parquet: column a has decimals of more than 38"):
        read(file, {"a": "DOUBLE"})
    rows, (report,) = read(file, {"b": "BIGINT"})
    assert (rows, report.ignored) == ([(1,)], ("a",))


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_every_compression(tmp_path: Path, codec: str) -> None:
    file = write(tmp_path / "a.parquet", {"a": ["x" * 99] * 99}, compression=codec)
    assert read(file)[0] == [("x" * 99,)] * 99


# Drift.


def test_types_are_widened_over_the_files(tmp_path: Path) -> None:
    files = [
        write(tmp_path / "a.parquet", {"A": pa.array([1], pa.int32()), "n": pa.nulls(1)}),
        write(tmp_path / "b.parquet", {"a": [2**40], "n": ["x"], "new": [True]}),
    ]
    columns = find_columns(files, {})
    assert columns == {"A": "BIGINT", "n": "VARCHAR", "new": "BOOLEAN"}
    rows, (report,) = read(files[0], columns)
    assert rows == [(1, None, None)]
    assert report.missing == ("new",)


def test_columns_match_by_name_and_others_are_told(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"z": [1], "B": [2], "A": ["x"]})
    rows, (report,) = read(file, {"a": "VARCHAR", "b": "BIGINT", "c": "DATE"})
    assert rows == [("x", 2, None)]
    assert (report.missing, report.ignored) == (("c",), ("z",))


def test_a_type_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    texts = write(tmp_path / "texts.parquet", {"a": ["x"]})
    numbers = write(tmp_path / "numbers.parquet", {"a": [1]})
    with pytest.raises(InputError, match=r"texts\.parquet: column a is VARCHAR, which BIGINT"):
        read(texts, {"a": "BIGINT"})
    with pytest.raises(
        InputError, match=r"texts\.parquet: column a is VARCHAR, but BIGINT in .*numb"
    ):
        find_columns([numbers, texts], {})
    assert find_columns([numbers, texts], {"A": "INTEGER", "x": "DATE"}) == {
        "a": "INTEGER",
        "x": "DATE",
    }


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("INTEGER", "BIGINT", "BIGINT"),
        ("UINTEGER", "INTEGER", "BIGINT"),
        ("UBIGINT", "BIGINT", "HUGEINT"),
        ("INTEGER", "DOUBLE", "DOUBLE"),
        ("INTEGER", "FLOAT", "DOUBLE"),
        ("BIGINT", "DOUBLE", None),
        ("FLOAT", "DOUBLE", "DOUBLE"),
        ("DECIMAL(9,2)", "DECIMAL(9,4)", "DECIMAL(11,4)"),
        ("DECIMAL(38,2)", "DECIMAL(38,4)", None),
        ("INTEGER", "DECIMAL(9,2)", "DECIMAL(12,2)"),
        ("DECIMAL(9,2)", "DOUBLE", None),
        ("DATE", "TIMESTAMP", None),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", None),
        ("TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_NS"),
        ("VARCHAR", "BLOB", None),
        ("INTEGER[]", "BIGINT[]", "BIGINT[]"),
        ("STRUCT(a INTEGER)", "STRUCT(b INTEGER)", None),
        ('"NULL"', "DATE", "DATE"),
    ],
)
def test_the_type_of_two(one: str, other: str, both: str | None) -> None:
    assert common(one, other) == common(other, one) == both


_INTEGERS = [
    sign + kind for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT") for sign in ("", "U")
]


@pytest.mark.parametrize("kind", _INTEGERS)
@pytest.mark.parametrize("to", [*_INTEGERS, "FLOAT", "DOUBLE", "DECIMAL(9,4)", "DECIMAL(20,0)"])
def test_what_widens_keeps_the_extremes(kind: str, to: str) -> None:
    if widens(kind, to):
        bits = {"TINY": 8, "SMAL": 16, "INTE": 32, "BIGI": 64}[kind.removeprefix("U")[:4]]
        low, high = (
            (0, 2**bits - 1) if kind[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        for value in (low, high):
            query = f"SELECT ({value})::{kind}::{to}::HUGEINT"
            assert duckdb.execute(query).fetchall() == [(value,)]


# Whatever is wrong with the file.


def _broken() -> Iterator[tuple[str, Callable[[bytes], bytes], str]]:
    yield "zero bytes", lambda _: b"", "is empty"
    yield "a CSV file", lambda _: b"a,b\n1,2\n", "truncated, or no Parquet file"
    yield "truncated", lambda data: data[:-30], "truncated, or no Parquet file"
    yield "encrypted", lambda data: data[:-4] + b"PARE", "is encrypted"
    yield "a footer too long", lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "footer is broken"
    yield "a footer of garbage", lambda d: d[:-60] + b"\xff" * 52 + d[-8:], "footer is broken"
    yield "only the magic", lambda _: b"PAR1", "footer is broken"


@pytest.mark.parametrize(
    ("damage", "message"), [c[1:] for c in _broken()], ids=[c[0] for c in _broken()]
)
def test_a_broken_file_is_refused(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    good = write(tmp_path / "a.parquet", {"a": [1]})
    Path(good.path).write_bytes(damage(Path(good.path).read_bytes()))
    file = InputFile(good.path, Path(good.path).stat().st_size)
    for call in (lambda: find_columns([file], {}), lambda: list(row_groups(file, 0, file.size))):
        with pytest.raises(InputError, match=rf"a\.parquet: .*{message}"):
            call()


def test_broken_pages_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"a": [str(n) for n in range(999)]}, compression="zstd")
    data = bytearray(Path(file.path).read_bytes())
    data[20:400] = bytes(380)
    Path(file.path).write_bytes(data)
    (block,) = row_groups(file, 0, file.size)
    assert "a.parquet: cannot be read as Parquet" in str(find_fault(block, {"a": "VARCHAR"}, ["a"]))


def test_a_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    buffers = [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")]
    file = write(
        tmp_path / "a.parquet", {"a": pa.Array.from_buffers(pa.string(), 1, buffers), "b": [1]}
    )
    (block,) = row_groups(file, 0, file.size)
    assert "a.parquet: cannot be read as Parquet: Invalid string encoding" in str(
        find_fault(block, {"a": "VARCHAR"}, ["a"])
    )
    assert find_fault(block, {"b": "BIGINT"}, ["a", "b"]) is None


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "A"]])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, names: list[str]) -> None:
    file = write(tmp_path / "a.parquet", pa.table([pa.array([1])] * len(names), names=names))
    with pytest.raises(InputError, match=r"a\.parquet: two columns have the names 'a' and '[aA]'"):
        find_columns([file], {})
    with pytest.raises(InputError, match="two columns"):
        read(file, {"a": "BIGINT"})


@pytest.mark.parametrize("groups", [0, 1])
def test_a_file_without_rows(tmp_path: Path, groups: int) -> None:
    path = tmp_path / "a.parquet"
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(groups):
            writer.write_table(schema.empty_table())
    file = InputFile(str(path), path.stat().st_size)
    assert pq.read_metadata(path).num_row_groups == groups
    assert find_columns([file], {}) == {"a": "BIGINT", "b": "BIGINT"}
    rows, (report,) = read(file, {"a": "BIGINT", "c": "DATE"}, [5])
    assert rows == []
    assert (report.missing, report.ignored) == (("c",), ("b",))


def test_without_any_column_the_rows_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"a": range(10)}, row_group_size=4)
    assert len(read(file, {}, [5])[0]) == 10
    assert read(file, {"other": "DATE"}, [5])[0] == [(None,)] * 10


def test_a_file_without_columns_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", pa.table({"a": [1]}).select([]))
    with pytest.raises(InputError, match=r"a\.parquet: the Parquet file has no columns"):
        find_columns([file], {})


def test_a_column_named_as_the_row_number(tmp_path: Path) -> None:
    table = {"file_row_number": [5, 6, 7], "a": [1, 2, 3]}
    file = write(tmp_path / "a.parquet", table, row_group_size=2)
    wanted = {"file_row_number": "BIGINT", "a": "BIGINT"}
    assert read(file, wanted)[0] == [(5, 1), (6, 2), (7, 3)]
    with pytest.raises(InputError, match=r"a\.parquet: a column is called file_row_number"):
        read(file, wanted, [5])


def test_a_file_that_is_changed_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"a": [1]})
    (block,) = row_groups(file, 0, file.size)
    check_unchanged(block)
    write(tmp_path / "a.parquet", {"a": [2]})
    session = open_session(str(tmp_path), [file.path])
    changed = pytest.raises(InputError, match=r"a\.parquet: was changed while the job ran")
    with changed:
        load(session, str(tmp_path), block, {"a": "BIGINT"}, ["a"])
    with changed:
        check_unchanged(block)
    Path(file.path).unlink()
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read"):
        check_unchanged(block)


def test_a_compressed_parquet_file_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"a": [1]})
    shutil.move(file.path, f"{file.path}.gz")
    with pytest.raises(InputError, match=r"a\.parquet\.gz: a Parquet file is compressed within"):
        find_columns([InputFile(f"{file.path}.gz", file.size)], {})


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_is_damaged_is_no_crash(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, None, 4], "b": ["x", "yy", None, "é"]}), sink)
    content = bytearray(sink.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "a.parquet"
    path.write_bytes(content)
    file = InputFile(str(path), len(content))
    wanted = {"a": "BIGINT", "b": "VARCHAR"}
    try:
        blocks = list(row_groups(file, 0, file.size))
        faults = [find_fault(block, wanted, list(wanted)) for block in blocks]
    except InputError as error:
        faults = [error]
    assert all(fault is None or str(path) in str(fault) for fault in faults)
