"""What an audit finds in a run, and what it lets pass."""

from __future__ import annotations

import datetime
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from beam_jobs.checks.audit import AuditError, audit
from beam_jobs.checks.audit_report import AuditReport, CheckResult
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.results import write_result
from beam_jobs.engine.run_report import (
    AggregateReport,
    ColumnProfile,
    Columns,
    Drift,
    DriftFound,
    FileRead,
    Inputs,
    Profile,
    Rejects,
    RunReport,
    Versions,
)
from beam_jobs.errors import InputError, UsageError
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import begin, publish

NOW = datetime.datetime(2013, 2, 1, tzinfo=datetime.UTC)
BY_ORIGIN = "SELECT * FROM (VALUES ('EWR', 305), ('JFK', 297), ('LGA', 240)) t(origin, flights)"


def column(name: str, kind: str = "SMALLINT", **found: Any) -> ColumnProfile:
    nothing = dict.fromkeys(("distinct", "min", "max", "mean", "quantiles"))
    return ColumnProfile(
        name=name,
        type=kind,
        **{"nulls": 0, **nothing, "frequent": (), "others_at_most": 0, **found},
    )


DEP_DELAY = column(
    "dep_delay",
    nulls=4,
    distinct=209,
    min="-15",
    max="379",
    mean=11.548926,
    quantiles={"5": -8.0, "25": -4.5, "50": -1.0, "75": 12.0, "95": 73.25},
)


@dataclass
class Storage:
    """A storage root, and the runs of the dataset `flights` in it."""

    root: Path
    checks: Mapping[str, Any]
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        """The dataset, with the checks."""
        return Dataset.model_validate(
            {
                "name": "flights",
                "description": "Flights",
                "owner": "data-platform",
                "start_date": "2013-01-01",
                "pattern": "flights/date={date}/*.csv",
                "aggregates": {
                    "by_origin": "SELECT origin, count(*) AS flights FROM input GROUP BY origin",
                    "order": "SELECT count(*) AS n FROM input",
                },
                "checks": self.checks,
                **self.fields,
            }
        )

    def folder(self, day: str) -> PartitionFolder:
        """Of a day."""
        return PartitionFolder(str(self.root), "flights", Partition.parse(day, "day"))

    def stage(
        self,
        day: str,
        rows: int = 842,
        *,
        columns: Sequence[ColumnProfile] | None = (DEP_DELAY,),
        result: str = BY_ORIGIN,
        rejects: int = 0,
        new: int = 0,
        problem: str | None = None,
    ) -> None:
        """Run the dataset for a day: its input files are those that are there now."""
        begin(self.folder(day), "run")
        paths = sorted((self.root / f"flights/date={day}").glob("*.csv"))
        files = tuple(
            FileRead(path=str(path), bytes=path.stat().st_size, modified=path.stat().st_mtime)
            for path in paths
        )
        drift = tuple(
            DriftFound(column=f"new{number}", files=1, first_file="a") for number in range(new)
        )
        pattern = str(self.root / self.dataset.input_pattern(Partition.parse(day, "day")))
        report = RunReport(
            versions=Versions(tallyflow="1", duckdb="2", beam="2", python="3"),
            run_id="run",
            dataset="flights",
            partition=day,
            started=NOW,
            inputs=Inputs(
                pattern=pattern,
                number=len(files),
                bytes=sum(file.bytes for file in files),
                files=files,
            ),
            lookups=(),
            layout=Columns(format="csv", columns={}, path_columns={}, inferred=()),
            finished=NOW,
            seconds=1.5,
            complete=problem is None,
            problem=problem,
            rows=rows,
            rejects=Rejects(count=rejects, limit=rejects, path=None, first=()),
            drift=Drift(missing=(), new=drift),
            aggregates=tuple(
                self._write(day, name, sql)
                for name, sql in {"by_origin": result, "order": f"SELECT {rows} AS n"}.items()
            ),
            profile=None if columns is None else Profile(columns=tuple(columns), approximate={}),
        )
        (self.run(day) / "report.json").write_text(report.to_json())

    def _write(self, day: str, name: str, sql: str) -> AggregateReport:
        path = self.run(day) / f"{name}.{self.dataset.output_format}"
        with duckdb.connect(":memory:") as session:
            session.execute(f"CREATE VIEW result AS {sql}")
            rows = write_result(session, str(path))
            relation = session.table("result")
            kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        return AggregateReport(
            name=name,
            query="SELECT",
            fingerprint="f",
            result=str(path),
            states=(),
            rows=rows,
            columns=kinds,
            approximate={},
        )

    def run(self, day: str) -> Path:
        """The folder of a day's run."""
        return Path(self.folder(day).run("run"))

    def publish(self, day: str, rows: int = 842, **found: Any) -> None:
        """Run the dataset for a day, and publish what came of it."""
        self.stage(day, rows, **found)
        publish(self.folder(day), "run", 3)

    def audit(self, day: str) -> AuditReport:
        """Audit a day's run."""
        return audit(self.dataset, str(self.root), Partition.parse(day, "day"), "run")


