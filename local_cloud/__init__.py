"""Google Cloud for a laptop: Dataflow, Cloud Storage, BigQuery and Postgres on loopback."""

from __future__ import annotations

from local_cloud.cloud import LocalCloud
from local_cloud.settings import LocalCloudError

__all__ = ["LocalCloud", "LocalCloudError"]
