"""Every line is in the table as it was written, or is a reject that says why."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine.reports import BlockReport
from beam_jobs.engine.session import open_session
from beam_jobs.formats import json_lines
from beam_jobs.formats.json_careful import read_lines

_SESSION = open_session()
_PATH = "bucket/data.jsonl"


def load(data: bytes, columns: dict[str, str]) -> tuple[pa.Table, BlockReport]:
    """Load lines; all of them are read by the careful reader, too, and are the same."""
    table, report = json_lines.load(_SESSION, data, _PATH, columns, columns)
    lines = [(n, line) for n, line in enumerate(data.split(b"\n"), 1) if line.strip(b" \t\r\n")]
    careful = read_lines(_SESSION, lines, columns)
    assert texts_of(table) == texts_of(careful.table)
    assert table.schema == careful.table.schema
    assert [(one.line, one.reason) for one in report.rejects] == sorted(careful.problems.items())
    assert report.rows == len(careful.numbers)
    return table, report


def texts_of(table: pa.Table) -> list[tuple[str | None, ...]]:
    """Return the rows as DuckDB prints them: Python has no date as late as infinity."""
    _SESSION.register("found", table)
    return _SESSION.execute("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM found").fetchall()


def value_of(text: str, kind: str) -> Any:
    """Return the value of a JSON text in a column; the reason, where it is a reject."""
    table, report = load(f'{{"a":{text}}}\n'.encode(), {"a": kind})
    return table.column("a")[0].as_py() if report.rows else report.rejects[0].reason


_SCALARS = st.one_of(
    st.sampled_from(
        """0 1 -0 12 -7 12.0 12.5 1.50 0.0 1.0 -0.0 1e3 1.5e-3 1e400 -1e400 1e39 3.4e38 0.1 1E2
        12.00000000000000000001 0.1000000000000000055511151231257827 9007199254740993
        9007199254740993.0 123456789012345.678 1234567890123456e-3 9223372036854775807
        9223372036854775808 18446744073709551616 170141183460469231731687303715884105728
        1e-400 1e99999999999999999999 0e99999999999999999999 nan NaN -nan inf -Infinity true false
        null {} [] [1] {"a":1} "" "0" "1" "12" "12.5" "+1" "1_0" "0x1F" "1e3" "1e400" "nan" "inf"
        "true" "TRUE" "t" "false" "null" "x" "N" "abcdefgh" "é" "\\u00e9" "\\u0000" "a\\"b" "a\\\\b"
        "\\n" "/" "\\/" "[" "{" "-" "2013-01-02" "2013-01-02T03:04:05" "2013-01-02T03:04:05Z"
        "2013-01-02T03:04:05+02:00" "2013-13-01" "03:04:05" "epoch" "infinity" 20130102 2013
        "2013-01-02T03:04:05.1234567" 01 +1 .5 1. tru nul "\\ud800" "\\x" 'a' undefined
        {"x":1.50,"y":[1e2,"\\u001f"]} [1,2,] [,] {"x":1,} "12345678901234567890123456789012"
        12345678901234567890123456789012 "1.555" 1.555 1.55 "6f0c7ae2-7c1f-4c3a-9d0e-0123456789ab"
        """.split()
    ),
    st.sampled_from(
        ['" 12 "', '"12 "', '"2013-01-02 03:04:05"', '" x"', '"2013-01-02 "', '{"x": 1}']
    ),
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.dates().map(lambda date: f'"{date}"'),
)
_KINDS = [
    kind.replace("/", " ")
    for kind in """VARCHAR BIGINT TINYINT UBIGINT HUGEINT DOUBLE FLOAT DECIMAL(5,2) DECIMAL(38,10)
    BOOLEAN DATE TIMESTAMP TIMESTAMP_S TIMESTAMPTZ TIME UUID INTERVAL BLOB BIT JSON
    ENUM('1','x') BIGINT[] STRUCT(x/DOUBLE,y/VARCHAR[])""".split()
]
_KEYS = st.sampled_from(
    ['"a"', '"a"', '"a"', '"a"', '"A"', '"b"', '"b"', '"B"', '"\\u0061"', '"c"', '"\\u0041"']
)
_SPACE = st.sampled_from(["", "", "", " ", "\t", "\r"])


@st.composite
def _lines(draw: st.DrawFn) -> str:
    """Draw a line that is or could be an object."""
    members = draw(st.lists(st.tuples(_KEYS, _SPACE, _SPACE, _SCALARS), max_size=4))
    parts = [f"{key}{before}:{after}{value}" for key, before, after, value in members]
    line = "{" + f",{draw(_SPACE)}".join(parts) + draw(_SPACE) + "}"
    return draw(
        st.sampled_from([line] * 6 + [line[:-1], f" {line}", f"{line} x", "", "[1]", "1", "null"])
    )


@given(st.lists(_lines(), max_size=12), st.sampled_from(_KINDS), st.sampled_from(_KINDS))
@settings(max_examples=50, deadline=None)
def test_duckdb_reads_a_line_as_the_careful_reader_does_or_leaves_it(
    lines: list[str], first: str, second: str
) -> None:
    load("\n".join(lines).encode(errors="surrogatepass"), {"a": first, "b": second})


@given(st.lists(_SCALARS, min_size=1, max_size=12), st.sampled_from(_KINDS))
@settings(max_examples=50, deadline=None)
def test_duckdb_reads_complete_lines_as_the_careful_reader_does_or_leaves_them(
    values: list[str], kind: str
) -> None:
    load("\n".join(f'{{"a":{value},"ok":true}}' for value in values).encode(), {"a": kind})


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from(
                [b'{"a":', b'"x', b'"', b"}", b"\n", b"1", b"\xc3\xa9", b"\xed\xa0\x80", b"\x00"]
            ),
        ),
        max_size=10,
    )
)
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_rows_or_rejects(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    _, report = load(data, {"a": "VARCHAR"})
    filled = [line for line in data.split(b"\n") if line.strip(b" \t\r\n")]
    assert report.rows + report.reject_count == len(filled)


# What a value becomes.


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12", "BIGINT", 12),
        ("12.0", "BIGINT", 12),
        ("1e3", "BIGINT", 1000),
        ('"12"', "BIGINT", 12),
        ("null", "BIGINT", None),
        ("18446744073709551615", "UBIGINT", 18446744073709551615),
        ("0.1", "DOUBLE", 0.1),
        ("1", "VARCHAR", "1"),
        ('"12345"', "VARCHAR", "12345"),
        ("NaN", "VARCHAR", "NaN"),
        ("-Infinity", "DOUBLE", float("-inf")),
        ('"2.5"', "DOUBLE", 2.5),
        ("1.50", "VARCHAR", "1.50"),
        ("-0", "VARCHAR", "-0"),
        ("1e3", "VARCHAR", "1e3"),
        ("true", "VARCHAR", "true"),
        ('{"x": 1.50}', "VARCHAR", '{"x": 1.50}'),
        (r'"\u00e9\n\u0000"', "VARCHAR", "é\n\0"),
        ("0.1000000000000000055511151231", "DECIMAL(38,30)", "0.100000000000000005551115123100"),
        ("1.5e-3", "DECIMAL(9,4)", "0.0015"),
        ("true", "BOOLEAN", True),
        ('"2013-01-02"', "DATE", dt.date(2013, 1, 2)),
        ('"2013-01-02T03:04:05"', "TIMESTAMP", dt.datetime(2013, 1, 2, 3, 4, 5)),  # noqa: DTZ001
        ('{"x": 1.50, "y": [1, ]}', "JSON", '{"x":1.50,"y":[1]}'),
        (r'"\u00e9\/"', "JSON", '"é/"'),
        ("[1, null, 3]", "BIGINT[]", [1, None, 3]),
        ('{"X": 1, "z": 2}', "STRUCT(x DOUBLE, y DATE)", {"x": 1.0, "y": None}),
    ],
)
def test_a_value_is_read_exactly(text: str, kind: str, value: Any) -> None:
    found = value_of(text, kind)
    assert (str(found) if isinstance(found, decimal.Decimal) else found) == value


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("12.5", "BIGINT", "12.5"),
        ("12.00000000000000000001", "BIGINT", "12.00000000000000000001"),
        ("true", "BIGINT", "true"),
        ('"abc"', "BIGINT", "abc"),
        ('"12.5"', "BIGINT", "12.5"),
        ("9223372036854775808", "BIGINT", "9223372036854775808"),
        ("[1]", "BIGINT", "[1]"),
        ("1e400", "DOUBLE", "1e400"),
        ("1e39", "FLOAT", "1e39"),
        ("1e-400", "DECIMAL(5,2)", "1e-400"),
        ("true", "DOUBLE", "true"),
        ("false", "DOUBLE", "false"),
        ('"x"', "DOUBLE", "x"),
        ("1.555", "DECIMAL(5,2)", "1.555"),
        ("1234.5", "DECIMAL(5,2)", "1234.5"),
        ("1", "BOOLEAN", "1"),
        ("20130102", "DATE", "20130102"),
        ("Infinity", "DATE", "Infinity"),
        ('"2013-01-02 03:04:05"', "DATE", "2013-01-02 03:04:05"),
        ('"2013-01-02T03:04:05+02"', "TIMESTAMP", "2013-01-02T03:04:05+02"),
    ],
)
def test_a_value_of_another_type_is_a_reject_that_names_column_value_and_type(
    text: str, kind: str, shown: str
) -> None:
    assert value_of(text, kind) == f"column a: '{shown}' is no {kind}"


def test_a_nested_value_of_another_type_is_named_with_its_place() -> None:
    assert value_of('{"x": [1, 2.5]}', "STRUCT(x BIGINT[])") == "column a.x: '2.5' is no BIGINT"
    assert value_of('{"x": 1, "x": 2}', "STRUCT(x BIGINT)") == "the key a.x stands twice"


def test_all_that_is_wrong_with_a_line_is_said() -> None:
    _, report = load(b'{"a":"x","b":"y"}\n', {"a": "DATE", "b": "BIGINT"})
    assert report.rejects[0].reason == "column a: 'x' is no DATE; column b: 'y' is no BIGINT"


# Keys.


def test_keys_match_columns_in_any_case() -> None:
    table, _ = load(b'{"A":1}\n{"a":2}\n{"\\u0041":3}\n{"b":4}\n', {"a": "BIGINT"})
    assert table.column("a").to_pylist() == [1, 2, 3, None]


def test_the_key_that_is_spelled_as_the_column_goes_first() -> None:
    table, _ = load(b'{"A":1,"a":2}\n{"a":null,"A":1}\n', {"a": "BIGINT"})
    assert table.column("a").to_pylist() == [2, None]


def test_a_key_that_stands_twice_is_a_reject() -> None:
    lines = [b'{"a":1,"a":1}', b'{"A":1,"\xc3\xa9":0,"A":2}', b'{"a":1,"\\u0061":null}', b'{"b":0}']
    _, report = load(b"\n".join(lines), {"a": "BIGINT"})
    assert [(one.line, one.reason) for one in report.rejects] == [
        (1, "the key a stands twice"),
        (2, "the keys 'A' and 'A' are the same column"),
        (3, "the key a stands twice"),
    ]
    assert report.rows == 1


def test_columns_that_nobody_wants_are_not_checked() -> None:
    table, report = load(b'{"a":1,"b":[NaN,{"x":1,"x":2}],"b":"x"}\n', {"a": "BIGINT"})
    assert table.column("a").to_pylist() == [1]
    assert report.reject_count == 0


# Lines.


def test_malformed_lines_are_rejects_with_line_text_and_reason() -> None:
    lines = [
        b'{"a":1}',
        b"",
        b'{"a":',
        b"[1]",
        b'{"a":"\xff"}',
        b'{"a":"\0"}',
        b'{"a":2}\r',
        b"{}x",
    ]
    table, block = json_lines.load(_SESSION, b"\n".join(lines), _PATH, {"a": "VARCHAR"}, {})
    report = BlockReport(_PATH, 0, lines=10).followed_by(block)
    assert table.column("a").to_pylist() == ["1", "2"]
    assert [(one.file, one.line, one.text, one.reason) for one in report.rejects] == [
        (_PATH, 13, '{"a":', "malformed JSON at character 6: the line ends too early"),
        (_PATH, 14, "[1]", "the line is no JSON object"),
        (_PATH, 15, '{"a":"\ufffd"}', "not UTF-8 (invalid start byte)"),
        (_PATH, 16, '{"a":"\0"}', "malformed JSON at character 6: unexpected '\"\\x00\"}'"),
        (_PATH, 18, "{}x", "malformed JSON at character 3: unexpected 'x'"),
    ]


def test_blank_lines_are_no_records() -> None:
    table, report = load(b'\n \t\r\n{"a":1}\r\n\n', {"a": "BIGINT"})
    assert (table.num_rows, report.rows, report.reject_count) == (1, 1, 0)


@pytest.mark.parametrize("block", [b"", memoryview(b'{"a":1}'), pa.py_buffer(b'{"a":1}\n')])
def test_a_block_is_any_buffer(block: bytes | memoryview | pa.Buffer) -> None:
    table, report = json_lines.load(_SESSION, block, _PATH, {"a": "BIGINT"}, {"a": "BIGINT"})
    assert table.column("a").to_pylist() == [1] * report.rows
    assert report.rows == (len(block) > 0 if isinstance(block, bytes) else 1)


def test_without_columns_records_are_counted() -> None:
    table, report = json_lines.load(_SESSION, b'{"a":1}\n{\n{}', _PATH, {}, {})
    assert (table.num_columns, report.rows, report.reject_count) == (0, 2, 1)


def test_at_most_a_thousand_rejects_are_kept_and_all_are_counted() -> None:
    _, report = json_lines.load(_SESSION, b"x\n" * 1500, _PATH, {"a": "BIGINT"}, {})
    assert (len(report.rejects), report.reject_count) == (1000, 1500)


def test_new_and_missing_columns_are_told() -> None:
    block = b'{"a":1,"New":2}\n{"a":1,"c":3}\n'
    known = {"a": "BIGINT", "b": "BIGINT", "c": "BIGINT"}
    _, report = json_lines.load(_SESSION, block, _PATH, known, known)
    assert (report.missing, report.ignored) == (("b",), ("New",))


@pytest.mark.parametrize("kind", ["VARCHAR", "JSON", "BIGINT", "BIGINT[]"])
def test_deep_brackets_end_no_process(kind: str) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    lines = [b'{"a":%b}' % deep, b'{"b":%b}' % deep, b"[" * 100_000, b'{"a":' * 100_000]
    _, report = json_lines.load(_SESSION, b"\n".join(lines), _PATH, {"a": kind}, {})
    assert report.rows == (1 if kind.startswith("BIGINT") else 2)


def test_a_line_of_100_megabytes_is_a_reject_within_seconds() -> None:
    start = time.monotonic()
    block = b'{"a":1}\n{"a":2,"b":"' + b"x" * 100_000_000 + b'"}\n{"a":3}\n'
    table, report = json_lines.load(_SESSION, block, _PATH, {"a": "BIGINT"}, {})
    assert table.column("a").to_pylist() == [1, 3]
    assert [(one.line, one.reason) for one in report.rejects] == [
        (2, "longer than 16,777,216 bytes")
    ]
    assert time.monotonic() - start < 10
