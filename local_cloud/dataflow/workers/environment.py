"""The environments that workers run in, made once for the same content and then kept.

All are virtual environments. The base one holds what Beam's own image holds: Beam, what it needs,
and the tools that install packages. A job's environment sees the base one, or that of a container
image, and holds what the job staged.

They are in a cache of the user's, for all local clouds. Those that no job has used for a month are
removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from local_cloud.dataflow.workers import closure
from local_cloud.dataflow.workers.installation import Installer, staged_packages
from local_cloud.dataflow.workers.staging import Artifact
from local_cloud.images import Image

_SETTINGS = "pyvenv.cfg"  # Its time is that of the environment's last use.
_KEPT_SECONDS = 30 * 24 * 3600
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


def environments_directory() -> Path:
    """Where environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "local-cloud" / "environments"


def base_environment() -> Environment:
    """The environment of Beam's own image; made now if it is not there.

    Raises:
        OSError: It cannot be made, or others could change it.
    """
    interpreter = _base_executable()

    def fill(site: Path) -> None:
        machine = closure.machine_paths()
        found = closure.close(_BASE, [closure.finder(machine)]).found
        whole = closure.unshared_folders(machine)
        for distribution in found.values():
            closure.link(distribution, site, whole)

    key = [sys.version, interpreter, _machine_key()]
    return _at(_make(_name("base", key), Path(interpreter), _python_version(), fill))


def job_environment(base: Environment, staged: Path, artifacts: Sequence[Artifact]) -> Environment:
    """An environment with what a job staged; the base itself if that is nothing to install.

    Args:
        base: The environment of the job's image.
        staged: The folder with the staged files.
        artifacts: Those files.

    Raises:
        JobError: A package cannot be installed.
        OSError: The environment cannot be made, or others could change it.
    """
    packages = staged_packages(staged, artifacts)
    if packages.is_empty:
        return base
    description = _describe(base.python)
    contents = sorted((one.name, one.sha256) for one in artifacts)
    key = [description["key"], str(base.site), _machine_key(), contents]

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
    made = _at(_make(_name("job", key), executable, description["python"], fill))
    return Environment(made.python, made.site, base.variables, base.directory, base)


def image_environment(image: Image) -> Environment:
    """The environment that stands for a container image.

    Raises:
        OSError: Its interpreter cannot be run.
    """
    python = Path(image.python)
    site = Path(_describe(python)["site"])
    directory = Path(image.directory) if image.directory else None
    return Environment(python, site, image.environment, directory)


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


def _machine_key() -> list[tuple[str, int]]:
    """Something else for each state of this machine's packages: installing changes the times."""
    return [(path, Path(path).stat().st_mtime_ns) for path in closure.machine_paths()]


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


def _make(name: str, interpreter: Path, python_version: str, fill: Callable[[Path], None]) -> Path:
    """The folder of a virtual environment, made unless it is there.

    It appears whole: two processes may make it at once, and each may be killed at any moment.
    """
    parent = environments_directory()
    folder = parent / name
    _make_private(parent)
    with contextlib.suppress(FileNotFoundError):
        os.utime(folder / _SETTINGS)
        return folder
    _remove_abandoned(parent)
    _remove_unused(parent)
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
    (folder / _SETTINGS).write_text(settings)
    return site


def _make_private(folder: Path) -> None:
    """Makes a folder for this user alone: what is in there is run.

    Raises:
        OSError: It cannot be made, or others could write there.
    """
    for one in (folder.parent, folder):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = one.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(
                f"Others than this user can write to {one}: no worker is run from there."
                " Change that, or set XDG_CACHE_HOME to another folder."
            )


def _remove_unused(parent: Path) -> None:
    """Removes the environments that no job has used for long."""
    oldest = time.time() - _KEPT_SECONDS
    for settings in parent.glob(f"*/{_SETTINGS}"):
        with contextlib.suppress(FileNotFoundError):  # Another process does the same.
            if settings.stat().st_mtime < oldest:
                # Half removed, it must not have its name.
                removed = parent / f".{os.getpid()}-{settings.parent.name}"
                settings.parent.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Removes what processes that were killed have left half made."""
    for path in parent.glob(".*-*"):
        owner = path.name[1:].partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(path, ignore_errors=True)
