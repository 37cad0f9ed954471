"""A local cloud starts, keeps running and ends, whatever happens to its processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from local_cloud import LocalCloud, LocalCloudError
from local_cloud.cloud import is_running, read_status
from local_cloud.files import Files
from local_cloud.settings import HOST, PORTS


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 25
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)


def _processes(directory: Path) -> list[psutil.Process]:
    """All processes that have to do with a directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(directory) in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def _pids(directory: Path) -> dict[str, int]:
    services = read_status(Files(directory))["services"]
    return {name: service["pid"] for name, service in services.items()}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def test_all_services_answer_inside_and_nothing_is_left_outside() -> None:
    with LocalCloud(services=["storage", "dataflow", "bigquery"], buckets=["lake"]) as cloud:
        for url in (cloud.gateway_url, cloud.storage_url, cloud.dataflow_url, cloud.bigquery_url):
            assert requests.get(f"{url}/_local_cloud/ready", timeout=5).status_code == 200
        bucket = requests.get(f"{cloud.storage_url}/storage/v1/b/lake", timeout=5).json()
        assert bucket["name"] == "lake"
        assert len(_processes(cloud.directory)) == 5
        directory, ports = cloud.directory, cloud.settings.ports
    assert not _processes(directory)
    assert not directory.exists()
    assert all(_is_free(port) for port in ports.values())


def test_a_directory_keeps_its_ports_and_keys(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=[]) as cloud:
        ports = cloud.settings.ports
        key = Files(tmp_path).service_account.read_text()
    with LocalCloud(tmp_path, services=[]) as cloud:
        assert cloud.settings.ports == ports
    assert Files(tmp_path).service_account.read_text() == key


def test_a_port_that_has_been_taken_since_gives_way_to_a_free_one(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=[]) as cloud:
        before = cloud.settings.ports
    taken = socket.create_server((HOST, before["gateway"]))
    with taken, LocalCloud(tmp_path, services=[]) as cloud:
        after = cloud.settings.ports
        assert requests.get(f"{cloud.gateway_url}/_local_cloud/ready", timeout=5).ok
    assert after["gateway"] != before["gateway"]
    assert {**after, "gateway": 0} == {**before, "gateway": 0}


def test_no_two_ports_are_the_same() -> None:
    with LocalCloud(services=[]) as cloud:
        ports = cloud.settings.ports
    assert len(set(ports.values())) == len(ports) == sum(map(len, PORTS.values()))


def test_a_named_port_in_use_is_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LocalCloudError, match=rf"^Port {port} for storage cannot be used: "):
            LocalCloud(tmp_path, ports={"storage": port}).__enter__()
    assert not _processes(tmp_path)


def test_a_service_that_dies_at_the_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=[]):
        pass
    (tmp_path / "postgres" / "data").mkdir(parents=True)  # Holds no database.
    with pytest.raises(LocalCloudError, match="postgres does not start:(.|\n)*could not access"):
        LocalCloud(tmp_path, services=["postgres"]).__enter__()
    assert not _processes(tmp_path)


def test_a_bucket_that_storage_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LocalCloudError, match="Bucket 'No Bucket' cannot be made: "):
        LocalCloud(tmp_path, services=["storage"], buckets=["No Bucket"]).__enter__()
    assert not _processes(tmp_path)


def test_a_directory_has_one_local_cloud_at_a_time(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=[]) as cloud:
        with pytest.raises(LocalCloudError, match="runs in .* already"):
            LocalCloud(tmp_path, services=[]).__enter__()
        assert requests.get(f"{cloud.gateway_url}/_local_cloud/ready", timeout=5).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"services": ["pubsub"]}, "There is no service 'pubsub', only: gateway, storage, "),
        ({"ports": {"web": 80}}, "There is no port 'web', only: "),
        ({"pass_through": ["pubsub.googleapis.com"]}, "is one of Google's"),
        ({"services": [], "buckets": ["lake"]}, "Buckets take the storage service"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(LocalCloudError, match=message):
        LocalCloud(tmp_path, **options).__enter__()  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all my work")
    with pytest.raises(LocalCloudError, match="files that are not a local cloud's"):
        LocalCloud(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_stays_when_the_process_that_uses_it_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from local_cloud import LocalCloud
with LocalCloud({str(tmp_path)!r}, services=["storage", "dataflow", "postgres"]) as cloud:
    print("ready", flush=True)
    time.sleep(600)
"""
    user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert user.stdout is not None
    assert user.stdout.readline() == b"ready\n"
    assert len(_processes(tmp_path)) >= 6
    user.kill()
    user.wait()
    user.stdout.close()
    _wait_until(lambda: not _processes(tmp_path), "all processes are gone")


def test_nothing_stays_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=["storage", "postgres"]):
        os.kill(read_status(Files(tmp_path))["pid"], signal.SIGKILL)
        _wait_until(lambda: not _processes(tmp_path), "all processes are gone")
    with LocalCloud(tmp_path, services=["storage", "postgres"]):
        assert is_running(Files(tmp_path))


def test_a_service_that_crashes_is_started_again_with_its_data(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=["storage"], buckets=["lake"]) as cloud:
        before = _pids(tmp_path)["storage"]
        os.kill(before, signal.SIGKILL)

        def is_back() -> bool:
            storage = read_status(Files(tmp_path))["services"]["storage"]
            return bool(storage["restarts"] == 1 and storage["state"] == "ready")

        _wait_until(is_back, "storage is started again")
        assert requests.get(f"{cloud.storage_url}/storage/v1/b/lake", timeout=5).ok
        assert _pids(tmp_path)["storage"] != before
        assert "storage ended with status -9; starts again in 0.5 s" in cloud.log("supervisor")


def test_what_a_service_has_started_ends_with_it(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=["postgres"]):
        server = next(p for p in _processes(tmp_path) if Path(p.cmdline()[0]).name == "postgres")
        os.kill(_pids(tmp_path)["postgres"], signal.SIGKILL)
        _wait_until(lambda: not server.is_running(), "the server is gone")


def test_keys_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    with LocalCloud(tmp_path, services=[]):
        secret = ["authority-key.pem", "server.pem", "service-account.json", "postgres-password"]
        paths = [Files(tmp_path).environment, *(tmp_path / "identity" / name for name in secret)]
        assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
        assert (tmp_path / ".gitignore").read_text() == "*\n"
