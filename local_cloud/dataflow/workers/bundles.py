"""Runs the bundles of a stage on the workers, each up to four times, as Dataflow does."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import execution, translations

from local_cloud.dataflow.workers import metrics
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.harness import Connection, Worker
from local_cloud.dataflow.workers.progress import Progress

ATTEMPTS = 4
_ids = itertools.count(1)


class BundleError(Exception):
    """One attempt at a bundle failed; the message is the worker's traceback or its loss."""


@dataclass(frozen=True)
class Work:
    """What one bundle is given.

    Attributes:
        elements: By the name of the transform that reads them.
        timers: The timers that fire, by the name of the transform and their family.
    """

    elements: Mapping[str, Iterable[bytes]]
    timers: Mapping[tuple[str, str], Iterable[bytes]]


@dataclass(frozen=True)
class Bundles:
    """Stands for Beam's own manager of the bundles of one stage.

    Its bundles put out nothing until they are done, so that one that failed can be run again.

    Attributes:
        context: Beam's, of the stage.
        stage: The name of the stage that the user reads.
        counted: The collections that its bundles read, and whose elements are counted already.
        cache_tokens: Tokens, none twice: no bundle may use another's state from a worker's cache.
        progress: Is told how the bundles go.
    """

    context: execution.BundleContextManager
    stage: str
    counted: Set[str]
    cache_tokens: Iterator[Any]
    progress: Progress
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def process_bundle(
        self,
        inputs: Mapping[str, Any],
        expected_outputs: Mapping[str, bytes],
        fired_timers: Mapping[tuple[str, str], Any],
        expected_output_timers: Mapping[tuple[str, str], Any],
    ) -> tuple[beam_fn_api_pb2.InstructionResponse, list[Any]]:
        """Runs what the stage is given, cut into as many bundles as there are workers.

        Raises:
            JobError: A bundle failed too often.
        """
        workers = self.context.worker_handlers
        # State is kept by key, and a bundle that failed has changed it: one bundle, one attempt.
        count = 1 if self.context.stage.is_stateful() else len(workers)
        works = _cut(inputs, fired_timers, count)
        outputs = (expected_outputs, expected_output_timers)
        parts = [_Part(self, number, work, *outputs) for number, work in enumerate(works)]
        if len(parts) == 1:
            return parts[0].run(), []
        pool = ThreadPoolExecutor(len(parts))
        futures = [pool.submit(part.run) for part in parts]
        pool.shutdown(wait=False)
        return _merged(futures), []

    def commit(
        self,
        outputs: Sequence[Any],
        data: Mapping[str, bytes],
        timers: Mapping[tuple[str, str], Any],
    ) -> None:
        """Puts out what a bundle that is done has put out."""
        with self._lock:
            for output in outputs:
                if isinstance(output, beam_fn_api_pb2.Elements.Data):
                    name = data[output.transform_id]
                    if translations.split_buffer_id(name)[0] == "group":
                        self.progress.usage.shuffled(len(output.data))
                    self.context.get_buffer(name, output.transform_id).append(output.data)
                    continue
                name = timers[(output.transform_id, output.timer_family_id)][0]
                buffer = self.context.get_buffer(name, output.transform_id)
                if buffer.cleared:
                    buffer.reset()
                buffer.append(output.timers)


