"""The images that a Dataflow job can name, and what stands in for each here: an environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from local_cloud.files import Files, write_atomically
from local_cloud.settings import LocalCloudError


class Image(BaseModel):
    """What a container made of an image would have.

    Attributes:
        python: The interpreter, of the environment with the image's packages.
        environment: Its variables.
        directory: Its working directory; None for one that is made for the job.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    environment: dict[str, str] = {}
    directory: str | None = None


_IMAGES = TypeAdapter(dict[str, Image])
_REGISTRY = "images.json"


def load_images(files: Files) -> Mapping[str, Image]:
    """The images that are known, by name."""
    return read_images(files.data("dataflow"))


def read_images(service_directory: Path) -> Mapping[str, Image]:
    """The images that the Dataflow service of a directory knows, by name."""
    path = service_directory / _REGISTRY
    return _IMAGES.validate_json(path.read_bytes()) if path.exists() else {}


def add_image(files: Files, name: str, image: Image) -> None:
    """Makes an image known, in place of one of the same name.

    Raises:
        LocalCloudError: Its interpreter or its directory is not there.
    """
    if not Path(image.python).is_file():
        raise LocalCloudError(f"The interpreter {image.python} is no file.")
    if image.directory is not None and not Path(image.directory).is_dir():
        raise LocalCloudError(f"The working directory {image.directory} is no directory.")
    service_directory = files.data("dataflow")
    service_directory.mkdir(exist_ok=True)
    document = _IMAGES.dump_python({**read_images(service_directory), name: image})
    # The variables of an image may be secrets.
    registry = service_directory / _REGISTRY
    write_atomically(registry, json.dumps(document, indent=2) + "\n", mode=0o600)
