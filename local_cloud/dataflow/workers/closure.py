"""Which installed distributions a set of requirements needs, and how to give them to a worker.

A distribution is given by symbolic links to its files: nothing is copied or downloaded, and what
was not asked for cannot be imported.
"""

from __future__ import annotations

import csv
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Find = Callable[[str], Distribution | None]
_CACHE = "__pycache__"


@dataclass(frozen=True)
class Closure:
    """What a set of requirements comes to.

    Attributes:
        found: The distributions that fit, by their canonical names.
        missing: The requirements that no distribution fits.
    """

    found: Mapping[str, Distribution]
    missing: tuple[Requirement, ...]


def machine_paths() -> list[str]:
    """The directories with the distributions of the environment that this process runs in."""
    return list(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))


def finder(paths: Iterable[str]) -> Find:
    """A function that finds the distribution of a name in directories, the first one's first."""
    directories = list(paths)

    def find(name: str) -> Distribution | None:
        return next(iter(Distribution.discover(name=name, path=directories)), None)

    return find


def close(
    requirements: Iterable[Requirement], finders: Iterable[Find], complete: Find | None = None
) -> Closure:
    """Follows requirements to all that they require in turn.

    Args:
        requirements: Where to begin; those whose marker does not hold here are left out.
        finders: Where distributions are looked for; of a name, the first that fits is taken.
        complete: The one among them whose distributions have all that they require: they are not
            followed, and not among what is found.
    """
    sources = list(finders)
    found: dict[str, Distribution] = {}
    missing: dict[str, Requirement] = {}
    pending = [requirement for requirement in requirements if _holds(requirement, {""})]
    seen: set[str] = set()
    while pending:
        requirement = pending.pop()
        if (key := str(requirement)) in seen:
            continue
        seen.add(key)
        name = canonicalize_name(requirement.name)
        for find in [found.get] if name in found else sources:
            distribution = find(name)
            if distribution and _fits(distribution, requirement):
                if find is not complete or requirement.extras:
                    found[name] = distribution
                    pending += required_by(distribution, requirement.extras)
                break
        else:
            missing[key] = requirement
    return Closure(found, tuple(missing.values()))


def installed(directory: Path) -> list[Distribution]:
    """The distributions in a directory."""
    return list(Distribution.discover(path=[str(directory)]))


def required_by(distribution: Distribution, extras: Iterable[str] = ()) -> list[Requirement]:
    """What a distribution requires here, with these of its extras."""
    requirements = [Requirement(line) for line in distribution.requires or ()]
    return [requirement for requirement in requirements if _holds(requirement, {"", *extras})]


def unshared_folders(paths: Iterable[str]) -> set[PurePosixPath]:
    """The folders within directories in which only one distribution has files."""
    count = Counter(
        folder
        for distribution in Distribution.discover(path=list(paths))
        for folder in {one for path in _files(distribution) for one in path.parents}
    )
    return {folder for folder, distributions in count.items() if distributions == 1}


def link(distribution: Distribution, target: Path, whole: Set[PurePosixPath] = frozenset()) -> None:
    """Puts links to a distribution's files into a directory, where they can be imported.

    Args:
        distribution: The distribution.
        target: The directory.
        whole: Folders that may be linked as they are. Not for where pip installs: it would replace
            files through the link.
    """
    source = Path(str(distribution.locate_file("")))
    made: set[PurePosixPath] = set()
    for path in {_outermost(whole, path): None for path in _files(distribution)}:
        folder = path.parent
        if folder not in made:
            made.add(folder)
            (target / folder).mkdir(parents=True, exist_ok=True)
            # Otherwise the first worker compiles every module again.
            if folder.parts and (source / folder / _CACHE).is_dir():
                _symlink(source / folder / _CACHE, target / folder / _CACHE)
        _symlink(source / path, target / path)


def _outermost(whole: Set[PurePosixPath], path: PurePosixPath) -> PurePosixPath:
    """The outermost folder of a path that is linked as it is, or the path itself."""
    return next((folder for folder in reversed(path.parents) if folder in whole), path)


def module_names(distribution: Distribution) -> set[str]:
    """The dotted names of the modules that a distribution's files hold."""
    modules = [path for path in _files(distribution) if path.suffix in (".py", ".so", ".pyd")]
    return {".".join(_module_parts(path)) for path in modules}


def _module_parts(path: PurePosixPath) -> tuple[str, ...]:
    stem = path.name.split(".")[0]
    return path.parent.parts if stem == "__init__" else (*path.parent.parts, stem)


def _files(distribution: Distribution) -> list[PurePosixPath]:
    """The files of a distribution within its directory, compiled modules excepted."""
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    paths = [PurePosixPath(row[0]) for row in rows if row]
    return [path for path in paths if not {"..", _CACHE} & set(path.parts) and path.root == ""]


def _fits(distribution: Distribution, requirement: Requirement) -> bool:
    return requirement.specifier.contains(distribution.version, prereleases=True)


def _holds(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def _symlink(source: Path, target: Path) -> None:
    if not target.is_symlink():  # Two distributions may name one file, such as a LICENSE.
        target.symlink_to(source)
