from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apache_beam as beam
import psutil
import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from packaging.requirements import Requirement

from local_cloud.dataflow.events import StepState
from local_cloud.dataflow.workers import closure
from local_cloud.dataflow.workers.environment import base_environment, environments_directory
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.images import find_image
from local_cloud.dataflow.workers.installation import outer_variables
from local_cloud.dataflow.workers.launching import worker_variables
from local_cloud.dataflow.workers.steps import list_steps
from local_cloud.dataflow.workers.submission import read_submission
from local_cloud.dataflow.workers.usage import Usage

PYTHON = ".".join(map(str, sys.version_info[:2]))


def job(folder: Path, pool: dict[str, Any], **options: Any) -> Path:
    """The directory of a job with this pool of workers and these options."""
    environment = {
        "workerPools": [pool],
        "sdkPipelineOptions": {"options": {"pipelineUrl": "gs://bucket/p.pb", **options}},
    }
    (folder / "job.json").write_text(json.dumps({"id": "1", "environment": environment}))
    return folder


def pipeline_in(image: str) -> beam_runner_api_pb2.Pipeline:
    environment = beam.transforms.environments.DockerEnvironment.from_container_image(image)
    pipeline = beam.Pipeline()
    _ = pipeline | beam.Impulse() | "Steps/Shout" >> beam.Map(print)
    return pipeline.to_runner_api(default_environment=environment)


def test_a_closure_has_what_is_required_in_turn_and_nothing_else() -> None:
    machine = closure.finder(closure.machine_paths())
    found = closure.close([Requirement("apache-beam[gcp]")], [machine])
    assert {"apache-beam", "google-cloud-storage", "requests", "idna"} <= found.found.keys()
    assert not {"duckdb", "apache-airflow", "polars", "pytest"} & found.found.keys()


def test_a_closure_tells_what_is_not_there_in_a_version_that_fits() -> None:
    machine = closure.finder(closure.machine_paths())
    wanted = ("apache-beam<1", "no-such-package-anywhere", "six; python_version<'3'")
    found = closure.close(map(Requirement, wanted), [machine])
    assert sorted(one.name for one in found.missing) == ["apache-beam", "no-such-package-anywhere"]
    assert not found.found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for environments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return environments_directory()


def test_memory_counts_for_as_long_as_it_was_held_and_cpu_also_of_a_worker_that_is_gone() -> None:
    now = [0.0]
    usage = Usage(clock=lambda: now[0])
    own = os.getpid()
    usage.look([own])
    now[0] = 2
    usage.look([])
    now[0] = 100
    usage.look([])
    usage.shuffled(2**30)
    found = {one.name: one.scalar or 0 for one in usage.metrics()}
    held = psutil.Process().memory_info().rss / 2**20
    assert found["TotalMemoryUsage"] == pytest.approx(2 * held, rel=0.5)
    assert 0 < found["TotalVcpuTime"] <= sum(os.times()[:4])
    assert found["TotalShuffleDataProcessed"] == 1


def test_linked_distributions_can_be_imported_and_no_others(cache: Path) -> None:
    environment = base_environment()
    assert base_environment() == environment
    names = {one.metadata["Name"] for one in closure.installed(environment.site)}
    assert "apache-beam" in names
    assert "apache-airflow" not in names
    imports = "import apache_beam, google.cloud.storage, numpy, sys"
    run = [str(environment.python), "-s", "-c"]
    variables = worker_variables(environment)
    subprocess.run([*run, imports], check=True, env=variables)
    for other in ("duckdb", "airflow", "polars"):
        absent = subprocess.run(
            [*run, f"import {other}"], check=False, stderr=subprocess.PIPE, env=variables
        )
        assert b"ModuleNotFoundError" in absent.stderr, other
    # Folder by folder and not file by file, or it takes long to make, and to remove.
    assert sum(path.is_symlink() for path in environment.site.rglob("*")) < 1000
    assert not list(cache.glob(".*"))


def test_what_a_killed_process_left_half_made_is_removed(cache: Path) -> None:
    half_made = cache / ".99999999-abc"
    half_made.mkdir(parents=True, mode=0o700)
    cache.parent.chmod(0o700)
    base_environment()
    assert not half_made.exists()


