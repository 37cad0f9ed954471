"""The commands of a local cloud: ``python -m local_cloud --help``."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from local_cloud.cloud import is_running, read_status, start, stop
from local_cloud.environment import DIRECTORY
from local_cloud.files import Files
from local_cloud.loopback import call, message
from local_cloud.settings import (
    DEFAULT_PARALLEL_JOBS,
    HOST,
    PORTS,
    SERVICES,
    AlreadyRunningError,
    LocalCloudError,
    Settings,
    is_local_cloud,
    load_settings,
)
from local_cloud.tables import memory_of, table

_T = TypeVar("_T", int, str)
_FAULTY = ("gateway", "storage", "dataflow", "bigquery")
_FAULTS_PATH = "/_local_cloud/faults"

_EXAMPLES = """\
examples:
  python -m local_cloud up --bucket lake          start, with a bucket gs://lake
  set -a; source .local_cloud/env; set +a         make the clients of this shell use it
  python -m my_job --runner=DataflowRunner --project=local-project --region=us-central1 \\
      --temp_location=gs://lake/tmp               nothing in a job says where it runs
  python -m local_cloud fault storage storage.objects.get --status 503 --times 2
  python -m local_cloud status                    what runs, and how it is
  python -m local_cloud down                      end it; the data is kept for the next up
  python -m local_cloud reset                     end it and delete its data
"""
_FAULT_EXAMPLES = """\
METHOD is the id of a method of the API, as its reference has it; * stands for any text.

examples:
  fault storage storage.objects.insert --status 503 --times 2  two uploads fail; clients retry
  fault storage 'storage.objects.*' --status 403 --times 0     a permission is missing until `clear`
  fault dataflow dataflow.projects.locations.jobs.get --delay 5
  fault bigquery bigquery.jobs.insert --drop response          it has its effect, its answer is lost
  fault storage storage.objects.get --status 404 --matching day=2013-01-02
  fault list
  fault clear
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what a command line says.

    Returns:
        The exit status: 0, or 1 when it cannot be done, or `status` finds that not all is well.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Files], int] = options.command
    try:
        return command(options, Files(options.cloud.resolve()))
    except LocalCloudError as error:
        print(error, file=sys.stderr)
    except urllib.error.HTTPError as error:
        print(message(error), file=sys.stderr)
    return 1


def _up(options: argparse.Namespace, files: Files) -> int:
    try:
        settings, _ = start(
            files,
            leashed=False,
            services=[name for name in SERVICES if name not in options.without],
            projects=options.project,
            buckets=options.bucket,
            ports=dict(options.port),
            pass_through=options.pass_through,
            host=options.host,
            parallel_jobs=options.parallel_jobs,
        )
        print(f"The local cloud in {files.directory} is ready.\n")
    except AlreadyRunningError:
        settings = load_settings(files.directory)
        print(f"The local cloud in {files.directory} is running already.\n")
    print(table(("service", "url"), [(name, _url(name, settings)) for name in settings.services]))
    print("\nTo make the clients of a shell use it, and nothing else of Google's:\n")
    print(f"  set -a; source {shlex.quote(_short(files.environment))}; set +a\n")
    return 0


def _down(_: argparse.Namespace, files: Files) -> int:
    was_running = is_running(files)
    stop(files)
    print(f"The local cloud in {files.directory} {'has ended' if was_running else 'does not run'}.")
    return 0


def _reset(_: argparse.Namespace, files: Files) -> int:
    if not is_local_cloud(files.directory):
        raise LocalCloudError(f"{files.directory} is not a local cloud's: nothing is deleted.")
    stop(files)
    shutil.rmtree(files.directory)
    print(f"{files.directory} is deleted.")
    return 0


def _status(_: argparse.Namespace, files: Files) -> int:
    settings = load_settings(files.directory)
    if not is_running(files):
        print(f"The local cloud in {files.directory} does not run. Start it with `up`.")
        return 1
    services = read_status(files).get("services", {})
    rows = [
        (name, one["state"], _url(name, settings), str(one["pid"]), memory_of(one["pid"]),
         str(one["restarts"]))
        for name, one in services.items()
    ]  # fmt: skip
    print(table(("service", "state", "url", "pid", "memory", "restarts"), rows))
    return int(any(one["state"] != "ready" for one in services.values()))


def _fault(options: argparse.Namespace, files: Files) -> int:
    settings = load_settings(files.directory)
    running = [name for name in _FAULTY if name in settings.services]
    if options.service == "clear":
        for name in running:
            call("DELETE", settings.url(name) + _FAULTS_PATH)
    elif options.service == "list":
        for name in running:
            for fault in call("GET", settings.url(name) + _FAULTS_PATH):
                print(name, *(f"{key}={value}" for key, value in fault.items() if value))
    elif options.service not in running:
        raise LocalCloudError(f"{options.service!r} is none of: {', '.join(running)}, list, clear.")
    elif options.method is None:
        raise LocalCloudError("Say which METHOD is to fail, such as 'storage.objects.*'.")
    else:
        fault = {name: getattr(options, name) for name in _FAULT_FIELDS}
        fault = {name: value for name, value in fault.items() if value is not None}
        fault["times"] = options.times or None
        call("POST", settings.url(options.service) + _FAULTS_PATH, fault)
    return 0


