"""The commands that deploy a commit, all of them gcloud's, and what says that one has been run."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.errors import TallyflowError
from beam_jobs.templates import JOBS, spec
from deploy.target import Target

# Ours in Airflow's bucket, which may hold others' too: the folder of the commit, and where it goes.
UPLOADS: Mapping[str, str] = {
    "plugins/tallyflow": "plugins/tallyflow",
    # Airflow finds modules in plugins/; as it looks for plugins there, this folder is left out.
    "beam_jobs": "plugins/beam_jobs",
    "dags": "dags/tallyflow",
}
_IGNORED = ".airflowignore"
VARIABLES = "tallyflow.env"
# Where Composer has the bucket's folder; the commands of the tasks have to find beam_jobs, too.
_COMPOSER_PLUGINS = "/home/airflow/gcs/plugins"
_PROVIDER = "apache-airflow-providers-apache-beam"


@dataclass(frozen=True)
class Step:
    """A command, which may be left out where what it does is there.

    Attributes:
        what: What it does, for people.
        command: The command.
        look: A command that only reads, and says whether there is anything to do; None where the
            command itself does nothing then.
        is_done: Whether nothing has to be done, from what `look` prints; it failed if that is None.
    """

    what: str
    command: Sequence[str]
    look: Sequence[str] | None = None
    is_done: Callable[[str | None], bool] = lambda printed: printed is not None


def steps(target: Target, tag: str, source: Path) -> list[Step]:
    """The steps of a deployment, in their order: what a later one needs, an earlier one makes.

    Args:
        target: Where to.
        tag: Of the images.
        source: A folder with the files of the commit, from `prepare`.

    Raises:
        UsageError: The settings do not fit together.
    """
    image = f"{target.registry}/worker:{tag}"
    variables = target.settings(image, templates_folder(target, tag))
    is_composer = target.composer_environment is not None
    of_airflow = _composer(target, variables, source) if is_composer else _plain(target, source)
    return [
        _images(target, tag, image, source),
        *_templates(target, tag, source),
        *of_airflow,
        *_files(target, source),
    ]


def templates_folder(target: Target, tag: str) -> str | None:
    """Where the flex templates of a version go; None where none are wanted."""
    folder = target.variables.get("TALLYFLOW_TEMPLATES")
    return None if folder is None else f"{folder.rstrip('/')}/{tag}"


def prepare(target: Target, tag: str, source: Path) -> None:
    """Adds to the files of a commit what is made of them.

    Raises:
        UsageError: The settings do not fit together.
    """
    (source / "beam_jobs" / _IGNORED).write_text("*\n")
    templates = source / "templates"
    templates.mkdir()
    for job in JOBS:
        described = spec(job, f"{target.registry}/templates:{tag}")
        (templates / f"{job}.json").write_text(json.dumps(described, indent=2) + "\n")
    (source / "packages.txt").write_text("\n".join(packages(source)) + "\n")
    variables = target.settings(f"{target.registry}/worker:{tag}", templates_folder(target, tag))
    lines = (f"{name}={value}\n" for name, value in sorted(variables.items()))
    (source / VARIABLES).write_text("".join(lines))


def packages(source: Path) -> list[str]:
    """What Airflow needs beside itself: what `beam_jobs` requires, and the Beam provider."""
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], _PROVIDER]


def _images(target: Target, tag: str, image: str, source: Path) -> Step:
    account = target.build_service_account
    of_build = [f"--service-account=projects/{target.project}/serviceAccounts/{account}"]
    return Step(
        what="Build and push the images of the workers and of the templates",
        command=[
            *("gcloud", "builds", "submit", str(source)),
            f"--config={source}/deploy/cloudbuild.yaml",
            f"--substitutions=_REGISTRY={target.registry},_TAG={tag}",
            *(of_build if account else ()),
            *_place(target, "region"),
        ],
        look=[
            *("gcloud", "artifacts", "docker", "images", "describe", image),
            *(f"--project={target.project}", "--format=value(image_summary.digest)"),
        ],
    )


def _templates(target: Target, tag: str, source: Path) -> Iterator[Step]:
    if folder := templates_folder(target, tag):
        yield Step(
            what="Write the flex templates",
            command=_synchronized(target, f"{source}/templates", folder),
        )


def _files(target: Target, source: Path) -> Iterator[Step]:
    for folder, place in UPLOADS.items():
        yield Step(
            what=f"Upload {folder}, and delete what is no longer in it",
            command=[
                *_synchronized(target, f"{source}/{folder}", f"{target.airflow_bucket}/{place}"),
                "--delete-unmatched-destination-objects",
            ],
        )


def _synchronized(target: Target, folder: str, url: str) -> list[str]:
    # By what is in the files: each checkout has times of its own.
    return [
        *("gcloud", "storage", "rsync", folder, url),
        *("--recursive", "--checksums-only", f"--project={target.project}"),
    ]


def _composer(target: Target, variables: Mapping[str, str], source: Path) -> Iterator[Step]:
    name = str(target.composer_environment)
    place = _place(target, "location")
    # A value may have commas in it.
    pairs = {**variables, "PYTHONPATH": _COMPOSER_PLUGINS}
    text = "^;^" + ";".join(f"{key}={value}" for key, value in sorted(pairs.items()))
    update = ["gcloud", "composer", "environments", "update", name, *place]
    describe = [
        *("gcloud", "composer", "environments", "describe", name, *place),
        "--format=json(config.softwareConfig)",
    ]
    yield Step(
        what="Install the packages in Composer: ten minutes or more",
        command=[*update, f"--update-pypi-packages-from-file={source}/packages.txt"],
        look=describe,
        is_done=lambda printed: _has(printed, "pypiPackages", _requirements(packages(source))),
    )
    yield Step(
        what="Set the variables in Composer, which restarts Airflow",
        command=[*update, f"--update-env-variables={text}"],
        look=describe,
        is_done=lambda printed: _has(printed, "envVariables", pairs),
    )


def _has(printed: str | None, part: str, wanted: Mapping[str, str]) -> bool:
    """Whether what Composer says of an environment has all that is wanted.

    Raises:
        TallyflowError: It says nothing: there may be no such environment, or no permission.
    """
    if printed is None:
        raise TallyflowError("Composer does not say how the environment is; its error is above")
    config = (json.loads(printed) or {}).get("config") or {}
    found = (config.get("softwareConfig") or {}).get(part) or {}
    return wanted.items() <= found.items()


def _requirements(lines: Sequence[str]) -> dict[str, str]:
    """Requirements as Composer tells them: the name, and the rest."""
    pairs = (re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", line) for line in lines)
    return {pair[1].lower(): pair[2] for pair in pairs if pair}


def _plain(target: Target, source: Path) -> Iterator[Step]:
    yield Step(
        what="Upload the variables, for Airflow's environment",
        command=[
            *("gcloud", "storage", "cp", f"{source}/{VARIABLES}"),
            *(f"{target.airflow_bucket}/{VARIABLES}", f"--project={target.project}"),
        ],
    )


def _place(target: Target, of: str) -> tuple[str, str]:
    return f"--{of}={target.region}", f"--project={target.project}"
