"""Beam's portable runner, with worker processes of ours, retries and progress."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import execution, fn_runner, translations
from apache_beam.runners.worker import bundle_processor

from local_cloud.dataflow.workers.bundles import Bundles
from local_cloud.dataflow.workers.harness import ENVIRONMENT_URN
from local_cloud.dataflow.workers.progress import Progress
from local_cloud.dataflow.workers.reporting import Reporter
from local_cloud.dataflow.workers.steps import Steps


class JobRunner(fn_runner.FnApiRunner):  # type: ignore[misc]
    """Runs one pipeline.

    Args:
        workers: How many workers it has.
        steps: The pipeline's steps.
        progress: Is told how far it is.
        reporter: Is told what the user is to read.
    """

    def __init__(self, workers: int, steps: Steps, progress: Progress, reporter: Reporter) -> None:
        super().__init__()
        self._num_workers = workers
        self._steps = steps
        self._progress = progress
        self._reporter = reporter
        self._cache_tokens = _cache_tokens()
        self._names: Mapping[str, str] = {}

    def run(self, pipeline: beam_runner_api_pb2.Pipeline) -> None:
        """Runs the pipeline to its end.

        Raises:
            JobError: A step failed too often.
        """
        self.run_via_runner_api(_with_own_workers(pipeline), PipelineOptions([]))

    def create_stages(
        self, pipeline_proto: beam_runner_api_pb2.Pipeline
    ) -> tuple[translations.TransformContext, list[translations.Stage]]:
        """Plans the stages, and notes which steps they run."""
        context, stages = super().create_stages(pipeline_proto)
        planned = {stage.name: self._steps.of_stage(stage.transforms) for stage in stages}
        self._progress.stages_planned(planned)
        self._names = {
            name: f"S{number:02}:"
            + "+".join(self._steps.transforms[step].unique_name for step in steps)
            for number, (name, steps) in enumerate(planned.items(), start=1)
        }
        return context, stages

    def _execute_bundle(
        self,
        runner_execution_context: execution.FnApiRunnerExecutionContext,
        bundle_context_manager: execution.BundleContextManager,
        bundle_input: Any,
    ) -> beam_fn_api_pb2.InstructionResponse:
        stage = bundle_context_manager.stage.name
        operation = self._names[stage].partition(":")[2]
        self._progress.stage_changed(stage, "RUNNING")
        self._say(f"Executing operation {operation}", operation)
        arguments = (runner_execution_context, bundle_context_manager, bundle_input)
        try:
            result = super()._execute_bundle(*arguments)
        except BaseException:
            self._progress.stage_changed(stage, "FAILED")
            raise
        self._progress.stage_changed(stage, "DONE")
        self._say(f"Finished operation {operation}", operation)
        return result

    def _say(self, text: str, operation: str) -> None:
        if operation:  # Otherwise the stage is the runner's own, such as the flattening of two.
            self._reporter.message("JOB_MESSAGE_BASIC", text)

    def _get_bundle_manager(
        self, bundle_context_manager: execution.BundleContextManager
    ) -> Bundles:
        stage = bundle_context_manager.stage.name
        reads = _reads(bundle_context_manager.process_bundle_descriptor)
        return Bundles(
            context=bundle_context_manager,
            stage=self._names[stage],
            counted=self._progress.counted_before(stage, reads),
            cache_tokens=self._cache_tokens,
            progress=self._progress,
        )

    def _run_bundle_multiple_times_for_testing(self, *_: Any) -> None:
        """Does nothing: it is an option of the DirectRunner's."""


def _reads(descriptor: beam_fn_api_pb2.ProcessBundleDescriptor) -> frozenset[str]:
    """The collections that a stage is given."""
    urn = bundle_processor.DATA_INPUT_URN
    inputs = [one for one in descriptor.transforms.values() if one.spec.urn == urn]
    return frozenset(name for one in inputs for name in one.outputs.values())


def _with_own_workers(pipeline: beam_runner_api_pb2.Pipeline) -> beam_runner_api_pb2.Pipeline:
    """A pipeline whose steps run in our workers, who have what was staged already."""
    changed = beam_runner_api_pb2.Pipeline()
    changed.CopyFrom(pipeline)
    for environment in changed.components.environments.values():
        if environment.urn == common_urns.environments.DOCKER.urn:
            environment.urn = ENVIRONMENT_URN
            environment.payload = b""
            del environment.dependencies[:]
    return changed


def _cache_tokens() -> Iterator[beam_fn_api_pb2.ProcessBundleRequest.CacheToken]:
    token = beam_fn_api_pb2.ProcessBundleRequest.CacheToken
    for number in itertools.count():
        yield token(user_state=token.UserState(), token=f"token_{number}".encode())