def _image_add(options: argparse.Namespace, files: Files) -> int:
    from local_cloud.images import Image, add_image  # noqa: PLC0415 - its model takes time to load

    load_settings(files.directory)
    directory = options.directory and str(options.directory.absolute())
    image = Image(
        python=str(options.python.absolute()), environment=dict(options.env), directory=directory
    )
    add_image(files, options.name, image)
    return 0


def _image_list(_: argparse.Namespace, files: Files) -> int:
    from local_cloud.images import load_images  # noqa: PLC0415

    images = load_images(files)
    rows = [
        (name, one.python, one.directory or "",
         " ".join(f"{key}={value}" for key, value in one.environment.items()))
        for name, one in images.items()
    ]  # fmt: skip
    print(table(("image", "python", "directory", "environment"), rows))
    return 0


_FAULT_FIELDS = ("method", "status", "delay", "drop", "after", "matching", "message", "reason")


def _url(name: str, settings: Settings) -> str:
    if name == "postgres":
        return settings.url(name).replace("http", "postgresql", 1)
    others = [f"{port} {settings.ports[port]}" for port in PORTS[name] if port != name]
    return settings.url(name) + "".join(f"  ({other})" for other in others)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud",
        description="Google Cloud for a laptop: Dataflow, Cloud Storage, BigQuery and Postgres.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(cloud=Path(os.environ.get(DIRECTORY, ".local_cloud")))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(commands)
    for name, command, text in (
        ("status", _status, "show what runs; exit status 1 when not all is ready"),
        ("down", _down, "end it, and wait until all of it is gone; data is kept"),
        ("reset", _reset, "end it, and delete its directory with all data"),
    ):
        _add(commands, name, command, text)
    _add_fault(commands)
    _add_image(commands)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[argparse.Namespace, Files], int],
    text: str,
    examples: str | None = None,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text, epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    # The image's own --directory is something else.
    parser.add_argument(
        "--cloud" if name == "add" else "--directory", dest="cloud", type=Path, metavar="D",
        default=argparse.SUPPRESS, help=f"its directory (default: ${DIRECTORY} or .local_cloud)",
    )  # fmt: skip
    parser.set_defaults(command=command)
    return parser


def _add_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _add(commands, "up", _up, "start it in the background, and say how to use it")
    up.add_argument(
        "--port", type=_pair(int), action="append", default=[], metavar="SERVICE=PORT",
        help="by default the one of the last time, or any that is free",
    )  # fmt: skip
    up.add_argument(
        "--project", action="append", default=[], metavar="P",
        help="a project that exists; the first is the default one (default: local-project)",
    )  # fmt: skip
    up.add_argument(
        "--bucket", action="append", default=[], metavar="B", help="make it if it is not there"
    )
    up.add_argument(
        "--pass_through", action="append", default=[], metavar="HOST",
        help="a host, not Google's, that clients may reach, such as a package index",
    )  # fmt: skip
    up.add_argument(
        "--host", default=HOST, metavar="NAME",
        help="of the container it runs in, for clients in others: it then listens on all addresses",
    )  # fmt: skip
    up.add_argument(
        "--parallel_jobs", type=int, default=DEFAULT_PARALLEL_JOBS, metavar="N",
        help="how many Dataflow jobs run at once, the others wait (default: %(default)s)",
    )  # fmt: skip
    up.add_argument(
        "--without", action="append", default=[], metavar="SERVICE", choices=SERVICES[1:],
        help=f"leave one out of: {', '.join(SERVICES[1:])}",
    )  # fmt: skip


def _add_fault(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "make the next calls of a method fail, wait, or lose their connection"
    fault = _add(commands, "fault", _fault, text, _FAULT_EXAMPLES)
    fault.add_argument("service", metavar="SERVICE|list|clear", help=", ".join(_FAULTY))
    fault.add_argument("method", metavar="METHOD", nargs="?")
    fault.add_argument(
        "--status", type=int, help="of HTTP; gRPC's code is the one that belongs to it"
    )
    fault.add_argument("--delay", type=float, metavar="SECONDS", help="before it fails or goes on")
    fault.add_argument("--drop", choices=("request", "response"), help="end the connection")
    fault.add_argument(
        "--times", type=int, default=1, help="how many calls; 0 for all (default: 1)"
    )
    fault.add_argument("--after", type=int, metavar="N", help="leave the next N calls alone")
    fault.add_argument("--matching", metavar="REGEX", help="only calls whose path or names match")
    fault.add_argument("--message", help="the error's text")
    fault.add_argument("--reason", help="the error's word, such as quotaExceeded")


def _add_image(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    image = commands.add_parser(
        "image", help="say which Python stands in for a container image that jobs name"
    )
    subcommands = image.add_subparsers(required=True, metavar="COMMAND")
    add = _add(subcommands, "add", _image_add, "make an image known")
    add.add_argument(
        "name", metavar="NAME", help="as jobs name it: --sdk_container_image, or a template"
    )
    add.add_argument(
        "--python", type=Path, required=True, help="the interpreter, with its packages"
    )
    add.add_argument("--directory", type=Path, help="the working directory in the image")
    add.add_argument("--env", type=_pair(str), action="append", default=[], metavar="NAME=VALUE")
    _add(subcommands, "list", _image_list, "show the images that are known")


def _pair(kind: type[_T]) -> Callable[[str], tuple[str, _T]]:
    def name_and_value(text: str) -> tuple[str, _T]:
        name, equals, value = text.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{text!r} has no '='")
        try:
            return name, kind(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{value!r} is no number") from None

    return name_and_value


if __name__ == "__main__":
    sys.exit(main())
