"""Every record of a file is in ``input`` as it was written, or is a reject that says why."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.engine import parts, reports
from beam_jobs.engine.parts import Part, PartEnd, Share
from beam_jobs.engine.reports import BlockReport
from beam_jobs.errors import InputError
from beam_jobs.files import InputFile
from beam_jobs.formats import arrow_csv, csv_columns, csv_records
from beam_jobs.formats.formats import Dialect
from beam_jobs.formats.layout import Layout
from tests.unit.reading import Reading, Rows

_LINE_ENDS = ["\n", "\r\n", "\r"]
_TEXTS = {"a": "VARCHAR", "b": "VARCHAR"}
_FOLDER = tempfile.TemporaryDirectory()
PATH = Path(_FOLDER.name) / "data.csv"


@pytest.fixture(autouse=True, scope="module")
def folder() -> Iterator[None]:
    with _FOLDER:
        yield


def load(
    data: bytes,
    columns: dict[str, str] | None = None,
    *,
    cuts: list[int] | None = None,
    **dialect: Any,
) -> tuple[Rows, BlockReport]:
    """Read a CSV file's bytes; returns the rows of ``input`` without the file name."""
    PATH.write_bytes(data)
    reading = Reading(PATH, Layout("csv", columns or _TEXTS, dialect=Dialect(**dialect)))
    carefully = reading.carefully()
    # In the text of which NaN is NaN.
    assert told(reading.whole()) == told(carefully)
    if cuts is not None and (in_parts := reading.in_parts(cuts)):
        assert told(in_parts) == told(carefully)
    return carefully


def told(found: tuple[Rows, BlockReport]) -> str:
    """Return what was found as a text, but for the lines, which only parts count."""
    return repr(found).rpartition(", lines=")[0]


def rejects_of(report: BlockReport) -> list[tuple[int, str, str]]:
    """Return line, text and reason of each reject."""
    assert all(reject.file == str(PATH) for reject in report.rejects)
    return [(reject.line, reject.text, reject.reason) for reject in report.rejects]


# A well-formed file, whatever its values are.

_VALUES = st.text(
    st.one_of(
        st.sampled_from('",\n\r é\0;x1'),
        st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\ufeff"),
    ),
    max_size=8,
)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_well_formed_file_is_read_exactly(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 4))
    delimiter = data.draw(st.sampled_from([",", ";", "\t", "|", " ", "é", "||"]))
    record = st.lists(_VALUES, min_size=width, max_size=width)
    written = data.draw(st.lists(record, max_size=6))
    end = data.draw(st.sampled_from(_LINE_ENDS))
    quote_all = data.draw(st.booleans())
    lines = [delimiter.join(f"c{number}" for number in range(width))]
    for values in written:
        quoted = [
            '"' + value.replace('"', '""') + '"'
            if quote_all or set(value) & {*'"\r\n ', *delimiter}
            else value
            for value in values
        ]
        lines.append(delimiter.join(quoted))
    text = end.join(lines) + data.draw(st.sampled_from(["", end]))
    bom = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    names = data.draw(st.permutations([f"c{number}" for number in range(width)]))
    rows, report = load(bom + text.encode(), dict.fromkeys(names, "VARCHAR"), delimiter=delimiter)
    places = [int(name[1:]) for name in names]
    expected = [tuple(values[place] or None for place in places) for values in written]
    # A single empty value is an empty line, and at the end of a file without one nothing at all.
    if width == 1:
        while expected and expected[-1] == (None,) and len(rows) < len(expected):
            expected.pop()
    assert rows == expected
    assert report.reject_count == 0


# Whatever the bytes are.

_PIECES = st.sampled_from(
    [
        '"',
        ",",
        "\n",
        "\r\n",
        "\r",
        " ",
        "x",
        "1",
        "é",
        "\0\0",
        "NA",
        '""',
        '"a,b"',
        '"a\nb"',
        "x,1\n",
    ]
)


@st.composite
def _anything(draw: st.DrawFn) -> bytes:
    body = "".join(draw(st.lists(_PIECES, max_size=14)))
    if draw(st.booleans()):
        body = body.replace("\r\n", "\n").replace("\r", "\n")
        body = body.replace("\n", draw(st.sampled_from(_LINE_ENDS)))
    data = body.encode()
    if draw(st.integers(0, 9)) == 0:
        data = data.replace(b"x", b"\xff", 1)
    return data


