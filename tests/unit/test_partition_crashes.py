"""What a kill at any line of a publication leaves behind, and races of several processes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_jobs.publishing.manifest import Contents, Manifest
from beam_jobs.publishing.partition_folder import PartitionFolder, read_manifest
from beam_jobs.publishing.partition_store import RefusedError, discard, publish, restore
from tests.unit.runs_to_publish import (
    at_each_line,
    finished_run,
    folder_in,
    in_processes,
    runs_there,
    visible_run,
)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    # A killed process loses nothing that it has written: only a machine that fails does.
    monkeypatch.setattr(os, "fsync", lambda _: None)


def each_crash(tmp_path: Path, work: Callable[[PartitionFolder], object]) -> list[PartitionFolder]:
    """Do something, and keep what a kill would leave behind: the storage as it is at each line.

    Returns:
        The partition in a copy of the storage for each time that this has changed: as it was at
        first, and at the end.
    """
    storage = tmp_path / "storage"
    found: list[PartitionFolder] = []
    last: object = None

    def keep() -> None:
        nonlocal last
        if (now := state_of(storage)) != last:
            last = now
            copy = tmp_path / f"crash{len(found)}"
            shutil.copytree(storage, copy)
            found.append(folder_in(copy))

    at_each_line(keep, lambda: work(folder_in(storage)))
    keep()
    return found


def state_of(folder: Path) -> list[tuple[Path, int, int]]:
    """Return each file with its number, which tells it from another in its place, and its size."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(path, status.st_ino, status.st_size) for path, status in found]


@pytest.mark.parametrize("before", [[], ["r1"], ["r1", "r2"]])
def test_a_publication_that_is_killed_leaves_the_old_partition_or_the_new_one(
    before: list[str], tmp_path: Path
) -> None:
    folder = folder_in(tmp_path / "storage")
    for run_id in before:
        publish(folder, run_id, 2, finished_run(folder, run_id))
    contents = finished_run(folder, "new")
    old = before[-1] if before else None
    crashes = each_crash(tmp_path, lambda folder: publish(folder, "new", 2, contents))
    seen = []
    for number, crashed in enumerate(crashes):
        seen.append(visible_run(crashed))
        if number % 2:
            assert publish(crashed, "new", 2, contents).run_id == "new"
            assert visible_run(crashed) == "new"
        after = finished_run(crashed, "after")
        publish(crashed, "after", 2, after)
        assert visible_run(crashed) == "after"
        kept = {one.run_id for one in read_manifest_of(crashed).versions}
        assert runs_there(crashed) == kept
    assert set(seen) == {old, "new"}
    assert seen == sorted(seen, key=lambda run: run == "new"), "once it is new, it stays so"
    assert seen[-1] == "new"
    assert (
        len(seen) >= 4
    )  # at first, before and after the new manifest is written beside, at the end


def read_manifest_of(folder: PartitionFolder) -> Manifest:
    found = read_manifest(folder)
    assert found is not None
    return found.manifest


def test_a_restoration_that_is_killed_leaves_one_version_or_the_other(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "storage")
    for run_id in ("r1", "r2"):
        publish(folder, run_id, 2, finished_run(folder, run_id))
    crashes = each_crash(tmp_path, restore)
    seen = [visible_run(crashed) for crashed in crashes]
    assert set(seen) == {"r1", "r2"}
    assert seen == sorted(map(str, seen), reverse=True)
    for crashed in crashes:
        publish(crashed, "r3", 3, finished_run(crashed, "r3"))
        assert visible_run(crashed) == "r3"


def test_a_discard_that_is_killed_leaves_nothing_to_publish_by_mistake(tmp_path: Path) -> None:
    folder = folder_in(tmp_path / "storage")
    publish(folder, "r1", 2, finished_run(folder, "r1"))
    contents = finished_run(folder, "r2")
    for crashed in each_crash(tmp_path, lambda folder: discard(folder, "r2")):
        assert visible_run(crashed) == "r1"
        try:
            publish(crashed, "r2", 2, contents)
        except RefusedError:
            assert visible_run(crashed) == "r1"
            publish(crashed, "r3", 2, finished_run(crashed, "r3"))
            assert runs_there(crashed) == {"r1", "r3"}
        else:
            assert visible_run(crashed) == "r2"


@pytest.mark.parametrize("published", [[], ["before"]])
def test_of_runs_with_one_base_exactly_one_is_published(
    published: list[str], tmp_path: Path
) -> None:
    def race(folder: PartitionFolder, runs: list[Contents]) -> list[int]:
        def work(number: int) -> int:
            try:
                publish(folder, f"r{number}", 3, runs[number])
            except RefusedError:
                return 7
            return 0

        return in_processes(work, len(runs))

    for attempt in range(5):
        folder = folder_in(tmp_path / str(attempt))
        for run_id in published:
            publish(folder, run_id, 3, finished_run(folder, run_id))
        statuses = race(folder, [finished_run(folder, f"r{number}") for number in range(8)])
        assert sorted(statuses) == [0] + 7 * [7]
        winner = f"r{statuses.index(0)}"
        assert visible_run(folder) == winner
        assert runs_there(folder) == {*published, winner}


def test_many_publications_of_one_run_at_once_are_one(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    contents = finished_run(folder, "r1")
    statuses = in_processes(lambda _: publish(folder, "r1", 3, contents).number, 8)
    assert statuses == 8 * [1]
    assert len(read_manifest_of(folder).versions) == 1
