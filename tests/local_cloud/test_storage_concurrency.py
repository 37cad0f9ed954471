from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.api_core import exceptions

from tests.local_cloud.storage_server import Http, bucket, client, http, server

__all__ = ["bucket", "client", "http", "server"]

THREADS = 16


def _at_once(call: Callable[[int], Any]) -> list[Any]:
    """The outcomes of a call made by many threads at once."""
    ready = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        ready.wait()
        return call(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


@pytest.mark.parametrize("kind", ["media", "resumable", "compose", "copy", "xml"])
def test_of_many_that_create_an_object_exactly_one_wins(bucket: Any, http: Http, kind: str) -> None:
    bucket.blob("source").upload_from_string("source")

    def create(number: int) -> int:
        mine = Http(http.xml.rpartition("/")[0], bucket.name)
        text, only_new = f"{number}".encode(), {"ifGenerationMatch": "0"}
        to_a = f"{http.objects}/a"
        calls: dict[str, Callable[[], requests.Response]] = {
            "media": lambda: mine.session.post(
                http.uploads, params={"uploadType": "media", "name": "a", **only_new}, data=text
            ),
            "resumable": lambda: mine.session.put(sessions[number], data=text),
            "compose": lambda: mine.session.post(
                f"{to_a}/compose", params=only_new, json={"sourceObjects": [{"name": "source"}]}
            ),
            "copy": lambda: mine.session.post(
                f"{http.objects}/source/rewriteTo/b/{bucket.name}/o/a", params=only_new
            ),
            "xml": lambda: mine.session.put(
                f"{http.xml}/a", data=text, headers={"x-goog-if-generation-match": "0"}
            ),
        }
        return calls[kind]().status_code

    sessions = [http.begin("a", ifGenerationMatch=0) for _ in range(THREADS)]
    statuses = _at_once(create)
    assert sorted(statuses) == [200] + [412] * (THREADS - 1)
    if kind not in ("compose", "copy"):
        winner = str(statuses.index(200)).encode()
        assert bucket.blob("a").download_as_bytes() == winner


def test_a_counter_changed_under_generation_match_loses_no_step(bucket: Any) -> None:
    bucket.blob("counter").upload_from_string("0")

    def step(_: int) -> None:
        while True:
            blob = bucket.get_blob("counter")
            try:
                value = int(blob.download_as_bytes(if_generation_match=blob.generation))
                blob.upload_from_string(str(value + 1), if_generation_match=blob.generation)
            except (exceptions.PreconditionFailed, exceptions.NotFound):
                continue
            return

    _at_once(step)
    assert bucket.blob("counter").download_as_bytes() == str(THREADS).encode()


def test_readers_see_the_old_or_the_new_content_and_nothing_else(bucket: Any, http: Http) -> None:
    size = 3 * 1024 * 1024 + 1
    http.insert("a", bytes([255]) * size)
    writing = threading.Event()
    writing.set()

    def read() -> set[int]:
        mine = requests.Session()
        seen = set()
        while writing.is_set():
            content = mine.get(f"{http.objects}/a?alt=media").content
            assert len(content) == size
            assert content == content[:1] * size
            seen.add(content[0])
        return seen

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for value in range(20):
            bucket.blob("a").upload_from_string(bytes([value]) * size)
        writing.clear()
        assert len(set().union(*(reader.result() for reader in readers))) > 1


def test_a_download_under_way_outlives_overwrite_and_delete(bucket: Any, http: Http) -> None:
    data = bytes(range(256)) * 4096 * 32
    http.insert("a", data)
    with http.session.get(f"{http.objects}/a?alt=media", stream=True) as answer:
        first = answer.raw.read(1000)
        bucket.blob("a").upload_from_string("new")
        bucket.blob("a").delete()
        assert first + answer.raw.read() == data


def test_deletes_of_one_object_at_once_succeed_once(bucket: Any, http: Http) -> None:
    bucket.blob("a").upload_from_string("x")
    statuses = _at_once(lambda _: requests.delete(f"{http.objects}/a", timeout=30).status_code)
    assert sorted(statuses) == [204] + [404] * (THREADS - 1)


def test_composing_while_the_sources_change_takes_each_whole(bucket: Any, http: Http) -> None:
    size = 1024 * 1024
    http.insert("part", b"\0" * size)

    def change_or_compose(number: int) -> None:
        if number % 2:
            bucket.blob("part").upload_from_string(bytes([number]) * size)
        else:
            sources = {"sourceObjects": [{"name": "part"}, {"name": "part"}]}
            answer = requests.post(
                f"{http.objects}/whole-{number}/compose", json=sources, timeout=30
            )
            answer.raise_for_status()

    _at_once(change_or_compose)
    for blob in bucket.list_blobs(prefix="whole"):
        content = blob.download_as_bytes()
        assert content == content[:1] * size + content[-1:] * size
