"""The careful reader reads every dialect as it is said to be, and sets aside what is none of it."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from pathlib import Path
from typing import Literal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.errors import InputError
from beam_jobs.formats import csv_records
from beam_jobs.formats.csv_records import CsvRecord, read_header, read_records
from beam_jobs.formats.csv_source import LINE, TEXT, CsvFile, careful_source, good_records
from beam_jobs.formats.formats import Dialect

BACKSLASH = Dialect(escape="\\")
# Python's way to say which values are quoted.
Quoting = Literal[0, 1, 3]


def records_of(data: bytes | str, dialect: Dialect, first_line: int = 1) -> list[CsvRecord]:
    data = data.encode() if isinstance(data, str) else data
    return list(read_records(io.BytesIO(data), dialect, first_line))


def values_of(data: bytes | str, dialect: Dialect, first_line: int = 1) -> list[list[str]]:
    """Return the values of the good records, blank lines left out."""
    found = records_of(data, dialect, first_line)
    assert all(not record.problem for record in found)
    return [record.values for record in found if not record.is_blank]


def unexpected(record: CsvRecord) -> None:
    """Fail on a record that is set aside."""
    pytest.fail(record.problem)


def problems_of(data: bytes | str, dialect: Dialect) -> list[tuple[int, int, str]]:
    """Return first line, number of lines and problem of the bad records."""
    found = records_of(data, dialect)
    return [(record.line, record.lines, record.problem) for record in found if record.problem]


# Against Python's csv module.

_ODD = "\\\"',;#|\n\rN x"
_TABLES = st.lists(
    st.lists(st.text(st.sampled_from(_ODD) | st.characters(codec="utf-8"), max_size=6), min_size=2),
    max_size=5,
)


@given(
    table=_TABLES,
    delimiter=st.sampled_from(",;\t|é"),
    quote=st.sampled_from("\"'"),
    escape=st.sampled_from(["", "\\", "^"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@settings(deadline=None)
def test_what_python_writes_with_quotes_is_read_as_it_was(
    table: list[list[str]], delimiter: str, quote: str, escape: str, quoting: Quoting
) -> None:
    written = io.StringIO()
    csv.writer(
        written,
        delimiter=delimiter,
        quotechar=quote,
        escapechar=escape or None,
        doublequote=not escape,
        quoting=quoting,
        lineterminator="\r\n",
    ).writerows(table)
    text = written.getvalue()
    if quoting != csv.QUOTE_ALL and " " in text:
        text = text.replace(" ", "_")  # Spaces around quotes are ours to leave out.
        table = [[value.replace(" ", "_") for value in values] for values in table]
    dialect = Dialect(delimiter=delimiter, quote=quote, escape=escape)
    assert values_of(b"\xef\xbb\xbf" + text.encode(), dialect) == table


@given(table=_TABLES, delimiter=st.sampled_from(",;\t|"), escape=st.sampled_from("\\^"))
@settings(deadline=None)
def test_what_python_writes_with_escapes_alone_is_read_as_it_was(
    table: list[list[str]], delimiter: str, escape: str
) -> None:
    written = io.StringIO()
    csv.writer(
        written,
        delimiter=delimiter,
        quotechar=None,
        escapechar=escape,
        quoting=csv.QUOTE_NONE,
        lineterminator="\r\n",
    ).writerows(table)
    data = b"\xef\xbb\xbf" + written.getvalue().encode()
    assert values_of(data, Dialect(delimiter=delimiter, quote="", escape=escape)) == table


@given(st.text(st.sampled_from('a",\n\\ '), max_size=12), st.sampled_from(["", "\\"]))
@settings(deadline=None)
def test_a_file_of_any_characters_is_read_to_its_end_and_line_by_line(
    text: str, escape: str
) -> None:
    found = records_of(text, Dialect(escape=escape))
    assert "".join(record.text for record in found) == text
    lines = 1
    for record in found:
        assert record.line == lines
        lines += record.lines
    assert lines - 1 == len(text.splitlines())


@given(st.text(st.sampled_from('a",;\n\r\\#é'), max_size=15), st.sampled_from([",", ";", "||"]))
@settings(deadline=None)
def test_without_quotes_every_line_is_split_at_every_delimiter(text: str, delimiter: str) -> None:
    expected = [line.split(delimiter) for line in text.splitlines() if line]
    assert values_of(text, Dialect(delimiter=delimiter, quote="")) == expected


# Against DuckDB.


@given(
    st.lists(
        st.lists(st.text(st.sampled_from("a,;'\"\\\n #"), max_size=5), min_size=2, max_size=2)
    ),
    st.sampled_from("\"'"),
    st.sampled_from(["", "\\"]),
    st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_duckdb_reads_the_same_of_what_is_quoted(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    quote: str,
    escape: str,
    skip_lines: int,
) -> None:
    written = io.StringIO()
    csv.writer(
        written,
        quotechar=quote,
        escapechar=escape or None,
        doublequote=not escape,
        quoting=csv.QUOTE_ALL,
        lineterminator="\n",
    ).writerows([["x", "x"], *table])
    text = f"skipped {quote}\n" * skip_lines + written.getvalue()
    path = tmp_path_factory.mktemp("duckdb") / "f.csv"
    path.write_text(text, encoding="utf-8", newline="")
    rows = duckdb.execute(
        "SELECT * FROM read_csv(?, auto_detect = false, columns = {a: 'VARCHAR', b: 'VARCHAR'}, "
        "header = false, delim = ',', quote = ?, escape = ?, skip = ?, new_line = '\\n')",
        [str(path), quote, escape or quote, skip_lines],
    ).fetchall()
    found = values_of(text, Dialect(quote=quote, escape=escape), skip_lines + 1)
    assert [[value or None for value in values] for values in found] == [list(row) for row in rows]


# Escapes.


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (r"a\,b,c", ["a,b", "c"]),
        (r"a\"b,c", ['a"b', "c"]),
        (r'\"a,c"', ['"a', 'c"']),
        (r"a\\,b", ["a\\", "b"]),
        (r"a\\\,b", ["a\\,b"]),
        (r"\N,\n", [r"\N", r"\n"]),
        (r'"\N"', [r"\N"]),
        (r'"a\"b","c\\"', ['a"b', "c\\"]),
        (r'"a\\\"b"', ['a\\"b']),
        ('"a\\\nb",c', ["a\nb", "c"]),
        ("a\\\nb,c", ["a\nb", "c"]),
        ("a\\\r\nb,c", ["a\r\nb", "c"]),
        ("a\\\n\\\nb,c", ["a\n\nb", "c"]),
        ("a,b\\\n", ["a", "b\n"]),
        ("a,b\\", ["a", "b\\"]),
        ('"a" ,b', ["a", "b"]),
    ],
)
def test_an_escape_takes_the_meaning_from_what_has_one(text: str, values: list[str]) -> None:
    assert values_of(text, BACKSLASH) == [values]


def test_an_escaped_delimiter_of_several_characters_is_escaped_as_one() -> None:
    assert values_of(r"a\||b||c\|||d", Dialect("||", escape="\\")) == [["a||b", "c|||d"]]


def test_an_escaped_comment_is_a_record() -> None:
    dialect = Dialect(escape="\\", comment="#")
    assert values_of("#no\n\\#yes,1\n", dialect) == [["#yes", "1"]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"a""b",c\n', (1, 1, "text after a closing quote")),
        ('"a\\",c\nd\n', (1, 2, "a quote is not closed by the end of the file")),
        ('"a\\', (1, 1, "a quote is not closed by the end of the file")),
    ],
)
def test_with_an_escape_a_doubled_quote_is_malformed(
    text: str, problem: tuple[int, int, str]
) -> None:
    assert problems_of(text, BACKSLASH) == [problem]


# Comments and skipped lines.


def test_comments_are_no_records_but_count_as_lines() -> None:
    text = '#1\na,b\n#"3\n1,2\n"4\n#no comment",5\n x,#6\n#'
    found = records_of("\ufeff" + text, Dialect(comment="#"))
    assert [(record.line, record.values) for record in found] == [
        (2, ["a", "b"]),
        (4, ["1", "2"]),
        (5, ["4\n#no comment", "5"]),
        (7, [" x", "#6"]),
    ]


def test_comments_that_are_no_text_are_no_rejects() -> None:
    assert values_of(b"#\xff\na,b\n", Dialect(comment="#")) == [["a", "b"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_skipped_whatever_is_in_them(end: str) -> None:
    dialect = Dialect(skip_lines=3, comment="#")
    data = end.join(['report of "x', "", "#,\xff", "# comment", "", "a,b", "1,2", ""]).encode()
    header = read_header(io.BytesIO(data), dialect, "f.csv")
    assert (header.names, header.line, header.next_line) == (["a", "b"], 6, 7)
    file = CsvFile(io.BytesIO(data), 2, dialect, header.next_line)
    assert [r.values for r in good_records(file, unexpected)] == [["1", "2"]]


def test_a_block_amid_a_file_has_no_lines_to_skip() -> None:
    assert values_of("1,2\n", Dialect(skip_lines=3)) == [["1", "2"]]


def test_a_file_of_fewer_lines_than_are_skipped_has_no_columns() -> None:
    assert read_header(io.BytesIO(b"a\nb\n"), Dialect(skip_lines=3), "f").names == []


# Bad input.


@pytest.mark.parametrize(("encoding", "name"), [("utf-8", "UTF-8"), ("utf-16", "UTF-16")])
def test_bytes_that_are_no_text_reject_their_record_by_the_name_of_the_encoding(
    encoding: Literal["utf-8", "utf-16"], name: str
) -> None:
    problems = problems_of(b'a,b\n\xff,c\n"\xff",c\nd,e\n', Dialect(encoding=encoding))
    assert problems == [(2, 1, f"not {name}"), (3, 1, f"not {name}")]


def test_a_nul_is_a_character() -> None:
    assert values_of(b'a,\0\n"\0",b\n', Dialect()) == [["a", "\0"], ["\0", "b"]]


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PAR1\x15\x04\x15", "a Parquet file; rename it to .parquet, or say --format parquet"),
        (b"Obj\x01\x04\x14", "an Avro file; rename it to .avro, or say --format avro"),
        (b"\x1f\x8b\x08\0\0", "gzip data; let its name end in .gz, or say --compression gzip"),
        (b"BZh91AY&SY", "bzip2 data; let its name end in .bz2, or say --compression bzip2"),
        (
            b"\x28\xb5\x2f\xfd\0",
            "Zstandard data; let its name end in .zst, or say --compression zstd",
        ),
        (b"PK\x03\x04\x14", "a ZIP archive, or a spreadsheet; unpack it, or save it as CSV"),
        ("a,b\n".encode("utf-32"), "UTF-32 text; save it as UTF-8"),
    ],
)
def test_a_header_of_a_file_of_another_format_says_so(head: bytes, what: str) -> None:
    with pytest.raises(InputError, match=rf"^f\.csv: is {what}$".replace("(", r"\(")):
        read_header(io.BytesIO(head), Dialect(), "f.csv")


@pytest.mark.parametrize("names", ["PAR1,PAR2", "BZh,Obj", "PK,1"])
def test_a_header_that_looks_like_another_format_is_a_header(names: str) -> None:
    assert read_header(io.BytesIO(names.encode()), Dialect(), "f").names == names.split(",")


def test_a_header_may_have_ten_thousand_columns() -> None:
    names = [f"column_{number}" for number in range(10_000)]
    data = f"{','.join(names)}\n{','.join(map(str, range(10_000)))}\n".encode()
    started = time.process_time()
    header = read_header(io.BytesIO(data), Dialect(), "f.csv")
    assert header.names == names
    table = careful_source(CsvFile(io.BytesIO(data), 10_000, Dialect(), 2), unexpected).read_all()
    assert table.num_rows == 1
    assert table.column_names == [*(f"t{number}" for number in range(10_000)), LINE, TEXT]
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("first", "problems"),
    [
        ("", ["longer than 16,777,216 characters", ""]),
        ("\\,", ["longer than 16,777,216 characters", ""]),
        # Nobody can tell any more what its quote encloses.
        ('"', ["a quote is not closed by the end of the file"]),
    ],
)
def test_a_line_of_a_hundred_megabytes_is_a_reject_in_bounded_time_and_memory(
    first: str, problems: list[str]
) -> None:
    stream = io.BytesIO(first.encode() + b"x" * 100_000_000 + b"\na,b\n")
    started = time.process_time()
    tracemalloc.start()
    found = list(read_records(stream, BACKSLASH))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [record.problem for record in found] == problems
    assert peak < 8 * csv_records.MAX_RECORD
    assert time.process_time() - started < 5


def test_an_open_quote_over_a_whole_file_is_one_reject_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(csv_records, "MAX_RECORD", 1000)
    path = tmp_path / "f.csv"
    path.write_text('a,"b\n' + "c,d\n" * 50_000, encoding="utf-8")
    with path.open("rb") as stream:
        (record,) = read_records(stream, Dialect())
    assert record.lines == 50_001
    assert len(record.text) < 1000
    assert record.problem == "a quote is not closed by the end of the file"
