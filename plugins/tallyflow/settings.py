"""Where and how the jobs run: one frozen object, read from the ``TALLYFLOW_*`` variables."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from beam_jobs.datasets.dataset_parts import DataflowOverrides
from beam_jobs.errors import UsageError
from beam_jobs.publishing.partition_folder import RESULTS
from tallyflow.worker_settings import WorkerSettings

PREFIX = "TALLYFLOW_"
REPOSITORY = Path(__file__).resolve().parents[2]

# A URL with a typing error is noticed here and not by a job, minutes later.
GCS_URL = r"^gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/.*)?$"

# The fields that are Beam options of the same names.
_PIPELINE_OPTIONS = {"temp_location", "sdk_container_image", "extra_package"}
# What to write where a value does not match its pattern; elsewhere a URL.
_PATTERNS = {
    "min_ram": "write a number and GB, as in 16GB",
    "job_page": "use a URL with {job_id} in it",
    "dataflow_kms_key": "use projects/P/locations/L/keyRings/R/cryptoKeys/K",
}


class SettingsError(UsageError):
    """The environment does not say where the jobs run, or says it wrongly."""


class Settings(WorkerSettings):
    """Where the jobs run and where their files are.

    Each field is read from the environment variable ``TALLYFLOW_<FIELD>``; `.env.example` describes
    them, with those of `WorkerSettings`. Fields other than ``runner`` and ``storage`` only matter
    to ``DataflowRunner``.

    Attributes:
        runner: ``DirectRunner`` runs a job on the Airflow worker, ``DataflowRunner`` on Dataflow.
        storage: Root of the datasets and results, an absolute folder or ``gs://bucket[/prefix]``,
            without a slash at its end.
        project: Google Cloud project that runs and pays for the jobs.
        region: Region of the Dataflow jobs.
        temp_location: Folder for Dataflow's temporary files; None means ``<storage>/tmp``.
        impersonate_service_account: Account in whose name jobs are launched, or several with commas
            between them, each of which may impersonate the next.
        templates: Folder of the flex templates by which the jobs are launched; None to launch them
            from here.
        sdk_container_image: Image of the workers with ``beam_jobs`` and its requirements in it.
        extra_package: Wheel of ``beam_jobs`` that the workers install, made by ``make package``;
            None, without an image, for one that the operator makes.
        job_page: URL of a job's page, with ``{job_id}`` in it; None for Google's console.
        pool: Airflow pool of the tasks that launch jobs; its slots bound how many run at once.
        notify: How failures and late partitions are told: in the ``log`` only, to ``slack`` by the
            webhook in the Airflow connection ``tallyflow_slack``, or by ``email``.
        notify_email: Address to write to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runner: Literal["DirectRunner", "DataflowRunner"] = "DirectRunner"
    storage: str = str(REPOSITORY / "data")
    project: str | None = None
    region: str | None = None
    temp_location: Annotated[str, Field(pattern=GCS_URL)] | None = None
    impersonate_service_account: str | None = None
    templates: Annotated[str, Field(pattern=GCS_URL)] | None = None
    sdk_container_image: str | None = None
    extra_package: str | None = None
    job_page: Annotated[str, Field(pattern=r"^https?://.*\{job_id\}")] | None = None
    pool: str = "default_pool"
    notify: Literal["log", "slack", "email"] = "log"
    notify_email: str | None = None

    @field_validator("storage")
    @classmethod
    def _storage_root(cls, value: str) -> str:
        if "://" not in value:
            return _from_repository(value)
        if not re.match(GCS_URL, value):
            raise ValueError("use a local folder or gs://bucket[/prefix]")
        return value.rstrip("/")

    @field_validator("extra_package")
    @classmethod
    def _package_path(cls, value: str) -> str:
        return value if "://" in value else _from_repository(value)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Reads the settings.

        A variable that is set to nothing counts as not set: that is how compose files and
        continuous integration pass on a variable they do not have.

        Args:
            environ: The environment variables; those that do not begin with ``TALLYFLOW_`` are left
                alone.

        Raises:
            SettingsError: A variable has a wrong value, is unknown, or is missing for the runner.
        """
        given = {
            name.removeprefix(PREFIX).lower(): value.strip()
            for name, value in environ.items()
            if name.startswith(PREFIX) and value.strip()
        }
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            raise SettingsError("\n".join(_explain(detail) for detail in error.errors())) from None
        settings._require_what_dataflow_needs()
        if settings.notify == "email" and not settings.notify_email:
            raise SettingsError("TALLYFLOW_NOTIFY=email: also set TALLYFLOW_NOTIFY_EMAIL")
        return settings

    def _require_what_dataflow_needs(self) -> None:
        if self.runner != "DataflowRunner":
            return
        needs = {
            "TALLYFLOW_PROJECT": self.project,
            "TALLYFLOW_REGION": self.region,
            "TALLYFLOW_STORAGE (gs://bucket[/prefix])": self.storage.startswith("gs://"),
        }
        if missing := [name for name, value in needs.items() if not value]:
            raise SettingsError(f"TALLYFLOW_RUNNER=DataflowRunner: also set {', '.join(missing)}")

    def locate(self, path: str) -> str:
        """Where a file is that a form or a dataset names.

        Whoever may fill in a form may not read every file of Airflow's worker.

        Args:
            path: Below the storage root, or a URL.

        Raises:
            UsageError: It leads out of the storage root.
        """
        if "://" in path:
            return path
        inside = path.removeprefix(f"{self.storage}/")
        if inside.startswith("/") or ".." in inside.split("/"):
            raise UsageError(
                f"{path!r} is not below the storage root, {self.storage}; name a path below it, "
                "or a gs:// URL"
            )
        return f"{self.storage}/{inside}"

    def locate_output(self, path: str) -> str:
        """Where a file is that a form asks a job to write.

        Args:
            path: As for `locate`.

        Raises:
            UsageError: As for `locate`; or it is among the results of datasets, whose files only
                their own runs write.
        """
        found = self.locate(path)
        inside = found.removeprefix(f"{self.storage}/")
        folders = [folder for folder in inside.split("/") if folder not in ("", ".")]
        if inside != found and folders[0] == RESULTS:
            raise UsageError(
                f"{path!r} is below {self.storage}/{RESULTS}, where the datasets' published "
                "results are; name another folder"
            )
        return found

    @property
    def makes_package(self) -> bool:
        """Whether the workers get `beam_jobs` by a package that the operator makes and stages."""
        has_it = self.extra_package or self.sdk_container_image or self.templates
        return self.runner == "DataflowRunner" and not has_it

    def template(self, job: str) -> str | None:
        """The flex template by which a job is launched; None where it is launched from here.

        Args:
            job: Name of its module in `beam_jobs`.
        """
        if self.runner != "DataflowRunner" or self.templates is None:
            return None
        return f"{self.templates.rstrip('/')}/{job}.json"

    def default_pipeline_options(self, dataset: DataflowOverrides | None = None) -> dict[str, Any]:
        """Beam options of every job, for the operator.

        Project and region are not among them: the operator takes those of `dataflow_config`.

        Args:
            dataset: What the dataset's file says otherwise.
        """
        if self.runner != "DataflowRunner":
            return {}
        options = {
            **self.worker_options(dataset),
            **self.model_dump(include=_PIPELINE_OPTIONS, exclude_none=True),
        }
        options.setdefault("temp_location", self.locate("tmp"))
        if self.templates is not None:
            options.pop("extra_package", None)  # the template's image has it
        return options

    def dataflow_config(self, job_name: str) -> dict[str, Any] | None:
        """The operator's ``dataflow_config``; None where no job goes to Dataflow.

        The operator adds a suffix that is the same for all tries of a task.

        Args:
            job_name: Name (templated) of what the job works on, one per partition or run.
        """
        if self.runner != "DataflowRunner":
            return None
        return {
            "job_name": job_name,
            "project_id": self.project,
            "location": self.region,
            "impersonation_chain": self._impersonation_chain,
        }

    @property
    def _impersonation_chain(self) -> str | list[str] | None:
        chain = (self.impersonate_service_account or "").replace(" ", "").split(",")
        return chain if len(chain) > 1 else chain[0] or None


def _from_repository(path: str) -> str:
    """A relative path from the repository: the working directory is another in each process."""
    return str((REPOSITORY / Path(path).expanduser()).resolve())


def _explain(detail: ErrorDetails) -> str:
    """One line that names the variable, its value and what is valid."""
    if not detail["loc"]:
        return detail["msg"].removeprefix("Value error, ")
    field = str(detail["loc"][0])
    variable = PREFIX + field.upper()
    if detail["type"] == "extra_forbidden":
        names = [PREFIX + name.upper() for name in Settings.model_fields]
        if close := difflib.get_close_matches(variable, names, n=1):
            return f"{variable} is not a setting; did you mean {close[0]}?"
        return f"{variable} is not a setting; the settings are {', '.join(names)}"
    problem = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "string_pattern_mismatch":
        problem = _PATTERNS.get(field, "use gs://bucket[/prefix]")
    return f"{variable}={detail['input']!r}: {problem}"
