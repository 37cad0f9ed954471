"""The commands, as a user gives them in a shell."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from local_cloud.cloud import is_running
from local_cloud.files import Files
from local_cloud.settings import HOST


class _Shell:
    """Gives commands for the local cloud of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """What a command says."""
        done = subprocess.run(
            [sys.executable, "-m", "local_cloud", *arguments],
            env={**os.environ, "LOCAL_CLOUD_DIRECTORY": str(self.directory)},
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[_Shell]:
    shell = _Shell(tmp_path / "cloud")
    yield shell
    shell("down")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shell]:
    shell = _Shell(tmp_path_factory.mktemp("commands") / "cloud")
    shell("up", "--bucket", "lake", "--project", "mine", "--without", "postgres")
    yield shell
    shell("down")


def _variables(shell: _Shell) -> dict[str, str]:
    show = "python3 -c 'import json, os; print(json.dumps({**os.environ}))'"
    script = f"set -a; source ./env; set +a; {show}"
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=shell.directory, check=True, capture_output=True
    )
    variables: dict[str, str] = json.loads(done.stdout)
    return variables


def test_up_says_how_to_use_what_it_has_started(shell: _Shell) -> None:
    said = shell("up", "--without", "dataflow", "--without", "bigquery", "--without", "postgres")
    assert f"source {shell.directory}/env; set +a" in said
    url = _variables(shell)["STORAGE_EMULATOR_HOST"]
    assert f"storage  {url}\n" in said
    assert requests.get(f"{url}/storage/v1/b?project=local-project", timeout=5).ok


def test_a_cloud_with_a_name_serves_other_addresses_under_it(shell: _Shell) -> None:
    said = shell("up", "--host", "localhost", status=1)
    assert said == "Postgres serves 127.0.0.1 only: leave it out, --without postgres.\n"
    left_out = ("--without", "dataflow", "--without", "bigquery", "--without", "postgres")
    shell("up", "--host", "localhost", *left_out)
    url = _variables(shell)["STORAGE_EMULATOR_HOST"]
    assert url.startswith("http://localhost:")
    for reached in (url, url.replace("localhost", "127.0.0.2")):  # Another address of this machine.
        assert requests.get(f"{reached}/storage/v1/b?project=local-project", timeout=5).ok
    assert "ready" in shell("status")


def test_up_again_says_the_same_and_leaves_what_runs_alone(running: _Shell) -> None:
    before = Files(running.directory).status.read_text()
    said = running("up")
    assert "is running already" in said
    assert f"source {running.directory}/env" in said
    assert Files(running.directory).status.read_text() == before


def test_up_twice_at_once_starts_one(shell: _Shell) -> None:
    without = ["--without", "dataflow", "--without", "bigquery", "--without", "postgres"]
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: shell("up", *without), range(2)))
    assert sorted("is running already" in one for one in said) == [False, True]
    assert said[0].split("\n\n")[1:] == said[1].split("\n\n")[1:]


def test_up_with_a_port_in_use_is_one_sentence_and_leaves_nothing(shell: _Shell) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        said = shell("up", "--port", f"bigquery={port}", status=1)
    assert said == (
        f"Port {port} for bigquery cannot be used: Address already in use."
        " Choose another one with --port bigquery=PORT.\n"
    )
    assert not is_running(Files(shell.directory))


def test_up_with_what_cannot_be_is_one_sentence(shell: _Shell) -> None:
    assert shell("up", "--pass_through", "pypi.google.com", status=1).count("\n") == 1
    assert "--port" in shell("up", "--port", "storage", status=2)
    assert "is no number" in shell("up", "--port", "storage=x", status=2)


def test_a_port_that_is_named_is_used(shell: _Shell) -> None:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    shell("up", "--without", "storage", "--without", "dataflow", "--without", "bigquery",
          "--without", "postgres", "--port", f"gateway={port}")  # fmt: skip
    assert requests.get(f"http://{HOST}:{port}/_local_cloud/ready", timeout=5).ok


