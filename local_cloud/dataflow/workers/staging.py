"""Gets from the bucket what a job staged there: the pipeline and the workers' files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import requests
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud.storage import Client
from google.protobuf.message import DecodeError

from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.submission import Submission


@dataclass(frozen=True)
class Artifact:
    """A file that was staged for the workers.

    Attributes:
        url: Where it lies.
        name: Its name in the workers' folder of staged files.
        sha256: Its checksum, in hexadecimal; empty if it is not known.
        is_requirements: Whether it lists requirements of the workers.
    """

    url: str
    name: str
    sha256: str
    is_requirements: bool = False


def load_pipeline(submission: Submission) -> beam_runner_api_pb2.Pipeline:
    """Downloads the pipeline of a job.

    Raises:
        JobError: It is not there, or not what was submitted.
    """
    url = submission.pipeline_url
    try:
        data = _download(url, submission.pipeline_sha256)
        pipeline = beam_runner_api_pb2.Pipeline.FromString(data)
    except (JobError, DecodeError) as error:
        raise JobError(f"Unable to read the pipeline of the job: {url}: {error}") from error
    if not pipeline.root_transform_ids:
        raise JobError(f"Unable to read the pipeline of the job: {url}: it has no steps")
    return pipeline


def list_artifacts(pipeline: beam_runner_api_pb2.Pipeline) -> list[Artifact]:
    """The files that were staged for a pipeline's workers, each name once.

    Raises:
        JobError: A file is not in a bucket, or its name leads out of the workers' folder.
    """
    artifacts: dict[str, Artifact] = {}
    for environment in pipeline.components.environments.values():
        for dependency in environment.dependencies:
            artifact = _artifact(dependency)
            artifacts[artifact.name] = artifact
    return list(artifacts.values())


def download_artifacts(artifacts: Iterable[Artifact], folder: Path) -> None:
    """Downloads staged files into a folder.

    Raises:
        JobError: One is not there, or not what was staged.
    """
    for artifact in artifacts:
        try:
            (folder / artifact.name).write_bytes(_download(artifact.url, artifact.sha256))
        except JobError as error:
            message = f"Failed to retrieve staged files: {artifact.url}: {error}"
            raise JobError(message) from error


def _artifact(dependency: beam_runner_api_pb2.ArtifactInformation) -> Artifact:
    if dependency.type_urn != common_urns.artifact_types.URL.urn:
        raise JobError(f"Cannot stage artifacts of type {dependency.type_urn}, only from gs://.")
    place = beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload)
    if dependency.role_urn == common_urns.artifact_roles.STAGING_TO.urn:
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(dependency.role_payload)
        name = role.staged_name
    else:
        name = place.url.rpartition("/")[2]
    if name in ("", ".", "..") or "/" in name:
        raise JobError(f"{place.url}: {name!r} is no name for a staged file.")
    is_requirements = dependency.role_urn == common_urns.artifact_roles.PIP_REQUIREMENTS_FILE.urn
    return Artifact(place.url, name, place.sha256, is_requirements)


def _download(url: str, sha256: str) -> bytes:
    if not re.fullmatch(r"gs://[^/]+/.+", url):
        raise JobError("it is not in Cloud Storage (gs://bucket/object)")
    bucket, _, name = url.removeprefix("gs://").partition("/")
    try:
        data: bytes = Client().bucket(bucket).blob(name).download_as_bytes()
    except NotFound as error:
        raise JobError("no such object") from error
    except (GoogleAPIError, requests.RequestException, OSError) as error:
        raise JobError(f"it cannot be downloaded: {error}") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise JobError("its SHA-256 is not the one that was submitted; was it changed since?")
    return data
