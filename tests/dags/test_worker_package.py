"""The wheel that the operator makes for Dataflow's workers."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import shutil
import sys
import zipfile
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException
from packaging.utils import parse_wheel_filename

from demo.local_airflow import ROOT
from tallyflow import worker_package
from tallyflow.job_task import job_task
from tallyflow.settings import Settings
from tallyflow.worker_package import build_wheel


def test_the_package_is_a_wheel_of_all_modules_with_what_they_require(tmp_path: Path) -> None:
    path = build_wheel(tmp_path)
    assert parse_wheel_filename(path.name)[0] == "tallyflow"
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    modules = {str(module.relative_to(ROOT)) for module in (ROOT / "beam_jobs").rglob("*.py")}
    assert {name for name in files if name.startswith("beam_jobs/")} == modules
    (record,) = (name for name in files if name.endswith("/RECORD"))
    listed = {row[0]: row[1] for row in csv.reader(files[record].decode().splitlines())}
    assert listed.keys() == files.keys()
    for name, found in listed.items():
        if name != record:
            digest = urlsafe_b64decode(found.removeprefix("sha256=") + "==")
            assert digest == hashlib.sha256(files[name]).digest()
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path)
    (about,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert about.metadata["Name"] == "tallyflow"
    assert "duckdb==2.0.0" in (about.requires or [])


def copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository like this one, from which `beam_jobs` is found."""
    shutil.copytree(ROOT / "beam_jobs", folder / "beam_jobs")
    shutil.copy(ROOT / "pyproject.toml", folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.delitem(sys.modules, "beam_jobs")
    return folder


def test_the_same_code_makes_the_same_file_wherever_it_is_and_other_code_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = build_wheel(tmp_path / "here")
    repository = copied(tmp_path / "copy", monkeypatch)
    there = build_wheel(tmp_path / "there")
    assert (here.name, here.read_bytes()) == (there.name, there.read_bytes())
    with (repository / "beam_jobs/show.py").open("a") as file:
        file.write("# another version\n")
    assert build_wheel(tmp_path).name != here.name


@pytest.mark.parametrize("image", [None, "team/jobs:1"])
def test_a_job_has_a_package_made_only_where_its_workers_have_no_image(image: str | None) -> None:
    settings = Settings(
        runner="DataflowRunner",
        storage="gs://bucket",
        project="project-1",
        region="us-central1",
        sdk_container_image=image,
    )
    task = job_task(
        *("count", "count_elements", settings),
        job_name="name",
        options=lambda _: {},
        pre_execute=lambda _: None,
    )
    assert task.worker_package is (None if image else build_wheel)


def test_without_what_the_workers_require_there_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied(tmp_path, monkeypatch) / "pyproject.toml").unlink()
    with pytest.raises(AirflowFailException, match="or set TALLYFLOW_EXTRA_PACKAGE"):
        worker_package.build_wheel(tmp_path)
