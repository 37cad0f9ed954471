"""Keeps what a run has done so far, and tells the service about once a second."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from apache_beam.portability.api import beam_fn_api_pb2, metrics_pb2

from local_cloud.dataflow.events import MetricsChanged, StepsChanged, StepState
from local_cloud.dataflow.workers import metrics
from local_cloud.dataflow.workers.harness import Connection, WorkerPool
from local_cloud.dataflow.workers.reporting import Reporter
from local_cloud.dataflow.workers.steps import Steps
from local_cloud.dataflow.workers.usage import Usage

_INTERVAL_SECONDS = 1


class Progress:
    """The progress of one run.

    Args:
        steps: The steps of its pipeline.
        reporter: Is told.
        pool: The run's workers, which are looked at.
    """

    def __init__(self, steps: Steps, reporter: Reporter, pool: WorkerPool) -> None:
        self._steps = steps
        self._reporter = reporter
        self._pool = pool
        self._lock = threading.Lock()
        self._committed: metrics.Infos = []
        self._counted: dict[str, Set[str]] = {}
        self._running: dict[str, tuple[Connection, Set[str]]] = {}
        self._stages: dict[str, tuple[Sequence[str], StepState]] = {}
        self._finished = threading.Event()
        self._gave_up = threading.Event()
        self._told: object = None

    @property
    def usage(self) -> Usage:
        """What the workers have used."""
        return self._pool.usage

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Tells the service about once a second, and once more at the end."""
        thread = threading.Thread(target=self._tell_on, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._finished.set()
            thread.join(_INTERVAL_SECONDS)
            self._tell([])

    @contextlib.contextmanager
    def running(self, bundle: str, connection: Connection, counted: Set[str]) -> Iterator[None]:
        """Takes notice of a bundle while it runs.

        Args:
            bundle: Its id.
            connection: The worker it runs on.
            counted: The collections that it reads, and whose elements are counted already.
        """
        with self._lock:
            self._running[bundle] = (connection, counted)
        try:
            yield
        finally:
            with self._lock:
                del self._running[bundle]

    def bundle_done(self, infos: Iterable[metrics_pb2.MonitoringInfo], counted: Set[str]) -> None:
        """Adds what a bundle that is done has counted; `counted` as for `running`."""
        with self._lock:
            self._committed = metrics.add(self._committed, metrics.without(infos, counted))

    def counted_before(self, stage: str, reads: Set[str]) -> Set[str]:
        """Which collections that a stage reads were counted before its first bundle."""
        with self._lock:
            if stage not in self._counted:
                self._counted[stage] = reads & metrics.elements(self._committed).keys()
            return self._counted[stage]

    def attempt_failed(self, reason: str) -> None:
        """Tells the user why an attempt at a bundle failed."""
        if not self.gave_up:
            text = f"Error message from worker: {reason.strip()}"
            self._reporter.message("JOB_MESSAGE_ERROR", text)

    @property
    def gave_up(self) -> bool:
        """Whether the run has failed, so that nothing is to be tried again."""
        return self._gave_up.is_set()

    def give_up(self) -> None:
        """Takes notice that the run has failed: what fails from now on, fails because of that."""
        self._gave_up.set()

    def stages_planned(self, stages: Mapping[str, Sequence[str]]) -> None:
        """Takes notice of which steps each stage runs."""
        with self._lock:
            self._stages = {name: (steps, "PENDING") for name, steps in stages.items()}

    def stage_changed(self, stage: str, state: StepState) -> None:
        """Takes notice of how far a stage is."""
        with self._lock:
            self._stages[stage] = (self._stages[stage][0], state)

    def _tell_on(self) -> None:
        while not self._finished.wait(_INTERVAL_SECONDS):
            with self._lock:
                running = dict(self._running)
            self._pool.look()
            self._tell(_counted(running))

    def _tell(self, uncommitted: Iterable[metrics_pb2.MonitoringInfo]) -> None:
        with self._lock:
            committed, states = self._committed, self._states()
        tentative = metrics.add(committed, uncommitted)
        found = metrics.describe(committed, tentative, self._steps) + self.usage.metrics()
        steps = self._steps.events(states, metrics.elements(tentative))
        if self._told != (told := (found, steps)):
            self._told = told
            self._reporter.send(MetricsChanged(metrics=found))
            self._reporter.send(StepsChanged(steps=steps))

    def _states(self) -> dict[str, StepState]:
        """How far each step is that a stage runs; one that several run is done with the last."""
        states: dict[str, set[StepState]] = {}
        for steps, state in self._stages.values():
            for step in steps:
                states.setdefault(step, set()).add(state)
        return {step: _joined(found) for step, found in states.items()}


def _joined(states: set[StepState]) -> StepState:
    """The state of a step whose stages are in these states."""
    if "FAILED" in states:
        return "FAILED"
    return next(iter(states)) if len(states) == 1 else "RUNNING"


def _counted(
    running: Mapping[str, tuple[Connection, Set[str]]],
) -> list[metrics_pb2.MonitoringInfo]:
    """Asks the workers what the bundles have counted that they are working on."""
    ask: Callable[[str], beam_fn_api_pb2.InstructionRequest] = _progress_request
    asked = [(one.push(ask(bundle)), counted) for bundle, (one, counted) in running.items()]
    infos: list[metrics_pb2.MonitoringInfo] = []
    for answer, counted in asked:
        with contextlib.suppress(AssertionError):  # It has not answered in time.
            progress = answer.get(_INTERVAL_SECONDS).process_bundle_progress
            infos += metrics.without(progress.monitoring_infos, counted)
    return infos


def _progress_request(bundle: str) -> beam_fn_api_pb2.InstructionRequest:
    progress = beam_fn_api_pb2.ProcessBundleProgressRequest(instruction_id=bundle)
    return beam_fn_api_pb2.InstructionRequest(process_bundle_progress=progress)
