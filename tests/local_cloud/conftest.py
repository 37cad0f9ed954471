"""What the tests of the local cloud share: the cloud itself, as other projects get it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_cloud.pytest_plugin import local_bucket, local_cloud, local_cloud_environment
from tests.local_cloud.clients import run_client

__all__ = ["local_bucket", "local_cloud", "local_cloud_environment", "run_client"]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the packages of these tests out of the user's cache of environments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
