"""Installs what a job staged, in the way and in the order of the start of Beam's image.

First, the packages themselves come from the staged files alone. Then, what they require and the
workers do not have is taken from this machine's own environment where a version there fits, and
only otherwise from the package index that this machine's pip is set to use.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from local_cloud.dataflow.workers import closure
from local_cloud.dataflow.workers.errors import JobError
from local_cloud.dataflow.workers.staging import Artifact
from local_cloud.environment import OUTER_PREFIX, replaced

_LOGGER = logging.getLogger(__name__)
_REQUIREMENTS = "requirements.txt"
_EXTRA_PACKAGES = "extra_packages.txt"
_WORKFLOW = "workflow.tar.gz"
_SDK = "dataflow_python_sdk.tar"
_LAST_LINES = 15


@dataclass(frozen=True)
class Packages:
    """What is to be installed, in this order.

    Attributes:
        sdk: Beam itself, if another one than the image's was staged.
        requirements: Files that list requirements.
        extra: Packages.
    """

    sdk: tuple[Path, ...]
    requirements: tuple[Path, ...]
    extra: tuple[Path, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to install."""
        return not (self.sdk or self.requirements or self.extra)


def staged_packages(staged: Path, artifacts: Sequence[Artifact]) -> Packages:
    """Finds what to install among staged files.

    Raises:
        JobError: A package that was announced was not staged.
    """
    names = [artifact.name for artifact in artifacts]
    extra: list[str] = []
    if _EXTRA_PACKAGES in names:
        extra = (staged / _EXTRA_PACKAGES).read_text().split()
    if absent := [name for name in extra if name not in names]:
        raise JobError(f"failed to install extra packages: {', '.join(absent)} was not staged")
    wheels = [name for name in names if name.startswith("apache_beam-") and name.endswith(".whl")]
    sdk = [name for name in (*wheels, _SDK) if name in names and name not in extra]
    listing = [_REQUIREMENTS, *(one.name for one in artifacts if one.is_requirements)]
    return Packages(
        sdk=tuple(staged / name for name in sdk),
        requirements=tuple(staged / name for name in listing if name in names),
        extra=tuple(staged / name for name in (*extra, _WORKFLOW) if name in names),
    )


@dataclass(frozen=True)
class Installer:
    """Installs into one virtual environment.

    Attributes:
        python: Its interpreter.
        site: Its folder of packages.
        base: The folder of packages that are there already.
        staged: The folder with the staged files.
        machine: Folders of packages that may be linked because they are for this interpreter.
    """

    python: Path
    site: Path
    base: Path
    staged: Path
    machine: Sequence[str]

    def install(self, packages: Packages) -> None:
        """Installs packages and what they require.

        Raises:
            JobError: One cannot be installed.
        """
        if packages.sdk:
            self._install_staged("the SDK", packages.sdk)
        for path in packages.requirements:
            self._install_requirements(path)
        if packages.extra:
            self._install_staged("extra packages", packages.extra)
        if missing := self._link_required([]):
            self._pip("dependencies", *self._links(), *map(str, missing))

    def _install_staged(self, what: str, paths: Sequence[Path]) -> None:
        options = ["--no-deps", "--force-reinstall"]
        files = [str(path) for path in paths]
        # setuptools is there; another tool to build a source package is got from the index.
        if self._try_pip("--no-index", "--no-build-isolation", *options, *files):
            self._pip(what, *options, *files)

    def _install_requirements(self, path: Path) -> None:
        from_staged = ("--no-index", "--no-deps", "--no-build-isolation")
        self._try_pip(*from_staged, *self._links(), "-r", str(path))
        listed = _requirements(path)
        if listed is None or self._link_required(listed):
            self._pip("requirements", *self._links(), "-r", str(path))

    def _links(self) -> list[str]:
        return ["--find-links", str(self.staged)]

    def _link_required(self, listed: Sequence[Requirement]) -> list[Requirement]:
        """Links what is required and fits from this machine; returns what is still missing."""
        here, base, machine = map(
            closure.finder, ([str(self.site)], [str(self.base)], self.machine)
        )
        own = [Requirement(one.metadata["Name"]) for one in closure.installed(self.site)]
        result = closure.close([*own, *listed], [here, base, machine], complete=base)
        for name, distribution in result.found.items():
            if str(distribution.locate_file("")) in self.machine:
                _LOGGER.info("Using %s %s of this machine", name, distribution.version)
                closure.link(distribution, self.site)
        return list(result.missing)

    def _pip(self, what: str, *arguments: str) -> None:
        if output := self._try_pip(*arguments):
            last = "\n".join(output.strip().splitlines()[-_LAST_LINES:])
            raise JobError(
                f"failed to install {what}: PIP failed to install dependencies. This error may be"
                f" unrecoverable. The last lines of pip's output:\n{last}"
            )

    def _try_pip(self, *arguments: str) -> str:
        """Runs ``pip install``; returns its output if it fails."""
        command = [sys.executable, "-m", "pip", "--python", str(self.python)]
        options = ["--disable-pip-version-check", "--no-input", "--no-warn-script-location"]
        done = subprocess.run(
            [*command, "install", *options, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=False,
            env=outer_variables(os.environ),
        )
        _LOGGER.info("pip install %s\n%s", " ".join(arguments), done.stdout)
        return (done.stdout or "pip failed") if done.returncode else ""


def _requirements(path: Path) -> list[Requirement] | None:
    """The requirements in a file; None if it has more in it, such as options of pip."""
    lines = [line.partition(" #")[0].strip() for line in path.read_text().splitlines()]
    try:
        return [Requirement(line) for line in lines if line and not line.startswith("#")]
    except InvalidRequirement:
        return None


def outer_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables with the proxies and certificates from outside the local cloud.

    Those are what its clients had before: the local cloud keeps them under names of its own.
    """
    outer = {
        name.removeprefix(OUTER_PREFIX): value
        for name, value in environment.items()
        if name.startswith(OUTER_PREFIX)
    }
    # With what the local cloud sets for its clients, pip would reach no index.
    hidden = {*replaced(), "PYTHONPATH", "PYTHONHOME", *outer}
    kept = {
        name: value
        for name, value in environment.items()
        if name not in hidden and not name.startswith(OUTER_PREFIX)
    }
    return kept | {name: value for name, value in outer.items() if value}
