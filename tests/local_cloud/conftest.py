"""What the tests of the local cloud share: the cloud itself, as other projects get it."""

from __future__ import annotations

from local_cloud.pytest_plugin import local_bucket, local_cloud, local_cloud_environment
from tests.local_cloud.clients import run_client

__all__ = ["local_bucket", "local_cloud", "local_cloud_environment", "run_client"]
