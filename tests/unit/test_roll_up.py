"""A rollup is the query over all records of its partitions, or it is refused with a remedy."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_jobs import roll_up as module
from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.run_report import LookupRead
from beam_jobs.errors import TallyflowError, UsageError
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import RefusedError, restore
from beam_jobs.publishing.rollup_report import RollupReport
from beam_jobs.publishing.rollup_sources import find_rollup
from beam_jobs.publishing.rollups import RollupRefusedError, dates
from beam_jobs.roll_up import main, roll_up
from demo.lay_out_flights import days as flight_days
from tests.unit.published_parts import NOW, VERSIONS, publish_part
from tests.unit.test_sql_plan import same

REPOSITORY = Path(__file__).parents[2]
COLUMNS = {"k": "VARCHAR", "v": "BIGINT", "d": "DATE"}
BY_K = "SELECT k, count(*) AS n, avg(v) AS mean, mode(v) AS m FROM input GROUP BY k ORDER BY k"
IN_ORDER = (
    "SELECT first(v) AS f, last(v) AS l, string_agg(v::VARCHAR, ',') AS s, "
    "count(DISTINCT v) AS d, mode(v) AS m FROM input"
)
WEEK = Partition.parse("2013-01-07", "week")
MONTH = Partition.parse("2013-01", "month")


def dataset_of(aggregates: Mapping[str, str], **fields: Any) -> Dataset:
    declared = {
        "name": "stations",
        "description": "Stations",
        "owner": "tests",
        "start_date": "2013-01-01",
        "pattern": "in/date={date}/*.csv",
        "aggregates": aggregates,
        **fields,
    }
    return Dataset.model_validate(declared)


STATIONS = dataset_of({"by_k": BY_K, "in_order": IN_ORDER})


@functools.cache
def _session() -> duckdb.DuckDBPyConnection:
    """One for all tests, as opening one takes longer than what it does."""
    return duckdb.connect()


@functools.cache
def records(day: Partition, salt: int = 0) -> pa.Table:
    """Some records of a day or hour, that are in no order."""
    seed = int(day.start.timestamp()) // 3600 + salt
    rows: pa.Table = (
        _session()
        .sql(
            f"SELECT 'k' || (i * {seed} % 5) AS k, (i * {seed} % 23)::BIGINT AS v, "
            f"DATE '{day.start:%Y-%m-%d}' AS d FROM range({5 + seed % 9}) t(i)"
        )
        .to_arrow_table()
    )
    return rows


def publish_all(
    storage: Path, period: Partition, dataset: Dataset = STATIONS, **options: Any
) -> dict[Partition, pa.Table]:
    """Publish all partitions of a period; return their records."""
    found = {part: records(part) for part in period.parts(dataset.grain)}
    for part, rows in found.items():
        publish_part(storage, dataset, part, rows, columns=COLUMNS, **options)
    return found


def result(storage: Path, period: Partition, name: str, dataset: str = "stations") -> Any:
    """What readers see of a rollup: they follow its manifest."""
    folder = PartitionFolder(str(storage), dataset, period)
    found = read_manifest(folder)
    assert found is not None
    path = f"{folder.path}/{found.manifest.version.aggregates[name].result}"
    reading = {".csv": "read_csv", ".jsonl": "read_json"}.get(Path(path).suffix, "read_parquet")
    # The folder's name would come as a column `week` otherwise.
    query = f"FROM {reading}('{path}', hive_partitioning = false)"
    return _session().sql(query).fetchall()


def expected(query: str, rows: Mapping[Partition, pa.Table]) -> Any:
    session = duckdb.connect(config={"threads": 1})
    session.register("input", pa.concat_tables([rows[part] for part in sorted(rows)]))
    return session.sql(query).fetchall()


def refusal(storage: Path, dataset: Dataset = STATIONS, period: Partition = WEEK) -> str:
    with pytest.raises(RollupRefusedError) as caught:
        roll_up(dataset, str(storage), period, "rolled")
    # Nothing is left, and nothing published.
    assert not Path(PartitionFolder(str(storage), dataset.name, period).path).exists()
    return str(caught.value)


def days(*numbers: int) -> list[Partition]:
    return [Partition.parse(f"2013-01-{number:02}", "day") for number in numbers]


# -- what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_a_week_is_the_query_over_all_records_of_its_days(
    output_format: str, tmp_path: Path
) -> None:
    dataset = STATIONS.model_copy(update={"output_format": output_format})
    rows = publish_all(tmp_path, WEEK, dataset)
    done = roll_up(dataset, str(tmp_path), WEEK, "rolled")
    assert done.is_new
    for name, aggregate in dataset.aggregates.items():
        assert result(tmp_path, WEEK, name) == expected(aggregate.query, rows)


def test_a_month_of_an_hourly_dataset_is_that_of_its_hours(tmp_path: Path) -> None:
    dataset = dataset_of(
        {"in_order": IN_ORDER},
        pattern="in/date={date}/hour={hour}/*.csv",
        schedule="@hourly",
        start_date="2013-01-31",
    )
    rows = {}
    for part in MONTH.parts("hour"):
        if part >= dataset.first_partition:
            rows[part] = records(part)
            publish_part(tmp_path, dataset, part, rows[part], columns=COLUMNS)
    assert len(rows) == 24
    version = roll_up(dataset, str(tmp_path), MONTH, "rolled").version
    assert list(version.sources) == [part.key for part in sorted(rows)]
    assert result(tmp_path, MONTH, "in_order") == expected(IN_ORDER, rows)


def test_a_rollup_says_what_it_was_computed_from(tmp_path: Path) -> None:
    rows = publish_all(tmp_path, WEEK)
    version = roll_up(STATIONS, str(tmp_path), WEEK, "rolled").version
    assert version.sources == {part.key: "first" for part in rows}
    assert version.rows == sum(table.num_rows for table in rows.values())
    folder = tmp_path / "results/stations/week=2013-01-07"
    report = RollupReport.of_json((folder / version.report).read_bytes(), version.report)
    assert (report.dataset, report.grain, report.partition) == ("stations", "week", "2013-01-07")
    assert {source.partition: source.run_id for source in report.sources} == version.sources
    assert report.rows == version.rows
    by_k = report.aggregates[0]
    assert by_k.result == str(folder / version.aggregates["by_k"].result)
    assert version.aggregates["by_k"].rows == by_k.rows == len(result(tmp_path, WEEK, "by_k"))
    assert all((folder / path).is_file() for path in version.files)
    assert len(version.aggregates["by_k"].states) == 2


def test_days_before_the_start_date_are_not_needed(tmp_path: Path) -> None:
    dataset = STATIONS.model_copy(update={"start_date": datetime.date(2013, 1, 11)})
    rows = {day: records(day) for day in days(11, 12, 13)}
    for day, table in rows.items():
        publish_part(tmp_path, dataset, day, table, columns=COLUMNS)
    roll_up(dataset, str(tmp_path), WEEK, "rolled")
    assert result(tmp_path, WEEK, "by_k") == expected(BY_K, rows)
    with pytest.raises(UsageError, match="begins on 2013-01-11, after the week 2012-12-31"):
        roll_up(dataset, str(tmp_path), WEEK.previous.previous.next, "rolled")


def test_days_without_records_are_part_of_a_week(tmp_path: Path) -> None:
    for day in days(*range(7, 14)):
        publish_part(tmp_path, STATIONS, day, records(day).slice(0, 0), columns=COLUMNS)
    roll_up(STATIONS, str(tmp_path), WEEK, "rolled")
    assert result(tmp_path, WEEK, "by_k") == []
    assert result(tmp_path, WEEK, "in_order") == [(None, None, None, 0, None)]


def test_columns_that_no_query_reads_may_differ(tmp_path: Path) -> None:
    rows = {}
    for day in days(*range(7, 14)):
        rows[day] = records(day)
        more = {"more": "VARCHAR"} if day.key < "2013-01-10" else {"d2": "DATE"}
        publish_part(tmp_path, STATIONS, day, rows[day], columns={**COLUMNS, **more})
    roll_up(STATIONS, str(tmp_path), WEEK, "rolled")
    assert result(tmp_path, WEEK, "by_k") == expected(BY_K, rows)


def test_a_week_of_flights_is_duckdbs_over_its_files(tmp_path: Path) -> None:
    flights = load_dataset(REPOSITORY / "dags/datasets/flights.yaml")
    kinds = {**dict(flights.columns or {}), "date": "DATE"}
    session = duckdb.connect(config={"threads": 1})
    session.execute("SET TimeZone = 'UTC'")
    rows = {}
    for key, content in flight_days():
        day = Partition.parse(key, "day")
        if day not in WEEK.parts("day"):
            continue
        path = tmp_path / "flights.csv"
        path.write_bytes(content)
        rows[day] = session.sql(
            f"SELECT *, DATE '{key}' AS date FROM read_csv('{path}', header = true, delim = ',', "
            f"nullstr = 'NA', columns = {dict(flights.columns or {})})"
        ).to_arrow_table()
        publish_part(tmp_path, flights, day, rows[day], columns=kinds)
    roll_up(flights, str(tmp_path), WEEK, "rolled")
    for name, aggregate in flights.aggregates.items():
        found = result(tmp_path, WEEK, name, "flights")
        over_all = expected(aggregate.query, rows)
        assert len(found) == len(over_all)
        for row, other in zip(found, over_all, strict=True):
            if name == "by_origin":  # the last column is an approximate quantile, in minutes
                assert row[-1] == pytest.approx(other[-1], abs=3)
                assert same(row[:-1], other[:-1])
            else:
                assert same(row, other)


# -- what is refused -----------------------------------------------------------------------------

OTHER = "SELECT k, count(*) AS n FROM input WHERE v > 3 GROUP BY k"
DUCKDB_1 = VERSIONS.model_copy(update={"duckdb": "1.4.0"})
OLDER = VERSIONS.model_copy(update={"tallyflow": "0.0.9"})
SPANS = "SELECT max(d - TIMESTAMP '2013-01-01')::INTERVAL AS s FROM input"
# How the days 9 and 10 differ; what is said, and whether they are to be computed again.
REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "another query": (
        {"dataset": dataset_of({"by_k": OTHER, "in_order": IN_ORDER})},
        "aggregate by_k: was another query, or read columns of other types, in "
        "2013-01-09 to 2013-01-10\n",
    ),
    "an aggregate that was added later": (
        {"dataset": dataset_of({"by_k": BY_K})},
        "aggregate in_order: was added later, and is not in 2013-01-09 to 2013-01-10\n",
    ),
    "another version of DuckDB": (
        {"versions": DUCKDB_1},
        f"states of duckdb 1.4.0, and this is {duckdb.__version__}: 2013-01-09 to 2013-01-10\n",
    ),
    "another version of Tallyflow": (
        {"versions": OLDER},
        f"states of tallyflow 0.0.9, and this is {VERSIONS.tallyflow}: 2013-01-09 to 2013-01-10\n",
    ),
    "a column that was not there": (
        {"dataset": dataset_of({"by_k": OTHER, "in_order": IN_ORDER.replace("v", "d")})},
        "aggregate in_order: was another query, or read columns of other types, in "
        "2013-01-09 to 2013-01-10\n",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_days_that_do_not_merge_are_refused_with_the_dates_to_backfill(
    kind: str, tmp_path: Path
) -> None:
    options, said = REFUSED[kind]
    for day in days(*range(7, 14)):
        differs = day.key in ("2013-01-09", "2013-01-10")
        given = {"dataset": STATIONS, **(options if differs else {})}
        publish_part(tmp_path, partition=day, rows=records(day), columns=COLUMNS, **given)
    message = refusal(tmp_path)
    assert message.startswith("stations, the week 2013-01-07, is not rolled up:\n")
    assert said in message
    assert message.endswith(
        "compute 2013-01-09 to 2013-01-10: python -m beam_jobs.aggregate_files --dataset "
        f"dags/datasets/stations.yaml --storage {tmp_path} --date 2013-01-09, and so for each"
    )


def test_days_that_are_not_published_are_listed(tmp_path: Path) -> None:
    for day in days(7, 8, 10, 12, 13):
        publish_part(tmp_path, STATIONS, day, records(day), columns=COLUMNS)
    message = refusal(tmp_path)
    assert "not published: 2013-01-09, 2013-01-11\n" in message
    assert "--date 2013-01-09, and so for each" in message


def test_nothing_published_at_all_is_refused(tmp_path: Path) -> None:
    assert "not published: 2013-01-07 to 2013-01-13\n" in refusal(tmp_path)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    other = dataset_of({"by_k": OTHER})
    publish_part(tmp_path, other, days(7)[0], records(days(7)[0]), columns=COLUMNS)
    with pytest.raises(RollupRefusedError) as caught:
        roll_up(STATIONS, str(tmp_path), WEEK, "rolled")
    assert len(caught.value.problems) == 3
    assert caught.value.backfill == tuple(days(*range(7, 14)))


def test_types_that_differ_between_days_are_named(tmp_path: Path) -> None:
    for day in days(*range(7, 14)):
        rows = records(day)
        columns = {**COLUMNS, "v": "DOUBLE"} if day.key == "2013-01-09" else COLUMNS
        if day.key == "2013-01-09":
            rows = rows.set_column(1, "v", rows["v"].cast(pa.float64()))
        publish_part(tmp_path, dataset_of({"by_k": BY_K}), day, rows, columns=columns)
    message = refusal(tmp_path, dataset_of({"by_k": BY_K}))
    assert (
        "aggregate by_k: v is BIGINT in 2013-01-07 to 2013-01-08, 2013-01-10 to 2013-01-13 and "
        "DOUBLE in 2013-01-09; declare the types in the dataset's columns" in message
    )


def test_days_whose_files_were_read_in_another_way_are_not_mixed(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK, options={"quote": "'", "escape": ""})
    (day,) = days(9)
    given: dict[str, Any] = {
        "columns": COLUMNS,
        "run_id": "new",
        "options": {"quote": '"', "escape": ""},
    }
    publish_part(tmp_path, STATIONS, day, records(day), **given)
    lines = refusal(tmp_path).splitlines()
    assert lines[1].strip() == (
        "quote is '\"' in 2013-01-09, and was another in "
        "2013-01-07 to 2013-01-08, 2013-01-10 to 2013-01-13"
    )
    assert lines[2].startswith("  compute 2013-01-07 to 2013-01-08, 2013-01-10 to 2013-01-13: ")


def test_a_declaration_that_changed_since_is_another_type(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    declared = dataset_of({"by_k": BY_K}, columns={**COLUMNS, "v": "HUGEINT"})
    message = refusal(tmp_path, declared)
    assert "by_k: was another query, or read columns of other types, in 2013-01-07 to" in message


def test_a_query_over_a_column_that_was_not_read_is_another_query(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    message = refusal(tmp_path, dataset_of({"by_k": "SELECT max(w) AS w FROM input"}))
    assert "aggregate by_k: does not go with the columns" in message
    assert 'Column "w"' in message


def test_states_that_are_not_kept_are_refused_by_name_and_reason(tmp_path: Path) -> None:
    spans = dataset_of({"by_k": BY_K, "spans": SPANS})
    publish_all(tmp_path, WEEK, spans)
    message = refusal(tmp_path, spans)
    assert (
        "aggregate spans: its states are not kept: Parquet has no type for the states of INTERVAL "
        "values; cast them in the query" in message
    )
    assert "compute" not in message


# -- again ---------------------------------------------------------------------------------------


def test_where_nothing_has_changed_nothing_is_published(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    first = roll_up(STATIONS, str(tmp_path), WEEK, "one")
    for run_id in ("one", "two"):
        again = roll_up(STATIONS, str(tmp_path), WEEK, run_id)
        assert (again.version, again.is_new) == (first.version, False)
    assert [
        path.name for path in (tmp_path / "results/stations/week=2013-01-07/runs").iterdir()
    ] == ["one"]


def test_a_day_that_is_published_again_gives_a_new_version(tmp_path: Path) -> None:
    rows = publish_all(tmp_path, WEEK)
    roll_up(STATIONS, str(tmp_path), WEEK, "one")
    (day,) = days(10)
    rows[day] = records(day, salt=1)
    publish_part(tmp_path, STATIONS, day, rows[day], columns=COLUMNS, run_id="second")
    version = roll_up(STATIONS, str(tmp_path), WEEK, "two").version
    assert (version.number, version.sources[day.key]) == (2, "second")
    assert result(tmp_path, WEEK, "by_k") == expected(BY_K, rows)
    # Back to the day as it was: the week follows.
    restore(PartitionFolder(str(tmp_path), "stations", day))
    rows[day] = records(day)
    assert roll_up(STATIONS, str(tmp_path), WEEK, "three").version.number == 3
    assert result(tmp_path, WEEK, "by_k") == expected(BY_K, rows)


def test_a_run_id_that_comes_again_is_another_run(tmp_path: Path) -> None:
    dataset = STATIONS.model_copy(update={"keep_versions": 1})
    rows = publish_all(tmp_path, WEEK, dataset)
    roll_up(dataset, str(tmp_path), WEEK, "first")
    (day,) = days(9)
    for run_id in ("other", "first"):
        rows[day] = records(day, salt=len(run_id))
        publish_part(tmp_path, dataset, day, rows[day], columns=COLUMNS, run_id=run_id)
    assert roll_up(dataset, str(tmp_path), WEEK, "again").is_new
    assert result(tmp_path, WEEK, "by_k") == expected(BY_K, rows)


@pytest.mark.parametrize(
    "changed",
    [
        {"output_format": "csv"},
        {"aggregates": {"by_k": STATIONS.aggregates["by_k"]}},
    ],
)
def test_another_declaration_gives_a_new_version(changed: dict[str, Any], tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    roll_up(STATIONS, str(tmp_path), WEEK, "one")
    done = roll_up(STATIONS.model_copy(update=changed), str(tmp_path), WEEK, "two")
    assert (done.is_new, done.version.number) == (True, 2)


def test_a_run_is_not_written_again_under_its_name(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    roll_up(STATIONS, str(tmp_path), WEEK, "one")
    (day,) = days(10)
    publish_part(tmp_path, STATIONS, day, records(day), columns=COLUMNS, run_id="second")
    with pytest.raises(UsageError, match="run one is published as version 1 already"):
        roll_up(STATIONS, str(tmp_path), WEEK, "one")


def test_of_two_runs_at_once_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would publish what it read of the days before the first one did."""
    publish_all(tmp_path, WEEK)
    compute = module._compute

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(module, "_compute", compute)
        roll_up(STATIONS, str(tmp_path), WEEK, "other")
        return compute(*arguments)

    monkeypatch.setattr(module, "_compute", interrupted)
    with pytest.raises(RefusedError, match="was published while run one worked"):
        roll_up(STATIONS, str(tmp_path), WEEK, "one")
    found = read_manifest(PartitionFolder(str(tmp_path), "stations", WEEK))
    assert found is not None
    assert found.manifest.version.run_id == "other"
    assert not (tmp_path / "results/stations/week=2013-01-07/runs/one").exists()