def test_an_environment_that_no_job_has_used_for_long_is_removed(cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    cache.parent.chmod(0o700)
    for name, days in {"unused": 40, "in-use": 20}.items():
        (cache / name).mkdir()
        settings = cache / name / "pyvenv.cfg"
        settings.touch()
        os.utime(settings, (time.time() - days * 24 * 3600,) * 2)
    made = base_environment().site.parents[2]
    assert {one.name for one in cache.iterdir()} == {"in-use", made.name}


def test_no_worker_is_run_from_a_folder_that_others_can_write_to(cache: Path) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(PermissionError, match="set XDG_CACHE_HOME"):
        base_environment()


@pytest.mark.parametrize(
    ("pool", "workers"),
    [
        ({}, 1),
        ({"numWorkers": 1}, 1),
        ({"numWorkers": 1000}, os.cpu_count()),
        ({"autoscalingSettings": {"maxNumWorkers": 1000}}, os.cpu_count()),
        ({"numWorkers": 1000, "autoscalingSettings": {"maxNumWorkers": 1}}, 1),
    ],
)
def test_a_job_has_the_workers_it_asks_for_within_the_cores(
    tmp_path: Path, pool: dict[str, Any], workers: int
) -> None:
    assert read_submission(job(tmp_path, pool)).workers == workers


def test_whole_numbers_among_the_options_are_integers(tmp_path: Path) -> None:
    read = read_submission(job(tmp_path, {}, a=0.0, b=[1.0, 1.5], c={"d": 2.0}))
    assert json.dumps([read.options[name] for name in "abc"]) == '[0, [1, 1.5], {"d": 2}]'


@pytest.mark.parametrize("repository", ["gcr.io/cloud-dataflow/v1beta3", "apache"])
def test_beams_own_image_is_this_machines_interpreter(tmp_path: Path, repository: str) -> None:
    name = f"{repository}/beam_python{PYTHON}_sdk:{version('apache-beam')}"
    assert find_image(pipeline_in(name), tmp_path) is None


@pytest.mark.parametrize(
    "name", ["apache/beam_python3.8_sdk:2.77.0", f"apache/beam_python{PYTHON}_sdk:2.1.0", "own:1"]
)
def test_another_image_is_refused_unless_it_is_registered(tmp_path: Path, name: str) -> None:
    with pytest.raises(JobError, match="failed to pull image") as caught:
        find_image(pipeline_in(name), tmp_path)
    assert f"local_cloud image add {name} --python PATH" in str(caught.value)
    (tmp_path / "images.json").write_text(json.dumps({name: {"python": sys.executable}}))
    image = find_image(pipeline_in(name), tmp_path)
    assert image is not None
    assert image.python == sys.executable


def test_a_stages_transforms_belong_to_the_steps_they_were_made_from() -> None:
    pipeline = pipeline_in("own:1")
    steps = list_steps(pipeline)
    assert [steps.user_name(key) for key in steps.ids] == ["Impulse", "Steps/Shout"]
    impulse, shout = steps.ids
    assert steps.owner("Steps/Shout/Process") == shout
    assert steps.owner("unknown/name") == ""
    states = {one.name: one.state for one in steps.events({shout: "RUNNING"}, {})}
    assert states == {impulse: "DONE", shout: "RUNNING"}


def test_an_impulse_is_done_when_any_step_after_it_has_begun() -> None:
    pipeline = beam.Pipeline()
    both = [pipeline | name >> beam.Impulse() for name in ("A", "B")]
    _ = both | beam.Flatten() | "Last" >> beam.Map(print)
    _ = pipeline | "Unused" >> beam.Impulse()
    steps = list_steps(pipeline.to_runner_api())
    last = next(key for key in steps.ids if steps.user_name(key) == "Last")

    def states(state: StepState) -> dict[str, StepState]:
        return {one.user_name: one.state for one in steps.events({last: state}, {})}

    assert set(states("PENDING").values()) == {"PENDING"}
    assert {states("RUNNING")[name] for name in "AB"} == {"DONE"}
    assert set(states("DONE").values()) == {"DONE"}


def test_pip_sees_the_proxies_from_outside_the_local_cloud() -> None:
    inside = {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "SSL_CERT_FILE": "/local/ca.pem",
        "NO_PROXY": "localhost",
        "PIP_INDEX_URL": "https://example.com/simple",
        "PYTHONPATH": "/of/the/service",
        "LOCAL_CLOUD_OUTER_NO_PROXY": "example.com",
        "LOCAL_CLOUD_OUTER_HTTPS_PROXY": "",
    }
    seen = outer_variables(inside)
    assert seen == {"PIP_INDEX_URL": "https://example.com/simple", "NO_PROXY": "example.com"}
