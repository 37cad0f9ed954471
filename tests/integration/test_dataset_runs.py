"""Runs of a dataset: what they leave, what they publish, and what they say of changed files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from beam_jobs import aggregate_files, partitions
from beam_jobs.datasets.partition import Grain, Partition
from beam_jobs.engine.run_report import Changes, RunReport
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import RefusedError, begin

DATASET = """
description: Stations
owner: tests
start_date: 2013-01-01
pattern: "in/date={date}/*.csv"
columns: {k: VARCHAR, v: INTEGER}
aggregates:
  total: SELECT count(*) AS n, sum(v) AS s FROM input
output_format: csv
"""
FOLDER = Path("in/date=2013-01-01")


@pytest.fixture(autouse=True)
def _day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of three files; the working folder is the storage root, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLYFLOW_STORAGE", ".")
    FOLDER.mkdir(parents=True)
    for name in "abc":
        (FOLDER / f"{name}.csv").write_text(f"k,v\n{name},1\n")
    Path("stations.yaml").write_text(DATASET)


def compute(run_id: str, *arguments: str, date: str = "2013-01-01") -> None:
    command = ["--dataset", "stations.yaml", "--date", date, "--run_id", run_id]
    aggregate_files.main([*command, *arguments])


def folder_of(key: str = "2013-01-01", grain: Grain = "day") -> PartitionFolder:
    return PartitionFolder(".", "stations", Partition.parse(key, grain))


def published_total() -> str | None:
    """Return what readers see."""
    found = read_manifest(folder_of())
    if found is None:
        return None
    aggregate = found.manifest.version.aggregates["total"]
    return (Path(folder_of().path) / aggregate.result).read_text().splitlines()[1]


def changes(run_id: str) -> Changes | None:
    path = Path(folder_of().run(run_id)) / "report.json"
    return RunReport.of_json(path.read_bytes(), str(path)).inputs.since


def files_of(run_id: str) -> set[str]:
    return {path.name for path in Path(folder_of().run(run_id)).rglob("*.*")}


def test_a_run_says_what_differs_from_what_is_published(caplog: pytest.LogCaptureFixture) -> None:
    compute("r1")
    assert changes("r1") is None
    (FOLDER / "late.csv").write_text("k,v\nz,1\n")
    (FOLDER / "b.csv").write_text("k,v\nb,1\nb,22\n")
    os.utime(FOLDER / "c.csv", (1e9, 1e9))
    before = (FOLDER / "a.csv").stat().st_size
    (FOLDER / "a.csv").unlink()
    caplog.clear()
    # The storage root may be written in another way.
    compute("r2", "--storage", str(Path.cwd()))
    found = changes("r2")
    assert found is not None
    assert found.version == 1
    assert [Path(file.path).name for file in found.late] == ["late.csv"]
    assert [(Path(file.path).name, file.bytes) for file in found.gone] == [("a.csv", before)]
    longer, touched = found.changed
    assert (Path(longer.path).name, longer.bytes, longer.bytes_before) == ("b.csv", 13, before)
    assert (Path(touched.path).name, touched.bytes_before) == ("c.csv", touched.bytes)
    assert touched.modified != touched.modified_before
    assert "since version 1: 1 of the files came late, the first" in caplog.text
    assert "since version 1: 2 of the files changed" in caplog.text
    assert "since version 1: 1 of the files gone" in caplog.text
    compute("r3")
    assert changes("r3") == Changes(version=2, late=(), changed=(), gone=())


def test_a_staged_run_is_published_when_it_is_told_to(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    compute("r1", "--stage_only")
    assert published_total() is None
    assert files_of("r1") == {"run.json", "report.json", "total.csv", "total.parquet"}
    publish = ["publish", "stations.yaml", "--date", "2013-01-01", "--run_id", "r1"]
    partitions.main(publish)
    assert published_total() == "3,3"
    assert "published: version 1 of stations 2013-01-01, ./results/stations/date" in caplog.text
    partitions.main(publish)
    assert published_total() == "3,3"


def test_a_run_whose_checks_fail_is_kept_but_not_published() -> None:
    compute("r1")
    Path("stations.yaml").write_text(f"{DATASET}checks:\n  many: rows > 3\n")
    with pytest.raises(InputError, match="1 of 1 checks failed; nothing is published"):
        compute("r2")
    with pytest.raises(InputError, match="1 of 1 checks failed"):
        partitions.main(["publish", "stations.yaml", "--date", "2013-01-01", "--run_id", "r2"])
    assert {"audit.json", "report.json", "total.csv"} <= files_of("r2")
    (FOLDER / "more.csv").write_text("k,v\nz,9\n")
    compute("r3")
    assert published_total() == "4,12"
    assert files_of("r2") == set()


def test_a_run_is_refused_if_another_was_published_since_it_began() -> None:
    compute("r1", "--stage_only")
    begin(folder_of(), "slow")
    compute("r2")
    with pytest.raises(RefusedError, match="there is no run r1 .*: it .* version 1 by run r2 on"):
        partitions.main(["publish", "stations.yaml", "--date", "2013-01-01", "--run_id", "r1"])
    found = read_manifest(folder_of())
    assert found is not None
    assert found.manifest.version.run_id == "r2"
    assert files_of("slow") == {"run.json"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"k,v\n\xff\xfe", "malformed"), (None, "no file matches")],
)
def test_a_run_that_fails_leaves_nothing_to_publish(content: bytes | None, message: str) -> None:
    for file in FOLDER.iterdir():
        file.unlink()
    if content is not None:
        (FOLDER / "a.csv").write_bytes(content)
    with pytest.raises(TallyflowError, match=message):
        compute("r1")
    reported = {"run.json", "report.json", "rejects.jsonl"} if content else set()
    assert files_of("r1") == reported
    assert published_total() is None


def test_the_partition_of_an_hourly_dataset_is_an_hour() -> None:
    Path("stations.yaml").write_text(
        DATASET.replace("{date}/", "{date}/{hour}-") + "schedule: '@hourly'\n"
    )
    (FOLDER / "05-x.csv").write_text("k,v\nx,5\n")
    (FOLDER / "06-x.csv").write_text("k,v\nx,6\n")
    compute("r1", date="2013-01-01T05")
    found = read_manifest(folder_of("2013-01-01T05", "hour"))
    assert found is not None
    assert found.manifest.version.rows == 1
    with pytest.raises(UsageError, match="'2013-01-01' is no hour: write 2013-01-31T05"):
        compute("r2")


def test_a_run_id_of_airflows_names_a_folder() -> None:
    compute("manual__2013-01-02T00:00:00+00:00", "--stage_only")
    (run,) = (Path(folder_of().path) / "runs").iterdir()
    assert run.name.startswith("manual__2013-01-02T00-00-00+00-00-")


def test_a_day_without_files_is_empty_where_the_dataset_says_so_and_a_typing_error_is_not() -> None:
    compute("r1")
    Path("stations.yaml").write_text(f"{DATASET}when_missing: publish_empty\n")
    with pytest.raises(UsageError, match="no file matches 'in/date=2013-01-O1/"):
        compute("r2", "--input", "in/date=2013-01-O1/*.csv")
    assert published_total() == "3,3"
    for file in FOLDER.iterdir():
        file.unlink()
    compute("r3")
    assert published_total() == "0,"
