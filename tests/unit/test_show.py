"""The command line that shows published results, and the one that lists and restores them."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from beam_jobs import partitions, show
from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.publishing.conditional_files import open_store
from beam_jobs.publishing.manifest import Contents, PublishedAggregate
from beam_jobs.publishing.partition_folder import PartitionFolder
from beam_jobs.publishing.partition_store import REPORT, begin, discard, publish

ROWS = "SELECT * FROM (VALUES ('EWR', {0}), ('JFK', NULL)) AS t(origin, flights)"


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLYFLOW_STORAGE", "storage")


def publish_rows(
    key: str,
    query: str,
    *,
    grain: Grain = "day",
    run_id: str = "r1",
    ending: str = "parquet",
    name: str = "by_origin",
    fingerprint: str = "f",
    storage: str = "storage",
) -> PartitionFolder:
    """Publish the result of a query, as a run would have."""
    folder = PartitionFolder(storage, "flights", Partition.parse(key, grain))
    begin(folder, run_id)
    result = f"runs/{run_id}/{name}.{ending}"
    formats = {"parquet": "parquet", "csv": "csv, HEADER", "jsonl": "json"}
    with duckdb.connect() as session:
        session.execute(f"COPY ({query}) TO '{folder.path}/{result}' (FORMAT {formats[ending]})")
        relation = session.sql(query)
        columns = {
            column: str(kind) for column, kind in zip(relation.columns, relation.types, strict=True)
        }
    report = {"aggregates": [{"name": name, "columns": columns}]}
    open_store(folder.run(run_id)).write(REPORT, json.dumps(report).encode())
    aggregate = PublishedAggregate(result=result, rows=2, states=(), fingerprint=fingerprint)
    contents = Contents(rows=1234, aggregates={name: aggregate}, report=f"runs/{run_id}/{REPORT}")
    publish(folder, run_id, 3, contents)
    return folder


def shown(*arguments: str) -> str:
    """Return what is shown, as CSV."""
    show.main(["flights", "by_origin", *arguments, "--output", "out.csv"])
    return Path("out.csv").read_text()


# -- which partition -----------------------------------------------------------------------------


def test_the_newest_day_is_shown_or_the_one_asked_for() -> None:
    publish_rows("2013-01-02", ROWS.format(2))
    publish_rows("2013-01-01", ROWS.format(1))
    assert shown() == "origin,flights\nEWR,2\nJFK,\n"
    assert shown("--date", "2013-01-01") == "origin,flights\nEWR,1\nJFK,\n"


def test_several_days_have_a_column_that_says_which() -> None:
    for day in (1, 2, 3):
        publish_rows(f"2013-01-0{day}", ROWS.format(day))
    rows = [f"2013-01-0{day},{rest}" for day in (2, 3) for rest in (f"EWR,{day}", "JFK,")]
    expected = "\n".join(["partition,origin,flights", *rows, ""])
    assert shown("--from", "2013-01-02", "--to", "2013-01-03") == expected
    assert shown("--from", "2013-01-02") == expected
    assert shown("--from", "2013-01-03", "--to", "2013-01-03").splitlines()[1] == "2013-01-03,EWR,3"
    assert shown("--to", "2013-01-02").splitlines()[3] == "2013-01-02,EWR,2"


def test_the_current_version_is_shown_not_the_newest_run() -> None:
    folder = publish_rows("2013-01-01", ROWS.format(1))
    publish_rows("2013-01-01", ROWS.format(2), run_id="r2")
    assert "EWR,2" in shown()
    partitions.main(["restore", "flights", "--date", "2013-01-01"])
    assert "EWR,1" in shown()
    begin(folder, "staged")
    assert "EWR,1" in shown()


def test_weeks_months_and_hours_are_shown() -> None:
    publish_rows("2013-01-28", ROWS.format(7), grain="week")
    publish_rows("2013-01", ROWS.format(31), grain="month")
    assert "EWR,7" in shown("--period", "week", "--date", "2013-01-28")
    assert "EWR,31" in shown("--period", "month")
    with pytest.raises(UsageError, match="flights: no days or hours are published; is --period"):
        shown()
    publish_rows("2013-01-28T05", ROWS.format(5), grain="hour")
    assert "EWR,5" in shown()
    assert "EWR,5" in shown("--date", "2013-01-28T05")


def test_partitions_that_are_not_published_are_named_and_the_others_shown() -> None:
    for day in (1, 9):
        publish_rows(f"2013-01-0{day}", ROWS.format(day))
    with pytest.raises(InputError, match=r"not published: 2013-01-02, .*-06 and 2 more$") as caught:
        shown("--from", "2013-01-01", "--to", "2013-01-09")
    assert caught.value.exit_code == 1
    assert "2013-01-09,EWR,9" in Path("out.csv").read_text()
    Path("out.csv").unlink()
    with pytest.raises(InputError, match="flights by_origin: not published: 2013-01-05$"):
        shown("--date", "2013-01-05")
    assert not Path("out.csv").exists()


# -- the rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "2014-01-01"], "flights: no day is published from 2014-01-01$"),
        (["--to", "2012-01-01"], "flights: no day is published to 2012-01-01$"),
        (["--from", "2013-01-01T00"], "flights: no hour is published from 2013-01-01T00$"),
        (["--period", "month"], "flights: no month is published$"),
    ],
)
def test_a_range_in_which_nothing_is_published_is_not_passed_over(
    arguments: list[str], message: str
) -> None:
    publish_rows("2013-01-01", ROWS.format(1))
    with pytest.raises(InputError, match=message):
        shown(*arguments)
    if "--period" not in arguments:
        with pytest.raises(InputError, match=message):
            partitions.main(["list", "flights", *arguments])


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_every_format_is_read_as_it_was_written(ending: str) -> None:
    query = """SELECT * FROM (VALUES
        ('007', 1.50::DECIMAL(9, 2), DATE '2013-01-01', TIMESTAMPTZ '2013-01-01 05:00+00', true),
        ('', NULL, NULL, NULL, NULL),
        (NULL, 0, DATE '0001-01-01', NULL, false)) t(code, price, date, moment, flag)"""
    publish_rows("2013-01-01", query, ending=ending)
    show.main(["flights", "by_origin", "--output", "out.parquet"])
    with duckdb.connect() as session:
        found = session.execute("FROM 'out.parquet'")
        kinds = [str(column[1]) for column in found.description or ()]
        assert found.fetchall() == session.execute(query).fetchall()
        assert kinds == [str(column[1]) for column in session.execute(query).description or ()]


def test_a_column_that_came_later_is_null_before_and_a_changed_query_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publish_rows("2013-01-01", "SELECT 1 AS n")
    publish_rows("2013-01-02", "SELECT 2.5 AS n, 'x' AS more", fingerprint="g")
    text = shown("--from", "2013-01-01")
    assert text == "partition,n,more\n2013-01-01,1.0,\n2013-01-02,2.5,x\n"
    assert "by_origin is another query, or reads other types, from 2013-01-02 on" in caplog.text


def test_a_year_is_shown_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    first = publish_rows("2013-01-01", "SELECT 7 AS n")
    document = Path(first.manifest).read_text()
    day = first.partition
    while (day := day.next).key < "2014-01-01":
        folder = PartitionFolder("storage", "flights", day)
        shutil.copytree(first.run("r1"), folder.run("r1"))
        Path(folder.manifest).write_text(document.replace("2013-01-01", day.key, 1))
    show.main(["flights", "by_origin", "--from", "2013-01-01", "--limit", "2"])
    out = capfd.readouterr().out
    assert "2013-01-02" in out
    assert "2013-01-03" not in out
    assert len(shown("--from", "2013-01-01").splitlines()) == 366


def test_a_table_is_printed_whole_or_its_ends(capfd: pytest.CaptureFixture[str]) -> None:
    publish_rows("2013-01-01", "SELECT range AS n FROM range(1000, 1200)")
    show.main(["flights", "by_origin"])
    assert "1100" not in capfd.readouterr().out
    show.main(["flights", "by_origin", "--limit", "150"])
    out = capfd.readouterr().out
    assert "1149" in out
    assert "1150" not in out


def test_a_storage_root_is_no_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYFLOW_STORAGE", "a[b]*")
    publish_rows("2013-01-01", ROWS.format(1), storage="a[b]*")
    assert "EWR,1" in shown()
    assert "EWR,1" in shown("--from", "2013-01-01")


def test_a_file_that_is_gone_is_named() -> None:
    folder = publish_rows("2013-01-01", ROWS.format(1))
    (Path(folder.run("r1")) / "by_origin.parquet").unlink()
    with pytest.raises(InputError, match="runs/r1/by_origin.parquet: is gone, though version 1"):
        shown()


def test_a_file_that_is_broken_is_named() -> None:
    folder = publish_rows("2013-01-01", ROWS.format(1))
    (Path(folder.run("r1")) / "by_origin.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match="runs/r1/by_origin.parquet: cannot be read: Invalid"):
        shown()


# -- names ---------------------------------------------------------------------------------------


def test_without_an_aggregate_all_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    publish_rows("2013-01-01", ROWS.format(1))
    show.main(["flights"])
    assert capfd.readouterr().out.splitlines() == [
        "flights 2013-01-01, version 1",
        "aggregate  rows  file",
        "by_origin     2  storage/results/flights/date=2013-01-01/runs/r1/by_origin.parquet",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fligts", "by_origin"], "did you mean flights?"),
        (["fligts", "by_origin", "--date", "2013-01-01"], "did you mean flights?"),
        (["x"], "there are: flights"),
        (["flights", "by_orign"], "has no aggregate 'by_orign'; did you mean by_origin?"),
        (["flights", "x", "--date", "2013-01-01"], "there are: by_origin"),
        (["flights", "x", "--storage", "none"], "nothing is published in none/results; is --stor"),
        (["flights", "by_origin", "--date", "2013-1-1"], "is no day: write 2013-01-31"),
        (["flights", "by_origin", "--from", "2013-01-02", "--to", "2013-01-01"], "is after --to"),
        (["flights", "by_origin", "--output", "x.txt"], "must be one of .csv"),
    ],
)
def test_a_wrong_call_says_what_there_is(arguments: list[str], message: str) -> None:
    publish_rows("2013-01-01", ROWS.format(1))
    with pytest.raises(UsageError) as caught:
        show.main(arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flights", "x", "--date", "2013-01-01", "--to", "2013-01-02"], "--date is one partition"),
        (["flights", "--output", "x.csv"], "--output needs an AGGREGATE"),
        ([], "DATASET"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        show.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# -- the command `partitions` --------------------------------------------------------------------


def test_partitions_are_listed_with_their_versions(capfd: pytest.CaptureFixture[str]) -> None:
    publish_rows("2013-01-01", ROWS.format(1))
    publish_rows("2013-01-02", ROWS.format(1))
    publish_rows("2013-01-02", ROWS.format(2), run_id="r2")
    partitions.main(["list", "flights"])
    header, first, second = capfd.readouterr().out.splitlines()
    assert header.split("  ")[0] == "partition"
    assert first.split() == ["2013-01-01", "1", *first.split()[2:4], "1,234", "r1", "1"]
    assert second.split()[-4:] == ["1,234", "r2", "2,", "1"]
    partitions.main(["list", "flights", "--to", "2013-01-01"])
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_a_restored_version_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for run_id in ("r1", "r2", "r3"):
        publish_rows("2013-01-02", ROWS.format(1), run_id=run_id)
    partitions.main(["restore", "flights", "--date", "2013-01-02", "--version", "1"])
    assert "restored: version 1 of flights 2013-01-02, published on" in caplog.text
    with pytest.raises(UsageError, match="version 4 is not kept; there are 1, 2, 3"):
        partitions.main(["restore", "flights", "--date", "2013-01-02", "--version", "4"])
    with pytest.raises(UsageError, match="flights 2013-01-03: is not published"):
        partitions.main(["restore", "flights", "--date", "2013-01-03"])


def test_a_published_run_is_not_discarded() -> None:
    folder = publish_rows("2013-01-01", ROWS.format(1))
    begin(folder, "r2")
    command = ["discard", "flights", "--date", "2013-01-01", "--run_id"]
    partitions.main([*command, "r2"])
    assert not Path(folder.run("r2")).exists()
    with pytest.raises(UsageError, match="run r1 is published, and so is not discarded"):
        partitions.main([*command, "r1"])
    assert discard(folder, "r1") is False


def test_a_run_that_is_not_there_is_not_said_to_be_discarded() -> None:
    folder = publish_rows("2013-01-01", ROWS.format(1))
    begin(folder, "r2")
    command = ["discard", "flights", "--date", "2013-01-01", "--run_id"]
    with pytest.raises(UsageError, match=r"flights 2013-01-01: there is no run r3 to discard in "):
        partitions.main([*command, "r3"])
    partitions.main([*command, "r2"])
    assert open_store(folder.path).find("runs/r2") == []


def test_unknown_datasets_are_hinted_at() -> None:
    publish_rows("2013-01-01", ROWS.format(1))
    with pytest.raises(TallyflowError, match="did you mean flights?"):
        partitions.main(["list", "flihgts"])


@pytest.mark.parametrize("module", ["show", "partitions"])
def test_help_teaches_without_waiting(module: str) -> None:
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('beam_jobs.{module}', run_name='__main__')\n"
        "except SystemExit: print({'apache_beam', 'google.cloud.storage'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("set()\n")
    assert f"python -m beam_jobs.{module}" in done.stdout.partition("examples:")[2]
