from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions

from tests.local_cloud.storage_server import (
    PROJECT,
    Http,
    StorageServer,
    bucket,
    client,
    http,
    server,
)

__all__ = ["bucket", "client", "http", "server"]


@pytest.mark.parametrize("name", ["abc", "a-b_c.d", "0numbers9", "x" * 63, "x." * 60 + "x"])
def test_a_bucket_is_created_found_listed_and_deleted(client: Any, name: str) -> None:
    created = client.create_bucket(name, location="us-central1")
    assert (created.location, created.location_type) == ("US-CENTRAL1", "region")
    assert client.get_bucket(name).metageneration == 1
    assert name in [bucket.name for bucket in client.list_buckets(prefix=name[:3])]
    created.delete()
    assert client.lookup_bucket(name) is None


@pytest.mark.parametrize("name", ["ab", "Upper", "-a-b", "a-b-", "a..b", "10.0.0.1", "goog-x",
                                  "my-google-x", "x" * 64, "with space", "ünder"])  # fmt: skip
def test_a_bucket_name_against_the_rules_is_400(
    server: StorageServer, http: Http, name: str
) -> None:
    answer = http.session.post(
        f"{server.url}/storage/v1/b", params={"project": PROJECT}, json={"name": name}
    )
    assert answer.status_code == 400
    assert "Invalid bucket name" in answer.text


def test_a_second_bucket_of_a_name_is_409(client: Any, bucket: Any) -> None:
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        client.create_bucket(bucket.name)


def test_a_bucket_that_is_not_empty_is_not_deleted(bucket: Any) -> None:
    bucket.blob("a").upload_from_string("")
    with pytest.raises(exceptions.Conflict, match="The bucket you tried to delete is not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert not bucket.exists()


def test_a_bucket_that_does_not_exist_is_404(client: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        client.get_bucket("not-there")
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        list(client.list_blobs("not-there"))


def test_an_unknown_project_is_400(client: Any) -> None:
    with pytest.raises(exceptions.BadRequest, match="Unknown project id: elsewhere"):
        client.create_bucket("some-bucket", project="elsewhere")


def test_labels_are_patched_and_the_metageneration_counts(bucket: Any, client: Any) -> None:
    bucket.labels = {"team": "data", "env": "dev"}
    bucket.patch()
    bucket.labels = {"team": "ops"}
    bucket.patch(if_metageneration_match=2)
    found = client.get_bucket(bucket.name)
    assert (found.labels, found.metageneration) == ({"team": "ops"}, 3)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.patch(if_metageneration_match=2)


@pytest.mark.parametrize("field", [{"versioning": {"enabled": True}},
                                   {"retentionPolicy": {"retentionPeriod": "9"}},
                                   {"softDeletePolicy": {"retentionDurationSeconds": "604800"}},
                                   {"hierarchicalNamespace": {"enabled": True}}])  # fmt: skip
def test_what_is_not_there_is_refused_with_501(
    http: Http, server: StorageServer, bucket: Any, field: dict[str, Any]
) -> None:
    url = f"{server.url}/storage/v1/b/{bucket.name}"
    assert http.session.patch(url, json=field).status_code == 501


def test_the_layout_is_flat_and_all_permissions_are_there(bucket: Any, http: Http) -> None:
    layout = http.session.get(http.objects.removesuffix("/o") + "/storageLayout").json()
    assert layout["hierarchicalNamespace"] == {"enabled": False}
    assert bucket.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    assert bucket.get_iam_policy().version == 1


def test_paths_of_no_method_are_404_and_those_of_missing_ones_501(
    http: Http, server: StorageServer, bucket: Any
) -> None:
    assert http.session.get(f"{server.url}/storage/v1/nonsense").status_code == 404
    url = f"{server.url}/storage/v1/b/{bucket.name}/notificationConfigs"
    assert http.session.get(url).status_code == 501


class TestBatch:
    def test_calls_of_a_batch_are_answered_each(self, bucket: Any, client: Any) -> None:
        names = [f"x/{number} ?#%" for number in range(20)]
        for name in names:
            bucket.blob(name).upload_from_string("x")
        with client.batch():
            for name in names:
                bucket.delete_blob(name)
        assert list(bucket.list_blobs()) == []

    def test_one_failure_leaves_the_others(self, bucket: Any, client: Any) -> None:
        bucket.blob("a").upload_from_string("x")

        def delete_both() -> None:
            with client.batch():
                bucket.delete_blob("nope")
                bucket.delete_blob("a")

        with pytest.raises(exceptions.NotFound):
            delete_both()
        assert not bucket.blob("a").exists()

    def test_patches_of_a_batch_carry_their_resource(self, bucket: Any, client: Any) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string("x")
        with client.batch():
            blob.metadata = {"k": "grün"}
            blob.patch()
        assert bucket.get_blob("a").metadata == {"k": "grün"}

    def test_more_than_a_hundred_calls_are_400(self, server: StorageServer, http: Http) -> None:
        part = "--b\r\nContent-Type: application/http\r\n\r\nGET /x HTTP/1.1\r\n\r\n\r\n"
        answer = http.session.post(
            f"{server.url}/batch/storage/v1",
            data=part * 101 + "--b--",
            headers={"Content-Type": "multipart/mixed; boundary=b"},
        )
        assert answer.status_code == 400
