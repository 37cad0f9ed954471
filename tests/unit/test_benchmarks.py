from __future__ import annotations

import os
import sys
from pathlib import Path

import duckdb
import pytest

from benchmarks import __main__ as benchmark
from benchmarks import data, engines, machine, measure, report
from benchmarks.aims import AIMS, Aim, check
from benchmarks.answers import difference
from benchmarks.cases import BY_NAME, CASES, Case
from benchmarks.engines import OURS
from benchmarks.measure import Measurement, RunError
from benchmarks.places import ROOT
from benchmarks.results import Result, Row, load, save
from benchmarks.works import WORKS, Work

WORK = Work("", ("k", "l"), ("whole", "real"))
ROWS = "('a', 1, 1000000000001, 0.1), ('b', NULL, 2, 1e300), ('c', 3, NULL, NULL)"


def answer(folder: Path, name: str, rows: str = ROWS, columns: str = "k, l, whole, real") -> Path:
    path = folder / name
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {rows}) t ({columns})) TO '{path}'")
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        "('c', 3, NULL, NULL), ('a', 1, 1000000000001, 0.1), ('b', NULL, 2, 1e300)",
        "('a', 1, 1000000000001, 0.1000000000001), ('b', NULL, 2, 1e300), ('c', 3, NULL, NULL)",
    ],
)
def test_answers_that_differ_in_order_or_rounding_only_agree(
    tmp_path: Path, ending: str, rows: str
) -> None:
    ours, theirs = answer(tmp_path, "a.csv"), answer(tmp_path, f"b.{ending}", rows)
    assert difference(WORK, ours, theirs) is None


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (ROWS.replace("0.1)", "0.10000001)"), "real 0.1, not 0.10000001"),
        (ROWS.replace("1000000000001", "1000000000002"), "1000000000001, not 1000000000002"),
        (ROWS.replace("0.1)", "NULL)"), "real 0.1, not None"),
        (ROWS.replace("NULL, NULL)", "0, NULL)"), "whole None, not 0"),
        (ROWS.replace("'b', NULL", "'b', 2"), "2 of 3 rows differ"),
        (ROWS + ", ('d', 4, 4, 4)", "3 rows, not 4"),
        ("('a', 1, 1000000000001, 0.1)", "3 rows, not 1"),
        (ROWS.replace("'b', NULL, 2, 1e300", "'a', 1, 1000000000001, 0.1"), "rows differ"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_difference_between_answers_is_found(
    tmp_path: Path, ending: str, rows: str, found: str
) -> None:
    ours, theirs = answer(tmp_path, "a.csv"), answer(tmp_path, f"b.{ending}", rows)
    assert found in str(difference(WORK, ours, theirs))
    assert difference(WORK, theirs, ours)


def test_a_repeated_row_is_a_difference_even_if_both_have_it(tmp_path: Path) -> None:
    ours = answer(tmp_path, "a.csv", "('a', 1, 1, 0.1), ('a', 1, 1, 0.1)")
    assert difference(WORK, ours, ours) == "rows with the same key"


def test_an_answer_without_a_column_or_without_file_is_a_difference(tmp_path: Path) -> None:
    ours = answer(tmp_path, "a.csv")
    theirs = answer(tmp_path, "b.csv", columns="k, l, whole, other")
    assert "b.csv is no answer" in str(difference(WORK, ours, theirs))
    assert "c.parquet is no answer" in str(difference(WORK, ours, tmp_path / "c.parquet"))


def test_answers_may_be_a_folder_of_parquet_files_or_the_output_of_wc(tmp_path: Path) -> None:
    folder = tmp_path / "spark.parquet"
    folder.mkdir()
    whole = answer(tmp_path, "a.parquet")
    for key in "abc":
        part = folder / f"part-{key}.parquet"
        duckdb.sql(f"COPY (FROM '{whole}' WHERE k = '{key}') TO '{part}'")
    assert difference(WORK, answer(tmp_path, "a.csv"), folder) is None
    part.unlink()
    assert difference(WORK, whole, folder) == "3 rows, not 2"
    lines = Work("", (), ("lines",))
    ours = answer(tmp_path, "ours.csv", "(365, 12, 3000)", "files, lines, bytes")
    (tmp_path / "wc.txt").write_text("12 some/file-13.txt\n")
    assert difference(lines, ours, tmp_path / "wc.txt") is None
    (tmp_path / "wc.txt").write_text("13 some/file-12.txt\n")
    assert "lines 12, not 13" in str(difference(lines, ours, tmp_path / "wc.txt"))


def test_every_case_has_a_work_files_and_peers() -> None:
    assert len(BY_NAME) == len(CASES)
    for case in CASES:
        assert case.work in WORKS
        assert case.data in data.MAKERS
        assert case.peers
        assert case.peers.keys() <= engines.TITLES.keys() - {OURS}


def test_every_aim_can_be_measured() -> None:
    for aim in AIMS:
        case = BY_NAME[aim.case]
        assert aim.scale <= case.most_scale
        assert aim.peer is None or aim.peer == "beam" or case.peers[aim.peer] >= aim.scale


def result(case: str, scale: float, **rows: Row) -> Result:
    return Result(case, scale, "2026-11-22", 5 * 10**9, rows)


def took(wall: float, cpu: float = 1, memory: int = 10**9) -> Row:
    return Row((Measurement(wall, cpu, memory),))


def verdict(aim: Aim, *results: Result) -> tuple[bool | None, float | None, bool]:
    (found,) = [verdict for verdict in check(results) if verdict.aim == aim]
    limit = None if found.limit is None else round(found.limit, 1)
    return found.met, limit, found.estimated


def test_an_aim_is_met_up_to_its_limit_and_missed_beyond_it() -> None:
    aim = Aim("tpch_q1_parquet", 10, "wall", "duckdb", 1.3, 3)
    assert aim in AIMS
    assert aim.text == "wall time at most 1.3 × DuckDB + 3 s"
    for wall, met in ((16.0, True), (16.1, False)):
        measured = result("tpch_q1_parquet", 10, tallyflow=took(wall), duckdb=took(10))
        assert verdict(aim, measured) == (met, 16, False)
    failed = Row((), "exit status 1", failed=True)
    measured = result("tpch_q1_parquet", 10, tallyflow=failed, duckdb=took(10))
    assert verdict(aim, measured)[0] is None
    assert verdict(aim) == (None, None, False)


def test_lines_are_counted_without_the_start() -> None:
    aim = Aim("count_lines", 1, "wall", "wc", 2, without_start=True)
    assert aim in AIMS
    counted = result("count_lines", 1, tallyflow=took(2.9), wc=took(0.5))
    assert verdict(aim, counted)[0] is None
    assert verdict(aim, counted, result("start", 1, tallyflow=took(2.0)))[0] is True
    assert verdict(aim, counted, result("start", 1, tallyflow=took(1.8)))[0] is False


def test_beam_at_a_large_scale_is_estimated_from_its_rows_not_its_start() -> None:
    aim = Aim("tpch_q1_csv", 10, "cpu", "beam", 1 / 22)
    assert aim in AIMS
    assert aim.text == "CPU time 22 times less than idiomatic Beam"
    start = result("start", 1, beam=took(2, 2))
    small = result("tpch_q1_csv", 1, tallyflow=took(4, 4), beam=took(50, 46))
    large = result("tpch_q1_csv", 10, tallyflow=took(20, 20))
    assert verdict(aim, start, small, large) == (True, 20.1, True)
    measured = result("tpch_q1_csv", 10, tallyflow=took(20, 20), beam=took(400, 400))
    assert verdict(aim, start, small, measured) == (False, 18.2, False)


def test_a_memory_limit_needs_no_peer() -> None:
    aim = Aim("stations", 1, "memory", plus=10**9)
    assert aim in AIMS
    assert verdict(aim, result("stations", 1, tallyflow=took(1, memory=10**9)))[0] is True
    assert verdict(aim, result("stations", 1, tallyflow=took(1, memory=10**9 + 1)))[0] is False


def test_a_table_lines_up_and_shows_ratios_and_failures() -> None:
    rows = {
        OURS: Row((Measurement(2, 4, 10**8), Measurement(1, 1, 10**8), Measurement(3, 9, 10**8))),
        "duckdb": took(1, 44),
        "pyspark": Row((), "no Java here"),
        "polars": Row((Measurement(1, 1, 1),), "differs from DuckDB: a|b", failed=True),
    }
    lines = report.case_table(result("stations", 1, **rows)).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert cells[2][:6] == ["| **Tallyflow**", "2.00", "1.00", "4.00", "1.00", "100"]
    assert cells[3][:6] == ["| DuckDB", "1.00", "0.50", "44.00", "11.0", "1000"]
    assert cells[4][:6] == ["| PySpark local[*]", "", "", "", "", ""]
    assert "no Java here" in cells[4][6]
    assert cells[5][1:6] == [""] * 5
    assert r"**differs from DuckDB: a\|b**" in lines[5]


def test_the_report_has_every_result_and_every_aim() -> None:
    results = [
        result("tpch_q1_csv", 10, tallyflow=took(9), duckdb=took(10), polars=took(5)),
        result("start", 1, tallyflow=took(2)),
    ]
    verdicts = check(results)
    text = report.render(results, verdicts, ["a CPU", "a Python"], "2026-11-22")
    assert text.count("\n### ") == 2
    assert text.index("### Start") < text.index("### TPC-H Q1 over CSV: scale 10, 5.0 GB")
    table = text[text.index("| case") : text.index("## Results")]
    assert len(table.strip().splitlines()) == len(AIMS) + 2
    assert (table.count("| met "), table.count("**missed**")) == (2, 1)
    assert f"2 met, 1 missed, {len(AIMS) - 3} not measured" in text


def test_results_are_kept_and_one_replaces_the_earlier(tmp_path: Path) -> None:
    first = result("start", 1, tallyflow=took(2), pyspark=Row((), "no Java here"))
    other = result("start", 0.01, tallyflow=Row((), "exit status 1", failed=True))
    again = result("start", 1, tallyflow=took(3))
    for found in (first, other):
        save(found, tmp_path)
    assert load(tmp_path) == [other, first]
    save(again, tmp_path)
    assert load(tmp_path) == [other, again]


def test_the_command_line_names_cases_and_checks_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = benchmark.parse_args(["--scale=10", "--cases=stations, tpch_q1_csv", "--rounds=5"])
    assert [case.name for case in found.cases] == ["tpch_q1_csv", "stations"]
    assert (found.scale, found.rounds) == (10, 5)
    assert benchmark.parse_args(["--cases="]).cases == CASES
    for wrong in ("--cases=tpch", "--scale=0", "--scale=nan", "--scale=big", "--rounds=0"):
        with pytest.raises(SystemExit):
            benchmark.parse_args([wrong])
    assert "no case 'tpch'" in capsys.readouterr().err


def test_spark_is_left_out_where_there_is_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    case = BY_NAME["tpch_q1_csv"]
    monkeypatch.setattr(engines, "java", lambda: None)
    assert engines.why_not("pyspark", case, 1) == "no Java here"
    monkeypatch.setattr(engines, "java", lambda: "java")
    assert engines.why_not("pyspark", case, 1) is None
    assert engines.why_not("beam", case, 10) == "not run above scale 1: slow"
    assert engines.why_not(OURS, case, 10) is None


def run(folder: Path, *argv: str, timeout: float = 60) -> Measurement:
    return measure.run(argv, folder / "out", folder / "log", ROOT, timeout)


def test_time_and_memory_of_processes_that_outlive_their_command_count(tmp_path: Path) -> None:
    python = "import time; x = b'x' * 300_000_000\nwhile time.process_time() < 0.3: pass"
    found = run(tmp_path, "sh", "-c", f'{sys.executable} -c "{python}" & exit 0')
    assert found.cpu >= 0.3
    assert found.memory >= 300_000_000


def test_the_memory_of_a_small_command_is_its_own(tmp_path: Path) -> None:
    ballast = b"x" * 100_000_000
    assert run(tmp_path, "true").memory < len(ballast)


def test_a_command_that_fails_or_takes_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"exit status 3: the reason$"):
        run(tmp_path, "sh", "-c", "echo first >&2; echo the reason >&2; exit 3")
    with pytest.raises(RunError, match=r"^over 0.2 s$"):
        run(tmp_path, "sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60", timeout=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.fixture
def copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Engines that copy a file of this folder instead of computing their answer."""
    monkeypatch.setattr(data, "pattern", lambda *_: str(tmp_path / "input"))
    monkeypatch.setattr(
        engines,
        "command",
        lambda engine, _case, _pattern, answer: ["cp", str(tmp_path / engine), str(answer)],
    )
    monkeypatch.setattr(machine, "describe", lambda: ["a machine"])
    monkeypatch.setattr(benchmark, "DATA", tmp_path)
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(benchmark, "QUICK_REPORT", tmp_path / "report.md")
    case = Case("flights", "Flights", "count_lines", "flights", {"duckdb": 1, "polars": 1})
    monkeypatch.setattr(benchmark, "CASES", (case,))
    (tmp_path / "input").write_text("12345")
    for engine in (OURS, *case.peers):
        (tmp_path / engine).write_text("lines\n5\n")
    return tmp_path


def test_a_run_measures_every_engine_in_every_round(copying: Path) -> None:
    assert benchmark.main(["--scale=0.5", "--rounds=2"]) == 0
    (kept,) = load(copying / "results")
    assert kept.size == 5
    assert {engine: len(row.runs) for engine, row in kept.rows.items()} == {
        OURS: 2,
        "duckdb": 2,
        "polars": 2,
    }
    assert "### Flights and delays" in (copying / "report.md").read_text()


def test_a_wrong_answer_fails_the_run(copying: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copying / OURS).write_text("lines\n6\n")
    assert benchmark.main(["--scale=0.5", "--rounds=2"]) == 1
    assert "Tallyflow: differs from DuckDB: " in capsys.readouterr().err
    (kept,) = load(copying / "results")
    assert kept.rows[OURS].median is None
    assert "**differs from DuckDB" in (copying / "report.md").read_text()


def test_an_engine_that_fails_is_shown_and_the_others_go_on(
    copying: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copying / "duckdb").unlink()
    assert benchmark.main(["--scale=0.5", "--rounds=1"]) == 1
    assert "flights: DuckDB: exit status 1: cp: " in capsys.readouterr().err
    (kept,) = load(copying / "results")
    assert [engine for engine, row in kept.rows.items() if row.median] == [OURS, "polars"]
