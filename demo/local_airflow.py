"""An Airflow on this machine: all of its components, on a Postgres, with this repository's DAGs."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[1]

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_HEALTHY = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_START_SECONDS = 120
_END_SECONDS = 10
_LOOK_SECONDS = 0.25
USER, PASSWORD = "admin", "admin"


class AirflowError(Exception):
    """An Airflow that does not start, or does not do what it is told."""


def airflow_environment(home: Path, storage: str, database: str | None = None) -> dict[str, str]:
    """The variables for an Airflow with this repository's DAGs and a database of its own.

    Settings of the user's own Airflow and Tallyflow are left out: it runs on this machine.

    Args:
        home: Its folder.
        storage: Root of the datasets and results.
        database: URL of a Postgres, as ``postgresql://…``; None for a file of SQLite's, which is
            enough for ``airflow dags test``.
    """
    url = (database or f"sqlite:///{home}/airflow.db").replace("postgresql:", "postgresql+psycopg:")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "TALLYFLOW_"))
    }
    return inherited | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        # The same driver for both: Airflow's default for the second is another one.
        **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url} if database else {}),
        # Airflow puts the folders of DAGs and plugins on the path, but not that of beam_jobs.
        "PYTHONPATH": str(ROOT),
        "TALLYFLOW_STORAGE": storage,
    }


@dataclass(frozen=True)
class Run:
    """A run of a DAG, as Airflow's API describes it."""

    dag_id: str
    run_id: str
    state: str


