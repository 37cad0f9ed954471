"""Fixtures for pytest: ``pytest_plugins = ["local_cloud.pytest_plugin"]`` in a conftest."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from local_cloud import LocalCloud
from local_cloud.loopback import make_bucket


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """A local cloud for all tests of the session, with a directory of its own.

    Processes that a test starts use it with ``env={**os.environ, **local_cloud.environment}``.
    """
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def local_cloud_environment(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the clients in the test's own process use the local cloud, until the test ends.

    Some clients read their variables when they are imported: import those in the test.
    """
    for name, value in local_cloud.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def local_bucket(local_cloud: LocalCloud) -> str:
    """The name of a bucket that is empty, and no other test's."""
    name = f"test-{secrets.token_hex(8)}"
    make_bucket(local_cloud.settings, name)
    return name
