"""Where a local cloud keeps its data, on which ports it serves, and what it has from the start."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.files import Files, write_atomically
from local_cloud.gateway.hosts import is_google

HOST = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - only where the user names a host for other containers
DEFAULT_PROJECT = "local-project"
DEFAULT_REGION = "us-central1"
DEFAULT_PARALLEL_JOBS = 2
POSTGRES_USER = "airflow"
POSTGRES_DATABASE = "airflow"
# The gateway is always there: it is what keeps clients from the real cloud.
SERVICES = ("gateway", "storage", "dataflow", "bigquery", "postgres")
# Which ports each service listens on.
PORTS = {
    "gateway": ("gateway",),
    "storage": ("storage",),
    "dataflow": ("dataflow", "dataflow_grpc"),
    "bigquery": ("bigquery",),
    "postgres": ("postgres",),
}


class LocalCloudError(Exception):
    """What keeps a local cloud from doing what it was told, in a sentence for its user."""


class AlreadyRunningError(LocalCloudError):
    """The directory has a local cloud that runs."""


@dataclass(frozen=True)
class Settings:
    """What a local cloud is started with; kept in its directory.

    Attributes:
        services: Which services run, in the order of `SERVICES`.
        ports: The port of each name in `PORTS`, for all services.
        projects: The projects that exist; the first is the clients' default.
        buckets: The buckets that are made when there is none of the name.
        pass_through: Hosts, not Google's, that the gateway lets clients reach.
        host: The name under which clients reach all services.
        parallel_jobs: How many Dataflow jobs run at once.
    """

    services: tuple[str, ...]
    ports: Mapping[str, int]
    projects: tuple[str, ...] = (DEFAULT_PROJECT,)
    buckets: tuple[str, ...] = ()
    pass_through: tuple[str, ...] = ()
    host: str = HOST
    parallel_jobs: int = DEFAULT_PARALLEL_JOBS

    @property
    def address(self) -> str:
        """The address that the services listen on: all of the container's for clients in others."""
        return HOST if self.host == HOST else EVERY_ADDRESS

    def url(self, port_name: str) -> str:
        """The URL of what listens on the port of this name."""
        return f"http://{self.host}:{self.ports[port_name]}"


def is_local_cloud(directory: Path) -> bool:
    """Whether a directory is one that a local cloud made."""
    return Files(directory).settings.is_file()


def load_settings(directory: Path) -> Settings:
    """What the local cloud in a directory was last started with.

    Raises:
        LocalCloudError: The directory is not one of a local cloud.
    """
    try:
        document = json.loads(Files(directory).settings.read_text())
        names = {"ports", "host", "parallel_jobs"} & document.keys()
        single = {name: document.pop(name) for name in names}
        lists: dict[str, Any] = {key: tuple(value) for key, value in document.items()}
        return Settings(**single, **lists)
    except FileNotFoundError:
        raise LocalCloudError(
            f"{directory} has no local cloud. Start one there with `up`."
        ) from None
    except (TypeError, ValueError, KeyError) as error:
        raise LocalCloudError(
            f"{Files(directory).settings} is damaged ({error}). Delete it."
        ) from None


def save_settings(directory: Path, settings: Settings) -> None:
    """Keeps the settings in a directory, which becomes one of a local cloud."""
    document = dataclasses.asdict(settings)
    write_atomically(Files(directory).settings, json.dumps(document, indent=2) + "\n")


def make_directory(directory: Path) -> None:
    """Makes the directory of a local cloud, if it is not there.

    Raises:
        LocalCloudError: It cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LocalCloudError(f"{directory} cannot be used: {error.strerror}.") from None


def prepare_directory(directory: Path) -> None:
    """Makes a directory that of a local cloud; for one process at a time.

    Raises:
        LocalCloudError: It has files of somebody else, or cannot be written.
    """
    try:
        if not is_local_cloud(directory) and any(directory.iterdir()):
            raise LocalCloudError(
                f"{directory} has files that are not a local cloud's. Choose an empty directory."
            )
        # It holds keys, and data that is no source: git is to leave all of it alone.
        write_atomically(directory / ".gitignore", "*\n")
        Files(directory).log("supervisor").parent.mkdir(exist_ok=True)
    except OSError as error:
        raise LocalCloudError(f"{directory} cannot be used: {error.strerror}.") from None


def choose_ports(wanted: Mapping[str, int], earlier: Mapping[str, int]) -> dict[str, int]:
    """A free port of loopback for each name in `PORTS`.

    Args:
        wanted: Ports that the user named.
        earlier: Ports of the last time, kept where they are still free.

    Raises:
        LocalCloudError: A port that the user named is in use, or named twice.
    """
    chosen: dict[str, int] = {}
    with contextlib.ExitStack() as held:  # Held until all are chosen, so that none is chosen twice.
        for name, port in wanted.items():
            try:
                chosen[name] = _hold(held, port)
            except OSError as error:
                raise LocalCloudError(
                    f"Port {port} for {name} cannot be used: {error.strerror}."
                    f" Choose another one with --port {name}=PORT."
                ) from None
        for name in _port_names(SERVICES):
            if name not in chosen:
                chosen[name] = _hold_preferred(held, earlier.get(name, 0))
    return chosen


def check_services(names: Sequence[str]) -> tuple[str, ...]:
    """The services of these names, in the order of `SERVICES`, and the gateway.

    Raises:
        LocalCloudError: There is no service of a name.
    """
    for name in names:
        if name not in SERVICES:
            raise LocalCloudError(f"There is no service {name!r}, only: {', '.join(SERVICES)}.")
    return tuple(name for name in SERVICES if name == "gateway" or name in names)


def check_host(host: str, services: Sequence[str]) -> None:
    """Checks that services can be reached under a host's name.

    Raises:
        LocalCloudError: One of them serves this machine only.
    """
    if host != HOST and "postgres" in services:
        raise LocalCloudError(f"Postgres serves {HOST} only: leave it out, --without postgres.")


def check_port_names(names: Sequence[str]) -> None:
    """Checks that ports have these names.

    Raises:
        LocalCloudError: No port has one of them.
    """
    known = _port_names(SERVICES)
    for name in names:
        if name not in known:
            raise LocalCloudError(f"There is no port {name!r}, only: {', '.join(known)}.")


def check_pass_through(hosts: Sequence[str]) -> None:
    """Checks that hosts can be let through.

    Raises:
        LocalCloudError: One of them is Google's.
    """
    for host in hosts:
        if is_google(host):
            raise LocalCloudError(f"{host} is one of Google's: no client may reach it from here.")


def _port_names(services: Sequence[str]) -> list[str]:
    return [port for service in services for port in PORTS[service]]


def _hold_preferred(held: contextlib.ExitStack, port: int) -> int:
    try:
        return _hold(held, port)
    except OSError:
        return _hold(held, 0)


def _hold(held: contextlib.ExitStack, port: int) -> int:
    listener = held.enter_context(socket.socket())
    # As the services do: a port whose last connections are still closing is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    # Without it, another socket with SO_REUSEADDR can be bound to the same port.
    listener.listen()
    chosen: int = listener.getsockname()[1]
    return chosen
