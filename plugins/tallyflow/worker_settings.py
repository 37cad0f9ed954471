"""The settings that say which workers Dataflow's jobs get, and what they may cost.

`docs/dataflow.md` says what each is good for.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from beam_jobs.datasets.dataset_parts import DataflowOverrides

KMS_KEY = r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
# The fields that are Beam options of the same names.
_PIPELINE_OPTIONS = {
    *("service_account_email", "network", "subnetwork", "dataflow_kms_key", "labels"),
    *("machine_type", "num_workers", "max_num_workers", "number_of_worker_harness_threads"),
    *("disk_size_gb", "flexrs_goal"),
}
_DISK_TYPE = "compute.googleapis.com/projects//zones//diskTypes/"
# https://cloud.google.com/resource-manager/docs/labels-overview, without letters beyond ASCII.
_LABEL = re.compile(r"([a-z][-_a-z0-9]{0,62})=([-_a-z0-9]{0,63})")


class WorkerSettings(BaseModel):
    """Which workers the jobs get.

    Attributes:
        service_account_email: Account that the workers run as.
        network: VPC network of the workers.
        subnetwork: Subnetwork of the workers, ``regions/REGION/subnetworks/NAME``.
        use_public_ips: Whether the workers have public addresses.
        machine_type: Machine type of the workers.
        num_workers: With how many workers a job begins; None leaves it to Dataflow.
        max_num_workers: Upper bound of the autoscaling, and with it of what a job costs.
        disk_size_gb: Disk of a worker, on which sessions spill.
        disk_type: Its type; None for Dataflow's default.
        number_of_worker_harness_threads: Bundles that a worker takes at a time; None for one for
            each of its vCPUs.
        flexrs_goal: ``COST_OPTIMIZED`` for jobs that may wait up to six hours, and cost less.
        min_ram: Memory that a worker needs at least, by which Dataflow chooses it.
        shuffle_mode: Where groups are brought together: None for Dataflow's default, the service.
        dataflow_kms_key: Key that encrypts what a job stores meanwhile.
        labels: Labels of all jobs, for the bill: ``team=data,env=prod``.
    """

    service_account_email: str | None = None
    network: str | None = None
    subnetwork: str | None = None
    use_public_ips: bool = True
    machine_type: str = "n2-standard-4"
    num_workers: Annotated[int, Field(ge=1)] | None = None
    max_num_workers: Annotated[int, Field(ge=1)] = 10
    disk_size_gb: Annotated[int, Field(ge=30)] = 50
    disk_type: Literal["pd-standard", "pd-balanced", "pd-ssd"] | None = None
    number_of_worker_harness_threads: Annotated[int, Field(ge=1)] | None = None
    flexrs_goal: Literal["COST_OPTIMIZED", "SPEED_OPTIMIZED"] | None = None
    min_ram: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(GB|GiB)$")] | None = None
    shuffle_mode: Literal["service", "appliance"] | None = None
    dataflow_kms_key: Annotated[str, Field(pattern=KMS_KEY)] | None = None
    labels: dict[str, str] | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _labels(cls, value: str) -> dict[str, str]:
        found = {}
        for text in value.split(","):
            if not (pair := _LABEL.fullmatch(text.strip())):
                raise ValueError(
                    f"{text.strip()!r} is no label; write name=value with a-z, 0-9, - and _, "
                    "the name beginning with a letter, and commas between labels"
                )
            found[pair[1]] = pair[2]
        return found

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if (self.num_workers or 1) > self.max_num_workers:
            raise ValueError(
                f"TALLYFLOW_NUM_WORKERS={self.num_workers} is more than "
                f"TALLYFLOW_MAX_NUM_WORKERS={self.max_num_workers}; raise the latter"
            )
        beside = {"MIN_RAM": self.min_ram, "SHUFFLE_MODE": self.shuffle_mode == "appliance"}
        if self.flexrs_goal and (other := next((name for name in beside if beside[name]), None)):
            raise ValueError(
                f"TALLYFLOW_FLEXRS_GOAL does not go with TALLYFLOW_{other}, by Dataflow's rules; "
                "delete one of them"
            )
        return self

    def worker_options(self, dataset: DataflowOverrides | None) -> dict[str, Any]:
        """Beam's options that say the same.

        Args:
            dataset: What the dataset's file says otherwise.
        """
        options = self.model_dump(include=_PIPELINE_OPTIONS, exclude_none=True)
        if not self.use_public_ips:
            options["use_public_ips"] = False  # the operator makes --no_use_public_ips of it
        if self.disk_type is not None:
            options["worker_disk_type"] = _DISK_TYPE + self.disk_type
        if self.min_ram is not None:
            options["resource_hints"] = [f"min_ram={self.min_ram}"]
        if self.shuffle_mode is not None:
            options["experiments"] = [f"shuffle_mode={self.shuffle_mode}"]
        return options if dataset is None else _overridden(options, dataset)


def _overridden(options: dict[str, Any], dataset: DataflowOverrides) -> dict[str, Any]:
    found = options | dataset.model_dump(exclude_none=True)
    if dataset.flexrs_goal is not None:
        # Dataflow refuses these beside it.
        found.pop("resource_hints", None)
        found.pop("experiments", None)
    if found.get("num_workers", 1) > found["max_num_workers"]:
        found["num_workers"] = found["max_num_workers"]
    return found
