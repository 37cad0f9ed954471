"""The operator that runs a Beam pipeline: on Dataflow as one job, whatever happens to Airflow."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from airflow.version import version as airflow_version

from tallyflow.beam_job_trigger import Awaited, BeamJobTrigger
from tallyflow.dataflow_jobs import CALL_ERRORS, LOOK_SECONDS, DataflowJobs, Job, Patience
from tallyflow.flex_template import TemplateError
from tallyflow.flex_template import launch as launch_template
from tallyflow.job_failure import LauncherError, PermanentFailurePolicy
from tallyflow.job_lookup import JobMemory, Remembered, find_job
from tallyflow.job_options import TRY_LABEL, WORK_LABEL, Work, merge_options
from tallyflow.job_progress import JobPage, show
from tallyflow.job_usage import JOB_USAGE, used_by
from tallyflow.job_watch import end, failure
from tallyflow.pipeline_command import Program
from tallyflow.pipeline_process import PipelineProcess
from tallyflow.portable_runners import require_job_server

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context, RetryPolicy

# XCom: the try of the task that launched the job, or the process, that counts. It is an earlier one
# than the task's own where that has found a job; where the results are, depends on it.
JOB_TRY = "job_try"
_DATAFLOW = "dataflowrunner"
_DEFAULT_CONNECTION = "google_cloud_default"
_JOB_ID = re.compile(r"Created job with id: \[([^\]\s]+)\]|Submitted job: ([^\"\s]+)")
_VERSION = {"labels": {"airflow-version": "v" + re.sub(r"[.+]", "-", airflow_version)}}
# For a pipeline to end by itself where the task goes on without it, or its job has failed.
_DEFERRING_SECONDS = 3.0
_FAILED_SECONDS = 30.0
# A second apart, for a job whose creation was under way when its launcher was killed.
_LAST_LOOKS = 3


class BeamJobOperator(BeamRunPythonPipelineOperator):
    """Runs a Beam pipeline written in Python; a drop-in for the provider's operator.

    On Dataflow it launches one job for the work of a task, however often it is tried. A try first
    finds the job of an earlier one, by its id in Airflow's task state store, or by its name and
    label: it waits for one that runs, accepts one that succeeded, and launches another only where
    it failed, or the task was cleared. What ends the task, deferred or not, ends the job.

    Its arguments are those of the provider's operator. What is different: the job's name has a
    suffix that all tries share, in place of a random one. Of a pipeline, what comes behind
    ``run()`` runs to its end only in the try that launched the job, and not in deferrable mode.
    With other runners ``deferrable`` has no effect: there only the pipeline itself could be
    awaited. Flink and Spark need a job server, or its jar, which Beam would otherwise download.

    Args:
        patience: Seconds for which Dataflow may fail to answer while the job runs.
        worker_package: Writes a package for Dataflow's workers into a folder, and returns its path;
            called for each job that is launched. What it holds is uploaded once, and then found in
            Beam's cache of staged files, below the temporary location, by a hash.
        template: URL of a flex template's spec, by which the job is launched on Dataflow, and not
            by a process here: `py_file` and what belongs to it then only matter to other runners.
        job_page: URL of a job's page, with ``{job_id}`` in it, where that is not in Google's
            console.
        retry_policy: Airflow's; by default one that tries again only what may succeed then.
        kwargs: Of the provider's operator.
    """

    operator_extra_links: tuple[BaseOperatorLink, ...] = (JobPage(),)  # type: ignore[assignment]

    def __init__(
        self,
        *,
        patience: float = 600,
        worker_package: Callable[[Path], Path] | None = None,
        template: str | None = None,
        job_page: str | None = None,
        retry_policy: RetryPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(retry_policy=retry_policy or PermanentFailurePolicy(), **kwargs)
        self.patience = patience
        self.worker_package = worker_package
        self.template = template
        self.job_page = job_page
        self._process: PipelineProcess | None = None
        self._jobs: DataflowJobs | None = None
        self._work: Work | None = None
        self._is_killed = False

    def execute(self, context: Context) -> dict[str, str] | None:
        """Runs the pipeline; on Dataflow, waits for its job.

        Raises:
            JobFailedError: The job failed; has its own words.
            LauncherError: The pipeline's process failed; has the end of what it said.
            AirflowFailException: That process says that it was called wrongly.
            LookUpError: Dataflow does not say whether there is a job; none was launched.
            NoAnswerError: Dataflow does not answer; the next try finds the job.
        """
        self._execute_context = context
        self.is_dataflow = self.runner.lower() == _DATAFLOW
        options = merge_options(
            merge_options(_VERSION, self.default_pipeline_options), self.pipeline_options
        )
        with contextlib.ExitStack() as stack:
            context["ti"].xcom_push(key=JOB_TRY, value=context["ti"].try_number)
            if not self.is_dataflow:
                self.operator_extra_links = ()
                require_job_server(self.runner, options)
                self._check_end(self._started(options, stack))
                return None
            limit = self.execution_timeout
            deadline = None if limit is None else time.time() + limit.total_seconds()
            options = self._for_dataflow(options, context)
            launch = self._launched if self.template is None else self._launched_by_template
            job = self._found() or launch(options, stack)
            return self._waited(job, deadline)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Goes on after the trigger has fired; raises as `execute` does.

        Raises:
            AirflowTaskTimeout: The time of the task is up, and the job cancelled.
        """
        self._execute_context = context
        self._cast_dataflow_config()  # type: ignore[no-untyped-call]
        awaited = Awaited(**event["awaited"])
        self._jobs = awaited.jobs()
        self._dataflow_job_id = awaited.job_id
        if event["timed_out"]:
            raise AirflowTaskTimeout(
                f"The task's time is up: job {awaited.job_id} was cancelled. {event['error'] or ''}"
            )
        if event["error"]:
            raise AirflowException(
                f"{event['error']}\nJob {awaited.job_id} may still run; another try waits for it."
            )
        jobs = self._jobs
        return self._concluded(
            Patience(LOOK_SECONDS).keep_trying(lambda: jobs.get(awaited.job_id)),
            until_over=awaited.until_over,
        )

    def on_kill(self) -> None:
        """Ends the pipeline's process and the job, and waits until it is gone.

        It may interrupt any of the other methods, and uses none of their connections.
        """
        self._is_killed = True
        jobs = None if self._jobs is None else self._jobs.other()
        if jobs is not None and self.dataflow_job_id:
            # At once: Airflow gives a task five seconds to end.
            with contextlib.suppress(*CALL_ERRORS):
                jobs.cancel(self.dataflow_job_id, drain=self._drains)
        if self._process is not None:
            self._process.kill()
        if jobs is not None:
            self._end_all(jobs)

    @property
    def _drains(self) -> bool:
        return bool(self.dataflow_config.drain_pipeline)

    def _end_all(self, jobs: DataflowJobs) -> None:
        """Ends the job, also one that Dataflow has taken and nobody has heard of yet."""
        seconds = self.dataflow_config.cancel_timeout or LOOK_SECONDS
        if self.dataflow_job_id:
            end(jobs, self.dataflow_job_id, seconds, drain=self._drains)
        elif (work := self._work) is not None and (self._process or self.template):
            for _ in range(_LAST_LOOKS):
                for job in Patience(LOOK_SECONDS).keep_trying(lambda: jobs.named(work.job_name)):
                    if not job.is_over and job.labels.get(WORK_LABEL) == work.label:
                        end(jobs, job.id, seconds, drain=self._drains)
                time.sleep(1)

    def _for_dataflow(self, options: dict[str, Any], context: Context) -> dict[str, Any]:
        """Completes the options, which then say what the work is, and where its job runs."""
        from airflow.providers.google.cloud.hooks.dataflow import DataflowHook  # noqa: PLC0415

        self._cast_dataflow_config()  # type: ignore[no-untyped-call]
        config = self.dataflow_config
        if config.gcp_conn_id in {None, _DEFAULT_CONNECTION}:
            config.gcp_conn_id = self.gcp_conn_id
        chain = config.impersonation_chain
        self.dataflow_hook = hook = DataflowHook(
            gcp_conn_id=config.gcp_conn_id, impersonation_chain=chain
        )
        ours = {
            "project": config.project_id or hook.project_id,
            "region": config.location,
            "service_account_email": config.service_account,
            "impersonate_service_account": ",".join(chain) if isinstance(chain, list) else chain,
            "max_num_workers": config.max_num_workers,
        }
        options = merge_options(ours, options)
        config.project_id, config.location = options["project"], options["region"]
        self._jobs = DataflowJobs(hook, config.project_id, config.location)
        self._work = Work.of(context, str(config.job_name), {**options, "py_file": self.py_file})
        own = {WORK_LABEL: self._work.label, TRY_LABEL: str(context["ti"].try_number)}
        return {
            **options,
            "job_name": self._work.job_name,
            "labels": {**options["labels"], **own},
        }

    def _found(self) -> Job | None:
        """The job of an earlier try, if it is still good; others are ended."""
        jobs, work = self._jobs, self._work
        assert jobs is not None and work is not None  # noqa: S101, PT018 - set by _for_dataflow
        seconds = self.dataflow_config.cancel_timeout or LOOK_SECONDS
        job = find_job(jobs, work, self._memory, seconds, self.log)
        if job is not None:
            self._take(job.id, int(job.labels[TRY_LABEL]))
        return job

    def _launched(self, options: dict[str, Any], stack: contextlib.ExitStack) -> Job:
        """Submits the pipeline, and hears of its job."""
        assert self._work is not None  # noqa: S101 - set by _for_dataflow
        process = self._started({**options, **self._packaged(stack)}, stack)
        for line in process.lines():
            if found := _JOB_ID.search(line):
                number = int(options["labels"][TRY_LABEL])
                self._take(found[1] or found[2], number)
                return Job(self.dataflow_job_id, self._work.job_name, "JOB_STATE_UNKNOWN")
        if self._is_killed:
            raise AirflowException("The task was killed before its pipeline had become a job")
        # Dataflow may have taken the job without that the answer has come back.
        if (job := self._found()) is not None:
            return job
        process.wait_until_over()
        raise LauncherError(f"The pipeline has launched no job.\n{process.said_last}")

    def _launched_by_template(self, options: dict[str, Any], _: contextlib.ExitStack) -> Job:
        """Has Dataflow launch the job: one call, whose answer may be lost."""
        assert self._jobs is not None and self.template is not None  # noqa: S101, PT018
        try:
            job = launch_template(self._jobs, self.template, options)
        except (TemplateError, *CALL_ERRORS):
            if (found := self._found()) is not None:
                return found
            raise
        self._take(job.id, int(options["labels"][TRY_LABEL]))
        return job

    def _packaged(self, stack: contextlib.ExitStack) -> dict[str, Any]:
        """The options by which the workers get the package, which is there as long as the stack."""
        if self.worker_package is None:
            return {}
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tallyflow-"))
        package = self.worker_package(Path(folder))
        return {"extra_package": str(package), "enable_artifact_caching": True}

    @property
    def _memory(self) -> JobMemory:
        assert self._execute_context is not None  # noqa: S101 - set first of all
        return JobMemory(self._execute_context.get("task_state_store"))

    def _take(self, job_id: str, number: int) -> None:
        """Keeps the job in mind, before all else, and tells of it."""
        assert self._execute_context is not None  # noqa: S101 - set first of all
        assert self._jobs is not None  # noqa: S101
        jobs, context = self._jobs, self._execute_context
        if (remembered := self._memory.read()) is None or remembered.job_id != job_id:
            self._memory.write(Remembered(job_id, jobs.project, jobs.location))
        self.dataflow_job_id = job_id  # also an XCom, by the provider
        context["ti"].xcom_push(key=JOB_TRY, value=number)
        page = jobs.url(job_id) if self.job_page is None else self.job_page.format(job_id=job_id)
        context["ti"].xcom_push(key=JobPage.key, value=page)

    def _started(self, options: dict[str, Any], stack: contextlib.ExitStack) -> PipelineProcess:
        """Starts the pipeline's process, which ends with the stack at the latest."""
        program = Program(
            file=self.py_file,
            interpreter=self.py_interpreter,
            options=self.py_options,
            requirements=self.py_requirements,
            has_system_packages=self.py_system_site_packages,
            runner=self.runner,
            gcp_conn_id=self.gcp_conn_id,
        )
        command = stack.enter_context(program.command(options))
        self._process = process = PipelineProcess(command, self.log)
        stack.callback(process.kill)
        return process

    def _check_end(self, process: PipelineProcess) -> None:
        """Waits for the end of the pipeline's process; raises if it failed."""
        try:
            process.wait_until_over()
        except AirflowException:
            if not self._is_killed:
                raise
        if self._is_killed:
            raise AirflowException("The task was killed")

    def _waited(self, job: Job, deadline: float | None) -> dict[str, str]:
        assert self._jobs is not None  # noqa: S101 - set by _for_dataflow
        config = self.dataflow_config
        awaited = Awaited(
            job_id=job.id,
            project=self._jobs.project,
            location=self._jobs.location,
            gcp_conn_id=config.gcp_conn_id,
            impersonation_chain=config.impersonation_chain,
            every=config.poll_sleep,
            patience=self.patience,
            until_over=config.wait_until_finished,
            drain=self._drains,
            deadline=deadline,
        )
        assert self._execute_context is not None  # noqa: S101 - set first of all
        watch = awaited.watch(self._jobs, self.log, self._execute_context["ti"].xcom_push)
        while (found := watch.look()) is None:
            if self.deferrable:
                self._defer(awaited)
            self._pause(watch.pause)
        return self._concluded(found, until_over=awaited.until_over)

    def _defer(self, awaited: Awaited) -> NoReturn:
        """Leaves the wait to the triggerer; a pipeline that does not itself wait may end first."""
        if self._process is not None:
            self._process.listen(_DEFERRING_SECONDS)
            self._process.check()
        self.defer(trigger=BeamJobTrigger(asdict(awaited)), method_name="execute_complete")
        raise AssertionError("defer raises")

    def _pause(self, seconds: float) -> None:
        if self._process is None:
            time.sleep(seconds)
        else:
            self._process.wait(seconds)

    def _concluded(self, job: Job, *, until_over: bool | None) -> dict[str, str]:
        """What becomes of the task when there is no more to wait for."""
        assert self._jobs is not None  # noqa: S101 - set before
        process = self._process
        if not job.is_over and not job.is_ending and until_over is not True:
            return {"dataflow_job_id": job.id}
        self._tell_usage(job)
        if not job.is_good:
            if process is not None:
                process.listen(_FAILED_SECONDS)
            raise failure(self._jobs, job)
        if process is not None:
            try:
                self._check_end(process)
            except AirflowException:
                self._memory.refuse()
                raise
        self.log.info("Job %s has succeeded: %s", job.id, self._jobs.url(job.id))
        return {"dataflow_job_id": job.id}

    def _tell_usage(self, job: Job) -> None:
        """What the job used: also one that failed was paid for."""
        assert self._jobs is not None  # noqa: S101 - set before
        assert self._execute_context is not None  # noqa: S101
        options = merge_options(self.default_pipeline_options, self.pipeline_options)
        if job.is_over and (usage := used_by(self._jobs, job.id, options, self.log)):
            show(self._execute_context["ti"].xcom_push, JOB_USAGE, usage, self.log)