@given(_anything(), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["VARCHAR", "BIGINT"]))
@settings(max_examples=75, deadline=None)
def test_every_record_is_a_row_or_a_reject(body: bytes, end: str, kind: str) -> None:
    data = f"a,b{end}".encode() + body
    rows, report = load(data, {"a": "VARCHAR", "b": kind}, null_strings=("", "NA"))
    lines = data.decode(errors="surrogateescape")
    total_lines = len(list(io.StringIO(lines, newline="")))
    assert report.reject_count == sum(reject.lines for reject in report.rejects)
    numbers = [reject.line for reject in report.rejects]
    assert numbers == sorted(set(numbers))
    for reject in report.rejects:
        assert 2 <= reject.line <= total_lines
        # The raw text is what stands at that line.
        text = "".join(list(io.StringIO(lines, newline=""))[reject.line - 1 :])
        raw = reject.text.encode(errors="replace").decode()
        assert text.encode(errors="surrogateescape").decode(errors="replace").startswith(raw)
    # Lines that hold neither a record nor a part of one are blank.
    not_blank = [line for line in io.StringIO(lines, newline="") if line.strip("\r\n")]
    assert len(rows) + report.reject_count <= total_lines - 1
    if '"' not in lines:
        assert len(rows) + report.reject_count == len(not_blank) - 1


_TRICKY = st.sampled_from(
    """1 -7 +5 007 0x1F 1_0 1.0 1e3 12.5 99999999999999999999 .5 1. 1e400 -1e400 nan inf -Infinity
    true TRUE t yes 2013-01-01 2013-1-1 20130101 2013-13-01 2013-01-01T05:00:00 05:00:00 0000-01-01
    2013-01-01T05:00:00.5 2013-01-01T05:00:00.1234567 2013-01-01T05:00:00Z 2013-01-01T05:00Z
    2013-01-01T05:00:00+02 2013-01-01T05:00:00+0200 2013-01-01T05:00:00+02:00 2013-01-01T24:00:00
    2013-01-01T05 2013-01-01T0500 -0 0 é NA x""".split()
)