def checked(
    folder: Path, condition: str, history: Mapping[str, int] | None = None, **run: Any
) -> CheckResult:
    """What comes of one condition for the run of 2013-01-10, with published days before."""
    storage = Storage(folder, {"one": {"condition": condition, "severity": "warn"}})
    for day, rows in (history or {}).items():
        storage.publish(day, rows)
    storage.stage("2013-01-10", **run)
    (result,) = storage.audit("2013-01-10").checks
    return result


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("rows = 842 AND rejects = 3 AND files = 0 AND new_columns = 2", True),
        ("missing_columns > 0", False),
        ("null_fraction(dep_delay) = 4 / 842", True),
        ("null_fraction(DEP_DELAY) > 0.05", False),
        ("min(dep_delay) = -15 AND max(dep_delay) = 379", True),
        ("min(dep_delay) > -15", False),
        ("mean(dep_delay) BETWEEN 11.548925 AND 11.548927", True),
        ("distinct_count(dep_delay) = 209", True),
        ("quantile(dep_delay, 0.95) = 73.25 AND quantile(dep_delay, 0.5) = -1", True),
        ("(SELECT sum(flights) FROM by_origin) = rows", True),
        ("(SELECT sum(flights) FROM by_origin WHERE origin <> 'LGA') = rows", False),
        ("NOT EXISTS (SELECT 1 FROM by_origin WHERE flights < 0)", True),
        ("EXISTS (FROM by_origin WHERE origin IS NULL)", False),
        ('(SELECT n FROM "order") = rows', True),
        ("rows IN (SELECT n FROM main_rows)", None),
    ],
)
def test_a_condition_is_evaluated_with_the_numbers_of_the_run(
    tmp_path: Path, condition: str, passed: bool | None
) -> None:
    if passed is None:
        with pytest.raises(UsageError, match="checks.one.condition: there is no result"):
            checked(tmp_path, condition)
        return
    assert checked(tmp_path, condition, rejects=3, new=2).passed is passed


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_results_are_read_exactly_in_every_format(tmp_path: Path, ending: str) -> None:
    condition = (
        "(SELECT count(*) FROM by_origin WHERE "
        "(i, s, t, d) IS NOT DISTINCT FROM (9007199254740993, 'a,\"b\"', NULL, DATE '2013-01-01') "
        "OR (i, s, t, d) IS NOT DISTINCT FROM (-1, '', 'NULL', NULL)) = 2"
    )
    storage = Storage(tmp_path, {"same": condition}, {"output_format": ending})
    rows = "(9007199254740993, 'a,\"b\"', NULL, DATE '2013-01-01'), (-1, '', 'NULL', NULL)"
    storage.stage("2013-01-10", result=f"SELECT * FROM (VALUES {rows}) t(i, s, t, d)")
    assert storage.audit("2013-01-10").passed


