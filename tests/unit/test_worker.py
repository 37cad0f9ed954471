"""Whatever the blocks, parts and threads, a share's states are those of its records, each once."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.engine import parts, states
from beam_jobs.engine import worker as worker_module
from beam_jobs.engine.blocks import BlockReader
from beam_jobs.engine.parts import Part, Share, share_out
from beam_jobs.engine.reports import Findings
from beam_jobs.engine.transforms import CheckParts, ComputeStates, follow_each_other
from beam_jobs.engine.worker import ShareFound, Worker
from beam_jobs.errors import InputError, UsageError
from beam_jobs.files import InputFile
from beam_jobs.formats import csv_cut, parquet_files
from beam_jobs.formats.formats import Dialect
from beam_jobs.formats.layout import Layout, counts_layout
from beam_jobs.sql import Plan, plan_query

_LAYOUT = Layout("csv", {"k": "VARCHAR", "v": "BIGINT"})
_QUERY = "SELECT k, count(*) AS n, sum(v) AS s, list(v) AS l FROM input GROUP BY k ORDER BY k"


@contextmanager
def worker(query: str = _QUERY, threads: int = 2) -> Iterator[tuple[Worker, Plan]]:
    plan = plan_query(query, _LAYOUT.input_columns)
    opened = Worker(BlockReader(_LAYOUT, _LAYOUT.columns), [plan], threads)
    try:
        yield opened, plan
    finally:
        opened.close()


def result(plan: Plan, found: Sequence[ShareFound]) -> list[tuple[object, ...]]:
    combined = states.combine(plan, 0, [one.states[0, 0].table for one in found])
    with states.finalized(plan, [[combined]]) as session:
        return session.execute("FROM result").fetchall()


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_cut, "_LOOK_BYTES", 16)


def whole(paths: Sequence[Path]) -> Share:
    files = [InputFile(str(path), path.stat().st_size) for path in paths]
    return Share(0, tuple(Part(n, file, 0, file.size) for n, file in enumerate(files)))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("few", "rows"), [(0, 2), (1000, 16)])
def test_the_groups_of_all_blocks_come_in_the_order_of_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, threads: int, few: int, rows: int
) -> None:
    monkeypatch.setattr(worker_module, "_FEW_ROWS", few)
    path = tmp_path / "f.csv"
    path.write_text("k,v\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(100)))
    with worker(threads=threads) as (opened, plan):
        found = opened.compute(whole([path]))
    assert found.states[0, 0].table.num_rows == rows
    assert found.states[0, 0].are_combined == (few == 0)
    assert found.findings == Findings(files=1, rows=100)
    assert result(plan, [found]) == [
        ("a", 50, sum(range(0, 100, 2)), list(range(0, 100, 2))),
        ("b", 50, sum(range(1, 100, 2)), list(range(1, 100, 2))),
    ]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_large_file_that_turns_out_to_be_unproven_is_read_again_and_counted_once(
    tmp_path: Path, *, compressed: bool
) -> None:
    text = "k,v\n" + "a,1\n" * 100 + 'a,2"\n' + "b,3\n" * 50
    path = tmp_path / ("f.csv.gz" if compressed else "f.csv")
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    with worker() as (opened, plan):
        found = opened.compute(whole([path]))
    assert result(plan, [found]) == [("a", 100, 100, [1] * 100), ("b", 50, 150, [3] * 50)]
    assert (found.findings.rows, found.findings.reject_count) == (150, 1)
    assert found.findings.rejects[0].line == 102


@pytest.mark.usefixtures("small_blocks")
def test_parts_of_a_file_give_what_the_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 150)
    path = tmp_path / "f.csv"
    path.write_text(
        "k,v\n" + "".join(f"{'ab'[n % 2]},{n if n != 70 else 'x'}\n" for n in range(100))
    )
    shares = share_out([InputFile(str(path), path.stat().st_size)], splittable=True)
    assert len(shares) > 2
    with worker() as (opened, plan):
        found = [opened.compute(share) for share in shares]
    assert all(one.findings == Findings() for one in found)
    in_parts = [one.part for one in found if one.part]
    assert follow_each_other(in_parts)
    (total,) = CheckParts().process((0, reversed(in_parts)))
    assert isinstance(total, Findings)
    assert (total.files, total.rows, [reject.line for reject in total.rejects]) == (1, 99, [72])
    (a, b) = result(plan, found)
    assert a[:2] == ("a", 49)
    assert b == ("b", 50, sum(range(1, 100, 2)), list(range(1, 100, 2)))


@pytest.mark.usefixtures("small_blocks")
def test_a_file_whose_parts_do_not_follow_each_other_is_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 100)
    path = tmp_path / "f.csv"
    path.write_text('k,v\n"' + "a,1\n" * 100 + '",2\nb,3\n')
    shares = share_out([InputFile(str(path), path.stat().st_size)], splittable=True)
    with worker() as (opened, plan):
        found = [one.part for one in map(opened.compute, shares) if one.part]
        assert not follow_each_other(found)
        unproven, again = (cast("Any", one).value for one in CheckParts().process((0, found)))
        assert unproven == 0
        read = opened.compute(again)
    assert [row[1:] for row in result(plan, [read])] == [(1, 2, [2]), (1, 3, [3])]


def test_small_files_share_a_block_and_are_reported_each(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    paths[0].write_text("k,v\na,1\n")
    paths[1].write_text('v,k\n2,"b"x\n3,c\n')  # irregular quotes: read carefully
    paths[2].write_text("k,w\na,9\n")
    with worker() as (opened, plan):
        found = opened.compute(whole(paths))
    assert result(plan, [found]) == [("a", 2, 1, [1, None]), ("c", 1, 3, [3])]
    assert (found.findings.files, found.findings.rows, found.findings.reject_count) == (3, 3, 1)
    assert found.findings.missing == {"v": (1, str(paths[2]))}
    assert found.findings.ignored == {"w": (1, str(paths[2]))}


def test_a_query_that_fails_on_a_value_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("k,v\nx,1\n")
    with (
        worker("SELECT sum(k::INTEGER) AS s FROM input") as (opened, _),
        pytest.raises(InputError, match=r"f\.csv: the query fails on its values"),
    ):
        opened.compute(whole([path]))


def test_small_files_travel_together_and_large_ones_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 1_000_000)
    sizes = {"a.csv": 10, "b.csv": 20, "c.csv": 2_500_000, "d.csv.gz": 3_000_000, "e.csv": 5}
    files = [InputFile(name, size) for name, size in sizes.items()]
    shares = share_out(files, splittable=True)
    assert [share.number for share in shares] == list(range(6))
    assert [[(part.number, part.start, part.end) for part in share.parts] for share in shares] == [
        [(0, 0, 10), (1, 0, 20)],
        [(2, 0, 833_333)],
        [(2, 833_333, 1_666_666)],
        [(2, 1_666_666, 2_500_000)],
        [(3, 0, 3_000_000)],
        [(4, 0, 5)],
    ]
    whole_files = share_out(files, splittable=False)
    assert all(part.is_whole for share in whole_files for part in share.parts)


@pytest.mark.parametrize("size", [10, 200])
@pytest.mark.usefixtures("small_blocks")
def test_a_file_that_changes_while_the_job_runs_is_an_error(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f.csv"
    path.write_text("k,v\n" + "a,1\n" * size)
    share = whole([path])
    path.write_text("k,v\n" + "a,1\n" * (size + 1))
    with worker() as (opened, _), pytest.raises(InputError, match=r"f\.csv: was changed while"):
        opened.compute(share)
    path.unlink()
    with (
        worker() as (opened, _),
        pytest.raises(InputError, match=r"f\.csv: cannot be read: No such"),
    ):
        opened.compute(share)


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "utf-16"])
def test_a_small_file_that_is_longer_as_utf8_is_read_to_its_end(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "f.csv"
    text = "k,v\n" + "".join(
        "éé日日"[: 2 if encoding != "utf-16" else 4] + f",{n}\n" for n in range(500)
    )
    path.write_bytes(text.encode(encoding))
    layout = Layout("csv", _LAYOUT.columns, dialect=Dialect(encoding=encoding))  # type: ignore[arg-type]
    plan = plan_query("SELECT count(*) AS n, sum(v) AS s FROM input", layout.input_columns)
    opened = Worker(BlockReader(layout, layout.columns), [plan], 1)
    found = opened.compute(whole([path]))
    opened.close()
    assert result(plan, [found]) == [(500, sum(range(500)))]


def _avro(path: Path, count: int) -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "v", "type": "long"}]}
    with path.open("wb") as stream:
        records = ({"v": number} for number in range(count))
        fastavro.writer(stream, schema, records, sync_marker=b"0123456789abcdef", sync_interval=500)


@pytest.mark.parametrize(("before", "after"), [(1000, 3000), (3000, 1000)])
def test_an_avro_file_that_is_replaced_is_an_error(tmp_path: Path, before: int, after: int) -> None:
    path = tmp_path / "f.avro"
    _avro(path, before)
    share = whole([path])
    _avro(path, after)
    layout = Layout("avro", {"v": "BIGINT"})
    plan = plan_query("SELECT sum(v) AS s FROM input", layout.input_columns)
    opened = Worker(BlockReader(layout, layout.columns), [plan], 1)
    with pytest.raises(InputError, match=r"f\.avro: (was changed|.*broken)"):
        opened.compute(share)
    opened.close()


@pytest.mark.parametrize("name", ["f.txt", "f.txt.gz"])
@pytest.mark.parametrize("counts", [False, True])
def test_a_file_that_grows_is_not_counted(tmp_path: Path, name: str, *, counts: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"x\n" * 100) if name.endswith("gz") else b"x\n" * 100)
    share = whole([path])
    path.write_bytes(gzip.compress(b"x\n" * 999) if name.endswith("gz") else b"x\n" * 999)
    layout = counts_layout() if counts else Layout("text", {"line": "VARCHAR"})
    plan = plan_query("SELECT count(*) AS n FROM input", layout.input_columns)
    opened = Worker(BlockReader(layout, layout.columns), [plan], 1)
    with pytest.raises(InputError, match="was changed while the job ran"):
        opened.compute(share)
    opened.close()


@pytest.mark.parametrize("ending", ["parquet", "avro"])
def test_small_files_and_large_ones_come_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(parquet_files, "BLOCK_BYTES", 1)
    monkeypatch.setattr(parts, "BLOCK_BYTES", 2000)
    paths = [tmp_path / f"{number}.{ending}" for number in range(4)]
    begin = 0
    for path, count in zip(paths, (1, 3000, 2, 1), strict=True):
        rows = [{"v": number} for number in range(begin, begin + count)]
        begin += count
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1500)
        else:
            schema = {"type": "record", "name": "r", "fields": [{"name": "v", "type": "long"}]}
            with path.open("wb") as stream:
                fastavro.writer(stream, schema, rows, sync_interval=500)
    layout = Layout(ending, {"v": "BIGINT"})  # type: ignore[arg-type]
    plan = plan_query("SELECT list(v) AS l FROM input", layout.input_columns)
    opened = Worker(BlockReader(layout, layout.columns), [plan], 2)
    found = opened.compute(whole(paths))
    opened.close()
    assert result(plan, [found]) == [(list(range(begin)),)]


def test_a_worker_of_another_duckdb_than_the_launchers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_query(_QUERY, _LAYOUT.input_columns)
    compute = ComputeStates(BlockReader(_LAYOUT, _LAYOUT.columns), [plan], 1, 1, [])
    monkeypatch.setattr("duckdb.__version__", "0.0")
    with pytest.raises(UsageError, match="'0.0'.* launched with .*make its image"):
        compute.setup()
    compute.teardown()