@given(
    values=st.lists(
        st.tuples(
            st.sampled_from(["", "", " ", "\t", "\u00a0"]),
            _TRICKY,
            st.sampled_from(["", " ", "\t"]),
        ).map("".join),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(
        [*arrow_csv.ARROW_TYPES, "TIMESTAMP", "TIMESTAMPTZ", "DECIMAL(9,2)", "FLOAT", "TIME"]
    ),
    separator=st.sampled_from(["T", " "]),
    quoted=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_arrow_reads_a_value_as_the_careful_reader_does_or_leaves_it(
    values: list[str], kind: str, separator: str, quoted: bool
) -> None:
    mark = '"' if quoted else ""
    lines = [f"{mark}{value.replace('T', separator)}{mark},x" for value in values]
    load(
        "\n".join(["a,b", *lines, ""]).encode(),
        {"a": kind, "b": "VARCHAR"},
        null_strings=("", "NA"),
    )


@given(
    body=_anything(),
    size=st.integers(3, 12),
    width=st.integers(1, 3),
    header=st.booleans(),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    kind=st.sampled_from(["VARCHAR", "BIGINT", "DECIMAL(9,2)"]),
    cut=st.integers(1, 30),
    dialect=st.sampled_from(
        [{}, {}, {"quote": ""}, {"quote": "'"}, {"escape": "\\"}, {"comment": "x"}]
    ),
)
@settings(max_examples=200, deadline=None)
def test_no_block_size_and_no_cut_changes_a_row_or_a_reject(
    body: bytes,
    *,
    size: int,
    width: int,
    header: bool,
    bom: bytes,
    kind: str,
    cut: int,
    dialect: dict[str, Any],
) -> None:
    names = [f"c{number}" for number in range(width)]
    data = bom + (f"{','.join(names)}\n".encode() if header else b"") + body
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "BLOCK_BYTES", size)
        cuts = list(range(cut, len(data), cut))
        kinds = dict.fromkeys(names, kind)
        load(data, kinds, cuts=cuts, header=header, null_strings=("", "NA"), **dialect)


@given(
    rows=st.lists(st.lists(_VALUES, min_size=2, max_size=2), min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=8, deadline=None)
def test_every_cut_of_a_well_formed_file_gives_its_records(rows: list[list[str]], end: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *rows])
    data = stream.getvalue().encode()
    whole = load(data)
    reading = Reading(PATH, Layout("csv", _TEXTS))
    for cut in range(1, len(data)):
        found = reading.in_parts([cut])
        assert found is None or told(found) == told(whole)


def test_a_large_file_with_quoted_newlines_is_cut_anywhere() -> None:
    record = b'1,"a ""quoted"",\nand, broken\n\nvalue"\n'
    data = b"a,b\n" + record * 8
    PATH.write_bytes(data)
    reading = Reading(PATH, Layout("csv", _TEXTS))
    for cut in range(1, len(data)):
        found = reading.in_parts([cut])
        assert found is not None
        assert len(found[0]) == 8


def test_a_part_that_begins_within_quotes_unseen_is_not_counted() -> None:
    # From the cut on, the text within the quotes reads like records.
    data = b'a,b\n1,"x\n' + b"2,3\n" * 10 + b'",5\n'
    PATH.write_bytes(data)
    reading = Reading(PATH, Layout("csv", _TEXTS))
    assert reading.in_parts([30]) is None


@pytest.mark.parametrize("end", _LINE_ENDS)
@pytest.mark.parametrize("other", _LINE_ENDS)
def test_line_ends_may_be_mixed(end: str, other: str) -> None:
    rows, report = load(f'a,b{end}1,2{other}3,"4{other}x"{end}5,6'.encode())
    assert rows == [("1", "2"), ("3", f"4{other}x"), ("5", "6")]
    assert report.reject_count == 0


def test_ragged_records_are_rejects_with_line_text_and_reason() -> None:
    rows, report = load(b"a,b\n1,2\n\n3\n4,5,6\n7,8,\n")
    assert rows == [("1", "2"), ("7", "8")]
    assert rejects_of(report) == [
        (4, "3", "1 value where 2 belong"),
        (5, "4,5,6", "3 values where 2 belong"),
    ]


def test_mistyped_values_are_rejects_that_name_column_value_and_type() -> None:
    data = b'a,b\n"x\ny",1\n"z,",2.5\n\nw,oops\nv,3\n'
    rows, report = load(data, {"a": "VARCHAR", "b": "BIGINT"})
    assert rows == [("x\ny", 1), ("v", 3)]
    assert rejects_of(report) == [
        (4, '"z,",2.5', "column b: '2.5' is no BIGINT"),
        (6, "w,oops", "column b: 'oops' is no BIGINT"),
    ]


def test_all_that_is_wrong_with_a_record_is_said() -> None:
    _, report = load(b"a,b\nx,y\n", {"a": "DATE", "b": "BIGINT"})
    assert rejects_of(report) == [
        (2, "x,y", "column a: 'x' is no DATE; column b: 'y' is no BIGINT")
    ]


def test_invalid_utf8_is_a_reject() -> None:
    rows, report = load(b"a,b\nx\xff,1\ny,2\n")
    assert rows == [("y", "2")]
    assert rejects_of(report) == [(2, "x\ufffd,1", "not UTF-8")]


def test_a_quote_that_is_never_closed_counts_every_line_that_it_swallows() -> None:
    lines = b"".join(b"%d,x\n" % number for number in range(5000))
    rows, report = load(b'a,b\n1,2\n"3,4\n' + lines)
    assert rows == [("1", "2")]
    assert report.reject_count == 5001
    ((line, text, reason),) = rejects_of(report)
    assert (line, len(text)) == (3, 1000)
    assert reason == "a quote is not closed by the end of the file"
    assert "(lines 3 to 5003)" in str(report.rejects[0])


def test_a_stray_quote_that_meets_another_counts_every_line_between_them() -> None:
    rows, report = load(b'a,b\n"1,2\n3,4\n"5",6\n7,8\n')
    assert rows == [("7", "8")]
    assert report.reject_count == 3
    assert "text after a closing quote (lines 2 to 4)" in str(report.rejects[0])


def test_a_record_that_is_too_long_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "MAX_RECORD", 20)
    long = b'"' + b"\n" * 30 + b'",2\n'
    rows, report = load(b"a,b\n" + b"x" * 50 + b",1\n" + long + b"ok,3\noops\n")
    assert rows == [("ok", "3")]
    assert [(line, reason[:26]) for line, _, reason in rejects_of(report)] == [
        (2, "longer than 20 characters"),
        (3, "longer than 20 characters"),
        (35, "1 value where 2 belong"),
    ]