def test_a_week_published_between_reading_and_beginning_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(tmp_path, WEEK)
    work = find_rollup(STATIONS, str(tmp_path), WEEK)
    roll_up(STATIONS, str(tmp_path), WEEK, "other")
    monkeypatch.setattr(module, "find_rollup", lambda *_: work)
    with pytest.raises(RefusedError, match="was published just now; run it again"):
        roll_up(STATIONS, str(tmp_path), WEEK, "one")


def test_a_failed_rollup_leaves_what_is_published(tmp_path: Path) -> None:
    query = (
        "SELECT (sum(v) || CASE WHEN count(*) > 13 THEN 'x' ELSE '' END)::INTEGER AS s FROM input"
    )
    dataset = dataset_of({"by_k": BY_K, "fails": query})
    publish_all(tmp_path, WEEK, dataset)
    with pytest.raises(TallyflowError, match="stations 2013-01-07: aggregate fails: the query"):
        roll_up(dataset, str(tmp_path), WEEK, "one")
    assert read_manifest(PartitionFolder(str(tmp_path), "stations", WEEK)) is None
    assert list(tmp_path.glob("results/stations/week=2013-01-07/runs/*")) == []


def test_states_that_are_gone_are_named(tmp_path: Path) -> None:
    publish_all(tmp_path, WEEK)
    path = tmp_path / "results/stations/date=2013-01-09/runs/first/states/by_k.parquet"
    path.unlink()
    with pytest.raises(TallyflowError, match=f"aggregate by_k: {path}: cannot be read"):
        roll_up(STATIONS, str(tmp_path), WEEK, "one")


