"""The environments that workers run in, made once for the same content and then kept.

All are virtual environments. The base one holds what Beam's own image holds: Beam, what it needs,
and the tools that install packages. A job's environment sees the base one, or that of a container
image, and holds what the job staged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from local_cloud.dataflow.workers import closure
from local_cloud.dataflow.workers.images import Image
from local_cloud.dataflow.workers.installation import Installer, staged_packages
from local_cloud.dataflow.workers.staging import Artifact

ENVIRONMENTS = "environments"
# pip and setuptools are in Beam's image too.
_BASE = tuple(map(Requirement, ("apache-beam[gcp]", "pip", "setuptools")))
# For an interpreter that another one asks about itself.
_DESCRIBE = """
import json, os, sys, sysconfig
site = sysconfig.get_path("purelib")
print(json.dumps({
    "executable": getattr(sys, "_base_executable", sys.executable), "site": site,
    "python": "%d.%d" % sys.version_info[:2],
    "key": [sys.version, sys.executable, os.stat(site).st_mtime_ns],
}))
"""


@dataclass(frozen=True)
class Environment:
    """What worker processes are started with.

    Attributes:
        python: The interpreter.
        site: Its folder of installed packages.
        variables: Further environment variables.
        directory: The folder to start in; None if it is of no matter.
        base: The environment that this one adds packages to; None if it stands alone.
    """

    python: Path
    site: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    base: Environment | None = None


def base_environment(service_directory: Path) -> Environment:
    """The environment of Beam's own image; made now if it is not there."""
    machine = closure.finder(closure.machine_paths())
    found = closure.close(_BASE, [machine]).found
    versions = sorted((name, one.version) for name, one in found.items())
    interpreter = _base_executable()

    def fill(site: Path) -> None:
        for distribution in found.values():
            closure.link(distribution, site)

    key = [sys.version, interpreter, closure.machine_paths(), versions]
    parent, name = service_directory / ENVIRONMENTS, _name("base", key)
    folder = _make(parent, name, Path(interpreter), _python_version(), fill)
    return _at(folder)


def job_environment(
    base: Environment, staged: Path, artifacts: Sequence[Artifact], service_directory: Path
) -> Environment:
    """An environment with what a job staged; the base itself if that is nothing to install.

    Args:
        base: The environment of the job's image.
        staged: The folder with the staged files.
        artifacts: Those files.
        service_directory: Where environments are kept.

    Raises:
        JobError: A package cannot be installed.
    """
    packages = staged_packages(staged, artifacts)
    if packages.is_empty:
        return base
    description = _describe(base.python)
    key = [description["key"], str(base.site), sorted((a.name, a.sha256) for a in artifacts)]

    def fill(site: Path) -> None:
        # The packages of an image may be an editable installation's: its .pth files count too.
        line = f"import site; site.addsitedir({str(base.site)!r})\n"
        (site / "base.pth").write_text(line)
        machine = closure.machine_paths()
        if description["python"] != _python_version() or str(base.site) in machine:
            machine = []
        python = site.parents[2] / "bin" / "python"
        Installer(python, site, base.site, staged, machine).install(packages)

    executable = Path(description["executable"])
    parent, name = service_directory / ENVIRONMENTS, _name("job", key)
    folder = _make(parent, name, executable, description["python"], fill)
    made = _at(folder)
    return Environment(made.python, made.site, base.variables, base.directory, base)


def image_environment(image: Image) -> Environment:
    """The environment that stands for a container image.

    Raises:
        OSError: Its interpreter cannot be run.
    """
    site = Path(_describe(image.python)["site"])
    return Environment(image.python, site, image.environment, image.directory)


def _describe(python: Path) -> dict[str, str]:
    try:
        answer = subprocess.run(
            [python, "-c", _DESCRIBE], capture_output=True, check=True, env=_plain_variables()
        )
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise OSError(f"{python} does not run: {reason}") from error
    description: dict[str, str] = json.loads(answer.stdout)
    return description


def _plain_variables() -> dict[str, str]:
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _python_version() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _base_executable() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def _at(folder: Path) -> Environment:
    return Environment(folder / "bin" / "python", _site(folder))


def _site(folder: Path) -> Path:
    return next((folder / "lib").glob("python*")) / "site-packages"


def _name(kind: str, key: Iterable[object]) -> str:
    digest = hashlib.sha256(json.dumps(list(key)).encode()).hexdigest()
    return f"{kind}-{digest[:20]}"


def _make(
    parent: Path,
    name: str,
    interpreter: Path,
    python_version: str,
    fill: Callable[[Path], None],
) -> Path:
    """The folder of a virtual environment, made unless it is there.

    It appears whole: two processes may make it at once, and each may be killed at any moment.
    """
    folder = parent / name
    if folder.is_dir():
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}-", dir=parent))
    try:
        fill(_lay_out(unfinished, interpreter, python_version))
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # Otherwise another process was faster.
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _lay_out(folder: Path, interpreter: Path, python_version: str) -> Path:
    """Makes an empty virtual environment and returns its folder of packages."""
    site = folder / "lib" / f"python{python_version}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(interpreter)
    settings = f"home = {interpreter.parent}\ninclude-system-site-packages = false\n"
    (folder / "pyvenv.cfg").write_text(settings)
    return site


def _remove_abandoned(parent: Path) -> None:
    """Removes what processes that were killed have left half made."""
    for path in parent.glob(".*-*"):
        owner = path.name[1:].partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(path, ignore_errors=True)
