"""Other projects' tests get a cloud, a bucket and an environment from the plugin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_TESTS = """
import os
from google.cloud import storage

buckets = set()

def test_one(local_cloud_environment, local_cloud, local_bucket):
    assert os.environ["GOOGLE_CLOUD_PROJECT"] == local_cloud.project
    storage.Client().bucket(local_bucket).blob("x").upload_from_string("x")
    buckets.add(local_bucket)

def test_two(local_cloud_environment, local_bucket):
    assert local_bucket not in buckets
    assert list(storage.Client().list_blobs(local_bucket)) == []

def test_three():
    assert "STORAGE_EMULATOR_HOST" not in os.environ
"""


def test_the_plugin_gives_what_its_readme_says(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["local_cloud.pytest_plugin"]\n')
    (tmp_path / "test_theirs.py").write_text(_TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout
