"""Clients of Cloud Storage, unchanged, with nothing but the environment of the local cloud."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from local_cloud import LocalCloud
from tests.local_cloud.clients import RunClient

_GOOGLE = """
import datetime, io, sys, tempfile, pathlib
import google.auth, requests
from google.api_core.exceptions import PreconditionFailed
from google.cloud import storage
from google.cloud.storage import transfer_manager

# It does not look for credentials when it is told of an emulator; to sign, it needs some.
credentials, _ = google.auth.default()
client = storage.Client()
bucket = client.bucket(sys.argv[1])
blob = bucket.blob("a/x")
blob.upload_from_string("hello", content_type="text/plain")
said["text"] = bucket.blob("a/x").download_as_text()
try:
    blob.upload_from_string("again", if_generation_match=0)
except PreconditionFailed:
    said["refused"] = True
url = blob.generate_signed_url(
    expiration=datetime.timedelta(minutes=5), version="v4", credentials=credentials
)
said["signed_url"] = requests.get(url).text
put = bucket.blob("signed").generate_signed_url(
    expiration=datetime.timedelta(minutes=5), version="v4", method="PUT", credentials=credentials,
)
said["signed_put"] = requests.put(put, data=b"put").status_code
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "big"
    path.write_bytes(bytes(range(256)) * 4096 * 24)
    transfer_manager.upload_chunks_concurrently(
        str(path), bucket.blob("big"), chunk_size=8 << 20, worker_type="thread"
    )
    back = path.with_name("back")
    transfer_manager.download_chunks_concurrently(
        bucket.blob("big"), str(back), chunk_size=8 << 20, worker_type="thread"
    )
    said["same"] = path.read_bytes() == back.read_bytes()
said["names"] = [one.name for one in client.list_blobs(bucket)]
"""

_FILESYSTEMS = """
import sys
import fsspec
import obstore
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from obstore.store import from_url

bucket = sys.argv[1]
gcs = fsspec.filesystem("gs")
with gcs.open(f"{bucket}/fs/one.txt", "w") as file:
    file.write("one")
said["gcsfs"] = gcs.cat(f"{bucket}/fs/one.txt").decode()
said["gcsfs_list"] = gcs.ls(f"{bucket}/fs")

arrow = pafs.GcsFileSystem(anonymous=True)
pq.write_table(pa.table({"x": [1, 2, 3]}), f"{bucket}/fs/t.parquet", filesystem=arrow)
said["pyarrow"] = pq.read_table(f"{bucket}/fs/t.parquet", filesystem=arrow)["x"].to_pylist()

store = from_url(f"gs://{bucket}/fs")
obstore.put(store, "two.txt", b"two")
said["obstore"] = bytes(obstore.get(store, "two.txt").bytes()).decode()
said["obstore_list"] = sorted(one["path"] for batch in obstore.list(store) for one in batch)
"""


@pytest.mark.parametrize("way", ["variable", "gateway"])
def test_google_cloud_storage(run_client: RunClient, local_bucket: str, way: str) -> None:
    without = {"STORAGE_EMULATOR_HOST": None} if way == "gateway" else {}
    assert run_client(_GOOGLE, local_bucket, **without) == {
        "text": "hello",
        "refused": True,
        "signed_url": "hello",
        "signed_put": 200,
        "same": True,
        "names": ["a/x", "big", "signed"],
    }


def test_gcsfs_pyarrow_and_obstore(run_client: RunClient, local_bucket: str) -> None:
    said = run_client(_FILESYSTEMS, local_bucket)
    assert said == {
        "gcsfs": "one",
        "gcsfs_list": [f"{local_bucket}/fs/one.txt"],
        "pyarrow": [1, 2, 3],
        "obstore": "two",
        "obstore_list": ["one.txt", "t.parquet", "two.txt"],
    }


@pytest.mark.skipif(not shutil.which("gcloud"), reason="the gcloud command is not installed")
def test_gcloud_storage(local_cloud: LocalCloud, local_bucket: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("from gcloud\n")
    script = f"""
        set -e
        gcloud storage cp x.txt gs://{local_bucket}/a/x.txt
        gcloud storage ls gs://{local_bucket}/a/
        gcloud storage cat gs://{local_bucket}/a/x.txt
    """
    done = subprocess.run(
        ["/bin/bash", "-c", script], cwd=tmp_path, check=False, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", **local_cloud.environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"gs://{local_bucket}/a/x.txt\nfrom gcloud\n"
