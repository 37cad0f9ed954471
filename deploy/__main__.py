"""Deploys the commit of this folder: ``make deploy ENV=prod``; `docs/deploy.md` explains it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from beam_jobs.errors import TallyflowError
from deploy.plan import Step, prepare, steps
from deploy.source import check_source, export, image_tag
from deploy.target import read_target

_ROOT = Path(__file__).resolve().parents[1]
# The files of the commit; it stays, so that a command that was shown can be run by hand.
_SOURCE = Path(".tallyflow/deploy")


def main(argv: Sequence[str]) -> None:
    """Deploys, or shows how.

    Raises:
        UsageError: This may not be deployed, or nowhere.
        TallyflowError: A command failed; what was done before stays, and is skipped the next time.
    """
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    parser.add_argument("environment", help="NAME of the file deploy/NAME.env")
    parser.add_argument(
        "--dry-run", action="store_true", help="print every command, and run none of them"
    )
    arguments = parser.parse_args(argv)
    os.chdir(_ROOT)
    target = read_target(Path("deploy", f"{arguments.environment}.env"))
    commit = None
    try:
        commit = check_source(Path())
    except TallyflowError as error:
        if not arguments.dry_run:
            raise
        print(f"# would be refused: {error}")
    tag = image_tag(Path())
    print(f"# commit {commit or 'none'}, images {tag}, to {target.airflow_bucket}")
    shutil.rmtree(_SOURCE, ignore_errors=True)
    _SOURCE.mkdir(parents=True)
    export(Path(), _SOURCE)
    prepare(target, tag, _SOURCE)
    for step in steps(target, tag, _SOURCE):
        run(step, is_dry=arguments.dry_run)


def run(step: Step, *, is_dry: bool) -> None:
    """Runs a step, or shows it.

    Raises:
        TallyflowError: It failed.
    """
    print(f"\n# {step.what}")
    if is_dry:
        if step.look is not None:
            print(f"# unless it is there, by: {shlex.join(step.look)}")
        print(shlex.join(step.command), flush=True)
        return
    if step.look is not None:
        looked = subprocess.run(step.look, stdout=subprocess.PIPE, text=True, check=False)
        if step.is_done(None if looked.returncode else looked.stdout):
            print("# is there already", flush=True)
            return
    print(shlex.join(step.command), flush=True)
    if status := subprocess.run(step.command, check=False).returncode:
        raise TallyflowError(
            f"{shlex.join(step.command[:4])} … ended with status {status}; its error is above. "
            "What was done before it stays; deploy again when the reason is gone"
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except TallyflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