def test_the_ends_of_an_enum_are_those_of_its_texts(tmp_path: Path) -> None:
    columns = [column("x", "ENUM('b', 'a')", min="a", max="b")]
    assert checked(tmp_path, "min(x) < max(x)", columns=columns).passed


def test_results_are_found_below_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    condition = "(SELECT sum(flights) FROM by_origin) = rows"
    assert checked(tmp_path / "a[1]*'b", condition).passed


def test_a_check_says_what_it_expected_and_found(tmp_path: Path) -> None:
    condition = "distinct_count(dep_delay) > 300\n  AND rows > (SELECT max(flights) FROM by_origin)"
    result = checked(tmp_path, condition)
    assert result.message == (
        "expected distinct_count(dep_delay) > 300 AND rows > (SELECT max(flights) FROM by_origin); "
        "found distinct_count(dep_delay) = ~209, rows = 842, "
        "(SELECT max(flights) FROM by_origin) = 305"
    )
    assert [(one.name, one.value, one.approximate) for one in result.values] == [
        ("distinct_count(dep_delay)", 209, True),
        ("rows", 842, False),
        ("(SELECT max(flights) FROM by_origin)", 305, False),
    ]


HISTORY = {"2013-01-01": 100, "2013-01-04": 200, "2013-01-08": 300, "2013-01-09": 500}


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("previous(rows) = 500", True),
        ("trailing_mean(rows, 1) = 500", True),
        ("trailing_mean(rows, 3) = (500 + 300 + 200) / 3", True),
        # Fewer than seven are published: those there are.
        ("trailing_mean(rows, 7) = 275", True),
        ("trailing_min(rows, 2) = 300 AND trailing_max(rows, 7) = 500", True),
        ("change_from_trailing_mean(rows, 4) = 842 / 275 - 1", True),
        ("abs(change_from_trailing_mean(rows, 4)) < 0.5", False),
        ("previous(min(dep_delay)) = -15", True),
        ("trailing_mean(quantile(dep_delay, 0.95), 3) = 73.25", True),
    ],
)
def test_the_history_is_that_of_the_last_published_partitions(
    tmp_path: Path, condition: str, passed: bool
) -> None:
    assert checked(tmp_path, condition, HISTORY).passed is passed


def test_the_history_is_in_the_message_and_newest_first(tmp_path: Path) -> None:
    result = checked(tmp_path, "change_from_trailing_mean(rows, 3) < 0.5", HISTORY, rows=1000)
    assert result.message == (
        "expected change_from_trailing_mean(rows, 3) < 0.5; found rows = 1,000, "
        "change_from_trailing_mean(rows, 3) = 2.0000000000000004; history of rows: "
        "2013-01-09 500, 2013-01-08 300, 2013-01-04 200"
    )
    history = [(one.partition, one.value) for one in result.values[-1].history]
    assert history == [("2013-01-09", 500), ("2013-01-08", 300), ("2013-01-04", 200)]


def test_a_history_is_said_once_and_as_far_as_it_was_looked_at(tmp_path: Path) -> None:
    condition = "previous(rows) > trailing_min(rows, 3) AND trailing_max(rows, 2) > rows"
    message = checked(tmp_path, condition, HISTORY, rows=1000).message
    assert message.count("history of rows") == 1
    assert message.endswith("history of rows: 2013-01-09 500, 2013-01-08 300, 2013-01-04 200")


def test_a_partition_without_the_value_is_shown_and_does_not_count(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "trailing_mean(max(x), 3) = 5"})
    for day, columns in {7: (column("x", max="9"),), 8: None, 9: (column("x", max="1"),)}.items():
        storage.publish(f"2013-01-0{day}", columns=columns)
    storage.stage("2013-01-10")
    (result,) = storage.audit("2013-01-10").checks
    assert [(one.partition[-1], one.value) for one in result.values[0].history] == [
        ("9", 1),
        ("8", None),
        ("7", 9),
    ]


