"""What a run gives beside its results: the report, the states, the profile, a description."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_jobs import aggregate_files
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine import run, states
from beam_jobs.engine.run_report import RunReport
from beam_jobs.engine.states_files import origin, read_origin, read_states
from beam_jobs.errors import InputError, QueryError, UsageError
from beam_jobs.publishing.partition_folder import PartitionFolder, new_run_id, read_manifest
from beam_jobs.sql import plan_query

REPOSITORY = Path(__file__).parents[2]
DAYS = ("2013-01-01", "2013-01-02")
COUNT = ["--query", "SELECT count(*) AS n FROM input"]

DATASET = """
description: Stations
owner: tests
start_date: 2013-01-01
pattern: "in/date={date}/*.csv"
columns: {k: VARCHAR, v: INTEGER, t: DATE}
aggregates:
  by_k: SELECT k, count(*) AS n, avg(v) AS mean FROM input GROUP BY k ORDER BY k
  distinct: SELECT count(DISTINCT v) AS d, approx_count_distinct(v) AS a FROM input
"""


@pytest.fixture(autouse=True)
def days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two days of files; the working folder is the storage root, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLYFLOW_STORAGE", ".")
    for number, day in enumerate(DAYS):
        folder = tmp_path / "in" / f"date={day}"
        folder.mkdir(parents=True)
        rows = [f"k{i % 7},{i * (number + 3) % 41},{day}" for i in range(200 + number)]
        (folder / "a.csv").write_text("\n".join(["k,v,t", *rows, ""]))
    (tmp_path / "stations.yaml").write_text(DATASET)
    return tmp_path


def run_query(*arguments: str) -> None:
    aggregate_files.main(["--input", "in/*/*.csv", *arguments])


def run_dataset(*arguments: str, day: str = DAYS[0], run_id: str | None = None) -> Path:
    """Return the folder of the run."""
    run_id = run_id or new_run_id()
    command = ["--dataset", "stations.yaml", "--date", day, "--storage", ".", "--run_id", run_id]
    aggregate_files.main([*command, *arguments])
    return run_folder(run_id, day)


def run_folder(run_id: str, day: str = DAYS[0]) -> Path:
    return Path("results/stations") / f"date={day}" / "runs" / run_id


def published_run() -> str:
    """Return which run of the first day readers see."""
    found = read_manifest(PartitionFolder(".", "stations", Partition.parse(DAYS[0], "day")))
    assert found is not None
    return found.manifest.version.run_id


def read_rows(path: Path | str) -> list[tuple[Any, ...]]:
    return duckdb.connect().execute(f"FROM '{path}'").fetchall()


def read_report(path: Path | str) -> RunReport:
    return RunReport.of_json(Path(path).read_bytes(), str(path))


# -- the report ----------------------------------------------------------------------------------


def test_the_report_says_what_was_read_found_and_computed() -> None:
    folder = run_dataset(run_id="r1")
    report = read_report(folder / "report.json")
    path = "./in/date=2013-01-01/a.csv"
    assert report.versions.duckdb == duckdb.__version__
    assert (report.dataset, report.partition) == ("stations", DAYS[0])
    assert report.started <= report.finished <= datetime.datetime.now(datetime.UTC)
    assert report.seconds == pytest.approx(
        (report.finished - report.started).total_seconds(), abs=1e-3
    )
    assert report.inputs.pattern == "./in/date=2013-01-01/*.csv"
    assert [(file.path, file.bytes) for file in report.inputs.files] == [
        (path, Path(path).stat().st_size)
    ]
    (file,) = report.inputs.files
    assert file.modified is not None
    assert file.modified.timestamp() == pytest.approx(Path(path).stat().st_mtime, abs=1e-5)
    assert (report.inputs.number, report.inputs.bytes) == (1, Path(path).stat().st_size)
    assert report.layout.format == "csv"
    assert report.layout.columns == {"k": "VARCHAR", "v": "INTEGER", "t": "DATE"}
    assert report.layout.path_columns == {"date": "DATE"}
    assert report.layout.inferred == ()
    assert (report.complete, report.problem, report.rows) == (True, None, 200)
    assert (report.rejects.count, report.rejects.limit, report.rejects.path) == (0, 0, None)
    by_k, distinct = report.aggregates
    assert (by_k.name, by_k.rows) == ("by_k", 7)
    assert by_k.columns == {"k": "VARCHAR", "n": "BIGINT", "mean": "DOUBLE"}
    assert by_k.result == "./results/stations/date=2013-01-01/runs/r1/by_k.parquet"
    assert read_rows(str(by_k.result))[0][:2] == ("k0", 29)
    assert "5 %" in distinct.approximate["approx_count_distinct"]
    assert [read_origin(path).fingerprint for path in distinct.states] == 2 * [distinct.fingerprint]


def test_a_refused_run_is_reported_and_publishes_nothing() -> None:
    before = run_dataset(run_id="r1")
    kept = {path: path.read_bytes() for path in before.rglob("*.*")}
    with Path("in/date=2013-01-01/a.csv").open("a") as file:
        file.write("".join(f'k"\\{i},no number,2013-01-01\n' for i in range(12)))
    with pytest.raises(InputError, match="12 malformed records"):
        run_dataset(run_id="r2")
    folder = run_folder("r2")
    report = read_report(folder / "report.json")
    assert not report.complete
    assert "12 malformed records" in str(report.problem)
    assert (report.rejects.count, len(report.rejects.first)) == (12, 10)
    assert (report.rejects.first[0].line, report.rejects.first[0].text) == (
        202,
        'k"\\0,no number,2013-01-01',
    )
    assert len((folder / "rejects.jsonl").read_text().splitlines()) == 12
    assert report.rejects.path == "./results/stations/date=2013-01-01/runs/r2/rejects.jsonl"
    assert {path.name for path in folder.rglob("*.*")} == {
        "report.json",
        "rejects.jsonl",
        "run.json",
    }
    assert published_run() == "r1"
    assert {path: path.read_bytes() for path in before.rglob("*.*")} == kept


def test_drift_is_reported() -> None:
    path = "in/date=2013-01-02/b.csv"
    Path(path).write_text("k,t\nx,2013-01-01\n")
    run_query("--query", "SELECT max(v) AS v FROM input", "--report", "r.json")
    drift = read_report("r.json").drift
    assert [dict(found) for found in drift.missing] == [
        {"column": "v", "files": 1, "first_file": path}
    ]
    assert drift.new == ()


def test_names_and_texts_of_files_are_escaped_in_the_report() -> None:
    name = 'in/date=2013-01-01/"},\t\u2028<script>.csv'
    Path(name).write_text("k,v,t\nx,1,2013-01-01\n")
    run_query(*COUNT, "--report", "r.json")
    text = Path("r.json").read_text(encoding="utf-8")
    assert name in {file["path"] for file in json.loads(text)["inputs"]["files"]}


def test_what_is_no_report_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="x.json: is no run report: versions"):
        RunReport.of_json("{}", "x.json")


# -- the states ----------------------------------------------------------------------------------

MERGED = [
    "SELECT count(*) AS n, sum(v) AS s, avg(v) AS m, min(t) AS first FROM input",
    "SELECT k, count(*) AS n, sum(v) AS s, avg(v) AS m FROM input GROUP BY k",
    "SELECT k, count(DISTINCT v) AS d, approx_count_distinct(v) AS a FROM input GROUP BY k",
    "SELECT quantile_cont(v, 0.9) AS q, median(v) AS m FROM input",
    "SELECT k, mode(v) AS m FROM input WHERE v < 3 OR k = 'k1' GROUP BY k",
    "SELECT k, list(v) AS l, arg_max(v, t) AS a FROM input GROUP BY k",
    "SELECT date, k, count(DISTINCT t) AS d FROM input GROUP BY ROLLUP (date, k)",
]


@pytest.mark.parametrize("query", MERGED)
def test_the_states_of_two_days_give_the_answer_over_both(query: str) -> None:
    Path("stations.yaml").write_text(
        DATASET.partition("aggregates")[0] + f"aggregates:\n  q: {json.dumps(query)}\n"
    )
    found: dict[int, list[Any]] = {}
    kinds = {"k": "VARCHAR", "v": "INTEGER", "t": "DATE", "date": "DATE", "filename": "VARCHAR"}
    plan = plan_query(query, kinds)
    for day in DAYS:
        (aggregate,) = read_report(run_dataset(day=day) / "report.json").aggregates
        assert len(aggregate.states) == len(plan.relations)
        for number, path in enumerate(aggregate.states):
            assert read_origin(path) == origin(plan, number)
            found.setdefault(number, []).extend(read_states(path))
    combined = [[states.combine(plan, number, tables)] for number, tables in found.items()]
    with states.finalized(plan, combined) as session:
        rolled_up = session.execute("FROM result").fetchall()
    source = "read_csv('in/*/*.csv', types = {'k': 'VARCHAR', 'v': 'INTEGER', 't': 'DATE'})"
    connection = duckdb.connect(config={"threads": 1})  # more would mix up the order of the rows
    expected = connection.execute(query.replace("FROM input", f"FROM {source}")).fetchall()
    ordered = [sorted(rows, key=str) for rows in (rolled_up, expected)]
    assert ordered[0] == ordered[1]


def test_partitions_of_the_groups_change_neither_states_nor_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def rows_and_profile() -> tuple[dict[str, list[str]], object]:
        folder = run_dataset()
        rows = {
            path.name: sorted(
                str(row) for table in read_states(str(path)) for row in table.to_pylist()
            )
            for path in folder.glob("states/*.parquet")
        }
        return rows, read_report(folder / "report.json").profile

    whole = rows_and_profile()
    monkeypatch.setattr(run, "_PARTITION_BYTES", 100)
    assert rows_and_profile() == whole
    assert len(list(read_states(str(run_folder(published_run()) / "states/by_k.parquet")))) > 1


def test_states_of_no_files_are_empty_and_merge() -> None:
    query = "SELECT k, sum(v) AS s FROM input GROUP BY k"
    arguments = ["--query", query, "--columns", "k VARCHAR, v INTEGER", "--output", "o.csv"]
    empty = ["--input", "none-*.csv", "--allow_empty", "--states", "none.parquet"]
    aggregate_files.main([*empty, *arguments])
    assert sum(table.num_rows for table in read_states("none.parquet")) == 0
    plan = plan_query(query, {"k": "VARCHAR", "v": "INTEGER", "filename": "VARCHAR"})
    assert read_origin("none.parquet").fingerprint == origin(plan, 0).fingerprint


def test_states_that_parquet_cannot_hold_are_refused_or_left_out() -> None:
    query = "SELECT max(to_days(v)) AS longest FROM input"
    with pytest.raises(UsageError, match="s.parquet: cannot be written: .* INTERVAL"):
        run_query("--query", query, "--output", "o.csv", "--states", "s.parquet")
    assert not Path("o.csv").exists()
    text = DATASET.replace("aggregates:", f"aggregates:\n  longest: {query}")
    Path("stations.yaml").write_text(text)
    folder = run_dataset()
    report = read_report(folder / "report.json")
    assert [len(aggregate.states) for aggregate in report.aggregates] == [0, 1, 2]


# -- the profile ---------------------------------------------------------------------------------


def test_the_profile_is_that_of_duckdb() -> None:
    report = read_report(run_dataset() / "report.json")
    assert report.profile is not None
    profile = {column.name: column for column in report.profile.columns}
    assert list(profile) == ["k", "v", "t", "date"]
    v = profile["v"]
    rows = duckdb.read_csv("in/date=2013-01-01/*.csv")
    expected = rows.aggregate("count(DISTINCT v), min(v)::VARCHAR, max(v)::VARCHAR, avg(v)")
    ((distinct, least, most, mean),) = expected.fetchall()
    assert (v.nulls, v.min, v.max) == (0, least, most)
    assert v.mean == pytest.approx(mean)
    assert v.distinct == pytest.approx(distinct, rel=0.1)
    assert v.quantiles is not None
    assert v.quantiles["50"] == pytest.approx(20, abs=2)
    counts = rows.aggregate("v::VARCHAR AS v, count(*) AS n").order("n DESC, v").limit(10)
    assert v.frequent is not None
    assert [(f.value, f.at_least, f.at_most) for f in v.frequent] == [
        (value, n, n) for value, n in counts.fetchall()
    ]
    assert (profile["t"].quantiles, profile["k"].mean) == (None, None)


def test_a_dataset_may_do_without_a_profile() -> None:
    Path("stations.yaml").write_text(f"{DATASET}profile: false\n")
    assert read_report(run_dataset() / "report.json").profile is None


def test_very_many_columns_are_not_profiled(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"c{number}" for number in range(501)]
    Path("wide.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    aggregate_files.main(["--input", "wide.csv", *COUNT, "--profile", "--report", "r.json"])
    assert read_report("r.json").profile is None
    assert "no profile: 501 columns are more than 500" in caplog.text


def test_the_profile_is_printed_after_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    run_query(*COUNT, "--profile")
    out = capfd.readouterr().out
    table, profile = out[: out.index("column ")], out[out.index("column ") :]
    assert "401" in table
    assert profile.splitlines()[0].split()[:3] == ["column", "type", "nulls"]
    assert "k0 (58)" in profile
    assert not list(Path().glob("*.json"))


def test_a_column_that_no_query_reads_is_checked_if_it_is_profiled() -> None:
    with Path("in/date=2013-01-01/a.csv").open("a") as file:
        file.write("k,1,no date\n")
    columns = ["--columns", "k VARCHAR, v INTEGER, t DATE"]
    run_query(*columns, *COUNT, "--output", "o.csv")
    with pytest.raises(InputError, match="'no date' is no DATE"):
        run_query(*columns, *COUNT, "--output", "o.csv", "--profile")


# -- lookups -------------------------------------------------------------------------------------

JOIN = "SELECT name, sum(v) AS s FROM input JOIN names ON k = id GROUP BY name ORDER BY name"


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_query_joins_a_lookup_table(ending: str) -> None:
    formats = {
        "csv": "(FORMAT csv)",
        "tsv": "(FORMAT csv, DELIMITER '\t')",
        "jsonl": "(FORMAT json)",
        "parquet": "(FORMAT parquet)",
    }
    path = f"names.{ending}"
    rows = "SELECT 'k' || i AS id, 'name ' || i // 2 AS name FROM range(6) r(i)"
    duckdb.execute(f"COPY ({rows}) TO '{path}' {formats[ending]}")
    run_query("--query", JOIN, "--lookup", f"names={path}", "--output", "o.csv")
    joined = JOIN.replace("FROM input", "FROM 'in/*/*.csv'").replace("names", f"({rows}) names")
    assert read_rows("o.csv") == duckdb.connect().execute(joined).fetchall()


@pytest.mark.parametrize("name", ["names.csv", "names.csv.gz"])
def test_a_lookup_may_be_empty_or_compressed(name: str) -> None:
    with (gzip.open if name.endswith(".gz") else open)(name, "wt") as file:
        file.write("id,name\n")
    query = "SELECT name, count(*) AS n FROM input LEFT JOIN names ON k = id GROUP BY name"
    run_query("--query", query, "--lookup", f"names={name}", "--output", "o.jsonl")
    assert json.loads(Path("o.jsonl").read_text()) == {"name": None, "n": 401}


def test_several_lookups_are_told_apart() -> None:
    Path("a.csv").write_text("k,x\nk1,1\n")
    Path("b.csv").write_text("k,y\nk1,2\nk2,3\n")
    query = "SELECT sum(x) AS x, sum(y) AS y FROM input LEFT JOIN a USING (k) JOIN b USING (k)"
    run_query("--query", query, "--lookup", "a=a.csv", "--lookup", "b=b.csv", "--output", "o.csv")
    tables = "LEFT JOIN 'a.csv' a USING (k) JOIN 'b.csv' b USING (k)"
    expected = f"SELECT sum(x), sum(y) FROM 'in/*/*.csv' {tables}"
    assert read_rows("o.csv") == duckdb.connect().execute(expected).fetchall()


def test_two_lookups_of_one_name_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_query("--query", JOIN, "--lookup", "names=a.csv", "--lookup", "NAMES=b.csv")
    assert "--lookup names: two tables have this name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--states", "s.csv"], "--states s.csv: must end in .parquet"),
        (["--report", "r.txt"], "--report r.txt: must end in .json"),
        (
            ["--profile", "--runner", "DataflowRunner", "--output", "gs://b/o.csv"],
            "--profile needs --report",
        ),
    ],
)
def test_what_is_kept_has_the_right_ending_and_place(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_query(*COUNT, *arguments)
    assert message in capsys.readouterr().err


def test_states_and_reports_are_not_written_among_the_input() -> None:
    for option, path in (("--states", "in/x/y.parquet"), ("--report", "in/x/y.json")):
        with pytest.raises(UsageError, match="the output is among the input files"):
            aggregate_files.main(["--input", "in/**", "--format", "csv", *COUNT, option, path])


@pytest.mark.parametrize(
    "option", ["--output", "--states", "--report", "--lookup", "--on_drift", "--profile"]
)
def test_what_a_dataset_says_is_not_said_again(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"--lookup": ["a=b.csv"], "--on_drift": ["fail"], "--profile": []}
    with pytest.raises(SystemExit):
        run_dataset(option, *values.get(option, ["x"]))
    assert f"{option} does not go with --dataset" in capsys.readouterr().err


def test_a_dataset_names_its_lookups_below_the_storage_root() -> None:
    Path("reference").mkdir()
    Path("reference/names.csv").write_text("id,name\nk1,one\n")
    Path("stations.yaml").write_text(
        DATASET.replace(
            "aggregates:",
            f"lookups: {{names: reference/names.csv}}\naggregates:\n  joined: {JOIN}",
        )
    )
    folder = run_dataset()
    assert [row[0] for row in read_rows(folder / "joined.parquet")] == ["one"]
    (lookup,) = read_report(folder / "report.json").lookups
    assert (lookup.name, lookup.path, lookup.bytes) == ("names", "./reference/names.csv", 15)


def test_a_reject_in_a_lookup_names_the_table_the_file_and_the_line() -> None:
    Path("names.csv").write_text("id,name\nk1,one\nk2,two,three\n")
    with pytest.raises(InputError, match=r"lookup names: names.csv:3: .*'k2,two,three'"):
        run_query("--query", JOIN, "--lookup", "names=names.csv", "--output", "o.csv")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none.csv", "lookup names: none.csv: there is no such file"),
        ("in/*/a.csv", "lookup names: in/.*: 2 files match; name one file"),
        ("names.xyz", "lookup names: names.xyz: the ending is none of"),
        ("names.txt", "text lines are no table"),
        ("big.csv", "has 67,108,865 bytes; the limit is 67,108,864"),
    ],
)
def test_a_lookup_that_is_no_small_table_is_refused(path: str, message: str) -> None:
    Path("names.xyz").write_text("id,name\n")
    Path("names.txt").write_text("id,name\n")
    with Path("big.csv").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(UsageError, match=message):
        run_query("--query", JOIN, "--lookup", f"names={path}", "--output", "o.csv")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("names.csv", "'names.csv' is not NAME=PATH"),
        ("input=x.csv", "'input' is the table of the files themselves"),
        ("1st=x.csv", "'1st' is not a name"),
        ("states0=x.csv", "'states0' is the name of a table of our own"),
        ("names=", "is empty"),
    ],
)
def test_a_lookup_needs_a_name_that_a_query_can_say(
    given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_query("--query", JOIN, "--lookup", given)
    assert message in capsys.readouterr().err


def test_a_table_that_is_no_lookup_is_refused_before_the_files_are_looked_at() -> None:
    with pytest.raises(QueryError, match="there is no table 'names'"):
        aggregate_files.main(["--input", "none-*.csv", "--query", JOIN])


# -- drift ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k,t\nx,2013-01-01\n", r"v is missing in .*b\.csv"),
        ("k,t,v,more\nx,2013-01-01,1,2\n", r"more is missing in .*a\.csv"),
    ],
)
def test_drift_fails_a_run_where_the_dataset_says_so(content: str, message: str) -> None:
    Path("in/date=2013-01-01/b.csv").write_text(content)
    run_dataset(run_id="r1")
    Path("stations.yaml").write_text(f"{DATASET}on_drift: fail\n")
    with pytest.raises(InputError, match=message):
        run_dataset(run_id="r2")
    assert published_run() == "r1"
    assert not read_report(run_folder("r2") / "report.json").complete


# -- a description -------------------------------------------------------------------------------


def test_a_description_shows_files_columns_and_plans_and_runs_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_query("--query", "SELECT k, avg(v) AS m FROM input GROUP BY k", "--describe")
    said = capsys.readouterr().out
    size = sum(path.stat().st_size for path in Path().glob("in/*/*.csv"))
    assert f"2 files, {size / 1000:.1f} kB, read in 1 share\n" in said
    assert "in/date=2013-01-01/a.csv" in said
    assert "delimiter ','" in said
    lines = [line.split() for line in said.splitlines()]
    assert ["v", "BIGINT", "inferred"] in lines
    assert ["t", "DATE", "inferred,", "not", "read"] in lines
    assert ["date", "DATE", "from", "the", "path,", "not", "read"] in lines
    assert "  reads: k, v\n" in said
    assert "  partial: SELECT k AS _g0" in said
    assert "  combine: SELECT _g0" in said
    assert "  final: CREATE VIEW result" in said


def test_a_description_of_a_dataset_says_where_results_would_go(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run_dataset("--describe", run_id="r1")
    said = capsys.readouterr().out
    assert f"result: ./{folder}/by_k.parquet" in said
    assert f"states: ./{folder}/states/distinct.1.parquet" in said
    assert "approximate: approx_count_distinct, typically within 5 %" in said
    assert "declared" in said
    assert not Path("results").exists()


def test_a_description_does_not_wait_for_beam() -> None:
    code = (
        "import sys; from beam_jobs import aggregate_files; "
        "aggregate_files.main(sys.argv[1:]); sys.exit('apache_beam' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, "--input", "in/*/*.csv", *COUNT, "--describe"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        capture_output=True,
    )


# -- progress ------------------------------------------------------------------------------------


def test_a_terminal_shows_a_bar_and_the_table_stays_clean() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "beam_jobs.aggregate_files", "--input", "in/*/*.csv", *COUNT],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert b"reading:   0%" in shown
    assert b"files: 2" in shown
    assert b"reading" not in out
    assert b"401" in out
