"""The story of one job, from its message to its final state."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from local_cloud.dataflow.events import JobState, StateChanged
from local_cloud.dataflow.workers import harness
from local_cloud.dataflow.workers.ending import end_processes
from local_cloud.dataflow.workers.environment import (
    Environment,
    base_environment,
    image_environment,
    job_environment,
)
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.harness import WorkerPool
from local_cloud.dataflow.workers.images import find_image
from local_cloud.dataflow.workers.launching import Launcher
from local_cloud.dataflow.workers.progress import Progress
from local_cloud.dataflow.workers.reporting import Reporter
from local_cloud.dataflow.workers.runner import JobRunner
from local_cloud.dataflow.workers.staging import download_artifacts, list_artifacts, load_pipeline
from local_cloud.dataflow.workers.steps import list_steps
from local_cloud.dataflow.workers.submission import Submission, read_submission
from local_cloud.dataflow.workers.worker_logs import WorkerLogs

_LOGGER = logging.getLogger(__name__)
_FAILED = "Workflow failed. Causes:"


class Job:
    """One job of a directory.

    Args:
        directory: The job's.
        reporter: Is told of all that happens.
        launcher: One that is started already; another one is, if it cannot run this job's workers.
    """

    def __init__(self, directory: Path, reporter: Reporter, launcher: Launcher | None) -> None:
        self._directory = directory
        self._reporter = reporter
        self._launcher = launcher
        self._scratch = directory / "work"
        self._pool = WorkerPool(self._start_worker, reporter.workers)
        self._environment: Environment | None = None
        self._variables: Mapping[str, str] = {}

    def run(self) -> bool:
        """Runs the job; reports its final state, and returns True, unless another thread does."""
        state = self._outcome()
        if not self._reporter.is_first_to_end():
            return False
        end_processes()
        self.clean_up()
        self._reporter.end(state)
        return True

    def kill_worker(self) -> None:
        """Kills one worker process."""
        if not self._pool.kill_one():
            text = "No worker was killed: the job has none now."
            self._reporter.message("JOB_MESSAGE_WARNING", text)

    def clean_up(self) -> None:
        """Removes the job's temporary files."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _outcome(self) -> JobState:
        self._reporter.send(StateChanged(state="JOB_STATE_RUNNING"))
        try:
            self._run()
        except JobError as error:
            self._fail(str(error))
        except OSError as error:
            _LOGGER.exception("The job failed")
            self._fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))
        except Exception as error:
            _LOGGER.exception("The job failed")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            return "JOB_STATE_DONE"
        return "JOB_STATE_FAILED"

    def _fail(self, reason: str) -> None:
        is_said = reason.startswith(_FAILED)
        self._reporter.message("JOB_MESSAGE_ERROR", reason if is_said else f"{_FAILED} {reason}")

    def _run(self) -> None:
        submission = read_submission(self._directory)
        pipeline = load_pipeline(submission)
        environment = self._prepare(submission, pipeline)
        self._ensure_launcher(environment)
        self._environment = environment
        self._variables = self._write_options(submission)
        count = submission.workers
        self._reporter.message("JOB_MESSAGE_BASIC", f"Starting {count} worker processes...")
        steps = list_steps(pipeline)
        progress = Progress(steps, self._reporter, self._pool)
        base = environment.base or environment
        harness.install(self._pool, WorkerLogs(self._reporter.message, base.site))
        with progress.telling():
            JobRunner(count, steps, progress, self._reporter).run(pipeline)
        self._reporter.message("JOB_MESSAGE_BASIC", "Worker pool stopped.")

    def _prepare(
        self, submission: Submission, pipeline: beam_runner_api_pb2.Pipeline
    ) -> Environment:
        """Gets what was staged, and the environment that the workers are to have."""
        image = find_image(pipeline, submission.service_directory)
        if image:
            base = image_environment(image)
        else:
            base = base_environment()
            self._ensure_launcher(base)  # It imports Beam in the meantime.
        shutil.rmtree(self._scratch, ignore_errors=True)
        staged = self._scratch / "staged"
        for folder in (staged, self._scratch / "tmp"):
            folder.mkdir(parents=True)
        artifacts = list_artifacts(pipeline)
        download_artifacts(artifacts, staged)
        return job_environment(base, staged, artifacts)

    def _ensure_launcher(self, environment: Environment) -> None:
        if self._launcher and not self._launcher.can_run(environment):
            self._launcher.close()
            self._launcher = None
        if self._launcher is None:
            self._launcher = Launcher(environment)

    def _write_options(self, submission: Submission) -> dict[str, str]:
        """Writes the pipeline's options and returns the variables of the workers."""
        path = self._scratch / "pipeline_options.json"
        path.write_text(json.dumps({"options": submission.options}))
        return {
            "PIPELINE_OPTIONS_FILE": str(path),
            "SEMI_PERSISTENT_DIRECTORY": str(self._scratch),
            "RUNNER_CAPABILITIES": " ".join(worker_handlers.FNAPI_RUNNER_CAPABILITIES),
            "TMPDIR": str(self._scratch / "tmp"),
            "JOB_ID": submission.job_id,
            "JOB_NAME": submission.job_name,
        }

    def _start_worker(self, variables: Mapping[str, str], on_exit: Callable[[int], None]) -> int:
        assert self._launcher is not None  # noqa: S101  (workers start after both)
        assert self._environment is not None  # noqa: S101
        return self._launcher.start(
            self._environment, {**self._variables, **variables}, self._scratch / "tmp", on_exit
        )