def test_the_run_itself_and_later_partitions_are_no_history(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "trailing_mean(rows, 7) = 100 AND previous(rows) = 100"})
    storage.publish("2013-01-09", 100)
    storage.publish("2013-01-11", 7)
    storage.publish("2013-01-10", 9)
    assert storage.audit("2013-01-10").passed


def test_a_restored_version_is_the_history(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "previous(rows) = 100"})
    storage.publish("2013-01-09", 100)
    folder = storage.folder("2013-01-09")
    begin(folder, "other")
    for file in storage.run("2013-01-09").iterdir():
        if file.name != "run.json":
            text = file.read_bytes().replace(b'"rows": 100', b'"rows": 5')
            (Path(folder.run("other")) / file.name).write_bytes(text.replace(b"/run/", b"/other/"))
    publish(folder, "other", 3)
    storage.stage("2013-01-10")
    with pytest.raises(AuditError, match="previous\\(rows\\) = 5"):
        storage.audit("2013-01-10")


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("abs(change_from_trailing_mean(rows, 7)) < 0.5", True),
        ("rows > previous(rows)", True),
        ("rows BETWEEN trailing_min(rows, 7) AND trailing_max(rows, 7)", True),
        # The part without history decides, if it does.
        ("rows > 1000 AND rows > previous(rows)", False),
        ("rows > 0 OR rows > previous(rows)", True),
        ("coalesce(previous(rows), 1000) < rows", False),
        # Something else is NULL, too.
        ("null_fraction(other) < 0.5 AND rows > previous(rows)", False),
        ("change_from_trailing_mean(max(other), 7) < 0.5", False),
        ("(SELECT min(flights) FROM by_origin WHERE false) < previous(rows)", False),
        ("rejects / nullif(files, 0) < 0.1 AND rows > previous(rows)", False),
        ("rows > previous(rows) OR 5 NOT IN (SELECT nullif(flights, 305) FROM by_origin)", False),
        ("NOT (rows > previous(rows) AND nullif(rows, 842) > 1)", False),
    ],
)
def test_without_history_a_check_passes_that_depends_on_it(
    tmp_path: Path, condition: str, passed: bool
) -> None:
    result = checked(tmp_path, condition)
    assert result.passed is passed
    assert "(no history)" in result.message
    assert any(value.note == "no history" for value in result.values)


@pytest.mark.parametrize(
    ("condition", "run", "words"),
    [
        ("null_fraction(dep_delay) < 1", {"rows": 0}, "= NULL (there are no rows)"),
        ("mean(x) < 1", {"columns": [column("x")]}, "(the column x has no values)"),
        ("mean(y) < 1", {}, "(the run has no column y)"),
        ("mean(y) < 1", {"columns": None}, "(the run has no profile)"),
        ("mean(x) < 1", {"columns": [column("x", "VARCHAR")]}, "none of VARCHAR columns"),
        (
            "min(x) < 'b'",
            {"columns": [column("x", "VARCHAR", min="a" * 200)]},
            "the profile cuts it after 200 characters",
        ),
        ("(SELECT max(flights) FROM by_origin WHERE false) > 0", {}, "FROM by_origin WHERE"),
    ],
)
def test_what_is_null_fails_with_the_reason(
    tmp_path: Path, condition: str, run: Mapping[str, Any], words: str
) -> None:
    result = checked(tmp_path, condition, **run)
    assert not result.passed
    assert words in result.message
    assert "neither true nor false" in result.message


def test_an_empty_partition_passes_what_says_so(tmp_path: Path) -> None:
    assert checked(tmp_path, "rows = 0 OR null_fraction(y) < 0.05", rows=0, columns=None).passed


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("rows", "is of type BIGINT, and neither true nor false"),
        ("(SELECT flights FROM by_origin) > 0", "More than one row"),
        ("rows > 'abc'", "abc"),
        ("(SELECT nothing FROM by_origin) > 0", "nothing"),
        ("trailing_mean(min(s), 7) > 0", "VARCHAR"),
        ("error('stop')", "stop"),
    ],
)
def test_what_cannot_be_evaluated_fails_with_the_reason(
    tmp_path: Path, condition: str, words: str
) -> None:
    columns = [column("s", "VARCHAR", min="a")]
    storage = Storage(tmp_path, {"one": condition})
    storage.publish("2013-01-09", columns=columns)
    storage.stage("2013-01-10", columns=columns)
    with pytest.raises(AuditError, match=words):
        storage.audit("2013-01-10")


