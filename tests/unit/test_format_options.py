"""What a command line says about the files, and how a mistake in it is reported."""

from __future__ import annotations

import pytest

from beam_jobs.aggregate_options import parse_args
from beam_jobs.formats.format_options import given_format
from beam_jobs.formats.formats import OPTION_FORMATS, FileFormat

_QUERY = ["--input", "x.csv", "--query", "SELECT count(*) FROM input"]
_DATASET = ["--dataset", "flights.yaml", "--date", "2013-01-01"]


def format_of(*options: str) -> FileFormat:
    return given_format(parse_args([*_QUERY, *options]).job)


def test_nothing_is_given_where_nothing_is_said() -> None:
    assert format_of() == FileFormat()


def test_all_options_are_given_as_they_are_said() -> None:
    found = format_of(
        *("--format", "csv", "--delimiter", ";", "--quote", "'", "--escape", "\\"),
        *("--comment", "#", "--skip_lines", "3", "--header", "false", "--null_strings", "NA,-"),
        *("--encoding", "ISO-8859-1", "--columns", "a INT, b DECIMAL(9, 2)"),
        *("--compression", "gzip"),
    )
    assert found == FileFormat(
        "csv",
        ";",
        False,
        ("NA", "-"),
        {"a": "INTEGER", "b": "DECIMAL(9,2)"},
        quote="'",
        escape="\\",
        comment="#",
        skip_lines=3,
        encoding="latin-1",
        compression="gzip",
    )


def test_no_quote_is_another_thing_than_the_usual_one() -> None:
    assert format_of("--quote", "").quote == ""
    assert format_of("--header", "true").header is True


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--quote", "ab", "argument --quote: 'ab' is not one character of ASCII, or none"),
        ("--escape", " ", "argument --escape: ' ' is not one character of ASCII, or none"),
        ("--comment", "é", "argument --comment: 'é' is not one character of ASCII, or none"),
        ("--skip_lines", "-1", "argument --skip_lines: '-1' is not a number from 0"),
        ("--encoding", "ebcdic", "argument --encoding: 'ebcdic' is not one of utf-8, utf-16"),
        ("--columns", "a INTEGR", "argument --columns: 'a INTEGR' is not NAME TYPE, …"),
    ],
)
def test_a_value_that_is_none_is_reported_with_what_is_one(
    capsys: pytest.CaptureFixture[str], option: str, value: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        format_of(f"{option}={value}")
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", OPTION_FORMATS)
def test_what_the_dataset_says_is_not_said_again(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    value = {"header": "true", "skip_lines": "0", "encoding": "utf-8", "columns": "a INT"}
    value["compression"] = "gzip"
    with pytest.raises(SystemExit):
        parse_args([*_DATASET, f"--{name}={value.get(name, '#')}"])
    assert f"--{name} does not go with --dataset" in capsys.readouterr().err
