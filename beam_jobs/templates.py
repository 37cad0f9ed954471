"""Writes the flex templates of the jobs: how Dataflow can launch each of them by itself.

    python -m beam_jobs.templates --image europe-docker.pkg.dev/p/r/templates:1 --out gs://b/templates

A template is a file that names an image and describes the parameters. They are the options of the
job's own command line, read off its parser, so that the two are the same. `deploy/template` makes
the images.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from beam_jobs import aggregate_options, count_elements, options
from beam_jobs.filesystems import is_remote, join_path
from beam_jobs.output_files import write_text
from beam_jobs.version import VERSION

# The jobs that have a template, and what makes their parsers.
JOBS: Mapping[str, Callable[[], argparse.ArgumentParser]] = MappingProxyType(
    {
        "aggregate_files": aggregate_options.build_parser,
        "count_elements": count_elements.build_parser,
    }
)
# The launcher says where the job runs, and nobody reads what it would print.
_NOT_PARAMETERS = frozenset({"help", "runner", "describe"})
# What there is at a path: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/ParameterType
_PATHS: Mapping[str, str] = MappingProxyType(
    {
        "input": "GCS_READ_FILE",
        "dataset": "GCS_READ_FILE",
        "storage": "GCS_READ_FOLDER",
        "output": "GCS_WRITE_FILE",
        "states": "GCS_WRITE_FILE",
        "report": "GCS_WRITE_FILE",
    }
)
_URL = r"^gs://[^/*?\[\]]+(/.*)?$"
_NUMBER = r"^[0-9]{1,19}$"

_EXAMPLES = """
examples:
  # what would be written, to look at
  python -m beam_jobs.templates --image europe-docker.pkg.dev/my-project/tallyflow/templates:1 \\
    --out dist/templates
  # launch one without Airflow
  gcloud dataflow flex-template run count-1 --region europe-west1 \\
    --template-file-gcs-location gs://my-bucket/templates/count_elements.json \\
    --parameters 'input=gs://my-bucket/logs/*.log,output=gs://my-bucket/count.csv'
"""


def metadata(job: str) -> dict[str, Any]:
    """Describe a job and its parameters, as the service and its console want it.

    Args:
        job: Its name in `JOBS`.

    Returns:
        https://cloud.google.com/dataflow/docs/reference/rest/v1b3/TemplateMetadata
    """
    parser = JOBS[job]()
    return {
        "name": f"Tallyflow {VERSION}: {job.replace('_', ' ')}",
        "description": " ".join((parser.description or "").split()),
        "parameters": list(_parameters(parser)),
    }


def spec(job: str, image: str) -> dict[str, Any]:
    """Describe a template.

    Args:
        job: Its name in `JOBS`.
        image: Of all jobs, see `image_of`.

    Returns:
        https://cloud.google.com/dataflow/docs/reference/rest/v1b3/ContainerSpec
    """
    own = image_of(job, image)
    return {
        "image": own,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(job),
        # What launches the job has all that its workers need.
        "defaultEnvironment": {"sdkContainerImage": own},
    }


def image_of(job: str, image: str) -> str:
    """Return the name of a job's image: each image launches one job.

    Args:
        job: The job.
        image: A name with a tag, ``REGISTRY/NAME:TAG``, of which that is ``REGISTRY/NAME/JOB:TAG``.

    Raises:
        ValueError: It has no tag: what it means would change from day to day.
    """
    name, separator, tag = image.rpartition(":")
    if not separator or not tag or "/" in tag:
        raise ValueError(f"{image!r} has no tag; name one version of the images, REGISTRY/NAME:TAG")
    return f"{name}/{job}:{tag}"


def _parameters(parser: argparse.ArgumentParser) -> Iterator[dict[str, Any]]:
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.dest in _NOT_PARAMETERS:
                continue
            help_text = " ".join(formatter._expand_help(action).split())
            yield {
                "name": action.dest,
                "label": action.dest.replace("_", " ").capitalize(),
                "helpText": help_text[0].upper() + help_text[1:],
                "isOptional": not action.required,
                "groupName": (group.title or "")[:1].upper() + (group.title or "")[1:],
                **_kind(action),
            }


def _kind(action: argparse.Action) -> dict[str, Any]:
    """Return the type of a parameter, and what its values look like."""
    if action.choices is not None:
        choices = [{"value": choice, "label": choice} for choice in action.choices]
        default = {} if action.default is None else {"defaultValue": action.default}
        return {"paramType": "ENUM", "enumOptions": choices, **default}
    if action.type is options.truth:
        return {"paramType": "BOOLEAN", "regexes": ["^(true|false)$"], "defaultValue": "false"}
    if action.type is options.natural_number:
        return {"paramType": "NUMBER", "regexes": [_NUMBER]}
    if action.type is options.path:
        # A job on Dataflow sees no other files.
        return {"paramType": _PATHS[action.dest], "regexes": [_URL]}
    return {"paramType": "TEXT"}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_jobs.templates",
        description="Write the flex template of each job, <job>.json, and what it says of the "
        "job's parameters, <job>-metadata.json.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--image",
        required=True,
        type=_tagged,
        metavar="REGISTRY/NAME:TAG",
        help="the images, of which that of a job is REGISTRY/NAME/JOB:TAG",
    )
    parser.add_argument(
        "--out",
        type=options.path,
        default="dist/templates",
        metavar="FOLDER",
        help="where they go: a folder or gs:// URL (default: dist/templates)",
    )
    return parser


def _tagged(text: str) -> str:
    try:
        image_of("job", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not re.fullmatch(r"[a-zA-Z0-9][\w.:/-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an image")
    return text


def main(argv: Sequence[str]) -> None:
    """Write the templates.

    Raises:
        TallyflowError: One cannot be written.
    """
    arguments = build_parser().parse_args(argv)
    for job in JOBS:
        described = spec(job, arguments.image)
        for name, document in ((job, described), (f"{job}-metadata", described["metadata"])):
            path = join_path(arguments.out.rstrip("/"), f"{name}.json")
            if not is_remote(path):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_text(json.dumps(document, indent=2) + "\n", path)
            print(path)  # noqa: T201 - what it is run for


if __name__ == "__main__":
    options.run_main(main)
