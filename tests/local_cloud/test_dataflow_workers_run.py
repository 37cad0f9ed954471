from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.cloud.storage import Client

from local_cloud import LocalCloud
from local_cloud.dataflow.workers.environment import environments_directory
from tests.local_cloud.dataflow_workers import Run, Service, build_wheel, submit

BUCKET = "jobs"
LINES = ["a bb a", "bb a", "ccc"]
FAILED, DONE, CANCELLED = "JOB_STATE_FAILED", "JOB_STATE_DONE", "JOB_STATE_CANCELLED"
IMAGE = "example.com/team/image:1"


def jobs(folder: Path) -> dict[str, dict[str, Any]]:
    """All jobs of these tests; the packages they stage are made in a folder."""
    wheel = build_wheel(folder, "greeting", "import duckdb\nGREETING = 'hi'", requires="duckdb")
    broken = folder / "broken-1.0-py3-none-any.whl"
    broken.write_bytes(b"no wheel")
    (folder / "requirements.txt").write_text("duckdb>=1  # of this machine\n")
    (folder / "setup.py").write_text(
        "import setuptools\nsetuptools.setup(name='tuned', version='1.0', py_modules=['tuned'])\n"
    )
    (folder / "tuned.py").write_text("GREETING = 'from a source package'\n")
    listed = [f"--requirements_file={folder}/requirements.txt", "--requirements_cache=skip"]
    greeting = {"pipeline": "imports", "lines": ["greeting"]}
    return {
        "counts": {"pipeline": "counts", "lines": LINES, "options": ["--num_workers=2"]},
        "numbers": {"pipeline": "numbers", "lines": LINES, "options": ["--num_workers=2"]},
        "large": {"pipeline": "large", "lines": LINES, "options": ["--max_num_workers=2"]},
        "fails": {"pipeline": "fails", "lines": ["a", "b"]},
        "dies": {"pipeline": "dies", "lines": ["a"]},
        "waits": {"pipeline": "waits", "lines": [str(folder / "go")]},
        "unstaged": {"pipeline": "imports", "lines": ["duckdb"]},
        "staged": {**greeting, "options": [f"--extra_package={wheel}"]},
        "broken": {**greeting, "options": [f"--extra_package={broken}"]},
        "setup": {
            "pipeline": "imports",
            "lines": ["tuned"],
            "options": [f"--setup_file={folder}/setup.py"],
        },
        "listed": {"pipeline": "imports", "lines": ["duckdb"], "options": listed},
        "image": {
            "pipeline": "imports",
            "lines": ["greeting", "of_directory"],
            "options": [f"--sdk_container_image={IMAGE}", f"--extra_package={wheel}"],
        },
    }


class Jobs:
    """A service's directory, and the jobs that were submitted."""

    def __init__(self, folder: Path, cloud: LocalCloud) -> None:
        environment = {**os.environ, **cloud.environment}
        self.folder = folder
        self.service = Service(folder, environment)
        self.storage = Client(
            project=cloud.project,
            credentials=None,
            client_options={"api_endpoint": cloud.storage_url},
            use_auth_w_custom_endpoint=False,
        )
        self.submitted = submit(jobs(folder), BUCKET, environment)

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.submitted[name]

    def output(self, name: str) -> list[str]:
        """The lines that a job has written."""
        blobs = self.storage.list_blobs(BUCKET, prefix=f"output/{name}-")
        return sorted(line for blob in blobs for line in blob.download_as_text().splitlines())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    with LocalCloud(services=["storage"], buckets=[BUCKET]) as cloud:
        yield Jobs(tmp_path_factory.mktemp("dataflow"), cloud)


