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
from collections.abc import Callable, Mapping
from pathlib import Path

from demo.airflow_client import AirflowClient, AirflowError

ROOT = Path(__file__).resolve().parents[1]

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_START_SECONDS = 120
_END_SECONDS = 10
USER, PASSWORD = "admin", "admin"


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
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        # How often is looked for tasks that were lost with their scheduler; by default 300.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        # The same driver for both: Airflow's default for the second is another one.
        **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url} if database else {}),
        # Airflow puts the folders of DAGs and plugins on the path, but not that of beam_jobs.
        "PYTHONPATH": f"{ROOT}:{ROOT}/demo/config",
        "TALLYFLOW_STORAGE": storage,
    }


class LocalAirflow(AirflowClient):
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
        self.port = port or free_port()
        super().__init__(f"http://127.0.0.1:{self.port}", USER, PASSWORD)
        self._show = show
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []
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
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUNBUFFERED": "1",
        }

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

    def pid(self, component: str) -> int:
        """The process of a component, which leads a group of its own."""
        return self._processes[component].pid

    def start_what_died(self) -> list[str]:
        """Starts again the components that have ended by themselves, and names them."""
        died = [name for name, process in self._processes.items() if process.poll() is not None]
        for component in died:
            self.kill(component)  # What it has left behind.
            self.start(component)
        return died

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

    def _wait_until_healthy(self) -> None:
        for _ in self.looks(_START_SECONDS, self._ends_of_logs):
            for component, process in self._processes.items():
                if process.poll() is not None:
                    raise AirflowError(f"{component} ended: {self._tail(component)}")
            if not self.unhealthy():
                return

    def _ends_of_logs(self) -> str:
        return "\n".join(f"{component}: {self._tail(component)}" for component in COMPONENTS)

    def _tail(self, component: str) -> str:
        return "\n".join(self.log(component).read_text(errors="replace").splitlines()[-15:])


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
