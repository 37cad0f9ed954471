"""Which interpreter runs the workers: this machine's, or that of a registered container image.

There are no containers here. An image's name is looked up in ``images.json`` in the service's
directory, which says which interpreter stands for it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from local_cloud.dataflow.workers.errors import JobError

IMAGES_FILE = "images.json"
_BEAM_IMAGE = re.compile(
    r"(?:docker\.io/|index\.docker\.io/|gcr\.io/cloud-dataflow/v1beta3/)?(?:apache/)?"
    r"beam_python(?P<python>\d+\.\d+)_sdk(?:_\w+)?:(?P<beam>[^:]+)"
)
_PYTHON_SDK = "beam:version:sdk_base:apache/beam_python"


@dataclass(frozen=True)
class Image:
    """What stands for a container image.

    Attributes:
        python: Its interpreter.
        environment: Variables for its processes.
        directory: The folder its processes start in and import from; None if it is of no matter.
    """

    python: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None


def find_image(pipeline: beam_runner_api_pb2.Pipeline, service_directory: Path) -> Image | None:
    """What runs a pipeline's workers; None for Beam's own image.

    Raises:
        JobError: The image is not registered, is for another Python or Beam than this
            machine's, or the pipeline needs several.
    """
    names = sorted(_image_names(pipeline))
    if len(names) > 1:
        raise JobError(
            "The local Dataflow runs all steps of a job in one image, but this one asks for "
            + ", ".join(names)
        )
    if not names:
        return None
    image = _registered(service_directory / IMAGES_FILE).get(names[0])
    if image is None:
        _check_official(names[0])
    return image


def _image_names(pipeline: beam_runner_api_pb2.Pipeline) -> set[str]:
    used = {transform.environment_id for transform in pipeline.components.transforms.values()}
    names = set()
    for key in used - {""}:
        environment = pipeline.components.environments[key]
        if environment.urn != common_urns.environments.DOCKER.urn:
            raise JobError(f"Steps can only run in container images, not in {environment.urn}.")
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        sdks = [name for name in environment.capabilities if name.startswith(_PYTHON_SDK[:22])]
        if sdks and not any(name.startswith(_PYTHON_SDK) for name in sdks):
            raise JobError(
                f"The step's image {payload.container_image} is not of Beam's Python SDK: the"
                " local Dataflow cannot run cross-language transforms."
            )
        names.add(payload.container_image)
    return names


def _registered(path: Path) -> dict[str, Image]:
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return {
        name: Image(
            Path(entry["python"]),
            entry.get("environment") or {},
            Path(entry["directory"]) if entry.get("directory") else None,
        )
        for name, entry in entries.items()
    }


def _check_official(name: str) -> None:
    python = ".".join(map(str, sys.version_info[:2]))
    official = _BEAM_IMAGE.fullmatch(name)
    if official is None:
        problem = "there is no such image in the local registry"
    elif official["python"] != python or official["beam"] != version("apache-beam"):
        problem = f"the local Dataflow runs Python {python} and Beam {version('apache-beam')}"
    else:
        return
    raise JobError(
        f"Error syncing pod: failed to pull image {name!r}: {problem}. Register an interpreter"
        f" that stands for it: python -m local_cloud image {name} --python PATH"
    )