def test_status_shows_each_service(running: _Shell) -> None:
    header, *lines = running("status").splitlines()
    assert header.split() == ["service", "state", "url", "pid", "memory", "restarts"]
    rows = {line.split()[0]: line.split() for line in lines}
    assert list(rows) == ["gateway", "storage", "dataflow", "bigquery"]
    assert all(row[1] == "ready" and row[-1] == "0" for row in rows.values())


def test_projects_and_buckets_are_there(running: _Shell) -> None:
    variables = _variables(running)
    assert variables["GOOGLE_CLOUD_PROJECT"] == "mine"
    url = f"{variables['STORAGE_EMULATOR_HOST']}/storage/v1/b?project=mine"
    assert [bucket["name"] for bucket in requests.get(url, timeout=5).json()["items"]] == ["lake"]


def test_a_fault_meets_the_next_calls_and_can_be_listed_and_cleared(running: _Shell) -> None:
    url = f"{_variables(running)['STORAGE_EMULATOR_HOST']}/storage/v1/b/lake"
    running("fault", "storage", "storage.buckets.get", "--status", "503", "--times", "2")
    assert "storage method=storage.buckets.get times=2" in running("fault", "list")
    assert [requests.get(url, timeout=5).status_code for _ in range(3)] == [503, 503, 200]
    running("fault", "storage", "storage.buckets.*", "--status", "403", "--times", "0")
    assert [requests.get(url, timeout=5).status_code for _ in range(3)] == [403, 403, 403]
    running("fault", "clear")
    assert requests.get(url, timeout=5).status_code == 200
    assert running("fault", "list") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("storage", "storage.*"), "say what happens: `status`, `drop` or `delay`"),
        (("storage", "storage.*", "--status", "200"), "greater than or equal to 400"),
        (("pubsub", "x", "--status", "503"), "'pubsub' is none of: gateway, storage, "),
        (("storage",), "Say which METHOD"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(
    running: _Shell, arguments: tuple[str, ...], said: str
) -> None:
    assert said in running("fault", *arguments, status=1)


def test_images_are_kept_where_dataflow_finds_them(running: _Shell, tmp_path: Path) -> None:
    running("image", "add", "team/job:1", "--python", sys.executable,
            "--directory", str(tmp_path), "--env", "A=1", "--env", "B=x=y")  # fmt: skip
    assert "team/job:1" in running("image", "list")
    registry = json.loads((running.directory / "dataflow" / "images.json").read_text())
    assert registry == {
        "team/job:1": {
            "python": sys.executable,
            "environment": {"A": "1", "B": "x=y"},
            "directory": str(tmp_path),
        }
    }
    assert "is no file" in running("image", "add", "y", "--python", "/no/python", status=1)


def test_data_outlives_down_but_not_reset(shell: _Shell) -> None:
    without = ["--without", "dataflow", "--without", "bigquery", "--without", "postgres"]
    shell("up", *without, "--bucket", "lake")
    assert shell("down") == f"The local cloud in {shell.directory} has ended.\n"
    assert shell("down") == f"The local cloud in {shell.directory} does not run.\n"
    assert "does not run" in shell("status", status=1)
    shell("up", *without)
    url = _variables(shell)["STORAGE_EMULATOR_HOST"]
    assert requests.get(f"{url}/storage/v1/b/lake", timeout=5).ok
    shell("reset")
    assert not shell.directory.exists()


def test_reset_deletes_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all my work")
    said = _Shell(tmp_path)("reset", status=1)
    assert "is not a local cloud's: nothing is deleted" in said
    assert (tmp_path / "thesis.txt").exists()


def test_help_teaches_with_examples() -> None:
    shell = _Shell(Path("nowhere"))
    assert "set -a; source .local_cloud/env; set +a" in shell("--help")
    assert "fault storage storage.objects.insert --status 503 --times 2" in shell("fault", "--help")