# -- lookup tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_week_of_a_query_that_joins_needs_the_lookups_columns_only(
    is_changed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    query = "SELECT name, count(*) AS n FROM input JOIN names USING (k) GROUP BY name ORDER BY name"
    dataset = dataset_of({"by_name": query}, lookups={"names": "names.csv"})
    (tmp_path / "names.csv").write_text("k,name\nk1,one\nk2,two\n")
    names = duckdb.connect().read_csv(str(tmp_path / "names.csv")).to_arrow_table()
    rows = {}
    for number, day in enumerate(days(*range(7, 14))):
        rows[day] = records(day)
        size = number if is_changed else 7
        publish_part(
            tmp_path,
            dataset,
            day,
            rows[day],
            columns=COLUMNS,
            lookups={"names": names},
            reference=[LookupRead(name="names", path="names.csv", bytes=size, modified=NOW)],
        )
    version = roll_up(dataset, str(tmp_path), WEEK, "rolled").version
    session = duckdb.connect()
    session.register("input", pa.concat_tables(rows.values()))
    session.register("names", names)
    assert result(tmp_path, WEEK, "by_name") == session.sql(query).fetchall()
    said = "lookup names: was not the same file for all partitions" in caplog.text
    path = tmp_path / "results/stations/week=2013-01-07" / version.report
    report = RollupReport.of_json(path.read_bytes(), str(path))
    assert said == is_changed == (report.changed_lookups == ("names",))


