"""What all jobs' command lines share: common options, strictness, errors and exit codes."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from beam_jobs.engine.results import check_result_ending
from beam_jobs.errors import TallyflowError
from beam_jobs.filesystems import is_remote

LOCAL_RUNNER = "DirectRunner"
_GCS_PATH = re.compile(r"gs://[^/*?\[]+(/|$)")
_TERMINATED = 128 + signal.SIGTERM
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Arguments:
    """A parsed command line.

    Attributes:
        job: The job's own options.
        beam: The options that are Beam's, as they were given.
    """

    job: argparse.Namespace
    beam: tuple[str, ...]


def job_parser(module: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every job has."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog + _EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    running = parser.add_argument_group("running")
    running.add_argument(
        "--runner",
        default=LOCAL_RUNNER,
        metavar="RUNNER",
        help=f"where the job runs: {LOCAL_RUNNER} on this machine (default), DataflowRunner on "
        "Dataflow, or another runner of Beam's; Beam's options, such as --project, may follow",
    )
    bad_input = parser.add_argument_group("bad input")
    bad_input.add_argument(
        "--max_rejects",
        type=natural_number,
        default=None,
        metavar="N",
        help="how many malformed records are set aside before the job fails (default: 0)",
    )
    add_flag(
        bad_input,
        "--allow_empty",
        help="where no file matches, give an empty result instead of an error",
    )
    return parser


def add_flag(group: argparse._ArgumentGroup, name: str, help: str) -> None:  # noqa: A002
    """Add an option that is given or not; a flex template gives it as ``--option=true``."""
    group.add_argument(
        name, type=truth, nargs="?", const=True, default=False, metavar="true|false", help=help
    )


_EXIT_STATUS = """
exit status:
  0  the result is complete
  1  the work failed: a file cannot be read, too many malformed records, no place to write
  2  the call has to change: an option, the query, or a pattern that matches no file
"""


def natural_number(text: str) -> int:
    """Return a number from 0, for argparse."""
    if not (text.isascii() and text.isdecimal() and int(text) <= _LARGEST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {_LARGEST}")
    return int(text)


def truth(text: str) -> bool:
    """Return a truth value, for argparse."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def path(text: str) -> str:
    """Return a path or URL, for argparse; ``~`` is the home folder, also where it was quoted."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; is a variable of the shell not set?")
    if is_remote(text) and not _GCS_PATH.match(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a local path nor gs://bucket/…")
    return text if is_remote(text) else str(Path(text).expanduser()) if text[0] == "~" else text


def add_storage(parser: argparse._ActionsContainer) -> None:
    """Add the option ``--storage``."""
    parser.add_argument(
        "--storage",
        type=path,
        metavar="ROOT",
        default=os.environ.get("TALLYFLOW_STORAGE") or "data",
        help="folder or gs:// URL that holds the files and the results of all datasets "
        "(default: $TALLYFLOW_STORAGE, or data)",
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Arguments:
    """Parse a command line; an option that is neither the job's nor Beam's ends the process.

    Raises:
        SystemExit: With status 2, after an error message.
    """
    job, beam = parser.parse_known_args(argv)
    if beam:
        _check_beam_options(parser, beam)
    return Arguments(job, tuple(beam))


def is_template(arguments: Arguments) -> bool:
    """Whether this is the launcher of a flex template: it describes the job, and ends."""
    return any(option.startswith("--template_location") for option in arguments.beam)


def _check_beam_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Refuse what Beam would drop with a warning. Imports Beam, which takes over a second."""
    from apache_beam.options.pipeline_options import PipelineOptions

    beam_parser = argparse.ArgumentParser(
        prog=parser.prog, add_help=False, allow_abbrev=False, conflict_handler="resolve"
    )
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beam_parser)  # as Beam's own parser is built
    _, unknown = beam_parser.parse_known_args(arguments)
    if unknown:
        known = [*parser._option_string_actions, *beam_parser._option_string_actions]
        name = unknown[0].split("=")[0]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        parser.error(f"{unknown[0]} is an option neither of this job nor of Beam{hint}")


def check_output(parser: argparse.ArgumentParser, output: str | None, runner: str) -> None:
    """Refuse an output that cannot be written as asked, before any work is done.

    Raises:
        UsageError: Its ending names no format.
        SystemExit: With status 2: there is none, and the job does not run on this machine.
    """
    if output is None:
        if runner != LOCAL_RUNNER:
            parser.error(
                f"--output is needed with --runner={runner}: only a local run prints a table"
            )
    else:
        check_result_ending(output)
        if is_remote(output) and not output.removeprefix("gs://").partition("/")[2]:
            parser.error(f"--output {output} names a bucket; name an object in it")


def run_main(main: Callable[[Sequence[str]], None]) -> None:
    """Run a job's main function as a process: its errors become one message and an exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    # Whoever ends the job, as Airflow does, ends it in order: scratch files are deleted.
    terminated: list[int] = []

    def terminate(signal_number: int, _: object) -> None:
        terminated.append(signal_number)
        sys.exit(_TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception as error:
        if terminated:  # What then fails, fails because of that.
            sys.exit(_TERMINATED)
        if not isinstance(error, TallyflowError | BrokenPipeError):
            raise
        if isinstance(error, BrokenPipeError):
            # Whoever read the output, as `head` does, has seen enough.
            sys.exit(0)
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    # All is done and written: to take apart what Beam imported would cost half a second.
    os._exit(0)
