"""A deployment: what may be deployed, by which commands, and that a second one copies nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from beam_jobs.errors import TallyflowError, UsageError
from beam_jobs.templates import JOBS
from deploy.__main__ import run
from deploy.plan import Step, prepare, steps
from deploy.source import TESTED, check_source, export, image_tag, tree_of_folder
from deploy.target import Target, read_target
from tests.local_cloud.storage_server import PROJECT, StorageServer

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "deploy" / "prod.env.example"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone, whose one commit is pushed."""
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(clone))
    (clone / ".gitignore").write_text(".tallyflow/\n")
    (clone / "beam_jobs").mkdir()
    (clone / "beam_jobs" / "job.py").write_text("1\n")
    commit(clone)
    git(clone, "push", "--quiet", "origin", "HEAD")
    return clone


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *who, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=x")


def passed_tests(folder: Path) -> None:
    (folder / TESTED).parent.mkdir(exist_ok=True)
    with (folder / TESTED).open("a") as file:
        file.write(f"{tree_of_folder(folder)}\n")


def target_of(tmp_path: Path, **changed: str) -> Target:
    """What the example says, with other values."""
    lines = [
        line if (name := line.partition("=")[0]) not in changed else f"{name}={changed[name]}"
        for line in _EXAMPLE.read_text().splitlines()
    ]
    path = tmp_path / "test.env"
    path.write_text("\n".join(lines))
    return read_target(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The files that are deployed, without most of them."""
    folder = tmp_path / "source"
    for name in ("beam_jobs", "plugins/tallyflow", "dags/datasets", "deploy"):
        (folder / name).mkdir(parents=True)
    (folder / "dags" / "dataset_dags.py").write_text("1\n")
    (folder / "dags" / "datasets" / "flights.yaml").write_text("owner: tests\n")
    shutil.copy(_ROOT / "pyproject.toml", folder)
    return folder


def test_a_commit_that_is_pushed_and_tested_may_be_deployed(repository: Path) -> None:
    # Tested before it was committed: what counts is the content.
    (repository / "new.py").write_text("2\n")
    passed_tests(repository)
    commit(repository)
    git(repository, "push", "--quiet", "origin", "HEAD")
    assert len(check_source(repository)) == 40
    # So may an earlier one, to go back to it, once it has passed too.
    git(repository, "checkout", "--quiet", "HEAD~1")
    with pytest.raises(UsageError, match="was not tested on this machine: run make test"):
        check_source(repository)
    passed_tests(repository)
    check_source(repository)


def test_a_folder_with_changes_is_not_deployed(repository: Path) -> None:
    passed_tests(repository)
    check_source(repository)
    (repository / "new.py").write_text("2\n")
    with pytest.raises(UsageError, match=r"(?s)1 files have changes .*\?\? new\.py"):
        check_source(repository)


def test_a_commit_that_is_only_here_is_not_deployed(repository: Path) -> None:
    (repository / "beam_jobs" / "job.py").write_text("2\n")
    commit(repository)
    passed_tests(repository)
    with pytest.raises(UsageError, match="is on no branch of a remote; push it"):
        check_source(repository)


def test_images_have_another_tag_only_where_something_in_them_has_changed(
    repository: Path, tmp_path: Path
) -> None:
    tag = image_tag(repository)
    (repository / "README.md").write_text("words\n")
    commit(repository)
    assert image_tag(repository) == tag
    (repository / "beam_jobs" / "job.py").write_text("2\n")
    assert image_tag(repository) == tag, "it is of the commit"
    commit(repository)
    assert image_tag(repository) != tag
    # What is ignored is not deployed either.
    passed_tests(repository)
    (tmp_path / "exported").mkdir()
    export(repository, tmp_path / "exported")
    assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == [
        *(".gitignore", "README.md", "beam_jobs")
    ]


def test_the_commands_are_all_of_gcloud_and_later_ones_find_what_earlier_ones_made(
    tmp_path: Path, source: Path
) -> None:
    target = target_of(tmp_path, TALLYFLOW_TEMPLATES="gs://my-bucket/templates/")
    prepare(target, "t1", source)
    plan = steps(target, "t1", source)
    assert {step.command[0] for step in plan} == {"gcloud"}
    verbs = [" ".join(step.command[1:4]).partition(str(source))[0].strip() for step in plan]
    assert verbs == [
        "builds submit",
        "storage rsync",
        *["composer environments update"] * 2,
        *["storage rsync"] * 3,
    ]
    registry = "europe-west1-docker.pkg.dev/my-project/tallyflow"
    assert f"--substitutions=_REGISTRY={registry},_TAG=t1" in plan[0].command
    assert "gs://my-bucket/templates/t1" in plan[1].command
    (variables,) = (part for part in plan[3].command if "update-env-variables" in part)
    assert f";TALLYFLOW_SDK_CONTAINER_IMAGE={registry}/worker:t1;" in variables
    assert ";TALLYFLOW_TEMPLATES=gs://my-bucket/templates/t1;" in variables
    assert ";TALLYFLOW_LABELS=team=data,env=prod;" in variables
    assert "^;^PYTHONPATH=/home/airflow/gcs/plugins;" in variables
    places = [part for step in plan[4:] for part in step.command if part.startswith("gs://eu")]
    assert [place.split("-bucket/")[1] for place in places] == [
        *("plugins/tallyflow", "plugins/beam_jobs", "dags/tallyflow")
    ]
    # Airflow takes each module below plugins/ for a plugin.
    assert (source / "beam_jobs" / ".airflowignore").read_text() == "*\n"
    for job in JOBS:
        template = json.loads((source / "templates" / f"{job}.json").read_text())
        assert template["image"] == f"{registry}/templates/{job}:t1"
    needed = (source / "packages.txt").read_text().split()
    assert {"apache-beam[gcp]==2.77.0", "apache-airflow-providers-apache-beam"} <= set(needed)


def test_the_build_makes_the_images_that_the_templates_name() -> None:
    build = yaml.safe_load((_ROOT / "deploy" / "cloudbuild.yaml").read_text())
    pushed = [step["args"][1] for step in build["steps"] if step["args"][0] == "push"]
    expected = [f"${{_REGISTRY}}/templates/{job}:${{_TAG}}" for job in JOBS]
    assert pushed == [*expected, "${_REGISTRY}/worker:${_TAG}"]
    tagged = [arg for step in build["steps"] for arg in step["args"] if arg.startswith("--tag=")]
    assert {tag.removeprefix("--tag=") for tag in tagged} == set(pushed)


def test_another_airflow_gets_its_variables_in_a_file(tmp_path: Path, source: Path) -> None:
    target = target_of(tmp_path, COMPOSER_ENVIRONMENT="", AIRFLOW_BUCKET="gs://b/airflow")
    prepare(target, "t1", source)
    plan = steps(target, "t1", source)
    assert not any("composer" in step.command for step in plan)
    assert "TALLYFLOW_RUNNER=DataflowRunner\n" in (source / "tallyflow.env").read_text()
    assert any("gs://b/airflow/tallyflow.env" in step.command for step in plan)


@pytest.mark.parametrize(
    ("printed", "is_done"),
    [
        ({"envVariables": {"PYTHONPATH": "x"}}, False),
        ({"envVariables": None}, False),
        ("as wanted", True),
    ],
)
def test_composer_is_updated_only_where_something_would_change(
    tmp_path: Path, source: Path, printed: Any, *, is_done: bool
) -> None:
    target = target_of(tmp_path)
    prepare(target, "t1", source)
    _, packages, variables, *_ = steps(target, "t1", source)
    if printed == "as wanted":
        (text,) = (part for part in variables.command if "update-env" in part)
        pairs = dict(pair.split("=", 1) for pair in text.partition("^;^")[2].split(";"))
        printed = {"envVariables": {**pairs, "OTHER": "1"}}
    assert variables.is_done(json.dumps({"config": {"softwareConfig": printed}})) == is_done
    assert not packages.is_done("null")
    with pytest.raises(TallyflowError, match="does not say how the environment is"):
        packages.is_done(None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("REGION", r"test.env:1: 'REGION' is not NAME=VALUE"),
        ("REGOIN=x", "REGOIN is unknown; there are PROJECT, REGION"),
        ("TALLYFLOW_SLACK_TOKEN=x", "TALLYFLOW_SLACK_TOKEN sounds like a secret"),
        ("TALLYFLOW_SDK_CONTAINER_IMAGE=x:1", "is what is built here; delete the line"),
        ("TALLYFLOW_LABELS=a=b;c", "has a ; in it"),
        ("PROJECT=p", "also set REGION, REGISTRY, AIRFLOW_BUCKET"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(
    tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "test.env").write_text(line)
    with pytest.raises(UsageError, match=message):
        read_target(tmp_path / "test.env")


def test_settings_that_airflow_would_refuse_are_refused_before_anything_is_done(
    tmp_path: Path, source: Path
) -> None:
    with pytest.raises(UsageError, match="(?s)settings of this deployment are wrong.*MAX_NUM_WORK"):
        steps(target_of(tmp_path, TALLYFLOW_LABELS="\nTALLYFLOW_MAX_NUM_WORKERS=0"), "t", source)


def test_a_dry_run_prints_a_step_and_does_not_run_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    step = Step("Make it", ["touch", str(made)], look=["test", "-e", str(made)])
    run(step, is_dry=True)
    assert not made.exists()
    assert f"# Make it\n# unless it is there, by: test -e {made}\ntouch {made}\n" in (
        capfd.readouterr().out
    )
    run(step, is_dry=False)
    assert made.exists()
    run(step, is_dry=False)
    assert "# is there already" in capfd.readouterr().out


def test_a_command_that_fails_ends_the_deployment() -> None:
    with pytest.raises(TallyflowError, match="ended with status 3"):
        run(Step("Fail", [sys.executable, "-c", "import sys; sys.exit(3)"]), is_dry=False)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    server = StorageServer(tmp_path / "storage", "--bucket", "airflow")
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", f"{server.url}/storage/v1/")
    monkeypatch.setenv("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true")
    yield server
    server.stop()


@pytest.mark.skipif(not shutil.which("gcloud"), reason="the gcloud command is not installed")
def test_dags_arrive_in_the_bucket_and_nothing_is_copied_the_second_time(
    tmp_path: Path, source: Path, storage: StorageServer, capfd: pytest.CaptureFixture[str]
) -> None:
    target = target_of(tmp_path, AIRFLOW_BUCKET="gs://airflow", PROJECT=PROJECT)
    bucket = storage.client().bucket("airflow")
    bucket.blob("dags/of_others.py").upload_from_string("1")
    bucket.blob("dags/tallyflow/removed.py").upload_from_string("1")
    step = steps(target, "t1", source)[-1]
    run(step, is_dry=False)
    first = {blob.name: blob.generation for blob in bucket.list_blobs()}
    assert first.keys() == {
        "dags/of_others.py",
        "dags/tallyflow/dataset_dags.py",
        "dags/tallyflow/datasets/flights.yaml",
    }
    assert "Copying" in capfd.readouterr().err
    # Another checkout of the same files.
    for path in (source / "dags").rglob("*"):
        os.utime(path, (1, 1))
    run(step, is_dry=False)
    assert {blob.name: blob.generation for blob in bucket.list_blobs()} == first
    assert "Copying" not in capfd.readouterr().err
