"""The options of a command line that say how the files are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import get_args

import duckdb

from beam_jobs import options
from beam_jobs.formats.formats import (
    OPTION_FORMATS,
    Compression,
    Encoding,
    FileFormat,
    FormatName,
    check_sign,
    encoding_name,
)


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the files are read."""
    layout = parser.add_argument_group("layout of the files (default: found out from a sample)")
    layout.add_argument(
        "--format",
        choices=get_args(FormatName),
        help="default: by the files' ending; text has the one column line, json an object a line",
    )
    layout.add_argument(
        "--compression",
        choices=get_args(Compression),
        help="of all files (default: by the ending .gz, .bz2 or .zst of each)",
    )
    layout.add_argument(
        "--columns",
        metavar="'NAME TYPE, …'",
        type=_columns,
        help="types of columns in DuckDB's names; the types of the others are inferred",
    )
    layout.add_argument(
        "--encoding",
        type=_valid(encoding_name),
        metavar="NAME",
        help=f"of CSV and text files: {', '.join(get_args(Encoding))} (default: utf-8, or utf-16 "
        "where the files show it)",
    )
    _add_csv_options(parser)


def _add_csv_options(parser: argparse.ArgumentParser) -> None:
    csv = parser.add_argument_group("CSV files")
    csv.add_argument(
        "--delimiter",
        metavar="CHAR",
        help="between the values of a record, such as ';' or '\\t' (default: found out)",
    )
    csv.add_argument(
        "--quote",
        type=_valid(check_sign),
        metavar="CHAR",
        help="around values that hold a delimiter or an end of line (default: '\"'); '' where "
        "quotes are characters like any other, and every end of line ends a record",
    )
    csv.add_argument(
        "--escape",
        type=_valid(check_sign),
        metavar="CHAR",
        help="before a quote, a delimiter or an end of line that belongs to the value, such as "
        "'\\' (default: none; a quote within quotes is doubled)",
    )
    csv.add_argument(
        "--comment",
        type=_valid(check_sign),
        metavar="CHAR",
        help="lines that begin with it, such as '#', are no records (default: none)",
    )
    csv.add_argument(
        "--skip_lines",
        type=options.natural_number,
        metavar="N",
        help="lines at the beginning of each file, before its header, to leave out (default: 0)",
    )
    csv.add_argument(
        "--header",
        choices=("true", "false"),
        help="whether each file begins with the columns' names (default: found out)",
    )
    csv.add_argument(
        "--null_strings",
        metavar="TEXT,…",
        type=lambda text: tuple(text.split(",")),
        help="values that are NULL beside the empty one, such as NA; '' for no others (default: "
        "found out)",
    )


def _valid(check: Callable[[str], str]) -> Callable[[str], str]:
    """Return a check, whose errors follow the value, for argparse."""

    def checked(text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}") from None

    return checked


def _columns(text: str) -> dict[str, str]:
    try:
        fields = duckdb.sqltype(f"STRUCT({text})").children
    except duckdb.Error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME TYPE, …: {error}") from None
    return {name: str(kind) for name, kind in fields}


def given_format(job: argparse.Namespace) -> FileFormat:
    """Return what these options say about the files."""
    given = {name: getattr(job, name) for name in OPTION_FORMATS}
    given["header"] = None if job.header is None else job.header == "true"
    return FileFormat(job.format, **given)
