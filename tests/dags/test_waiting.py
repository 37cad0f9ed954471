from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tallyflow.awaited import Awaited
from tallyflow.wait_for_files import FilesTrigger, WaitForFiles

NOW = datetime.datetime(2013, 1, 2, 6, 0, tzinfo=datetime.UTC)


def write(folder: Path, name: str, minutes_ago: float = 60) -> None:
    path = folder / name
    path.write_text("a\n1\n")
    changed = NOW.timestamp() - 60 * minutes_ago
    os.utime(path, (changed, changed))


def test_nothing_is_complete_without_a_file(tmp_path: Path) -> None:
    found = Awaited(f"{tmp_path}/*.csv").look(NOW)
    assert (found.is_complete, found.files) == (False, 0)
    assert found.text == f"0 files match {tmp_path}/*.csv"


def test_a_marker_says_that_files_are_complete_even_if_there_are_none(tmp_path: Path) -> None:
    awaited = Awaited(f"{tmp_path}/*.csv", marker=f"{tmp_path}/_SUCCESS")
    write(tmp_path, "a.csv")
    assert not awaited.look(NOW).is_complete
    assert awaited.look(NOW).text.endswith("_SUCCESS is not there")
    write(tmp_path, "_SUCCESS")
    assert awaited.look(NOW).is_complete
    (tmp_path / "a.csv").unlink()
    assert awaited.look(NOW).is_complete


def test_a_number_of_files_is_waited_for(tmp_path: Path) -> None:
    awaited = Awaited(f"{tmp_path}/*.csv", files=2)
    write(tmp_path, "a.csv")
    assert awaited.look(NOW).text.endswith("; 2 have to be there")
    write(tmp_path, "b.csv")
    assert awaited.look(NOW).is_complete


@pytest.mark.parametrize(("minutes_ago", "is_complete"), [(9.5, False), (10.5, True)])
def test_the_newest_file_has_to_be_unchanged_for_so_long(
    tmp_path: Path, minutes_ago: float, is_complete: bool
) -> None:
    write(tmp_path, "a.csv")
    write(tmp_path, "b.csv", minutes_ago)
    found = Awaited(f"{tmp_path}/*.csv", unchanged_minutes=10).look(NOW)
    assert found.is_complete == is_complete
    assert is_complete or "b.csv changed at 05:50:30 UTC" in found.text


@pytest.fixture
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no scheduler that has to hear first of the task's being deferred."""
    monkeypatch.setattr("tallyflow.wait_for_files._FIRST_LOOK_SECONDS", 0)


def test_the_trigger_fires_when_the_file_comes(tmp_path: Path) -> None:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    trigger = FilesTrigger({"pattern": f"{tmp_path}/*.csv"}, until.isoformat(), 0.01)
    path, arguments = trigger.serialize()
    assert path == "tallyflow.wait_for_files.FilesTrigger"

    async def fire() -> dict[str, object]:
        event = asyncio.ensure_future(anext(FilesTrigger(**arguments).run()))
        write(tmp_path, "a.csv")
        return (await asyncio.wait_for(event, 30)).payload  # type: ignore[no-any-return]

    assert asyncio.run(fire()) == {
        "is_complete": True,
        "files": 1,
        "text": f"1 file match {tmp_path}/*.csv",
    }


@pytest.mark.usefixtures("looks_at_once")
def test_the_trigger_fires_when_the_time_is_up_or_the_storage_cannot_be_listed(
    tmp_path: Path,
) -> None:
    until = datetime.datetime.now(datetime.UTC)
    for pattern in (f"{tmp_path}/*.csv", "nowhere://a/*.csv"):
        trigger = FilesTrigger({"pattern": pattern}, until.isoformat(), 60)

        async def fire(trigger: FilesTrigger = trigger) -> dict[str, object]:
            return (await anext(trigger.run())).payload  # type: ignore[no-any-return]

        assert asyncio.run(fire())["is_complete"] is False


@pytest.mark.usefixtures("looks_at_once")
@pytest.mark.parametrize("when_missing", ["fail", "skip", "publish_empty"])
def test_a_storage_that_cannot_be_listed_is_not_taken_for_an_empty_one(when_missing: str) -> None:
    until = datetime.datetime.now(datetime.UTC)
    trigger = FilesTrigger({"pattern": "nowhere://a/*.csv"}, until.isoformat(), 60)

    async def fire() -> dict[str, object]:
        return (await anext(trigger.run())).payload  # type: ignore[no-any-return]

    task = WaitForFiles(task_id="wait_for_files", pattern="", when_missing=when_missing)
    with pytest.raises(AirflowFailException, match="nowhere://"):
        task.conclude({}, asyncio.run(fire()))


@pytest.mark.parametrize("when_missing", ["fail", "skip", "publish_empty"])
def test_other_files_that_a_form_names_have_to_be_there(tmp_path: Path, when_missing: str) -> None:
    task = WaitForFiles(task_id="wait_for_files", pattern="", when_missing=when_missing)
    form: Any = {"params": {"pattern": f"{tmp_path}/*.csv"}}
    with pytest.raises(AirflowFailException, match="0 files match .* which the form says"):
        task.execute(form)
    write(tmp_path, "a.csv")
    task.execute(form)
