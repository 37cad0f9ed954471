"""Clients of Cloud Storage, each reaching the local one by its own settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow.fs
from apache_beam.io.gcp.gcsio import GcsIO
from gcsfs.core import GCSFileSystem
from obstore.store import GCSStore

from tests.local_cloud.storage_server import PROJECT, StorageServer


def gcsfs_client(server: StorageServer) -> Any:
    """A gcsfs that keeps no listings."""
    return GCSFileSystem(
        project=PROJECT, token="anon", endpoint_url=server.url,  # noqa: S106
        use_listings_cache=False, skip_instance_cache=True,
    )  # fmt: skip


def arrow_client(server: StorageServer) -> Any:
    """The filesystem of pyarrow."""
    return pyarrow.fs.GcsFileSystem(
        anonymous=True, scheme="http", endpoint_override=f"127.0.0.1:{server.port}",
        retry_time_limit=timedelta(seconds=5), project_id=PROJECT,
    )  # fmt: skip


def obstore_client(server: StorageServer, bucket: str) -> Any:
    """The store of obstore."""
    return GCSStore(
        bucket,
        config={"base_url": server.url, "bearer_token": "any"},
        client_options={"allow_http": True},
    )


def beam_client(server: StorageServer) -> Any:
    """The client that Beam's ``gs://`` filesystem uses."""
    return GcsIO(storage_client=server.client())
