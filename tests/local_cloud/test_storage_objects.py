from __future__ import annotations

import datetime
import gzip
from typing import Any

import pytest
import requests
from google.api_core import exceptions

from tests.local_cloud.storage_server import Http, bucket, client, http, server

__all__ = ["bucket", "client", "http", "server"]

ODD_NAMES = [
    "plain", "a/b/c", "/leading", "//two", "trailing/", "a//b", "with space", "?query", "#part",
    "100%", "a%2Fb", "%", "+plus+", "ümlaut", "日本語/ファイル", "emoji 🎉", "a&b=c;d", "'quotes\"",
    "back\\slash", "tab\there", "~tilde", "a:b@c", "..a", "...", "a/../b", "*star[1]{x}",
    "x" * 1024, "é" * 512,
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_object_of_any_name_is_written_listed_read_and_deleted(bucket: Any, name: str) -> None:
    bucket.blob(name).upload_from_string(b"content of " + name.encode())
    assert [blob.name for blob in bucket.list_blobs()] == [name]
    assert bucket.blob(name).download_as_bytes() == b"content of " + name.encode()
    assert bucket.get_blob(name).name == name
    bucket.blob(name).delete()
    assert not bucket.blob(name).exists()


@pytest.mark.parametrize("name", [".", "..", "a\nb", "a\rb", "x" * 1025, "é" * 513,
                                  ".well-known/acme-challenge/x"])  # fmt: skip
def test_a_name_that_is_not_allowed_is_refused(bucket: Any, name: str) -> None:
    with pytest.raises(exceptions.BadRequest):
        bucket.blob(name).upload_from_string(b"")


def test_a_name_and_the_same_name_with_a_slash_are_two_objects(bucket: Any) -> None:
    bucket.blob("a").upload_from_string(b"1")
    bucket.blob("a/").upload_from_string(b"2")
    assert bucket.blob("a").download_as_bytes() == b"1"
    assert bucket.blob("a/").download_as_bytes() == b"2"


def test_each_write_has_a_greater_generation_and_metageneration_1(bucket: Any) -> None:
    blob = bucket.blob("a")
    seen = []
    for text in ("1", "2", "3"):
        blob.upload_from_string(text)
        blob.patch()
        seen.append(blob.generation)
    assert seen == sorted(set(seen))
    blob.upload_from_string("4")
    assert blob.metageneration == 1


def test_an_upload_to_a_bucket_that_does_not_exist_is_404(client: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.bucket("not-there").blob("a").upload_from_string("")


def test_an_object_that_does_not_exist_is_404_and_is_named(bucket: Any) -> None:
    with pytest.raises(exceptions.NotFound, match=f"No such object: {bucket.name}/nope"):
        bucket.blob("nope").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("nope").delete()
    assert bucket.get_blob("nope") is None


def test_a_generation_that_is_not_the_live_one_is_404(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string("1")
    old = blob.generation
    blob.upload_from_string("2")
    with pytest.raises(exceptions.NotFound):
        bucket.blob("a", generation=old).download_as_bytes()
    assert bucket.get_blob("a", generation=blob.generation).size == 1


def test_a_wrong_checksum_is_refused_and_nothing_is_stored(bucket: Any, http: Http) -> None:
    blob = bucket.blob("a")
    blob.md5_hash = "rL0Y20zC+Fzt72VPzMSk2A=="
    with pytest.raises(exceptions.BadRequest, match="MD5"):
        blob.upload_from_string("not foo", checksum=None)
    for header in ({"Content-MD5": "rL0Y20zC+Fzt72VPzMSk2A=="}, {"x-goog-hash": "crc32c=AAAAAQ=="}):
        answer = http.session.post(
            http.uploads, params={"uploadType": "media", "name": "a"}, data=b"x", headers=header
        )
        assert answer.status_code == 400
    assert not blob.exists()


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 1])
def test_checksums_are_those_of_the_content(bucket: Any, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    blob = bucket.blob("a")
    blob.upload_from_string(data, checksum="crc32c")
    assert blob.size == size
    assert blob.download_as_bytes(checksum="md5") == data
    assert blob.download_as_bytes(checksum="crc32c") == data


class TestPreconditions:
    def test_a_write_with_generation_0_succeeds_only_where_nothing_is(self, bucket: Any) -> None:
        bucket.blob("a").upload_from_string("1", if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.blob("a").upload_from_string("2", if_generation_match=0)
        assert bucket.blob("a").download_as_bytes() == b"1"

    @pytest.mark.parametrize(
        ("condition", "value", "holds"),
        [
            ("if_generation_match", "same", True), ("if_generation_match", "other", False),
            ("if_generation_not_match", "same", False), ("if_generation_not_match", "other", True),
            ("if_generation_not_match", "zero", True), ("if_metageneration_match", "one", True),
            ("if_metageneration_match", "other", False),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("change", ["upload", "patch", "rewrite", "copy", "delete"])
    def test_a_change_goes_ahead_only_when_its_condition_holds(
        self, bucket: Any, change: str, condition: str, value: str, holds: bool
    ) -> None:
        source, blob = bucket.blob("source"), bucket.blob("a")
        source.upload_from_string("source")
        blob.upload_from_string("before")
        numbers = {"same": blob.generation, "other": 7, "zero": 0, "one": 1}
        conditions = {condition: numbers[value]}
        changes = {
            "upload": lambda: blob.upload_from_string("after", **conditions),
            "patch": lambda: blob.patch(**conditions),
            "rewrite": lambda: blob.rewrite(source, **conditions),
            "copy": lambda: bucket.copy_blob(source, bucket, "a", **conditions),
            "delete": lambda: blob.delete(**conditions),
        }
        if holds:
            changes[change]()
            return
        before = bucket.get_blob("a")
        with pytest.raises(exceptions.PreconditionFailed):
            changes[change]()
        after = bucket.get_blob("a")
        assert (after.generation, after.metageneration) == (before.generation, 1)

    @pytest.mark.parametrize("condition", ["ifGenerationNotMatch", "ifMetagenerationNotMatch"])
    def test_a_not_match_condition_on_what_does_not_exist_fails(
        self, http: Http, condition: str
    ) -> None:
        with pytest.raises(requests.HTTPError, match="412"):
            http.insert("a", b"", **{condition: 5})

    @pytest.mark.parametrize(("number", "status"), [(1, 412), (2, 204)])
    def test_a_delete_may_ask_for_another_metageneration(
        self, http: Http, number: int, status: int
    ) -> None:
        http.insert("a")
        condition = {"ifMetagenerationNotMatch": number}
        assert http.session.delete(f"{http.objects}/a", params=condition).status_code == status

    def test_a_copy_checks_the_conditions_on_its_source(self, bucket: Any) -> None:
        source = bucket.blob("source")
        source.upload_from_string("")
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.copy_blob(source, bucket, "a", if_source_generation_match=7)
        bucket.copy_blob(source, bucket, "a", if_source_generation_match=source.generation)

    def test_a_read_of_what_is_known_already_is_304(self, http: Http) -> None:
        resource = http.insert("a", b"1")
        known: list[dict[str, Any]] = [
            {"params": {"ifGenerationNotMatch": resource["generation"]}},
            {"params": {"ifMetagenerationNotMatch": "1"}},
            {"headers": {"If-None-Match": resource["etag"]}},
        ]
        for arguments in known:
            answer = http.session.get(f"{http.objects}/a", **arguments)
            assert (answer.status_code, answer.content) == (304, b"")

    def test_a_read_of_another_generation_or_etag_is_412(self, http: Http) -> None:
        http.insert("a", b"1")
        others: list[dict[str, Any]] = [
            {"params": {"ifGenerationMatch": "7"}},
            {"headers": {"If-Match": '"x"'}},
        ]
        for arguments in others:
            answer = http.session.get(f"{http.objects}/a", **arguments)
            error = answer.json()["error"]
            assert (error["code"], error["errors"][0]["reason"]) == (412, "conditionNotMet")


class TestMetadata:
    def test_fields_given_at_upload_come_back(self, bucket: Any) -> None:
        blob = bucket.blob("a")
        blob.metadata = {"owner": "ops", "note": "grün"}
        blob.cache_control, blob.content_language = "no-cache", "de"
        blob.content_disposition = "attachment; filename=ä.txt"
        blob.custom_time = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
        blob.upload_from_string("x", content_type="text/plain")
        found = bucket.get_blob("a")
        for field in ("metadata", "cache_control", "content_language", "content_disposition",
                      "custom_time", "content_type", "storage_class"):  # fmt: skip
            assert getattr(found, field) == getattr(blob, field)
        assert found.metadata == {"owner": "ops", "note": "grün"}

    def test_a_patch_changes_some_fields_and_null_removes_one(self, bucket: Any) -> None:
        blob = bucket.blob("a")
        blob.metadata = {"a": "1", "b": "2"}
        blob.upload_from_string("x", content_type="text/plain")
        blob.metadata = {"a": None, "c": "3"}
        blob.patch()
        found = bucket.get_blob("a")
        assert found.metadata == {"b": "2", "c": "3"}
        assert (found.content_type, found.metageneration) == ("text/plain", 2)
        assert found.generation == blob.generation

    def test_an_update_replaces_all_fields(self, bucket: Any, http: Http) -> None:
        bucket.blob("a").upload_from_string("x", content_type="text/plain")
        answer = http.session.put(f"{http.objects}/a", json={"cacheControl": "no-store"})
        assert answer.json()["cacheControl"] == "no-store"
        assert "contentType" not in answer.json()

    def test_the_custom_time_cannot_go_back(self, http: Http) -> None:
        http.insert("a")
        late, early = {"customTime": "2026-01-02T00:00:00Z"}, {"customTime": "2026-01-01T00:00:00Z"}
        assert http.session.patch(f"{http.objects}/a", json=late).status_code == 200
        assert http.session.patch(f"{http.objects}/a", json=early).status_code == 400

    def test_access_control_lists_are_refused_as_with_uniform_access(self, bucket: Any) -> None:
        bucket.blob("a").upload_from_string("x")
        with pytest.raises(exceptions.BadRequest, match="uniform bucket-level access"):
            bucket.blob("a").make_public()


class TestDownload:
    @pytest.mark.parametrize(
        ("wanted", "got", "content_range"),
        [
            ("bytes=0-3", b"0123", "bytes 0-3/10"), ("bytes=4-", b"456789", "bytes 4-9/10"),
            ("bytes=-3", b"789", "bytes 7-9/10"), ("bytes=8-99", b"89", "bytes 8-9/10"),
            ("bytes=-99", b"0123456789", "bytes 0-9/10"), ("bytes=9-9", b"9", "bytes 9-9/10"),
        ],
    )  # fmt: skip
    def test_a_range_is_206(self, http: Http, wanted: str, got: bytes, content_range: str) -> None:
        http.insert("a", b"0123456789")
        answer = http.session.get(
            f"{http.objects}/a", params={"alt": "media"}, headers={"Range": wanted}
        )
        assert (answer.status_code, answer.content) == (206, got)
        assert answer.headers["Content-Range"] == content_range

    @pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=99-100", "bytes=-0"])
    def test_a_range_after_the_end_is_416(self, http: Http, wanted: str) -> None:
        http.insert("a", b"0123456789")
        answer = http.session.get(
            f"{http.objects}/a", params={"alt": "media"}, headers={"Range": wanted}
        )
        assert answer.status_code == 416

    @pytest.mark.parametrize("wanted", ["bytes=5-2", "rows=1-2", "bytes=x"])
    def test_what_is_no_range_is_ignored(self, http: Http, wanted: str) -> None:
        http.insert("a", b"0123456789")
        answer = http.session.get(
            f"{http.objects}/a", params={"alt": "media"}, headers={"Range": wanted}
        )
        assert (answer.status_code, answer.content) == (200, b"0123456789")

    def test_headers_tell_generation_checksums_and_type(self, http: Http) -> None:
        resource = http.insert("a", b"x")
        headers = http.session.get(f"{http.objects}/a", params={"alt": "media"}).headers
        assert headers["x-goog-generation"] == resource["generation"]
        assert headers["x-goog-metageneration"] == "1"
        expected = f"crc32c={resource['crc32c']},md5={resource['md5Hash']}"
        assert headers["x-goog-hash"] == expected
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["x-goog-stored-content-length"] == "1"

    def test_the_media_link_downloads(self, http: Http) -> None:
        assert http.session.get(http.insert("a b/c?", b"x")["mediaLink"]).content == b"x"


class TestGzip:
    PLAIN = b"text " * 10_000

    @pytest.fixture
    def url(self, bucket: Any, http: Http) -> str:
        blob = bucket.blob("a")
        blob.content_encoding = "gzip"
        blob.upload_from_string(gzip.compress(self.PLAIN), content_type="text/plain")
        return f"{http.objects}/a?alt=media"

    def test_a_client_that_takes_gzip_gets_it_as_stored(self, url: str, http: Http) -> None:
        answer = http.session.get(url, headers={"Accept-Encoding": "gzip"}, stream=True)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.raw.read(decode_content=False)) == self.PLAIN

    def test_another_client_gets_it_decompressed(self, url: str, http: Http) -> None:
        answer = http.session.get(url)
        assert answer.content == self.PLAIN
        assert "Content-Encoding" not in answer.headers
        assert answer.headers["x-goog-stored-content-encoding"] == "gzip"

    def test_a_range_of_it_is_ignored_when_decompressed(self, url: str, http: Http) -> None:
        answer = http.session.get(url, headers={"Range": "bytes=0-3"})
        assert (answer.status_code, answer.content) == (200, self.PLAIN)

    def test_a_range_of_it_is_of_the_stored_bytes_otherwise(self, url: str, http: Http) -> None:
        headers = {"Range": "bytes=0-1", "Accept-Encoding": "gzip"}
        answer = http.session.get(url, headers=headers, stream=True)
        assert (answer.status_code, answer.raw.read(decode_content=False)) == (206, b"\x1f\x8b")

    def test_no_transform_keeps_it_as_stored(self, url: str, bucket: Any, http: Http) -> None:
        blob = bucket.get_blob("a")
        blob.cache_control = "no-transform"
        blob.patch()
        answer = http.session.get(url, stream=True)
        assert gzip.decompress(answer.raw.read(decode_content=False)) == self.PLAIN

    @pytest.mark.usefixtures("url")
    def test_the_client_library_decompresses_and_checks(self, bucket: Any) -> None:
        assert bucket.blob("a").download_as_bytes() == self.PLAIN
        assert bucket.blob("a").download_as_bytes(raw_download=True)[:2] == b"\x1f\x8b"


class TestCompose:
    def test_objects_are_put_together_in_order(self, bucket: Any) -> None:
        parts = [bucket.blob(f"part-{number}") for number in range(32)]
        for number, part in enumerate(parts):
            part.upload_from_string(f"{number},", content_type="text/csv")
        whole = bucket.blob("whole")
        whole.compose(parts)
        assert whole.download_as_bytes() == b"".join(f"{n},".encode() for n in range(32))
        assert (whole.component_count, whole.md5_hash) == (32, None)
        assert whole.content_type == "text/csv"

    def test_an_object_is_appended_to(self, bucket: Any) -> None:
        bucket.blob("log").upload_from_string("1")
        bucket.blob("more").upload_from_string("2")
        bucket.blob("log").compose([bucket.blob("log"), bucket.blob("more")])
        assert bucket.blob("log").download_as_bytes() == b"12"

    def test_more_than_32_or_none_are_refused(self, bucket: Any) -> None:
        bucket.blob("a").upload_from_string("1")
        for count in (0, 33):
            with pytest.raises(exceptions.BadRequest):
                bucket.blob("whole").compose([bucket.blob("a")] * count)

    def test_the_generation_of_each_source_is_checked(self, bucket: Any) -> None:
        one, other = bucket.blob("1"), bucket.blob("2")
        one.upload_from_string("1")
        other.upload_from_string("2")
        whole = bucket.blob("whole")
        with pytest.raises(exceptions.PreconditionFailed):
            whole.compose([one, other], if_source_generation_match=[one.generation, 7])
        assert not whole.exists()
        matching = [one.generation, other.generation]
        whole.compose([one, other], if_source_generation_match=matching, if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            whole.compose([one, other], if_generation_match=0)

    def test_a_source_that_does_not_exist_is_404(self, bucket: Any) -> None:
        with pytest.raises(exceptions.NotFound):
            bucket.blob("whole").compose([bucket.blob("nope")])


class TestCopies:
    def test_a_copy_keeps_content_and_metadata(self, bucket: Any, client: Any) -> None:
        blob = bucket.blob("a/b c")
        blob.metadata = {"k": "v"}
        blob.upload_from_string("x", content_type="text/plain")
        other = client.create_bucket(f"{bucket.name}-other")
        copy = bucket.copy_blob(blob, other, "d/é")
        assert (copy.metadata, copy.content_type) == ({"k": "v"}, "text/plain")
        blob.delete()
        assert other.blob("d/é").download_as_bytes() == b"x"

    def test_a_rewrite_may_give_other_metadata(self, bucket: Any) -> None:
        bucket.blob("a").upload_from_string("x", content_type="text/plain")
        target = bucket.blob("b")
        target.content_type = "text/csv"
        token, written, size = target.rewrite(bucket.blob("a"))
        assert (token, written, size) == (None, 1, 1)
        assert bucket.get_blob("b").content_type == "text/csv"

    def test_a_storage_class_is_changed_by_a_rewrite_onto_itself(self, bucket: Any) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string("x")
        blob.update_storage_class("NEARLINE")
        assert bucket.get_blob("a").storage_class == "NEARLINE"
        assert blob.download_as_bytes() == b"x"

    def test_a_name_may_contain_the_path_of_a_method(self, bucket: Any) -> None:
        blob = bucket.blob("x/rewriteTo/b/other/o/y")
        blob.upload_from_string("x")
        bucket.copy_blob(blob, bucket, "o/compose")
        assert bucket.blob("o/compose").download_as_bytes() == b"x"

    def test_a_move_renames_in_one_step(self, bucket: Any) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string("x", content_type="text/plain")
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.move_blob(blob, "b", if_source_generation_match=7)
        moved = bucket.move_blob(blob, "b", if_generation_match=0)
        assert moved.generation > blob.generation
        assert [found.name for found in bucket.list_blobs()] == ["b"]
        assert moved.download_as_bytes() == b"x"