@dataclass(frozen=True)
class _Part:
    """One bundle: the share of one worker."""

    bundles: Bundles
    number: int
    work: Work
    outputs: Mapping[str, bytes]
    timers: Mapping[tuple[str, str], Any]

    def run(self) -> beam_fn_api_pb2.InstructionResponse:
        attempts = 1 if self.bundles.context.stage.is_stateful() else ATTEMPTS
        workers: list[Worker] = self.bundles.context.worker_handlers
        used: list[str] = []
        for attempt in range(attempts):
            connection = workers[(self.number + attempt) % len(workers)].connection()
            used.append(connection.worker_id)
            try:
                return self._attempt(connection)
            except BundleError as error:
                self.bundles.progress.attempt_failed(str(error))
                last = error
                if self.bundles.progress.gave_up:
                    raise
        self.bundles.progress.give_up()
        raise JobError(_too_often(self.bundles.stage, used)) from last

    def _attempt(self, connection: Connection) -> beam_fn_api_pb2.InstructionResponse:
        bundle = f"bundle_{next(_ids)}"
        context = self.bundles.context
        process = beam_fn_api_pb2.ProcessBundleRequest(
            process_bundle_descriptor_id=context.process_bundle_descriptor.id,
            cache_tokens=[next(self.bundles.cache_tokens)],
        )
        request = beam_fn_api_pb2.InstructionRequest(instruction_id=bundle, process_bundle=process)
        progress, counted = self.bundles.progress, self.bundles.counted
        with progress.running(bundle, connection, counted):
            answer = connection.push(request)
            # In a thread of its own: a worker takes no more before what it puts out is taken.
            threading.Thread(target=self._send, args=(connection, bundle), daemon=True).start()
            outputs = self._receive(connection, bundle, answer)
            result = _checked(answer.get())
        if result.process_bundle.requires_finalization:
            finalize = beam_fn_api_pb2.FinalizeBundleRequest(instruction_id=bundle)
            request = beam_fn_api_pb2.InstructionRequest(finalize_bundle=finalize)
            _checked(connection.push(request).get())
        self.bundles.commit(outputs, self.outputs, self.timers)
        progress.bundle_done(result.process_bundle.monitoring_infos, counted)
        return result

    def _receive(self, connection: Connection, bundle: str, answer: Any) -> list[Any]:
        def has_failed() -> bool:
            return answer.is_done() and bool(answer.get().error)

        expected = [*self.outputs, *self.timers]
        try:
            return list(connection.data.input_elements(bundle, expected, has_failed))
        except (RuntimeError, grpc.RpcError) as error:  # The connection broke.
            raise BundleError(connection.wait_for_loss() or str(error)) from error

    def _send(self, connection: Connection, bundle: str) -> None:
        for name, family in self.timers:
            stream = connection.data.output_timer_stream(bundle, name, family)
            for timer in self.work.timers.get((name, family), ()):
                stream.write(timer)
            stream.close()
        for name, elements in self.work.elements.items():
            stream = connection.data.output_stream(bundle, name)
            for element in elements:
                stream.write(element)
            stream.close()


def _cut(
    inputs: Mapping[str, Any], timers: Mapping[tuple[str, str], Any], count: int
) -> list[Work]:
    if count == 1:
        return [Work(inputs, timers)]
    parts = {name: buffer.partition(count) for name, buffer in inputs.items()}
    works = [
        Work({name: part[number] for name, part in parts.items()}, timers if number == 0 else {})
        for number in range(count)
    ]
    return works[:1] + [work for work in works[1:] if any(map(any, work.elements.values()))]


def _merged(futures: Iterable[Future[Any]]) -> beam_fn_api_pb2.InstructionResponse:
    """One result for all; a failure is raised without waiting for the others."""
    results = [
        future.result().process_bundle
        for future in as_completed(futures)
        if not isinstance(future.exception(), BundleError)  # That one is due to another's end.
    ]
    infos = metrics.add(*(result.monitoring_infos for result in results))
    roots = [root for result in results for root in result.residual_roots]
    process = beam_fn_api_pb2.ProcessBundleResponse(monitoring_infos=infos, residual_roots=roots)
    return beam_fn_api_pb2.InstructionResponse(process_bundle=process)


def _checked(result: beam_fn_api_pb2.InstructionResponse) -> beam_fn_api_pb2.InstructionResponse:
    if result.error:
        raise BundleError(result.error)
    return result


def _too_often(stage: str, workers: Sequence[str]) -> str:
    times = "4 times" if len(workers) == ATTEMPTS else "once, and its state cannot be restored"
    failures = f"the {len(workers)} failures" if len(workers) > 1 else "the failure"
    return (
        f"Workflow failed. Causes: {stage} failed., The job failed because a work item has failed"
        f" {times}. Look in previous log entries for the cause of each one of {failures}."
        " For more information, see https://cloud.google.com/dataflow/docs/guides/common-errors."
        " The work item was attempted on these workers:\n  " + "\n  ".join(workers)
    )
