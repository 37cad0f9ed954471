from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.local_cloud.storage_server import Http, StorageServer

MIB = 1024 * 1024
QUANTUM = 256 * 1024


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StorageServer]:
    """A service of a test's own, with one bucket."""
    server = StorageServer(tmp_path / "data", "--bucket", "bucket")
    yield server
    server.stop()


def _contents(server: StorageServer) -> dict[str, bytes]:
    """All objects of the bucket, each read with its checksum."""
    found = server.client().bucket("bucket").list_blobs()
    return {blob.name: blob.download_as_bytes(checksum="crc32c") for blob in found}


def test_all_is_there_after_a_kill(own: StorageServer) -> None:
    blob = own.client().bucket("bucket").blob("a")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("x", content_type="text/x")
    own.kill()
    own.start()
    found = own.client().bucket("bucket").get_blob("a")
    assert (found.generation, found.metadata, found.content_type) == (
        blob.generation, {"k": "v"}, "text/x",
    )  # fmt: skip
    found.upload_from_string("y")
    assert found.generation > blob.generation


def test_a_resumable_upload_goes_on_after_a_kill(own: StorageServer) -> None:
    http, data = Http(own.url, "bucket"), os.urandom(3 * QUANTUM)
    session = http.begin("a")
    http.chunk(session, data[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
    own.kill()
    own.start()
    assert http.chunk(session, b"", "bytes */*").headers["Range"] == f"bytes=0-{QUANTUM - 1}"
    last = len(data) - 1
    done = http.chunk(session, data[QUANTUM:], f"bytes {QUANTUM}-{last}/{last + 1}").json()
    assert _contents(own) == {"a": data}
    own.kill()
    own.start()
    again = http.chunk(session, b"", f"bytes */{last + 1}")
    assert again.json()["generation"] == done["generation"]


def test_parts_of_an_upload_are_there_after_a_kill(own: StorageServer) -> None:
    begun = requests.post(f"{own.url}/bucket/a?uploads", timeout=30).text
    url = f"{own.url}/bucket/a?uploadId={begun.split('<UploadId>')[1].split('<')[0]}"
    etag = requests.put(f"{url}&partNumber=1", data=b"part", timeout=30).headers["ETag"]
    own.kill()
    own.start()
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    assert requests.post(url, data=body, timeout=30).status_code == 200
    assert _contents(own) == {"a": b"part"}


def _write(url: str, number: int, acknowledged: dict[str, bytes], stop: threading.Event) -> None:
    """Overwrites, composes, copies and deletes until the service is gone."""
    http = Http(url, "bucket")
    for step in itertools.count():
        name = f"{number}-{step % 3}"
        data = f"{number}/{step}/".encode() * (1 + step * 7919 % 60_000)
        try:
            match step % 4:
                case 0 | 1:
                    http.insert(name, data)
                    acknowledged[name] = data
                case 2:
                    session = http.begin(name)
                    http.session.put(session, data=data).raise_for_status()
                    acknowledged[name] = data
                case 3:
                    sources = {"sourceObjects": [{"name": name}] * 2}
                    whole = f"{http.objects}/{number}-whole/compose"
                    source = acknowledged.get(name)
                    if source is not None:
                        http.session.post(whole, json=sources).raise_for_status()
                        acknowledged[f"{number}-whole"] = source * 2
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            # It may have been committed or not: the last step of this name is not compared.
            acknowledged.pop(f"{number}-whole" if step % 4 == 3 else name, None)
            return
        if stop.is_set():
            return


def test_a_kill_at_any_moment_leaves_nothing_half_and_no_orphans(own: StorageServer) -> None:
    chance = random.Random(4)  # noqa: S311 - no secret
    acknowledged: list[dict[str, bytes]] = [{} for _ in range(4)]
    for _ in range(6):
        stop = threading.Event()
        threads = [
            threading.Thread(target=_write, args=(own.url, number, acknowledged[number], stop))
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.05, 0.4))
        own.kill()
        for thread in threads:
            thread.join(30)
        own.start()
        found = _contents(own)  # each checked against its checksum
        for mine in acknowledged:
            for name, data in mine.items():
                assert found[name] == data, name
    assert own.contents() == len(_contents(own)) + _open_uploads(own)


def _open_uploads(server: StorageServer) -> int:
    with sqlite3.connect(server.directory / "metadata.sqlite") as connection:
        query = "SELECT count(*) FROM uploads WHERE content NOT NULL"
        count: int = connection.execute(query).fetchone()[0]
    return count


def test_a_connection_lost_during_an_upload_stores_nothing(own: StorageServer) -> None:
    http = Http(own.url, "bucket")

    def chunks() -> Iterator[bytes]:
        yield b"x" * MIB
        raise ConnectionAbortedError

    with pytest.raises((ConnectionAbortedError, requests.ConnectionError)):
        http.insert("a", chunks())  # type: ignore[arg-type]
    deadline = time.monotonic() + 10
    while own.contents() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert own.contents() == 0
    assert _contents(own) == {}


def test_large_objects_pass_through_constant_memory(own: StorageServer, tmp_path: Path) -> None:
    size = 200 * MIB
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(size)
    blob = own.client().bucket("bucket").blob("a")
    before = own.process.memory_info().rss
    blob.upload_from_filename(str(source))
    blob.download_to_filename(str(tmp_path / "down"))
    own.client().bucket("bucket").blob("twice").compose([blob, blob])
    peak = _peak_bytes(own)
    assert (tmp_path / "down").stat().st_size == size
    assert peak < 150 * MIB
    assert peak - before < 40 * MIB


def _peak_bytes(server: StorageServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():  # Only Linux remembers the peak.
        rss: int = server.process.memory_info().rss
        return rss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone limits other processes")
def test_a_full_disk_is_503_in_words_and_the_service_stays_up(own: StorageServer) -> None:
    http = Http(own.url, "bucket")
    http.insert("small", b"kept")
    session = http.begin("resumed")
    limits = resource.prlimit(own.process.pid, resource.RLIMIT_FSIZE)
    # To a file that may not grow, a write fails as to a disk that is full.
    resource.prlimit(own.process.pid, resource.RLIMIT_FSIZE, (2 * MIB, limits[1]))
    query: dict[str, Any] = {"uploadType": "media", "name": "large"}
    answer = http.session.post(http.uploads, params=query, data=b"x" * 3 * MIB)
    assert answer.status_code == 503
    assert "cannot write to its disk" in answer.json()["error"]["message"]
    answer = http.chunk(session, b"x" * 3 * MIB, f"bytes 0-{3 * MIB - 1}/{3 * MIB}")
    assert answer.status_code == 503
    assert own.contents() == 2
    http.insert("small-too", b"still works")
    resource.prlimit(own.process.pid, resource.RLIMIT_FSIZE, limits)
    kept = http.chunk(session, b"", "bytes */*").headers.get("Range", "bytes=0--1")
    first = int(kept.removeprefix("bytes=0-")) + 1
    rest = b"x" * (3 * MIB - first)
    done = http.chunk(session, rest, f"bytes {first}-{3 * MIB - 1}/{3 * MIB}")
    assert done.status_code == 200
    assert _contents(own)["resumed"] == b"x" * 3 * MIB


def test_it_ends_on_sigterm_and_a_taken_port_is_a_sentence(
    own: StorageServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "local_cloud.storage", "--directory", str(tmp_path / "other")]
    done = subprocess.run(
        [*command, "--port", str(own.port)],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(10) in (0, -signal.SIGTERM)
