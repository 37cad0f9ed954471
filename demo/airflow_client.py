"""An Airflow as its REST API shows it, wherever it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

_HEALTHY = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_LOOK_SECONDS = 0.25
# A server that has just begun may take this long over its first answer.
_ANSWER_SECONDS = 120


class AirflowError(Exception):
    """An Airflow that does not start, or does not do what it is told."""


@dataclass(frozen=True)
class Run:
    """A run of a DAG, as Airflow's API describes it."""

    dag_id: str
    run_id: str
    state: str


class AirflowClient:
    """A user of an Airflow.

    Attributes:
        url: Of the web page.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        """Says where it is and who asks; nothing is asked yet."""
        self.url = url
        self._account = {"username": user, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # Never by way of the local cloud's proxy.

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Calls Airflow's REST API and returns what it answers.

        Raises:
            AirflowError: It answers an error.
        """
        if "Authorization" not in self._session.headers:
            answer = self._session.post(
                f"{self.url}/auth/token", json=self._account, timeout=_ANSWER_SECONDS
            )
            if not answer.ok:
                raise AirflowError(f"{self.url} does not take the login: {answer.text}")
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        answer = self._session.request(
            method, f"{self.url}/api/v2/{path}", json=body, timeout=_ANSWER_SECONDS
        )
        if not answer.ok:
            raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def unhealthy(self) -> set[str]:
        """The components that are not healthy; all of them while nothing answers."""
        with contextlib.suppress(requests.RequestException):
            found = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5).json()
            return {name for name in _HEALTHY if found[name]["status"] != "healthy"}
        return {*_HEALTHY}

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
        return {one["task_id"]: one["state"] for one in self.task_instances(run)}

    def task_instances(self, run: Run) -> list[dict[str, Any]]:
        """Each task of a run, as the API describes it."""
        path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
        found: list[dict[str, Any]] = self.ask("GET", path)["task_instances"]
        return found

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
