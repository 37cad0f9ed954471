"""What the Job message of Beam's DataflowRunner says about how the job is to run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.dataflow.events import JOB_FILE
from local_cloud.dataflow.workers.errors import JobError


@dataclass(frozen=True)
class Submission:
    """One job as it was submitted.

    Attributes:
        directory: The job's; its parent's parent is the service's.
        job_id: Its id.
        job_name: Its name.
        pipeline_url: Where the serialized pipeline lies.
        pipeline_sha256: The checksum of that file, in hexadecimal; empty if it is not known.
        options: The pipeline's options, whole numbers as integers.
        workers: How many worker processes to run.
    """

    directory: Path
    job_id: str
    job_name: str
    pipeline_url: str
    pipeline_sha256: str
    options: Mapping[str, Any]
    workers: int

    @property
    def service_directory(self) -> Path:
        """The service's directory, with what jobs share."""
        return self.directory.parent.parent


def read_submission(directory: Path) -> Submission:
    """Reads the job of a directory.

    Raises:
        JobError: It is not a batch job of Beam's Python SDK.
    """
    job = json.loads((directory / JOB_FILE).read_bytes())
    environment = job.get("environment", {})
    options = _with_integers(environment.get("sdkPipelineOptions", {}).get("options", {}))
    if job.get("type") == "JOB_TYPE_STREAMING":
        raise JobError("Streaming jobs do not run on the local Dataflow, only batch jobs.")
    if not options.get("pipelineUrl"):
        raise JobError(
            "The job has no pipelineUrl among its options: it was not submitted by the"
            " DataflowRunner of Beam's Python SDK."
        )
    return Submission(
        directory=directory,
        job_id=job.get("id", directory.name),
        job_name=job.get("name", ""),
        pipeline_url=options["pipelineUrl"],
        pipeline_sha256=options.get("pipelineProtoHash", ""),
        options=options,
        workers=_count_workers(next(iter(environment.get("workerPools", [])), {})),
    )


def _count_workers(pool: Mapping[str, Any]) -> int:
    """How many workers a pool comes to: what it asks for, within this machine's cores."""
    most = int(pool.get("autoscalingSettings", {}).get("maxNumWorkers") or 0)
    wanted = int(pool.get("numWorkers") or 0) or most or 1
    return max(1, min(wanted, most or wanted, os.cpu_count() or 1))


def _with_integers(value: Any) -> Any:
    """A value in which whole numbers are integers again, as they were before the Struct.

    Beam's parser of options takes 0 for an integer option, but not 0.0.
    """
    if isinstance(value, dict):
        return {key: _with_integers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_integers(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
