"""Whatever is wrong with a file, the outcome is defined: rejects, or a failure that names it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_jobs import aggregate_files
from beam_jobs.errors import TallyflowError

_GOOD = b"k,v\n" + b"".join(b"a,%d\n" % number for number in range(2000))
_SUM = "SELECT count(*) AS n, sum(v) AS s FROM input"


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"k": ["a"] * 2000, "v": list(range(2000))}), sink)
    return sink.getvalue()


def avro() -> bytes:
    sink = io.BytesIO()
    fields = [{"name": "k", "type": "string"}, {"name": "v", "type": "long"}]
    schema = {"type": "record", "name": "r", "fields": fields}
    records = [{"k": "a", "v": number} for number in range(2000)]
    fastavro.writer(sink, schema, records, sync_interval=1000, sync_marker=b"0123456789abcdef")
    return sink.getvalue()


def jsonl() -> bytes:
    return b"".join(b'{"k":"a","v":%d}\n' % number for number in range(2000))


def damaged(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def zeroed_page() -> bytes:
    data = parquet()
    middle = len(data) // 2
    return data[:middle] + bytes(500) + data[middle + 500 :]


FAILS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "a truncated gzip": ("f.csv.gz", lambda: gzip.compress(_GOOD)[:-9], "is it truncated"),
    "a gzip with a wrong checksum": (
        "f.csv.gz",
        lambda: damaged(gzip.compress(_GOOD), -5),
        "cannot be read",
    ),
    "a truncated bzip2": ("f.csv.bz2", lambda: bz2.compress(_GOOD)[:-9], "is it truncated"),
    "a truncated zstd": (
        "f.csv.zst",
        lambda: zstandard.compress(_GOOD)[:-9],
        "is it truncated",
    ),
    "no gzip under its ending": ("f.csv.gz", lambda: _GOOD, "cannot be read"),
    "a Parquet file with a broken footer": ("f.parquet", lambda: damaged(parquet(), -6), "Parquet"),
    "a truncated Parquet file": ("f.parquet", lambda: parquet()[:-100], "Parquet"),
    "a Parquet file with a broken page": ("f.parquet", zeroed_page, "Parquet"),
    "an empty Parquet file": ("f.parquet", lambda: b"", "is empty"),
    "a CSV file named .parquet": ("f.parquet", lambda: _GOOD, "Parquet"),
    "an Avro file with a bad sync marker": (
        "f.avro",
        lambda: (
            avro()
            .replace(b"0123456789abcdef", b"0123456789abcdeX")
            .replace(b"0123456789abcdeX", b"0123456789abcdef", 2)
        ),
        "Avro block is broken",
    ),
    "a truncated Avro file": ("f.avro", lambda: avro()[:-7], "Avro block is broken"),
    "a CSV file named .avro": ("f.avro", lambda: _GOOD, "is no Avro file"),
    "a Parquet file named .csv": ("f.csv", parquet, "is a Parquet file"),
    "a gzip file named .csv": ("f.csv", lambda: gzip.compress(_GOOD), "is gzip data"),
    "two columns of one name": ("f.csv", lambda: b"v,V\n1,2\n", "two columns are named"),
    "a JSON document named .jsonl": ("f.jsonl", lambda: b'[\n{"v": 1}\n]\n', "JSON"),
    "a UTF-16 file of a UTF-8 run": (
        "f.csv",
        lambda: _GOOD.decode().encode("utf-16"),
        "UTF-16",
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_file_that_cannot_be_read_fails_the_job_and_is_named(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, message = FAILS[case]
    Path(name).write_bytes(content())
    declared = ["--encoding", "utf-8"] if "UTF-16" in case else []
    with pytest.raises(TallyflowError, match=message) as caught:
        aggregate_files.main(["--input", name, "--query", _SUM, "--output", "out.csv", *declared])
    assert name in str(caught.value)
    assert not Path("out.csv").exists()


REJECTS: dict[str, tuple[str, Callable[[], bytes], int, tuple[int, int]]] = {
    "invalid UTF-8 in a used column": ("f.csv", lambda: _GOOD + b"a,\xff\n", 1, (2000, 1999000)),
    "NUL bytes": ("f.csv", lambda: _GOOD + b"a,\0\n", 1, (2000, 1999000)),
    "mixed types in one column": ("f.csv", lambda: _GOOD + b"a,x\na,1.5\n", 2, (2000, 1999000)),
    "a record with too many values": ("f.csv", lambda: _GOOD + b"a,1,2\n", 1, (2000, 1999000)),
    "a line of 20 MB": (
        "f.csv",
        lambda: _GOOD + b"x" * 20_000_000 + b",1\na,1\n",
        1,
        (2001, 1999001),
    ),
    "a quote that is never closed": ("f.csv", lambda: _GOOD + b'"a,1\na,2\n', 2, (2000, 1999000)),
    "a malformed line of JSON": ("f.jsonl", lambda: jsonl() + b'{"v":\n', 1, (2000, 1999000)),
    "a line of JSON of another type": (
        "f.jsonl",
        lambda: jsonl() + b'{"k":"a","v":"x"}\n{"k":"a","v":1.5}\n7\n',
        3,
        (2000, 1999000),
    ),
    "invalid UTF-8 in JSON": ("f.jsonl", lambda: jsonl() + b'{"v":"\xff"}\n', 1, (2000, 1999000)),
    "several gzip members": (
        "f.csv.gz",
        lambda: gzip.compress(_GOOD) + gzip.compress(b"a,1\n"),
        0,
        (2001, 1999001),
    ),
    "no line end at the end": ("f.csv", lambda: _GOOD + b"a,5", 0, (2001, 1999005)),
}


@pytest.mark.parametrize("case", REJECTS)
def test_records_that_cannot_be_read_are_set_aside_and_the_others_count(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, content, rejects, expected = REJECTS[case]
    Path(name).write_bytes(content())
    arguments = ["--input", name, "--query", _SUM, "--columns", "k VARCHAR, v BIGINT"]
    arguments += ["--output", "out.jsonl"]
    if rejects:
        with pytest.raises(TallyflowError, match=f"^{rejects} malformed record"):
            aggregate_files.main(arguments)
        assert not Path("out.jsonl").exists()
    aggregate_files.main([*arguments, "--max_rejects", str(rejects)])
    found = json.loads(Path("out.jsonl").read_text())
    assert (found["n"], int(found["s"])) == expected
    aside = Path("out.jsonl.rejects.jsonl")
    lines = aside.read_text().splitlines() if aside.exists() else []
    assert sum(json.loads(line)["lines"] for line in lines) == rejects
    assert all(json.loads(line)["file"] == name for line in lines)


def test_an_empty_file_beside_others_has_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(_GOOD)
    Path("b.csv").write_bytes(b"")
    aggregate_files.main(["--input", "*.csv", "--query", _SUM, "--output", "out.jsonl"])
    assert json.loads(Path("out.jsonl").read_text())["n"] == 2000


def test_a_folder_where_a_file_should_be_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_bytes(_GOOD)
    Path("b.csv").mkdir()
    aggregate_files.main(["--input", "*.csv", "--query", _SUM, "--output", "out.jsonl"])
    assert json.loads(Path("out.jsonl").read_text())["n"] == 2000
    with pytest.raises(TallyflowError, match=r"b\.csv is a folder"):
        aggregate_files.main(["--input", "b.csv", "--query", _SUM])


def test_ten_thousand_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"c{number}" for number in range(10_000)]
    Path("a.csv").write_text(f"{','.join(names)}\n" + f"{','.join(['1'] * 10_000)}\n" * 3)
    query = "SELECT sum(c0) + sum(c9999) AS s FROM input"
    aggregate_files.main(["--input", "a.csv", "--query", query, "--output", "out.csv"])
    assert Path("out.csv").read_text() == "s\n6\n"
