"""What is deployed: one commit, which others have too, and which was tested."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from beam_jobs.errors import UsageError

# Trees that `make test` has passed on this machine, one a line.
TESTED = Path(".tallyflow/tested")
# What the images are made of: where none of it has changed, there is nothing to build.
_OF_IMAGES = ("Dockerfile", "beam_jobs", "deploy/template", "pyproject.toml", "requirements.txt")
_TAG_CHARS = 12
_SHOWN = 5


def tree_of_folder(folder: Path) -> str:
    """The id that git would give the folder's content, changes that are not committed included."""
    with tempfile.TemporaryDirectory() as scratch:
        index = os.environ | {"GIT_INDEX_FILE": f"{scratch}/index"}
        _git(folder, "add", "--all", environment=index)
        return _git(folder, "write-tree", environment=index)


def check_source(folder: Path) -> str:
    """Checks that the folder is a commit that may be deployed.

    Returns:
        The commit.

    Raises:
        UsageError: It is changed, not pushed, or not tested.
    """
    if changed := _git(folder, "status", "--porcelain").splitlines():
        shown = "\n".join([*changed[:_SHOWN], *(["…"] if len(changed) > _SHOWN else [])])
        raise UsageError(
            f"{len(changed)} files have changes that are not committed; commit them:\n{shown}"
        )
    commit = _git(folder, "rev-parse", "HEAD")
    if not _git(folder, "branch", "--remotes", "--contains", commit):
        raise UsageError(f"commit {commit} is on no branch of a remote; push it: git push")
    tested = folder / TESTED
    if tree_of_folder(folder) not in (tested.read_text().split() if tested.exists() else ()):
        raise UsageError(
            f"commit {commit} was not tested on this machine: run make test, which notes what it "
            f"has passed in {TESTED}"
        )
    return commit


def image_tag(folder: Path) -> str:
    """A tag that says what the images are made of."""
    content = _git(folder, "ls-tree", "HEAD", "--", *_OF_IMAGES)
    return hashlib.sha256(content.encode()).hexdigest()[:_TAG_CHARS]


def export(folder: Path, destination: Path) -> None:
    """Writes the files of the commit, and no others, into an empty folder."""
    archive = subprocess.run(
        ["git", "-C", str(folder), "archive", "HEAD"], check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(destination)], check=True, input=archive.stdout)


def _git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UsageError(f"git {arguments[0]}: {said.strip()}") from error
    return done.stdout.rstrip()


if __name__ == "__main__":
    print(tree_of_folder(Path.cwd()))