def test_values_of_a_column_whose_type_changed_are_not_compared(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "trailing_max(max(x), 7) < max(x)"})
    storage.publish("2013-01-09", columns=[column("x", "VARCHAR", max="9")])
    storage.stage("2013-01-10", columns=[column("x", "BIGINT", max="10")])
    with pytest.raises(AuditError, match="max\\(x\\) is BIGINT and VARCHAR; declare the column"):
        storage.audit("2013-01-10")


def test_a_change_from_a_mean_of_zero_fails_and_from_a_negative_one_has_its_sign(
    tmp_path: Path,
) -> None:
    storage = Storage(tmp_path, {"one": "change_from_trailing_mean(mean(x), 7) = 0.5"})
    storage.publish("2013-01-09", columns=[column("x", mean=-2.0)])
    storage.stage("2013-01-10", columns=[column("x", mean=-1.0)])
    assert storage.audit("2013-01-10").passed
    storage.publish("2013-01-11", columns=[column("x", mean=2.0)])
    storage.stage("2013-01-12", columns=[column("x", mean=1.0)])
    with pytest.raises(AuditError, match="the trailing mean is 0"):
        storage.audit("2013-01-12")


def test_a_failed_check_of_severity_error_stops_and_leaves_everything_staged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(
        tmp_path,
        {
            "enough": "rows > 1000",
            "adds_up": "(SELECT sum(flights) FROM by_origin) = rows",
            "odd": {"condition": "rejects > 0", "severity": "warn"},
            "steady": "rows > previous(rows)",
        },
    )
    storage.publish("2013-01-09", 900)
    storage.stage("2013-01-10")
    before = sorted(path.name for path in storage.run("2013-01-10").iterdir())
    with caplog.at_level(logging.INFO), pytest.raises(AuditError) as caught:
        storage.audit("2013-01-10")
    assert isinstance(caught.value, InputError)
    assert str(caught.value).splitlines() == [
        "flights 2013-01-10: 2 of 4 checks failed; nothing is published, and the results of run "
        f"run stay in {storage.run('2013-01-10')}",
        "  enough: expected rows > 1000; found rows = 842",
        "  steady: expected rows > previous(rows); found rows = 842, previous(rows) = 900; "
        "history of rows: 2013-01-09 900",
    ]
    assert "odd: expected rejects > 0; found rejects = 0" in caplog.text
    after = sorted(path.name for path in storage.run("2013-01-10").iterdir())
    assert after == sorted([*before, "audit.json"])
    assert read_manifest(storage.folder("2013-01-10")) is None
    path = storage.run("2013-01-10") / "audit.json"
    written = AuditReport.of_json(path.read_bytes(), str(path))
    assert written == caught.value.report
    assert not written.passed
    assert [check.passed for check in written.checks] == [False, True, False, False]


def test_the_description_of_a_check_is_said_when_it_fails_and_only_then(tmp_path: Path) -> None:
    described = {"condition": "rows > 900", "description": "Call the\n airport."}
    storage = Storage(tmp_path, {"one": {**described, "severity": "warn"}})
    storage.stage("2013-01-10", 842)
    storage.stage("2013-01-11", 943)
    (low,), (high,) = (storage.audit(f"2013-01-{day}").checks for day in (10, 11))
    assert low.message == "expected rows > 900; found rows = 842. Call the airport."
    assert high.message == "expected rows > 900; found rows = 943"