class LocalAirflow:
    """Airflow's components, as processes that end with the ``with`` block.

    Example::

        with LocalAirflow(home, environment) as airflow:
            run = airflow.wait_for(airflow.trigger("flights_daily", {"date": "2013-01-01"}))
    """

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str],
        *,
        port: int = 0,
        show: Callable[[str], None] | None = None,
    ) -> None:
        """Says what is to be started.

        Args:
            home: Its folder, for logs, passwords and configuration.
            environment: All of its variables, those of `airflow_environment` among them.
            port: Of the web page and the API; 0 for a free one.
            show: Called with each line that a component writes, the component's name before it.
        """
        self._home = home
        self.port = port or _free_port()
        self._show = show
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
        self._session = requests.Session()
        self._session.trust_env = False  # Never by way of the local cloud's proxy.
        self.environment = {**environment, **self._own_variables()}

    def _own_variables(self) -> dict[str, str]:
        self._home.mkdir(parents=True, exist_ok=True)
        users = self._home / "passwords.json"
        users.write_text(f'{{"{USER}": "{PASSWORD}"}}\n')
        return {
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(users),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(max(4, os.cpu_count() or 1)),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def url(self) -> str:
        """Of the web page."""
        return f"http://127.0.0.1:{self.port}"

    def log(self, component: str) -> Path:
        """What a component has written."""
        return self._home / "logs" / f"{component}.log"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of Airflow, such as ``backfill create``.

        Raises:
            AirflowError: It failed; the message has what it wrote.
        """
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self._home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AirflowError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done

    def __enter__(self) -> LocalAirflow:
        """Starts the components and waits until all of them are healthy.

        Raises:
            AirflowError: One of them does not start; has the end of its log.
        """
        try:
            self.command("db", "migrate")
            for component in COMPONENTS:
                self.start(component)
            self._wait_until_healthy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all processes, those of tasks among them."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _END_SECONDS
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, until - time.monotonic()))
            self._kill_group(process)
        for reader in self._readers:
            reader.join()

    def start(self, component: str) -> None:
        """Starts a component, again if it was killed."""
        log = self.log(component)
        log.parent.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(  # noqa: S603
            # On a leash: it ends when this process does, however that ends.
            [sys.executable, "-m", "local_cloud.leash", "airflow", component],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=self._home,
            start_new_session=True,
        )
        self._processes[component] = process
        reader = threading.Thread(target=self._read, args=(component, process, log), daemon=True)
        reader.start()
        self._readers.append(reader)

    def kill(self, component: str) -> None:
        """Kills a component with SIGKILL, and all that it started."""
        self._kill_group(self._processes[component])

    @staticmethod
    def _kill_group(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _read(self, component: str, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe
        with log.open("ab", buffering=0) as file:
            for line in process.stdout:
                file.write(line)
                if self._show:
                    self._show(f"{component:13} | {line.decode(errors='replace').rstrip()}")

    def looks(self, within: float, what: Callable[[], object]) -> Iterator[None]:
        """Yields now and then, for a loop that waits for a condition.

        Args:
            within: Seconds.
            what: Says what is there when the time is up.

        Raises:
            AirflowError: The time is up.
        """
        until = time.monotonic() + within
        while time.monotonic() < until:
            yield
            time.sleep(_LOOK_SECONDS)
        raise AirflowError(f"nothing came of it in {within:.0f} s: {what()}")

    def _wait_until_healthy(self) -> None:
        for _ in self.looks(_START_SECONDS, self._ends_of_logs):
            for component, process in self._processes.items():
                if process.poll() is not None:
                    raise AirflowError(f"{component} ended: {self._tail(component)}")
            with contextlib.suppress(requests.RequestException):
                found = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
                if all(found[name]["status"] == "healthy" for name in _HEALTHY):
                    return

    def _ends_of_logs(self) -> str:
        return "\n".join(f"{component}: {self._tail(component)}" for component in COMPONENTS)

    def _tail(self, component: str) -> str:
        return "\n".join(self.log(component).read_text(errors="replace").splitlines()[-15:])

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Calls Airflow's REST API and returns what it answers.

        Raises:
            AirflowError: It answers an error.
        """
        if "Authorization" not in self._session.headers:
            account = {"username": USER, "password": PASSWORD}
            answer = self._session.post(f"{self.url}/auth/token", json=account, timeout=30)
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        answer = self._session.request(method, f"{self.url}/api/v2/{path}", json=body, timeout=30)
        if not answer.ok:
            raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def wait_for_dags(self, *dag_ids: str, within: float = 60) -> None:
        """Waits until Airflow has read the files of some DAGs.

        Raises:
            AirflowError: It has not in that time; has the import errors.
        """
        for _ in self.looks(within, lambda: self.ask("GET", "importErrors")["import_errors"]):
            if {dag["dag_id"] for dag in self.ask("GET", "dags?limit=500")["dags"]} >= {*dag_ids}:
                return

    def trigger(self, dag_id: str, form: Mapping[str, object] | None = None) -> Run:
        """Triggers a DAG as its form does; waits first until Airflow has read it."""
        self.wait_for_dags(dag_id)
        body = {"conf": dict(form or {}), "logical_date": None}
        return _run(self.ask("POST", f"dags/{dag_id}/dagRuns", body))

    def runs(self, dag_id: str) -> list[Run]:
        """All runs of a DAG."""
        found = self.ask("GET", f"dags/{dag_id}/dagRuns?limit=500&order_by=run_after")
        return [_run(one) for one in found["dag_runs"]]

    def tasks(self, run: Run) -> dict[str, str | None]:
        """The state of each task of a run."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
        found = self.ask("GET", path)["task_instances"]
        return {one["task_id"]: one["state"] for one in found}

    def task_log(self, run: Run, task_id: str, attempt: int = 1, map_index: int = -1) -> str:
        """What a task has written."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/{attempt}"
        found = self.ask("GET", f"{path}?full_content=true&map_index={map_index}")["content"]
        return "\n".join(
            " ".join(str(line[key]) for key in ("event", "error_detail") if line.get(key))
            if isinstance(line, dict)
            else str(line)
            for line in found
        )

    def wait_for(self, run: Run, within: float = 300) -> Run:
        """Waits until a run has ended.

        Raises:
            AirflowError: It has not in that time.
        """
        for _ in self.looks(within, lambda: self.tasks(run)):
            found = _run(self.ask("GET", f"dags/{run.dag_id}/dagRuns/{run.run_id}"))
            if found.state in {"success", "failed"}:
                return found
        raise AssertionError("looks until it raises")


def _run(found: Mapping[str, Any]) -> Run:
    return Run(found["dag_id"], found["dag_run_id"], found["state"])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
