"""The life of jobs: waiting, running in a process, ending; also when the service itself ends."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from google.cloud import dataflow_v1beta3 as api
from pydantic import TypeAdapter

from local_cloud.dataflow.events import (
    JOB_FILE,
    LOG_FILE,
    Cancel,
    Event,
    KillWorker,
    MessageLogged,
    Metric,
    MetricsChanged,
    StateChanged,
    Step,
    StepsChanged,
    WorkersChanged,
)
from local_cloud.dataflow.names import time_text
from local_cloud.dataflow.processes import JobProcess, Workshop
from local_cloud.dataflow.store import TERMINAL_STATES, Store, StoredJob

METRICS = TypeAdapter(list[Metric])
STEPS = TypeAdapter(list[Step])

_LOST = (
    "Workflow failed. The local Dataflow service ended while the job ran, and the job's processes "
    "with it. Submit the job again."
)
# How long a process may take to end after it said that the job has, or was told to cancel it.
_GRACE_SECONDS = 10.0
_LOG_TAIL_CHARS = 4000

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Running:
    """A job's process, and the final state that it told of."""

    process: JobProcess
    outcome: str = ""


class Lifecycle:
    """Runs jobs, a few at a time, in the order of their submission.

    Args:
        store: Where jobs are kept.
        directory: Where each job gets a directory for its files.
        argv: The command of a job's process.
        parallel: How many jobs run at once.
    """

    def __init__(self, store: Store, directory: Path, argv: Sequence[str], parallel: int) -> None:
        self._store = store
        self._directory = directory
        self._workshop = Workshop(argv)
        self._executor = ThreadPoolExecutor(parallel, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._running: dict[str, _Running] = {}
        self._closed = False

    def directory(self, job_id: str) -> Path:
        """The directory of a job's files; it is there from now on."""
        directory = self._directory / job_id
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def submit(self, job_id: str) -> None:
        """Runs a pending job when its turn comes."""
        self._executor.submit(self._guarded, job_id, self._run)

    def launch(
        self,
        job_id: str,
        argv: Sequence[str],
        adopt: Callable[[], None],
        keep_log: Callable[[Path], None],
    ) -> None:
        """Runs what submits the pipeline of a queued job.

        Args:
            job_id: The job.
            argv: The command; it speaks `events` too, and tells of no final state when it has
                succeeded.
            adopt: Is called then, to make the job pending.
            keep_log: Is called before, and also when it has failed, with its log.
        """

        def run(job_id: str) -> None:
            log = self.directory(job_id) / LOG_FILE
            status, outcome = self._follow(job_id, lambda: JobProcess(argv, log))
            if log.exists():
                keep_log(log)
            if status or outcome or self._is_over(job_id):
                self._end(job_id, outcome, status)
            else:
                adopt()
                self.submit(job_id)

        self._executor.submit(self._guarded, job_id, run)

    def cancel(self, job_id: str) -> None:
        """Ends the processes of a job, which is then cancelled."""
        with self._lock:
            if not self._store.move(job_id, "JOB_STATE_CANCELLING"):
                return
            running = self._running.get(job_id)
            if running is None:
                self._end(job_id, "", 0)
                return
        running.process.send(Cancel())
        self._kill_later(running.process)

    def kill_worker(self, job_id: str) -> bool:
        """Kills one worker of a job; returns whether the job runs."""
        with self._lock:
            running = self._running.get(job_id)
        if running is not None:
            running.process.send(KillWorker())
        return running is not None

    def lose(self, job_id: str) -> None:
        """Forgets a job, and ends its processes."""
        with self._lock:
            self._store.delete(job_id)
            running = self._running.get(job_id)
        if running is not None:
            running.process.kill()
        shutil.rmtree(self._directory / job_id, ignore_errors=True)

    def recover(self) -> None:
        """Settles what an earlier process of the service left; call it before all else."""
        for job in self._store.active_jobs():
            if job.state == "JOB_STATE_CANCELLING":
                self._end(job.id, "", 0)
            elif job.state == "JOB_STATE_PENDING" and not job.started:
                self.submit(job.id)
            else:
                self._store.add_message(job.id, "JOB_MESSAGE_ERROR", _LOST)
                self._store.move(job.id, "JOB_STATE_FAILED")

    def close(self) -> None:
        """Ends all processes; the next start says of their jobs that they were lost."""
        with self._lock:
            self._closed = True
            running = list(self._running.values())
        for job in running:
            job.process.kill()
        self._executor.shutdown(cancel_futures=True)
        self._workshop.close()

    def _guarded(self, job_id: str, run: Callable[[str], None]) -> None:
        """Runs a job that still waits; the service outlives whatever goes wrong."""
        job = self._store.get(job_id)
        if job is None or job.is_terminal or self._closed:
            return
        try:
            run(job_id)
        except Exception as error:  # the job's user is told
            _LOGGER.exception("job %s", job_id)
            self._store.add_message(
                job_id, "JOB_MESSAGE_ERROR", f"Workflow failed. Causes: {error}"
            )
            self._store.move(job_id, "JOB_STATE_FAILED")

    def _run(self, job_id: str) -> None:
        job = self._store.get(job_id)
        if job is None:
            return
        directory = self.directory(job_id)
        (directory / JOB_FILE).write_text(api.Job.to_json(api.Job.deserialize(job.job)))
        status, outcome = self._follow(job_id, lambda: self._workshop.start(directory))
        self._end(job_id, outcome, status)
        if not self._closed:
            self._workshop.prepare(directory)

    def _follow(self, job_id: str, start: Callable[[], JobProcess]) -> tuple[int, str]:
        """Starts a process and follows it to its end.

        Returns:
            Its exit status, and the job's final state if it told of one.
        """
        with self._lock:
            if self._closed or self._is_over(job_id):
                return 0, ""
            running = _Running(start())
            self._running[job_id] = running
            self._store.set_started(job_id)
        status = running.process.listen(lambda event: self._receive(job_id, running, event))
        with self._lock:
            del self._running[job_id]
        return status, running.outcome

    def _is_over(self, job_id: str) -> bool:
        job = self._store.get(job_id)
        return job is None or job.is_terminal or job.state == "JOB_STATE_CANCELLING"

    def _end(self, job_id: str, outcome: str, status: int) -> None:
        """Puts a job without processes into its final state."""
        job = self._store.get(job_id)
        if job is None or job.is_terminal or self._closed:
            return
        if not outcome and job.state == "JOB_STATE_CANCELLING":
            outcome = "JOB_STATE_CANCELLED"
        if not outcome:
            outcome = "JOB_STATE_FAILED"
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            text = f"Workflow failed. The process of the job {how}. {self._log_tail(job)}"
            self._store.add_message(job_id, "JOB_MESSAGE_ERROR", text.rstrip())
        if outcome == "JOB_STATE_CANCELLED":
            text = "Workflow was cancelled; its workers are gone."
            self._store.add_message(job_id, "JOB_MESSAGE_BASIC", text)
        self._store.move(job_id, outcome)

    def _receive(self, job_id: str, running: _Running, event: Event) -> None:
        match event:
            case StateChanged(state=state) if state in TERMINAL_STATES:
                # Told to clients when the processes are gone.
                running.outcome = state
                self._kill_later(running.process)
            case StateChanged(state=state):
                self._store.move(job_id, state)
            case MessageLogged(importance=importance, text=text, time=time):
                self._store.add_message(job_id, importance, text, time_text(time))
            case MetricsChanged(metrics=metrics):
                self._store.set_report(job_id, "metrics", METRICS.dump_json(metrics).decode())
            case StepsChanged(steps=steps):
                self._store.set_report(job_id, "steps", STEPS.dump_json(steps).decode())
            case WorkersChanged(pids=pids):
                self._store.add_worker_count(job_id, len(pids))

    def _kill_later(self, process: JobProcess) -> None:
        def kill() -> None:
            if process.is_running:
                process.kill()

        timer = threading.Timer(_GRACE_SECONDS, kill)
        timer.daemon = True
        timer.start()

    def _log_tail(self, job: StoredJob) -> str:
        log = self._directory / job.id / LOG_FILE
        if not log.exists():
            return ""
        tail = log.read_bytes()[-_LOG_TAIL_CHARS:].decode(errors="replace").strip()
        return f"Its log ends with:\n{tail}" if tail else ""
