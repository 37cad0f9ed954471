from __future__ import annotations

import base64
import hashlib
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.local_cloud.storage_server import (
    Http,
    StorageServer,
    bucket,
    client,
    http,
    server,
)

__all__ = ["bucket", "client", "http", "server"]

QUANTUM = 256 * 1024
DATA = bytes(range(256)) * 4 * 256 * 3  # three quanta


class TestResumable:
    def test_chunks_are_answered_308_with_the_range_that_is_kept(self, http: Http) -> None:
        session = http.begin("a")
        answer = http.chunk(session, DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
        assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")
        answer = http.chunk(session, DATA[QUANTUM:], f"bytes {QUANTUM}-{len(DATA) - 1}/{len(DATA)}")
        assert (answer.status_code, answer.json()["size"]) == (200, str(len(DATA)))
        assert http.session.get(answer.json()["mediaLink"]).content == DATA

    def test_nothing_is_there_before_the_last_chunk(self, bucket: Any, http: Http) -> None:
        http.chunk(http.begin("a"), DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/{len(DATA)}")
        assert not bucket.blob("a").exists()

    def test_the_state_is_asked_for(self, http: Http) -> None:
        session = http.begin("a")
        answer = http.chunk(session, b"", "bytes */*")
        assert answer.status_code == 308
        assert "Range" not in answer.headers
        http.chunk(session, DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
        answer = http.chunk(session, b"", f"bytes */{len(DATA)}")
        assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{QUANTUM - 1}")

    def test_a_connection_lost_within_a_chunk_keeps_whole_quanta(
        self, server: StorageServer, http: Http
    ) -> None:
        session = http.begin("a")
        url = urlsplit(session)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = (
                f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                f"Content-Length: {len(DATA)}\r\n"
                f"Content-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}\r\n\r\n"
            )
            connection.sendall(head.encode() + DATA[: 2 * QUANTUM + 1000])
            time.sleep(0.2)  # the service may take them, or lose them: both are right
        answer = http.chunk(session, b"", "bytes */*")
        kept = int(answer.headers.get("Range", "bytes=0--1").split("-", 1)[1]) + 1
        assert kept % QUANTUM == 0
        assert kept <= 2 * QUANTUM
        rest = http.chunk(session, DATA[kept:], f"bytes {kept}-{len(DATA) - 1}/{len(DATA)}")
        md5 = hashlib.md5(DATA, usedforsecurity=False).digest()
        assert rest.json()["md5Hash"] == base64.b64encode(md5).decode()
        assert http.session.get(rest.json()["mediaLink"]).content == DATA

    def test_a_chunk_sent_again_is_taken_once(self, http: Http) -> None:
        session = http.begin("a")
        for _ in range(2):
            answer = http.chunk(session, DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/{len(DATA)}")
            assert answer.headers["Range"] == f"bytes=0-{QUANTUM - 1}"
        answer = http.chunk(session, DATA, f"bytes 0-{len(DATA) - 1}/{len(DATA)}")
        assert http.session.get(answer.json()["mediaLink"]).content == DATA

    def test_a_chunk_after_a_gap_is_400(self, http: Http) -> None:
        answer = http.chunk(http.begin("a"), DATA[:QUANTUM], f"bytes {QUANTUM}-{2 * QUANTUM - 1}/*")
        assert answer.status_code == 400
        assert "exceeds already uploaded size of 0" in answer.text

    def test_a_chunk_that_is_no_multiple_of_256_kib_is_400(self, http: Http) -> None:
        session = http.begin("a")
        assert http.chunk(session, DATA[:1000], "bytes 0-999/*").status_code == 400
        assert http.chunk(session, DATA[:1000], "bytes 0-999/1000").status_code == 200

    def test_a_chunk_of_another_length_than_its_range_is_400(self, http: Http) -> None:
        answer = http.chunk(http.begin("a"), DATA[:999], "bytes 0-999/1000")
        assert answer.status_code == 400
        assert "There were 999 byte(s)" in answer.text

    def test_an_empty_upload_is_completed_by_its_total(self, http: Http) -> None:
        answer = http.chunk(http.begin("a"), b"", "bytes */0")
        assert (answer.status_code, answer.json()["size"]) == (200, "0")

    def test_a_request_without_a_range_carries_all(self, http: Http) -> None:
        answer = http.session.put(http.begin("a"), data=b"all")
        assert answer.json()["size"] == "3"

    def test_a_total_known_late_completes_the_upload(self, http: Http) -> None:
        session = http.begin("a")
        http.chunk(session, DATA[:QUANTUM], f"bytes 0-{QUANTUM - 1}/*")
        assert http.chunk(session, b"", f"bytes */{QUANTUM}").status_code == 200

    def test_a_complete_upload_answers_its_object_when_asked_again(self, http: Http) -> None:
        session = http.begin("a")
        done = http.session.put(session, data=b"all").json()
        again = http.chunk(session, b"", "bytes */3")
        assert (again.status_code, again.json()["generation"]) == (200, done["generation"])

    def test_a_cancelled_upload_is_499_and_then_gone(self, http: Http) -> None:
        session = http.begin("a")
        assert http.session.delete(session).status_code == 499
        assert http.chunk(session, b"", "bytes */*").status_code == 404

    def test_the_precondition_is_checked_when_the_upload_ends(self, http: Http) -> None:
        session = http.begin("a", ifGenerationMatch=0)
        http.insert("a", b"faster")
        answer = http.session.put(session, data=b"slower")
        assert answer.status_code == 412
        assert http.session.get(f"{http.objects}/a?alt=media").content == b"faster"
        answer = http.session.post(
            http.uploads, params={"uploadType": "resumable", "name": "a", "ifGenerationMatch": "0"}
        )
        assert answer.status_code == 412

    def test_a_wrong_checksum_at_the_end_stores_nothing(self, bucket: Any, http: Http) -> None:
        headers = {"x-goog-hash": "crc32c=AAAAAQ=="}
        assert http.session.put(http.begin("a"), data=b"x", headers=headers).status_code == 400
        assert not bucket.blob("a").exists()

    def test_the_client_library_uploads_in_chunks(self, bucket: Any) -> None:
        blob = bucket.blob("a", chunk_size=QUANTUM)
        blob.metadata = {"k": "v"}
        blob.upload_from_string(DATA + b"tail", content_type="text/plain", checksum="md5")
        found = bucket.get_blob("a")
        assert (found.content_type, found.metadata) == ("text/plain", {"k": "v"})
        assert found.download_as_bytes() == DATA + b"tail"

    def test_a_file_opened_for_writing_streams(self, bucket: Any) -> None:
        with bucket.blob("a").open("wb", chunk_size=QUANTUM) as file:
            for _ in range(5):
                file.write(b"x" * 100_000)
        with bucket.blob("a").open("rb", chunk_size=QUANTUM) as file:
            file.seek(499_990)
            assert file.read() == b"x" * 10


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("quoted", ["b=d", '"b=d"', "'b=d'"])
def test_a_multipart_upload_may_have_any_content(http: Http, newline: bytes, quoted: str) -> None:
    content = b"\r\n--b=\r\n--\r\n-b=d\n\n" + bytes(range(256))
    head = json.dumps({"name": "a", "contentType": "text/x", "metadata": {"k": "v"}}).encode()
    body = newline.join(
        [b"--b=d", b"Content-Type: application/json", b"", head,
         b"--b=d", b"Content-Type: text/y", b"", content, b"--b=d--", b""]
    )  # fmt: skip
    headers = {"Content-Type": f"multipart/related; boundary={quoted}"}
    answer = http.session.post(f"{http.uploads}?uploadType=multipart", data=body, headers=headers)
    assert (answer.json()["contentType"], answer.json()["metadata"]) == ("text/x", {"k": "v"})
    assert http.session.get(answer.json()["mediaLink"]).content == content


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n\r\n{}\r\n", b"--x\r\n\r\n[]\r\n--x\r\n\r\n1\r\n--x--"]
)
def test_a_malformed_multipart_upload_is_400(http: Http, body: bytes) -> None:
    headers = {"Content-Type": "multipart/related; boundary=x"}
    answer = http.session.post(
        f"{http.uploads}?uploadType=multipart&name=a", data=body, headers=headers
    )
    assert answer.status_code == 400


def test_a_media_upload_takes_type_and_encoding_of_the_request(http: Http) -> None:
    answer = http.session.post(
        http.uploads,
        params={"uploadType": "media", "name": "a", "contentEncoding": "br"},
        headers={"Content-Type": "text/x"},
        data=b"x",
    ).json()
    assert (answer["contentType"], answer["contentEncoding"]) == ("text/x", "br")


def test_an_upload_without_a_name_is_400(http: Http) -> None:
    assert http.session.post(http.uploads, params={"uploadType": "media"}).status_code == 400


def test_an_upload_of_no_known_type_is_refused_in_words(http: Http) -> None:
    answer = http.session.post(http.uploads, params={"uploadType": "appendable", "name": "a"})
    assert answer.status_code == 501
    assert "appendable" in answer.json()["error"]["message"]


class TestXml:
    def test_an_object_is_put_read_and_deleted(self, http: Http) -> None:
        headers = {"Content-Type": "text/x", "x-goog-meta-owner": "ops"}
        put = http.session.put(f"{http.xml}/a/b%20c", data=b"0123456789", headers=headers)
        assert put.headers["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
        head = http.session.head(f"{http.xml}/a/b%20c").headers
        assert (head["Content-Length"], head["x-goog-meta-owner"]) == ("10", "ops")
        assert head["x-goog-generation"] == put.headers["x-goog-generation"]
        part = http.session.get(f"{http.xml}/a/b%20c", headers={"Range": "bytes=2-3"})
        assert (part.status_code, part.content) == (206, b"23")
        assert http.session.delete(f"{http.xml}/a/b%20c").status_code == 204
        gone = http.session.get(f"{http.xml}/a/b%20c")
        assert gone.status_code == 404
        assert "<Code>NoSuchKey</Code>" in gone.text

    def test_a_signed_url_is_taken_with_any_signature(self, bucket: Any, http: Http) -> None:
        bucket.blob("a").upload_from_string("x")
        signed = {"X-Goog-Algorithm": "GOOG4-RSA-SHA256", "X-Goog-Signature": "00ff"}
        assert http.session.get(f"{http.xml}/a", params=signed).content == b"x"

    @pytest.mark.parametrize(
        ("request_line", "headers", "status", "code"),
        [
            ("GET ?list-type=2", {}, 404, "NoSuchBucket"),
            ("PUT /a", {"x-goog-if-generation-match": "7"}, 412, "PreconditionFailed"),
            ("PUT /a", {"Content-MD5": "rL0Y20zC+Fzt72VPzMSk2A=="}, 400, "BadDigest"),
            ("GET /a", {"Range": "bytes=99-"}, 416, "InvalidRange"),
            ("PUT /a?acl", {}, 501, "NotImplemented"),
            ("PUT /a?uploadId=x&partNumber=1", {}, 404, "NoSuchUpload"),
        ],
    )
    def test_errors_are_documents_with_the_code_of_the_service(
        self, http: Http, request_line: str, headers: dict[str, str], status: int, code: str
    ) -> None:
        http.insert("a", b"x")
        method, path = request_line.split()
        url = http.xml.replace("/b-", "/c-") if code == "NoSuchBucket" else http.xml
        answer = http.session.request(method, f"{url}{path}", headers=headers, data=b"new")
        assert answer.status_code == status
        assert f"<Code>{code}</Code>" in answer.text
        assert http.session.get(f"{http.xml}/a").content == b"x"

    def test_parts_of_an_upload_are_checked_when_it_is_completed(self, http: Http) -> None:
        begun = http.session.post(f"{http.xml}/a?uploads")
        upload = begun.text.split("<UploadId>")[1].split("<")[0]
        url = f"{http.xml}/a?uploadId={upload}"
        tags = [
            http.session.put(f"{url}&partNumber={n}", data=b"x" * 10).headers["ETag"]
            for n in (1, 2)
        ]

        def complete(*parts: tuple[int, str]) -> str:
            inner = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
                for number, tag in parts
            )
            body = f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>"
            return http.session.post(url, data=body).text

        one, two = (1, tags[0]), (2, tags[1])
        assert "InvalidPartOrder" in complete(two, one)
        assert "InvalidPart" in complete((1, '"0"'))
        assert "EntityTooSmall" in complete(one, two)
        assert "<PartNumber>2</PartNumber>" in http.session.get(url).text
        assert upload in http.session.get(f"{http.xml}?uploads").text
        assert "CompleteMultipartUploadResult" in complete(one)
        assert http.session.get(f"{http.xml}/a").content == b"x" * 10

    def test_an_aborted_upload_leaves_no_part_on_disk(
        self, http: Http, server: StorageServer
    ) -> None:
        before = server.contents()
        begun = http.session.post(f"{http.xml}/a?uploads").text
        url = f"{http.xml}/a?uploadId={begun.split('<UploadId>')[1].split('<')[0]}"
        http.session.put(f"{url}&partNumber=1", data=b"x")
        assert server.contents() == before + 1
        assert http.session.delete(url).status_code == 204
        assert server.contents() == before


class TestFaults:
    """Faults name the methods of the JSON API, whatever the way in."""

    @pytest.mark.parametrize(
        ("method", "call"),
        [
            ("storage.objects.get", "GET {objects}/a"),
            ("storage.objects.get", "GET {objects}/a?alt=media"),
            ("storage.objects.get", "HEAD {xml}/a"),
            ("storage.objects.list", "GET {objects}"),
            ("storage.objects.list", "GET {xml}?list-type=2"),
            ("storage.objects.insert", "PUT {session}"),
            ("storage.objects.insert", "PUT {xml}/a"),
            ("storage.objects.insert", "POST {uploads}?uploadType=media&name=a"),
            ("storage.objects.delete", "DELETE {objects}/a"),
            ("storage.objects.compose", "POST {objects}/a/compose"),
            ("storage.objects.rewrite", "POST {objects}/a/rewriteTo/b/c/o/d"),
        ],
    )
    def test_a_fault_meets_the_calls_of_its_method(
        self, server: StorageServer, http: Http, method: str, call: str
    ) -> None:
        places = {**vars(http), "session": http.begin("a")}
        verb, url = call.format(**places).split()
        fault: dict[str, Any] = {"method": method, "status": 503}
        http.session.post(f"{server.url}/_local_cloud/faults", json=fault).raise_for_status()
        assert http.session.request(verb, url, data=b"").status_code == 503
        assert http.session.get(f"{server.url}/_local_cloud/faults").json() == []

    def test_the_client_rides_out_a_lost_answer_of_a_chunk(
        self, server: StorageServer, http: Http, bucket: Any
    ) -> None:
        fault = {"method": "storage.objects.insert", "matching": "upload_id", "drop": "response"}
        http.session.post(f"{server.url}/_local_cloud/faults", json=fault).raise_for_status()
        blob = bucket.blob("a", chunk_size=QUANTUM)
        blob.upload_from_string(DATA, if_generation_match=0)
        assert blob.download_as_bytes() == DATA
