"""No cut of a file changes its rows: in every format, at every byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.formats.layout import Layout
from tests.unit.reading import Reading, Rows

_COLUMNS: Mapping[str, str] = {"n": "BIGINT", "s": "VARCHAR"}
_RECORDS = [
    {"n": number, "s": text}
    for number, text in enumerate(["plain", "é€😀", 'a "b"', "line\nend", "", None, "\\", "x" * 40])
]
_ROWS: Rows = [(record["n"], record["s"]) for record in _RECORDS]


def written(name: str, folder: Path) -> Path:
    """Write the records as a file of several blocks."""
    path = folder / f"f.{name}"
    match name:
        case "json":
            lines = (json.dumps(record, ensure_ascii=False) for record in _RECORDS)
            path.write_bytes("\r\n".join(lines).encode())
        case "parquet":
            # A small footer: a cut within it is like any other there.
            pq.write_table(
                pa.Table.from_pylist(_RECORDS),
                path,
                row_group_size=4,
                store_schema=False,
                write_statistics=False,
                use_dictionary=False,
            )
        case "avro":
            fields = [{"name": "n", "type": "long"}, {"name": "s", "type": ["null", "string"]}]
            schema = {"type": "record", "name": "r", "fields": fields}
            with path.open("wb") as stream:
                fastavro.writer(stream, schema, _RECORDS, sync_interval=20)
    return path


@pytest.mark.parametrize("name", ["json", "parquet", "avro"])
def test_every_cut_of_a_file_gives_its_rows(name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path)
    layout = Layout(name, _COLUMNS)  # type: ignore[arg-type]
    reading = Reading(path, layout)
    whole, report = reading.whole()
    assert whole == _ROWS
    for cut in range(1, path.stat().st_size):
        found = reading.in_parts([cut])
        assert found is not None
        assert found[0] == _ROWS
        assert found[1].rows == report.rows


@pytest.mark.parametrize("name", ["json", "parquet", "avro"])
def test_columns_of_the_path_and_missing_ones_are_added(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "date=2013-01-01"
    folder.mkdir()
    path = written(name, folder)
    columns = {"s": "VARCHAR", "later": "DATE", "n": "HUGEINT"}
    layout = Layout(name, columns, {"date": "DATE", "hour": "BIGINT"})  # type: ignore[arg-type]
    rows, report = Reading(path, layout).whole()
    assert [(row[0], row[1], row[2], str(row[3]), row[4]) for row in rows] == [
        (text, None, number, "2013-01-01", None) for number, text in _ROWS
    ]
    assert (report.missing, report.ignored) == (("later",), ())


@pytest.mark.parametrize("name", ["json", "parquet", "avro"])
def test_rows_are_counted_where_no_column_is_wanted(name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path)
    layout = Layout(name, _COLUMNS, {"filename": "VARCHAR"})  # type: ignore[arg-type]
    rows, report = Reading(path, layout, {"filename": "VARCHAR"}).whole()
    assert len(rows) == report.rows == len(_ROWS)