# -- the command ---------------------------------------------------------------------------------

FILE = """
description: Stations
owner: tests
start_date: 2013-01-01
pattern: "in/date={date}/*.csv"
aggregates:
  by_k: %s
"""


def command(
    tmp_path: Path, *arguments: str, period: str = "week", date: str = "2013-01-07"
) -> None:
    file = tmp_path / "stations.yaml"
    file.write_text(FILE % BY_K)
    where = ["--dataset", str(file), "--storage", str(tmp_path)]
    main([*where, "--period", period, "--date", date, *arguments])


def test_the_command_rolls_up_and_describes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    publish_all(tmp_path, WEEK)
    command(tmp_path, "--describe")
    described = capsys.readouterr().out
    assert described.startswith("stations 2013-01-07: nothing is published\nsources:\n")
    assert "  2013-01-09  version 1  run first  " in described
    assert "query by_k: SELECT k, count(*)" in described
    command(tmp_path, "--run_id", "mine")
    assert "stations 2013-01-07: version 1, of 7 partitions, rows: " in caplog.text
    command(tmp_path)
    assert "stations 2013-01-07: nothing has changed since version 1" in caplog.text
    (day,) = days(9)
    publish_part(tmp_path, STATIONS, day, records(day), columns=COLUMNS, run_id="second")
    command(tmp_path, "--describe")
    described = capsys.readouterr().out
    assert described.startswith("stations 2013-01-07: version 1 of run mine is published\n")
    assert "run second  " in described
    assert "(was run first)" in described


@pytest.mark.parametrize(
    ("period", "date", "problem"),
    [
        ("week", "2013-01-08", "'2013-01-08' is no week: write 2013-01-28, a Monday"),
        ("month", "2013-01-01", "'2013-01-01' is no month: write 2013-01"),
    ],
)
def test_a_key_of_another_period_is_refused(
    period: str, date: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=problem):
        command(tmp_path, period=period, date=date)


def test_a_run_id_that_is_no_name_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'../x' is no name of a run"):
        command(tmp_path, "--run_id", "../x")


def test_dates_that_follow_each_other_are_put_together() -> None:
    assert (
        dates(days(3, 1, 2, 5, 7, 8))
        == "2013-01-01 to 2013-01-03, 2013-01-05, 2013-01-07 to 2013-01-08"
    )
    assert dates([]) == ""