def test_a_result_that_is_not_what_the_run_wrote_is_refused(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "EXISTS (FROM by_origin)"}, {"output_format": "csv"})
    storage.stage("2013-01-10")
    result = storage.run("2013-01-10") / "by_origin.csv"
    result.write_text(result.read_text().rpartition("LGA")[0])
    with pytest.raises(InputError, match="by_origin.csv: has 2 rows, and the run wrote 3"):
        storage.audit("2013-01-10")


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_result_of_nulls_alone_has_all_its_rows(tmp_path: Path, ending: str) -> None:
    condition = "(SELECT count(*) - count(s) FROM by_origin) = 2"
    storage = Storage(tmp_path, {"same": condition}, {"output_format": ending})
    storage.stage("2013-01-10", result="FROM (VALUES (NULL), ('a'), (NULL)) t(s)")
    assert storage.audit("2013-01-10").passed


def test_warnings_alone_pass(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"odd": {"condition": "rows = 0", "severity": "warn"}})
    storage.stage("2013-01-10")
    report = storage.audit("2013-01-10")
    assert report.passed
    assert [check.name for check in report.failed] == ["odd"]


def test_a_dataset_without_checks_passes(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {})
    storage.stage("2013-01-10")
    assert storage.audit("2013-01-10").passed
    assert (storage.run("2013-01-10") / "audit.json").exists()


def test_a_run_that_was_refused_or_is_not_complete_is_refused(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "true"})
    storage.stage("2013-01-10", problem="3 rejects, 0 are allowed")
    with pytest.raises(InputError, match="run run failed: 3 rejects, 0 are allowed"):
        storage.audit("2013-01-10")
    begin(storage.folder("2013-01-11"), "run")
    with pytest.raises(InputError, match="run run has no report: it is not complete"):
        storage.audit("2013-01-11")


def test_a_result_that_is_broken_or_missing_is_no_failed_check_but_an_error(tmp_path: Path) -> None:
    storage = Storage(
        tmp_path, {"one": {"condition": "EXISTS (FROM by_origin)", "severity": "warn"}}
    )
    storage.stage("2013-01-10")
    result = storage.run("2013-01-10") / "by_origin.parquet"
    for broken in (b"nothing", None):
        result.write_bytes(broken) if broken else result.unlink()
        with pytest.raises(InputError, match=f"{result}: cannot be read"):
            storage.audit("2013-01-10")


def test_weeks_have_no_checks(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {"one": "true"})
    with pytest.raises(UsageError, match="checks are of a day, not of a week"):
        audit(storage.dataset, str(tmp_path), Partition.parse("2013-01-07", "week"), "run")


def put(folder: Path, name: str, text: str, modified: int = 1_000_000_000) -> Path:
    path = folder / f"flights/date=2013-01-09/{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (modified, modified))
    return path


def test_files_that_came_or_changed_after_the_partition_before_was_computed_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage(tmp_path, {})
    for name in ("same", "grown", "touched", "gone"):
        put(tmp_path, f"{name}.csv", "a")
    storage.publish("2013-01-09")
    put(tmp_path, "grown.csv", "ab")
    put(tmp_path, "touched.csv", "b", 1_000_000_001)
    late = put(tmp_path, "late.csv", "abc")
    put(tmp_path, "other.txt", "")
    (late.parent / "gone.csv").unlink()
    storage.stage("2013-01-10")
    found = storage.audit("2013-01-10").late
    assert found is not None
    assert (found.partition, found.remedy) == ("2013-01-09", "run the dataset again for 2013-01-09")
    assert [(Path(file.path).stem, file.bytes, file.change) for file in found.files] == [
        ("grown", 2, "changed"),
        ("late", 3, "new"),
        ("touched", 1, "changed"),
    ]
    assert f"{late} came after 2013-01-09 was computed; run the dataset again" in caplog.text


def test_no_file_is_late_where_all_were_read(tmp_path: Path) -> None:
    storage = Storage(tmp_path, {})
    put(tmp_path, "a.csv", "a", 1_234_567_890)
    storage.publish("2013-01-09")
    storage.stage("2013-01-10")
    assert storage.audit("2013-01-10").late is None
