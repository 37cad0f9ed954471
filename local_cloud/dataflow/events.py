"""What the service and a job's process say to each other: one JSON object per line.

The service starts ``python -m local_cloud.dataflow.workers JOB_DIRECTORY`` as the leader of a
session. In the directory lies ``job.json``, the ``google.dataflow.v1beta3.Job`` as it was created,
as JSON with the proto's JSON names and enum names. The service writes commands to the process's
stdin, which it holds open for as long as it lives: at the end of stdin the process ends at once,
with all that it started. The process writes events to its stdout; whatever goes to stderr is
appended to ``log.txt`` in the directory. Its last event is a final state.

Started with ``--like JOB_DIRECTORY``, the process makes ready for a job like that one, and then
waits for one `Run` command; until then stderr goes nowhere, and from then on into the job's
``log.txt`` (the process redirects it).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

JOB_FILE = "job.json"
LOG_FILE = "log.txt"
LIKE = "--like"

JobState = Literal["JOB_STATE_RUNNING", "JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"]
Importance = Literal[
    "JOB_MESSAGE_DEBUG",
    "JOB_MESSAGE_DETAILED",
    "JOB_MESSAGE_BASIC",
    "JOB_MESSAGE_WARNING",
    "JOB_MESSAGE_ERROR",
]
StepState = Literal["PENDING", "RUNNING", "DONE", "FAILED"]
Kind = Literal["Sum", "Max", "Min", "Mean", "Distribution"]


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StateChanged(_Line):
    """The job is in another state; after a final one nothing follows."""

    event: Literal["state"] = "state"
    state: JobState


class MessageLogged(_Line):
    """Something that the job's user is to read."""

    event: Literal["message"] = "message"
    importance: Importance
    text: str
    time: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Distribution(_Line):
    """The scalar of a metric of kind ``Distribution``."""

    count: int
    sum: int
    min: int
    max: int


class Metric(_Line):
    """One metric, as in the API's ``MetricUpdate``.

    Attributes:
        origin: ``user`` for a counter of the pipeline's own, ``dataflow/v1b3`` for the service's.
        name: Its name.
        step: The `Step.name` of its step, if it belongs to one.
        namespace: Of a user's counter.
        tentative: Whether work that may be repeated is counted in. Dataflow reports each metric
            twice, with and without; Beam lists only those that have the tentative one.
        kind: How its values add up.
        scalar: Its value, for all kinds but ``Distribution``.
        distribution: Its value, for this kind.
    """

    origin: Literal["user", "dataflow/v1b3"]
    name: str
    step: str = ""
    namespace: str = ""
    tentative: bool = False
    kind: Kind = "Sum"
    scalar: int | float | None = None
    distribution: Distribution | None = None


class MetricsChanged(_Line):
    """All metrics of the job as they are now; they replace those of before."""

    event: Literal["metrics"] = "metrics"
    metrics: list[Metric]


class Step(_Line):
    """One step of the pipeline.

    Attributes:
        name: The service's name of it: the id of the transform in the pipeline's proto, by which
            Beam finds the user's name of a metric's step.
        user_name: The user's name of it, ``Read/Split``.
        state: How far it is.
        elements: How many elements it has put out.
    """

    name: str
    user_name: str
    state: StepState
    elements: int = 0


class StepsChanged(_Line):
    """All steps of the job as they are now, in the order of the pipeline."""

    event: Literal["steps"] = "steps"
    steps: list[Step]


class WorkersChanged(_Line):
    """The ids of the worker processes that run now."""

    event: Literal["workers"] = "workers"
    pids: list[int]


Event = Annotated[
    StateChanged | MessageLogged | MetricsChanged | StepsChanged | WorkersChanged,
    Field(discriminator="event"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Cancel(_Line):
    """End the job: its workers first, then say that it is cancelled."""

    command: Literal["cancel"] = "cancel"


class KillWorker(_Line):
    """Kill one of the worker processes with SIGKILL."""

    command: Literal["kill_worker"] = "kill_worker"


class Run(_Line):
    """Run the job of this directory; only for a process started with ``--like``."""

    command: Literal["run"] = "run"
    directory: str


Command = Annotated[Cancel | KillWorker | Run, Field(discriminator="command")]
COMMAND: TypeAdapter[Command] = TypeAdapter(Command)
