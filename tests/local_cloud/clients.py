"""Runs client code as users do: in a process of its own, with nothing but the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from local_cloud import LocalCloud

RunClient = Callable[..., dict[str, Any]]
_PATIENCE_SECONDS = 120
_END = "\nimport json; print(); print(json.dumps(said))\n"


@pytest.fixture
def run_client(local_cloud: LocalCloud) -> RunClient:
    """Runs Python code that puts what it finds into ``said``, which is given back.

    Variables are set besides those of the local cloud; None stands for one that is not set.
    """

    def run(code: str, *arguments: str, **variables: str | None) -> dict[str, Any]:
        environment = {**os.environ, **local_cloud.environment, **variables}
        done = subprocess.run(
            [sys.executable, "-c", "said = {}\n" + code + _END, *arguments],
            env={name: value for name, value in environment.items() if value is not None},
            check=False, capture_output=True, text=True, timeout=_PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-6000:]
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return said

    return run
