"""What a pipeline's process is started with: its interpreter, and files that are fetched first."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.standard.utils import prepare_virtualenv
from airflow.sdk.exceptions import AirflowFailException

from tallyflow.job_options import arguments


@dataclass(frozen=True)
class Program:
    """A pipeline in Python, as the provider's operator describes it.

    Attributes:
        file: A path, a ``gs://`` URL, or what follows ``options``, such as a module.
        interpreter: The Python that runs it.
        options: Of Python, such as ``-m``.
        requirements: Packages of a virtual environment that is made for it; None for no such one.
        has_system_packages: Whether that sees the packages of the interpreter too.
        runner: Of Beam.
        gcp_conn_id: Airflow's connection, to fetch files with.
    """

    file: str
    interpreter: str
    options: Sequence[str]
    requirements: Sequence[str] | None
    has_system_packages: bool
    runner: str
    gcp_conn_id: str

    @contextlib.contextmanager
    def command(self, options: Mapping[str, Any]) -> Iterator[list[str]]:
        """What to run, with the pipeline's options; fetched files are there inside the block."""
        with contextlib.ExitStack() as stack:
            file = self._fetched(self.file, stack)
            fetched = dict(options)
            if "requirements_file" in fetched:
                fetched["requirements_file"] = self._fetched(fetched["requirements_file"], stack)
            interpreter = self._interpreter(stack)
            yield [
                *(interpreter, *self.options, file),
                *(f"--runner={self.runner}", *arguments(fetched)),
            ]

    def _fetched(self, path: str, stack: contextlib.ExitStack) -> str:
        if not path.lower().startswith("gs://"):
            return path
        from airflow.providers.google.cloud.hooks.gcs import GCSHook  # noqa: PLC0415 - heavy

        hook = GCSHook(gcp_conn_id=self.gcp_conn_id)
        found: str = stack.enter_context(hook.provide_file(object_url=path)).name
        return found

    def _interpreter(self, stack: contextlib.ExitStack) -> str:
        if self.requirements is None:
            return self.interpreter
        if not self.requirements and not self.has_system_packages:
            raise AirflowFailException(
                "py_requirements is empty and py_system_site_packages is false, so that there "
                "would be no Beam: name apache-beam in the former, or set the latter"
            )
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="apache-beam-venv"))
        found: str = prepare_virtualenv(
            venv_directory=folder,
            python_bin=self.interpreter,
            system_site_packages=self.has_system_packages,
            requirements=list(self.requirements),
        )
        return found
