"""Partitions in Cloud Storage: the local one of this repository, through Google's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from beam_jobs import aggregate_files, partitions, show
from beam_jobs.datasets.partition import Partition
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.publishing.conditional_files import ChangedMeanwhileError, open_store
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import RefusedError, begin, discard, publish, restore
from beam_jobs.publishing.published import published_manifests
from tests.local_cloud.storage_server import StorageServer
from tests.unit.runs_to_publish import (
    finished_run,
    folder_in,
    in_processes,
    killed_at_line,
    runs_there,
    visible_run,
)

DATASET = """
description: Stations
owner: tests
start_date: 2013-01-01
pattern: "in/date={date}/*.csv"
columns: {k: VARCHAR, v: INTEGER}
aggregates:
  by_k: SELECT k, count(*) AS n, avg(v) AS mean FROM input GROUP BY k ORDER BY k
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    started = StorageServer(tmp_path_factory.mktemp("gcs"), "--bucket", "stations")
    yield started
    started.stop()


@pytest.fixture
def storage(server: StorageServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage root of its own, in a bucket."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    return f"gs://stations/{uuid4().hex[:8]}"


@pytest.fixture
def folder(storage: str) -> PartitionFolder:
    return folder_in(storage)


def test_runs_are_published_restored_and_discarded(folder: PartitionFolder) -> None:
    assert read_manifest(folder) is None
    for number in (1, 2, 3):
        run_id = f"r{number}"
        version = publish(folder, run_id, 2, finished_run(folder, run_id))
        assert (version.number, visible_run(folder)) == (number, run_id)
    assert runs_there(folder) == {"r2", "r3"}
    assert restore(folder).run_id == "r2" == visible_run(folder)
    assert publish(folder, "r3", 2).number == 3
    assert visible_run(folder) == "r2"
    finished_run(folder, "r4")
    assert discard(folder, "r4")
    assert not discard(folder, "r3")
    assert runs_there(folder) == {"r2", "r3"}


def test_a_run_that_began_before_another_was_published_is_refused(folder: PartitionFolder) -> None:
    contents = finished_run(folder, "r1")
    begin(folder, "slow")
    publish(folder, "r1", 3, contents)
    with pytest.raises(RefusedError, match="was published while run slow worked"):
        publish(folder, "slow", 3, contents)


def test_of_runs_with_one_base_exactly_one_is_published(folder: PartitionFolder) -> None:
    publish(folder, "before", 3, finished_run(folder, "before"))
    runs = [finished_run(folder, f"r{number}") for number in range(6)]

    def work(number: int) -> int:
        try:
            publish(folder, f"r{number}", 3, runs[number])
        except RefusedError:
            return 7
        return 0

    statuses = in_processes(work, len(runs))
    assert sorted(statuses) == [0] + 5 * [7]
    assert visible_run(folder) == f"r{statuses.index(0)}"


def test_a_publication_that_is_killed_leaves_the_old_partition_or_the_new_one(
    storage: str,
) -> None:
    seen: list[str | None] = []
    killed = True
    while killed:
        folder = folder_in(f"{storage}/{len(seen)}")
        publish(folder, "old", 1, finished_run(folder, "old"))
        contents = finished_run(folder, "new")
        line = 23 * len(seen) + 1
        killed = killed_at_line(line, lambda of=folder, what=contents: publish(of, "new", 1, what))  # type: ignore[misc]
        seen.append(visible_run(folder))
        publish(folder, "after", 1, finished_run(folder, "after"))
        assert visible_run(folder) == "after"
        assert runs_there(folder) == {"after"}
    assert seen == sorted(map(str, seen), reverse=True)
    assert set(seen) == {"old", "new"}


def test_a_file_that_changed_is_not_replaced(storage: str) -> None:
    store = open_store(storage)
    store.replace("a.json", b"1", None)
    with pytest.raises(ChangedMeanwhileError, match="/a.json: was changed meanwhile"):
        store.replace("a.json", b"2", None)
    first = store.read("a.json")
    assert first is not None
    store.replace("a.json", b"1", first.token)
    with pytest.raises(ChangedMeanwhileError):
        store.replace("a.json", b"3", first.token)
    assert store.read("none.json") is None


def test_a_range_of_partitions_is_one_listing(storage: str) -> None:
    for key in ("2012-12-31", "2013-01-30", "2013-01-31", "2013-02-01"):
        of_day = folder_in(storage, key)
        publish(of_day, "r", 3, finished_run(of_day, "r"))
    hour = PartitionFolder(storage, "flights", Partition.parse("2013-01-31T05", "hour"))
    publish(hour, "r", 3, finished_run(hour, "r"))
    first, last = (Partition.parse(key, "day") for key in ("2013-01-01", "2013-01-31"))
    found = published_manifests(storage, "flights", "day", first, last)
    assert [partition.key for partition, _ in found] == ["2013-01-30", "2013-01-31"]
    hours = published_manifests(storage, "flights", "hour")
    assert [partition for partition, _ in hours] == [hour.partition]


def test_a_bucket_that_is_not_there_is_named(storage: str) -> None:
    assert storage
    with pytest.raises(
        TallyflowError, match="gs://none/.*: cannot be listed: 404: The specified bucket"
    ):
        begin(folder_in("gs://none"), "r1")


def test_a_dataset_is_computed_published_and_shown(
    storage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLYFLOW_STORAGE", storage)
    Path("stations.yaml").write_text(DATASET)
    command = ["--dataset", "stations.yaml", "--date", "2013-01-01"]
    store = open_store(storage)
    store.write("in/date=2013-01-01/a.csv", b"k,v\nx,1\nx,2\ny,5\n")
    aggregate_files.main([*command, "--run_id", "r1"])
    show.main(["stations", "by_k", "--output", "first.csv"])
    store.write("in/date=2013-01-01/late.csv", b"k,v\nz,7\n")
    aggregate_files.main([*command, "--run_id", "r2", "--stage_only"])
    show.main(["stations", "by_k", "--output", "staged.csv"])
    partitions.main(["publish", "stations.yaml", "--date", "2013-01-01", "--run_id", "r2"])
    show.main(["stations", "by_k", "--date", "2013-01-01", "--output", "second.csv"])
    assert Path("first.csv").read_text() == "k,n,mean\nx,2,1.5\ny,1,5.0\n"
    assert Path("staged.csv").read_text() == Path("first.csv").read_text()
    assert Path("second.csv").read_text() == Path("first.csv").read_text() + "z,1,7.0\n"
    store.write("in/date=2013-01-01/bad.csv", b"k,v\nz,no number\n")
    with pytest.raises(InputError, match="1 malformed record"):
        aggregate_files.main([*command, "--run_id", "r3"])
    with pytest.raises(UsageError, match="run r2 is published as version 2"):
        aggregate_files.main([*command, "--run_id", "r2"])
    found = store.find("results/stations/date=2013-01-01/runs/r3")
    assert [path.rpartition("/")[2] for path in found] == [
        "rejects.jsonl",
        "report.json",
        "run.json",
    ]
    capfd.readouterr()
    partitions.main(["list", "stations"])
    assert capfd.readouterr().out.splitlines()[1].split()[:2] == ["2013-01-01", "2"]