def test_null_strings_and_empty_values_are_null_quoted_or_not() -> None:
    rows, _ = load(b'a,b\n,NA\n"","NA"\n" ",na\n', null_strings=("", "NA"))
    assert rows == [(None, None), (None, None), (" ", "na")]


@pytest.mark.parametrize("bad_record", [b"", b"bad\n"])
def test_quotes_amid_a_value_are_characters_and_spaces_around_a_quoted_one_are_none(
    bad_record: bytes,
) -> None:
    data = b'a,b\n5" pipe,x"y"\n "1, 2" ,  "3"\n"he said ""hi"" to", z \n' + bad_record
    rows, _ = load(data)
    assert rows == [('5" pipe', 'x"y"'), ("1, 2", "3"), ('he said "hi" to', " z ")]


def test_columns_match_by_name_in_any_order_and_case() -> None:
    rows, report = load(b"B,new,A\n1,2,3\n", {"a": "BIGINT", "b": "BIGINT", "c": "DATE"})
    assert rows == [(3, 1, None)]
    assert report.missing == ("c",)
    assert report.ignored == ("new",)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"a;b\n3;4\n", "line 1: 'a;b'"),
        (b"\n3,4\n5,6\n", "line 2: '3,4'"),
        (b'x,"y\nz"\n', "line 1: 'x,\"y\\nz\"'"),
        (b"x" * 200, "line 1: '" + "x" * 100 + "'…"),
    ],
)
def test_a_file_with_none_of_the_columns_is_an_error_with_its_first_line_and_the_remedy(
    data: bytes, shown: str
) -> None:
    PATH.write_bytes(data)
    reading = Reading(PATH, Layout("csv", _TEXTS))
    for read in (reading.whole, reading.carefully):
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value) == (
            f"{PATH}: {shown} has none of the run's columns (a, b); say how the files are "
            "read with --delimiter or --header, or give files of another kind a pattern of their "
            "own"
        )


def test_a_file_has_its_rows_where_the_run_has_no_columns() -> None:
    PATH.write_bytes(b"x,y\n1,2\n")
    rows, _ = Reading(PATH, Layout("csv", {}, {"date": "DATE"})).whole()
    assert rows == [(None,)]


def test_only_the_wanted_columns_are_read_and_checked() -> None:
    PATH.write_bytes(b"a,b,c\n1,x,2\n3,4,y\n5,6\n")
    kinds = dict.fromkeys("abcd", "BIGINT")
    reading = Reading(PATH, Layout("csv", kinds), {"d": "BIGINT", "b": "BIGINT"})
    for read in (reading.whole, reading.carefully):
        rows, report = read()
        assert rows == [(None, 4)]
        assert [(reject.line, reject.reason) for reject in report.rejects] == [
            (2, "column b: 'x' is no BIGINT"),
            (4, "2 values where 3 belong"),
        ]
        assert (report.missing, report.ignored) == (("d",), ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("header", [True, False])
def test_utf16_is_an_error_that_says_so(encoding: str, *, header: bool) -> None:
    PATH.write_bytes("name,b\nö,2\n".encode(encoding))
    reading = Reading(PATH, Layout("csv", _TEXTS, dialect=Dialect(header=header)))
    for read in (reading.whole, reading.carefully):
        with pytest.raises(InputError, match=r"data\.csv: line 1: the file is UTF-16 .*UTF-8$"):
            read()


def test_a_wide_file_is_read_in_time_that_grows_with_its_columns() -> None:
    names = [f"c{number}" for number in range(8000)]
    record = ",".join("x" if number % 2 else "1" for number in range(8000))
    kinds = {name: "VARCHAR" if number % 2 else "BIGINT" for number, name in enumerate(names)}
    PATH.write_text(f"{','.join(names)}\n{record}\n")
    reading = Reading(PATH, Layout("csv", kinds))
    part = Part(0, InputFile(str(PATH), PATH.stat().st_size), 0, PATH.stat().st_size)
    started = time.process_time()
    (block,) = reading.reader.cut(Share(0, (part,)))
    assert not isinstance(block, PartEnd)
    reading.reader.load(reading.session, block)
    assert time.process_time() - started < 3
    found = reading.session.connection.execute("SELECT c0, c1, c7998, c7999 FROM input").fetchall()
    assert found == [(1, "x", 1, "x")]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"a,b", b"a,b\n", b"\n\na,b\r\n"])
