"""Runs that begin, are published, restored and discarded, in a local folder."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.checks.audit_report import AuditReport
from beam_jobs.datasets.partition import Partition
from beam_jobs.errors import InputError, TallyflowError, UsageError
from beam_jobs.publishing.conditional_files import ChangedMeanwhileError, open_store
from beam_jobs.publishing.partition_folder import (
    PartitionFolder,
    check_run_id,
    new_run_id,
    newest_version_number,
    read_manifest,
    run_id_of,
)
from beam_jobs.publishing.partition_store import (
    AUDIT,
    REPORT,
    RefusedError,
    begin,
    discard,
    publish,
    restore,
)
from beam_jobs.publishing.published import published, published_manifests
from tests.unit.runs_to_publish import DAY, finished_run, folder_in, runs_there, visible_run


@pytest.fixture
def folder(tmp_path: Path) -> PartitionFolder:
    return folder_in(tmp_path)


def published_run(folder: PartitionFolder, run_id: str, keep: int = 3) -> int:
    return publish(folder, run_id, keep, finished_run(folder, run_id)).number


# -- publication ---------------------------------------------------------------------------------


def test_nothing_is_visible_before_it_is_published(folder: PartitionFolder) -> None:
    contents = finished_run(folder, "r1")
    assert (visible_run(folder), newest_version_number(folder)) == (None, 0)
    version = publish(folder, "r1", 3, contents)
    assert (visible_run(folder), newest_version_number(folder)) == ("r1", 1)
    found = read_manifest(folder)
    assert found is not None
    assert (found.manifest.partition, found.manifest.version) == ("2013-01-31", version)


def test_the_last_versions_are_kept_and_the_others_deleted(folder: PartitionFolder) -> None:
    numbers = [published_run(folder, f"r{number}") for number in range(1, 6)]
    assert numbers == [1, 2, 3, 4, 5]
    assert runs_there(folder) == {"r3", "r4", "r5"}


def test_a_run_that_is_published_again_changes_nothing(folder: PartitionFolder) -> None:
    first = publish(folder, "r1", 3, finished_run(folder, "r1"))
    document = Path(folder.manifest).read_bytes()
    assert publish(folder, "r1", 3) == first
    published_run(folder, "r2")
    assert publish(folder, "r1", 3) == first
    assert visible_run(folder) == "r2"
    assert document != Path(folder.manifest).read_bytes()


def test_a_run_that_began_before_another_was_published_is_refused(folder: PartitionFolder) -> None:
    published_run(folder, "r0")
    slow = finished_run(folder, "slow")
    begin(folder, "late")  # it still works, when the other is published
    published_run(folder, "r1")
    with pytest.raises(RefusedError, match=r"2013-01-31: there is no run slow .* by run r1 on"):
        publish(folder, "slow", 3, slow)
    with pytest.raises(
        RefusedError, match=r"was published while run late worked \(version 2 by ru"
    ):
        publish(folder, "late", 3, slow)
    assert visible_run(folder) == "r1"
    assert runs_there(folder) == {"r0", "r1", "late"}


def test_a_run_may_follow_a_restored_version(folder: PartitionFolder) -> None:
    published_run(folder, "r1")
    published_run(folder, "r2")
    contents = finished_run(folder, "r3")
    restore(folder)
    assert publish(folder, "r3", 2, contents).number == 3
    assert runs_there(folder) == {"r1", "r3"}


def test_a_run_that_was_never_begun_is_refused(folder: PartitionFolder) -> None:
    with pytest.raises(RefusedError, match="there is no run r1 to publish: it was never begun"):
        publish(folder, "r1", 3)


def test_a_run_without_a_report_is_refused(folder: PartitionFolder) -> None:
    begin(folder, "r1")
    with pytest.raises(InputError, match="run r1 has no report: it is not complete"):
        publish(folder, "r1", 3)


def test_a_run_that_lacks_a_file_is_refused(folder: PartitionFolder) -> None:
    contents = finished_run(folder, "r1")
    (Path(folder.run("r1")) / "states/total.parquet").unlink()
    with pytest.raises(InputError, match="r1 has not written runs/r1/states/total.parquet"):
        publish(folder, "r1", 3, contents)
    assert visible_run(folder) is None


def test_a_run_whose_audit_failed_is_refused_until_it_passes(folder: PartitionFolder) -> None:
    contents = finished_run(folder, "r1")
    audit = AuditReport(
        dataset="flights",
        partition=DAY.key,
        run_id="r1",
        audited=datetime.datetime(2013, 2, 1, tzinfo=datetime.UTC),
        passed=False,
        checks=(),
        late=None,
    )
    store = open_store(folder.run("r1"))
    store.write(AUDIT, audit.to_json().encode())
    with pytest.raises(InputError, match=r"run r1 failed its audit, as .*/r1/audit\.json says"):
        publish(folder, "r1", 3, contents)
    assert visible_run(folder) is None
    store.write(AUDIT, audit.model_copy(update={"passed": True}).to_json().encode())
    publish(folder, "r1", 3, contents)
    assert visible_run(folder) == "r1"


def test_a_published_run_does_not_begin_again(folder: PartitionFolder) -> None:
    published_run(folder, "r1")
    published_run(folder, "r2")
    with pytest.raises(UsageError, match="run r1 is published as version 1 already"):
        begin(folder, "r1")
    assert visible_run(folder) == "r2"


def test_an_attempt_that_failed_leaves_nothing_to_the_next(folder: PartitionFolder) -> None:
    finished_run(folder, "r1")
    (Path(folder.run("r1")) / "old.csv").write_text("")
    published_run(folder, "r2")
    assert begin(folder, "r1").base == 1
    assert [path.name for path in Path(folder.run("r1")).rglob("*")] == ["run.json"]


def test_a_publication_deletes_what_ended_before_it_unpublished(folder: PartitionFolder) -> None:
    finished_run(folder, "refused")
    begin(folder, "working")
    store = open_store(folder.path)
    store.write("runs/halfdeleted/total.csv", b"")
    published_run(folder, "r1")
    begin(folder, "next")
    store.write(f"runs/next/{REPORT}", b"")
    assert runs_there(folder) == {"r1", "working", "next"}
    publish(folder, "r1", 3)
    assert runs_there(folder) == {"r1", "working", "next"}


def test_the_manifest_of_another_partition_is_refused(folder: PartitionFolder) -> None:
    published_run(folder, "r1")
    other = folder_in(folder.storage, "2013-01-30")
    Path(other.path).mkdir(parents=True)
    Path(other.manifest).write_bytes(Path(folder.manifest).read_bytes())
    with pytest.raises(InputError, match="is that of flights 2013-01-31; was it copied"):
        read_manifest(other)


# -- restoration, discarding ---------------------------------------------------------------------


def test_a_version_is_restored_and_the_newer_one_again(folder: PartitionFolder) -> None:
    for number in (1, 2, 3):
        published_run(folder, f"r{number}")
    assert restore(folder).run_id == "r2" == visible_run(folder)
    assert restore(folder).run_id == "r1" == visible_run(folder)
    with pytest.raises(UsageError, match="no version before 1 is kept"):
        restore(folder)
    assert restore(folder, 3).run_id == "r3" == visible_run(folder)
    assert runs_there(folder) == {"r1", "r2", "r3"}


def test_a_version_that_is_not_there_is_not_restored(folder: PartitionFolder) -> None:
    with pytest.raises(UsageError, match="flights 2013-01-31: is not published"):
        restore(folder)
    for number in (1, 2, 3):
        published_run(folder, f"r{number}", keep=2)
    with pytest.raises(UsageError, match="version 1 is not kept; there are 2, 3"):
        restore(folder, 1)
    assert visible_run(folder) == "r3"


def test_only_runs_that_are_not_published_are_discarded(folder: PartitionFolder) -> None:
    published_run(folder, "r1")
    finished_run(folder, "r2")
    assert not discard(folder, "r1")
    assert discard(folder, "r2")
    assert discard(folder, "r2")
    assert visible_run(folder) == "r1"
    assert not Path(folder.run("r2")).exists()


# -- names of runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", ".x", "a/b", "a\\b", "a:b", "ä", "a b", "x" * 201]
)
def test_what_names_no_folder_is_no_run_id(run_id: str, folder: PartitionFolder) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(run_id))):
        begin(folder, run_id)
    assert not Path(folder.path).exists()


def test_a_name_of_airflows_becomes_a_run_id() -> None:
    name = "scheduled__2013-01-02T00:00:00+00:00"
    assert run_id_of(name) == "scheduled__2013-01-02T00-00-00+00-00-5f737e962c68"
    assert run_id_of("manual_1.2") == "manual_1.2"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\"), min_size=1))
def test_every_name_becomes_a_run_id_that_stays_one(name: str) -> None:
    run_id = run_id_of(name)
    assert check_run_id(f"{run_id}.12345") == f"{run_id}.12345"
    assert run_id_of(run_id) == run_id


@given(st.lists(st.text(":.-ab", min_size=1, max_size=5), min_size=2, unique=True))
def test_names_that_differ_have_ids_that_differ(names: list[str]) -> None:
    assert len({run_id_of(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["", "a/b", "..\\x"])
def test_a_path_is_no_name_of_a_run(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a run"):
        run_id_of(name)


def test_new_runs_have_ids_of_their_own() -> None:
    assert len({check_run_id(new_run_id()) for _ in range(100)}) == 100


# -- many partitions -----------------------------------------------------------------------------


def test_the_published_partitions_of_a_range_come_in_their_order(tmp_path: Path) -> None:
    keys = ["2013-02-01", "2012-12-31", "2013-01-31", "2013-01-05"]
    for key in keys:
        published_run(folder_in(tmp_path, key), f"r{key}")
    finished_run(folder_in(tmp_path, "2013-01-06"), "staged")
    (tmp_path / "results/flights/date=today").mkdir()
    (tmp_path / "results/flights/date=today/manifest.json").write_text("of someone else")
    first, last = (Partition.parse(key, "day") for key in ("2013-01-01", "2013-01-31"))
    found = published(str(tmp_path), "flights", "day", first, last)
    assert [(partition.key, version.run_id) for partition, version in found] == [
        ("2013-01-05", "r2013-01-05"),
        ("2013-01-31", "r2013-01-31"),
    ]
    everything = published_manifests(str(tmp_path), "flights", "day")
    assert [partition.key for partition, _ in everything] == sorted(keys)
    assert published(str(tmp_path), "none", "day", first, last) == []


def test_hours_and_rollups_are_told_apart_from_days(tmp_path: Path) -> None:
    partitions = [
        Partition.parse("2013-01-28", "day"),
        Partition.parse("2013-01-28T05", "hour"),
        Partition.parse("2013-01-28T06", "hour"),
        Partition.parse("2013-01-28", "week"),
        Partition.parse("2013-01", "month"),
    ]
    for partition in partitions:
        published_run(PartitionFolder(str(tmp_path), "flights", partition), "r")
    for partition in partitions:
        found = published(str(tmp_path), "flights", partition.grain, partition, partition)
        assert [one for one, _ in found] == [partition]


# -- the files -----------------------------------------------------------------------------------


def test_a_file_that_changed_is_not_replaced(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.replace("a/b.json", b"1", None)
    with pytest.raises(ChangedMeanwhileError, match="a/b.json: was changed meanwhile"):
        store.replace("a/b.json", b"2", None)
    first = store.read("a/b.json")
    assert first is not None
    store.replace("a/b.json", b"2", first.token)
    with pytest.raises(ChangedMeanwhileError):
        store.replace("a/b.json", b"3", first.token)
    second = store.read("a/b.json")
    assert second is not None
    assert second.data == b"2"


def test_a_scheme_without_conditions_is_refused() -> None:
    with pytest.raises(UsageError, match="partitions cannot be published to s3://"):
        read_manifest(folder_in("s3://bucket/x"))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(TallyflowError, match="results/flights/.*: cannot be written: Not a dir"):
        begin(folder_in(tmp_path), "r1")


def test_nothing_heavy_is_imported_for_a_local_folder() -> None:
    code = (
        "import sys, beam_jobs.publishing.partition_store; "
        "print({'apache_beam', 'google.cloud.storage', 'duckdb', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n"
