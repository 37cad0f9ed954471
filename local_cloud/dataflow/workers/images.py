"""Which interpreter runs the workers: this machine's, or that of a registered container image.

There are no containers here: an image's name is looked up in the service's registry of images.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.submission import Submission
from local_cloud.images import Image, read_images

_BEAM_IMAGE = re.compile(
    r"(?:docker\.io/|index\.docker\.io/|gcr\.io/cloud-dataflow/v1beta3/)?(?:apache/)?"
    r"beam_python(?P<python>\d+\.\d+)_sdk(?:_\w+)?:(?P<beam>[^:]+)"
)
_PYTHON_SDK = "beam:version:sdk_base:apache/beam_python"


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
    image = read_images(service_directory).get(names[0])
    if image is None:
        _check_official(names[0])
    return image


def likely_image(submission: Submission) -> Image | None:
    """What `find_image` will most likely say, known without the pipeline."""
    name = submission.options.get("sdk_container_image")
    return read_images(submission.service_directory).get(str(name))


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
        f" that stands for it: python -m local_cloud image add {name} --python PATH"
    )