def end(pids: list[int]) -> None:
    """Waits until processes are gone."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(processes, 10)[1]


@pytest.fixture(scope="module")
def counted(prepared: Jobs) -> Run:
    """A job that is done."""
    run = prepared.service.start(prepared["counts"])
    run.finish()
    return run


def test_a_job_runs_in_worker_processes_and_reports_what_it_did(
    prepared: Jobs, counted: Run
) -> None:
    assert counted.states() == ["JOB_STATE_RUNNING", DONE]
    assert prepared.output("counts") == ["a 3/6", "bb 2/6", "ccc 1/6"]
    assert max(len(one["pids"]) for one in counted.events if one["event"] == "workers") == 2
    assert counted.pids() == []
    assert not (prepared.folder / "jobs/counts/work").exists()


def test_user_metrics_are_those_of_the_users_steps(counted: Run) -> None:
    run = counted
    split = next(one for one in run.last("steps")["steps"] if one["user_name"] == "Split")
    assert (split["state"], split["elements"]) == ("DONE", 6)
    steps = {one["user_name"]: one["state"] for one in run.last("steps")["steps"]}
    assert set(steps.values()) == {"DONE"}, steps
    # Two stages read it, besides the one that puts it out.
    elements = {one["user_name"]: one["elements"] for one in run.last("steps")["steps"]}
    once = [name for name in elements if "/DoOnce/" in name]
    assert {elements[name] for name in once} == {1}, elements
    assert {elements[name] for name in elements if name.endswith("/Impulse")} == {1}, elements
    assert all(elements[name] for name in elements if name.endswith("/GroupByKey")), elements
    for tentative in (False, True):
        about = {"tentative": tentative, "step": split["name"]}
        words = run.metric("words", **about, namespace="pipelines", origin="user")
        assert (words["kind"], words["scalar"]) == ("Sum", 6)
        lengths = run.metric("lengths", **about)["distribution"]
        assert lengths == {"count": 6, "sum": 10, "min": 1, "max": 3}
        assert run.metric("ElementCount", **about, origin="dataflow/v1b3")["scalar"] == 6


def test_service_metrics_say_what_the_workers_used(counted: Run) -> None:
    def used(name: str) -> float:
        return float(counted.metric(name, origin="dataflow/v1b3", tentative=False)["scalar"])

    assert 0.01 < used("TotalVcpuTime") < 60
    # Mebibytes and seconds: Beam alone takes a hundred of them.
    assert 10 < used("TotalMemoryUsage") < 60_000
    # Six words and a few more keys.
    assert 50 < used("TotalShuffleDataProcessed") * 2**30 < 10_000
    assert used("BillableShuffleDataProcessed") == used("TotalShuffleDataProcessed") / 4
    assert used("TotalPdUsage") == used("TotalSsdUsage") == 0


def test_elements_of_a_megabyte_pass_through_all_workers(prepared: Jobs) -> None:
    assert prepared.service.start(prepared["large"]).finish() == DONE
    assert prepared.output("large") == ["75"]


def test_a_workers_exception_fails_the_job_after_four_attempts(prepared: Jobs) -> None:
    run = prepared.service.start(prepared["fails"])
    assert run.finish() == FAILED
    *attempts, last = run.errors()
    assert len(attempts) == 4
    for message in attempts:
        assert message.startswith("Error message from worker: Traceback (most recent call last):")
        assert "ValueError: bad record 'a' [while running 'Check']" in message
    assert last.startswith("Workflow failed. Causes: S02:")
    assert "a work item has failed 4 times" in last


def test_a_worker_that_dies_every_time_fails_the_job(prepared: Jobs) -> None:
    run = prepared.service.start(prepared["dies"])
    assert run.finish() == FAILED
    *attempts, last = run.errors()
    assert len(attempts) == 4
    assert all("killed by signal 9; out of memory?" in message for message in attempts)
    assert last.startswith("Workflow failed. Causes: S0")


def test_the_work_of_a_killed_worker_is_done_by_another(prepared: Jobs) -> None:
    go = prepared.folder / "go"
    go.unlink(missing_ok=True)
    run = prepared.service.start(prepared["waits"], "killed")
    run.wait_for(lambda: run.metric("begun", tentative=True))
    assert not run.metric("begun", tentative=False)
    (first,) = run.pids()
    left = [one.pid for one in psutil.Process(first).children()]
    assert left
    run.tell(command="kill_worker")
    run.wait_for(lambda: run.pids() not in ([], [first]))
    go.touch()
    assert run.finish() == DONE
    assert prepared.output("waits") == ["awaited"]
    (error,) = run.errors()
    assert "sdk-0-0 disconnected: worker lost (killed by signal 9" in error
    end(left)  # What the killed worker had started is gone too.


def test_a_cancelled_job_leaves_no_process(prepared: Jobs) -> None:
    (prepared.folder / "go").unlink(missing_ok=True)
    run = prepared.service.start(prepared["waits"], "cancelled")
    run.wait_for(lambda: run.metric("begun"))
    started = [one.pid for one in psutil.Process(run.process.pid).children(recursive=True)]
    assert len(started) >= 3  # A launcher, a worker, and what that one has started.
    run.tell(command="cancel")
    assert run.finish() == CANCELLED
    end(started)
    assert run.states() == ["JOB_STATE_RUNNING", CANCELLED]
    assert not (prepared.folder / "jobs/cancelled/work").exists()


def test_a_job_listens_on_loopback_only_and_ends_with_its_service(prepared: Jobs) -> None:
    (prepared.folder / "go").unlink(missing_ok=True)
    run = prepared.service.start(prepared["waits"], "orphan")
    run.wait_for(lambda: run.metric("begun"))
    process = psutil.Process(run.process.pid)
    processes = [process, *process.children(recursive=True)]
    connections = [one for each in processes for one in each.net_connections("inet")]
    listening = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert run.process.stdin is not None
    run.process.stdin.close()
    end([one.pid for one in processes])


def test_a_process_that_was_made_ready_runs_a_job_it_is_given_later(prepared: Jobs) -> None:
    nowhere = prepared.folder / "nowhere.txt"
    earlier = prepared.service.job_directory(prepared["numbers"], "earlier")
    run = prepared.service.start_like(earlier, nowhere)
    directory = prepared.service.job_directory(prepared["numbers"])
    run.tell(command="run", directory=str(directory))
    assert run.finish() == DONE
    assert prepared.output("numbers") == ["key0", "key1", "key2"]  # State is kept by key.
    assert "sdk_worker" in (directory / "log.txt").read_text()
    assert "sdk_worker" not in nowhere.read_text()


def test_a_package_that_was_not_staged_is_missing_on_the_workers(prepared: Jobs) -> None:
    run = prepared.service.start(prepared["unstaged"])
    assert run.finish() == FAILED
    assert "ModuleNotFoundError: No module named 'duckdb'" in run.errors()[0]


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("staged", "greeting hi "),
        ("setup", "tuned from a source package "),
        ("listed", "duckdb  "),
    ],
)
def test_what_was_staged_and_what_it_requires_is_there(
    prepared: Jobs, name: str, output: str
) -> None:
    assert prepared.service.start(prepared[name]).finish() == DONE
    assert prepared.output(name) == [output]


def test_an_environment_is_made_once_for_the_same_content(prepared: Jobs) -> None:
    folder = environments_directory()
    prepared.service.start(prepared["staged"], "staged-first").finish()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepared.service.start(prepared["staged"], "staged-again").finish() == DONE
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_package_that_does_not_install_fails_the_job_with_what_pip_said(prepared: Jobs) -> None:
    run = prepared.service.start(prepared["broken"])
    assert run.finish() == FAILED
    (error,) = run.errors()
    assert error.startswith("Workflow failed. Causes: failed to install extra packages")
    assert "broken-1.0-py3-none-any.whl" in error
    assert not list(environments_directory().glob(".*"))


def test_a_registered_image_runs_the_workers_with_what_was_staged(prepared: Jobs) -> None:
    unknown = prepared.service.start(prepared["image"], "unknown-image")
    assert unknown.finish() == FAILED
    assert IMAGE in unknown.errors()[0]
    assert f"local_cloud image add {IMAGE} --python" in unknown.errors()[0]
    directory = prepared.folder / "image"
    directory.mkdir()
    (directory / "of_directory.py").touch()
    variables = {"OF_IMAGE": "yes"}
    image = {"python": sys.executable, "environment": variables, "directory": str(directory)}
    (prepared.folder / "images.json").write_text(json.dumps({IMAGE: image}))
    assert prepared.service.start(prepared["image"]).finish() == DONE
    assert prepared.output("image") == ["greeting hi yes", "of_directory  yes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pipelineUrl": f"gs://{BUCKET}/none.pb"}, "no such object"),
        ({"pipelineUrl": "gs://no-such-bucket-here/p.pb"}, "no such object"),
        ({"pipelineProtoHash": "0" * 64}, "SHA-256"),
        ({"pipelineUrl": f"gs://{BUCKET}/text", "pipelineProtoHash": ""}, "parsing"),
    ],
)
def test_a_pipeline_file_that_is_missing_or_corrupt_fails_the_job(
    prepared: Jobs, change: dict[str, str], message: str
) -> None:
    prepared.storage.bucket(BUCKET).blob("text").upload_from_string("no pipeline")
    job = json.loads(json.dumps(prepared["counts"]))
    job["environment"]["sdkPipelineOptions"]["options"] |= change
    run = prepared.service.start(job, f"corrupt-{abs(hash(str(change)))}")
    assert run.finish() == FAILED
    (error,) = run.errors()
    assert error.startswith("Workflow failed. Causes: Unable to read the pipeline of the job: gs:")
    assert message in error