def test_a_file_without_records_has_no_rows_and_no_rejects(data: bytes) -> None:
    rows, report = load(data)
    assert rows == []
    assert report.reject_count == 0


def test_blank_lines_before_the_header_are_skipped() -> None:
    assert load(b"\n\na,b\n1,2\n")[0] == [("1", "2")]


def test_a_blank_line_of_a_single_column_is_a_null_record() -> None:
    assert load(b"a\n\n1\n\n", {"a": "BIGINT"})[0] == [(None,), (1,), (None,)]
    assert load(b"a\n\nx\n1\n\n", {"a": "BIGINT"})[0] == [(None,), (1,), (None,)]


def test_without_header_the_columns_are_in_the_order_of_the_layout() -> None:
    rows, report = load(b"1,2\n3\n", header=False)
    assert rows == [("1", "2")]
    assert rejects_of(report) == [(2, "3", "1 value where 2 belong")]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"a,a\n", "data.csv: line 1: two columns are named 'a'; rename one"),
        (b"\nA,a\n", "line 2: two columns are named 'a'"),
        (b"a,\n", "line 1: column 2 has no name"),
        (b'"a"x,b\n', "line 1: the header is malformed: text after a closing quote"),
        (b"a\xff,b\n", "line 1: the header is malformed: not UTF-8"),
        (b'"a,b\n1,2\n', "the header is malformed: a quote is not closed"),
    ],
)
def test_a_broken_header_is_an_error_that_names_the_file(header: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(header + b"1,2\n")
    assert message in str(caught.value)


def test_odd_column_names_and_values_are_no_sql() -> None:
    name = 'it\'s "odd"; DROP'
    rows, report = load(
        f'"{name.replace(chr(34), chr(34) * 2)}",b\no\'x,1\n'.encode(), {name: "BIGINT"}
    )
    assert rows == []
    assert rejects_of(report) == [(2, "o'x,1", f"column {name}: 'o'x' is no BIGINT")]


def test_only_the_first_rejects_are_kept_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_columns, "KEPT_REJECTS", 5)
    monkeypatch.setattr(reports, "KEPT_REJECTS", 5)
    body = b"".join(b"x,%d\n" % n if n % 3 else b"ragged\n" for n in range(100))
    _, report = load(b"a,b\n" + body, {"a": "BIGINT", "b": "BIGINT"})
    assert report.reject_count == 100
    assert [reject.line for reject in report.rejects] == [2, 3, 4, 5, 6]


def test_a_reject_prints_as_one_line_with_its_place() -> None:
    reject = reports.Reject("f.csv", 7, 'x\n"', "why")
    assert str(reject) == "f.csv:7: why: 'x\\n\"'"


def test_a_file_of_any_size_agrees_with_the_csv_module() -> None:
    written = [[f"{n}", f'say "{n}",\n{"é" * (n % 50)}'] for n in range(30_000)]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([["a", "b"], *written])
    rows, _ = load(stream.getvalue().encode())
    assert rows == [tuple(record) for record in written]
    rows, report = load(stream.getvalue().encode() + b"ragged\n")
    assert rows == [tuple(record) for record in written]
    assert report.rejects[0].line == 60_002


def test_an_hour_without_minutes_is_no_timestamp_wherever_it_stands() -> None:
    good = b"ts,n\n2013-01-01 10:00:00,1\n"
    for kind in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        for other in (b"", b"2013-01-01 10:00:00,x\n"):
            rows, report = load(good + b"2013-01-01 10,1\n" + other, {"ts": kind, "n": "BIGINT"})
            assert len(rows) == 1
            assert [reject.line for reject in report.rejects] == [3, 4][: 1 + bool(other)]
