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


def load_images(files: Files) -> Mapping[str, Image]:
    """The images that are known, by name."""
    path = _registry(files)
    return _IMAGES.validate_json(path.read_bytes()) if path.exists() else {}


def add_image(files: Files, name: str, image: Image) -> None:
    """Makes an image known, in place of one of the same name.

    Raises:
        LocalCloudError: Its interpreter or its directory is not there.
    """
    if not Path(image.python).is_file():
        raise LocalCloudError(f"--python {image.python} is no file.")
    if image.directory is not None and not Path(image.directory).is_dir():
        raise LocalCloudError(f"--directory {image.directory} is no directory.")
    images = {**load_images(files), name: image}
    _registry(files).parent.mkdir(exist_ok=True)
    document = _IMAGES.dump_python(images)
    write_atomically(_registry(files), json.dumps(document, indent=2) + "\n")


def _registry(files: Files) -> Path:
    return files.data("dataflow") / "images.json"
