"""docker-compose.yaml on a real engine: `make test-compose`; `make test` does not collect it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.airflow_client import AirflowClient
from demo.local_airflow import ROOT, free_port
from tests.e2e.drive import FLIGHTS, System, flights, publish_a_day

# All processes of the container but its first, which then ends too, and with it the container.
_KILL_ALL = ("python", "-c", "import os; os.kill(-1, 9)")


def _engine_problem() -> str | None:
    """Why there is no Docker engine with Compose here; None when there is."""
    for command in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        except FileNotFoundError:
            return "there is no docker command"
        if done.returncode:
            said = (done.stderr or done.stdout).strip().partition("\n")[0]
            return f"`{' '.join(command)}` says: {said}"
    return None


@dataclass(frozen=True)
class Composed:
    """A system of its own, beside that of `make up`.

    Attributes:
        variables: Its ports and its name.
        env_file: Its secrets.
    """

    variables: dict[str, str]
    env_file: Path

    def make(self, target: str) -> str:
        """What a target of the Makefile says."""
        port = self.variables["AIRFLOW_PORT"]
        return self._run(["make", target, f"ENV_FILE={self.env_file}", f"PORT={port}"])

    def compose(self, *arguments: str, check: bool = True) -> str:
        """What a command of Compose says."""
        command = ["docker", "compose", "--env-file", str(self.env_file), *arguments]
        return self._run(command, check=check)

    def _run(self, command: list[str], *, check: bool = True) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | self.variables, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def system(self) -> System:
        """For its user, who logs in as `make up` says."""
        login = re.search(r"(http://\S+) .*user (\S+), password (\S+)\)", self.make("up"))
        assert login
        storage = f"http://127.0.0.1:{self.variables['STORAGE_PORT']}"
        return System(AirflowClient(*login.groups()), storage, self.kill_scheduler)

    def kill_scheduler(self) -> None:
        """Kills what runs in the scheduler's container; waits until the engine starts it again."""
        container = self.compose("ps", "--quiet", "scheduler").strip()
        began = ["docker", "inspect", "--format", "{{.State.StartedAt}}", container]
        before = self._run(began)
        self.compose("exec", "--no-TTY", "scheduler", *_KILL_ALL, check=False)
        until = time.monotonic() + 60
        while self._run(began) == before:
            assert time.monotonic() < until, "the scheduler does not come back"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    if problem := _engine_problem():
        pytest.skip(f"This takes Docker with Compose, and {problem}")
    names = ("AIRFLOW_PORT", "STORAGE_PORT", "DATAFLOW_PORT", "BIGQUERY_PORT")
    variables = {name: str(free_port()) for name in names}
    variables["COMPOSE_PROJECT_NAME"] = "tallyflow-test"
    composed = Composed(variables, tmp_path_factory.mktemp("compose") / ".env")
    try:
        yield composed
    finally:
        if composed.env_file.exists():
            composed.compose("down", "--volumes", "--timeout=5")


def _timed(what: str, do: Callable[[], System]) -> System:
    began = time.monotonic()
    found = do()
    print(f"{what}: {time.monotonic() - began:.0f} s")  # noqa: T201 - of interest after a run
    return found


def test_a_day_is_published_and_outlives_the_containers(composed: Composed, tmp_path: Path) -> None:
    system = _timed("the first start, images included", composed.system)
    publish_a_day(system, tmp_path)
    composed.make("down")
    again = _timed("the second start", composed.system)
    assert flights(again, tmp_path) == FLIGHTS
    (run,) = [one for one in again.airflow.runs("flights_daily") if one.run_id.startswith("manual")]
    assert run.state == "success"
