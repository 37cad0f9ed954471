"""What every method of the API works with."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from local_cloud.dataflow.lifecycle import Lifecycle
from local_cloud.dataflow.names import DEFAULT_LOCATION, LOCATIONS, traced
from local_cloud.dataflow.store import Store, StoredJob
from local_cloud.errors import ServiceError


@dataclass(frozen=True)
class Dataflow:
    """The service.

    Attributes:
        directory: Where all its data is.
        projects: The projects that exist.
        store: Its jobs.
        lifecycle: What runs them.
    """

    directory: Path
    projects: Set[str]
    store: Store
    lifecycle: Lifecycle

    def check_project(self, project: str, permission: str) -> None:
        """Fails for a project that is not there, as for one where the caller may do nothing.

        Raises:
            ServiceError: It is not there.
        """
        if project in self.projects:
            return
        denied = traced(f"Permission '{permission}' denied on project: '{project}'")
        if permission == "dataflow.jobs.create":
            raise ServiceError(
                403,
                traced(
                    "Could not create workflow; user does not have write access to project: "
                    f"{project} Causes: {denied}"
                ),
            )
        raise ServiceError(403, denied)

    def location(self, location: str) -> str:
        """The region that a request is for.

        Raises:
            ServiceError: There is no such region.
        """
        location = location or DEFAULT_LOCATION
        if location not in LOCATIONS:
            raise ServiceError(
                400,
                traced(
                    "The workflow could not be created, since it was sent to an invalid regional "
                    f"endpoint ({location}). Please resubmit to a valid Cloud Dataflow regional "
                    "endpoint. The list of Cloud Dataflow regional endpoints is at "
                    "https://cloud.google.com/dataflow/docs/concepts/regional-endpoints."
                ),
            )
        return location

    def job(self, project: str, location: str, job_id: str, permission: str) -> StoredJob:
        """The job that a request is about.

        Raises:
            ServiceError: It, its region or its project is not there.
        """
        self.check_project(project, permission)
        job = self.store.get(job_id)
        if job is None or (job.project, job.location) != (project, self.location(location)):
            raise ServiceError(
                404,
                traced(
                    f"Information about job {job_id} could not be found in our system. Please "
                    "double check the id is correct. If it is please contact customer support."
                ),
            )
        return job
