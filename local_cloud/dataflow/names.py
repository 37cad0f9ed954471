"""Ids, names and labels of jobs: how they are made, and what the service accepts."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime

from local_cloud.errors import ServiceError

DEFAULT_LOCATION = "us-central1"
# https://cloud.google.com/dataflow/docs/resources/locations
LOCATIONS = frozenset(
    """
    africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1
    asia-south2 asia-southeast1 asia-southeast2 asia-southeast3 australia-southeast1
    australia-southeast2 europe-central2 europe-north1 europe-north2 europe-southwest1 europe-west1
    europe-west10 europe-west12 europe-west2 europe-west3 europe-west4 europe-west6 europe-west8
    europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1 northamerica-northeast2
    northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-east1 us-east4 us-east5
    us-east7 us-south1 us-west1 us-west2 us-west3 us-west4
    """.split()
)

# The three rules are in the discovery document, at Job.name and Job.labels.
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
_LABEL_BYTES = 128
_LABEL_LENGTH = 63
_LABELS = 64


def now() -> str:
    """The time, as the API writes it; such texts sort like the times."""
    return time_text(datetime.now(UTC))


def time_text(time: datetime) -> str:
    """A time as the API writes it, in microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The time that a text of `time_text` says."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def new_job_id() -> str:
    """An id such as ``2026-11-22_10_11_12-1234567890123456789``."""
    time = datetime.now(UTC).strftime("%Y-%m-%d_%H_%M_%S")
    return f"{time}-{secrets.randbelow(9 * 10**18) + 10**18}"


def traced(message: str) -> str:
    """A message with the number before it by which the real service's staff finds its origin."""
    return f"({secrets.token_hex(8)}): {message}"


def not_created(status: int, cause: str) -> ServiceError:
    """The error for a job that cannot be created."""
    return ServiceError(
        status, traced(f"The workflow could not be created. Causes: {traced(cause)}")
    )


def check_job_name(name: str) -> None:
    """Fails on a name that no job can have.

    Raises:
        ServiceError: It is such a name.
    """
    if not _JOB_NAME.fullmatch(name):
        raise not_created(
            400,
            f"The job name {name!r} is invalid; the name must consist of only the characters "
            "[-a-z0-9], starting with a letter and ending with a letter or number, "
            "and have at most 1024 characters.",
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Fails on labels that no job can have.

    Raises:
        ServiceError: They are such.
    """
    if len(labels) > _LABELS:
        raise not_created(400, f"A job has at most {_LABELS} labels, not {len(labels)}.")
    for key, value in labels.items():
        starts = bool(key) and unicodedata.category(key[0]) in ("Ll", "Lo")
        if not (starts and _is_label_text(key)):
            raise not_created(
                400,
                f"The label key {key!r} is invalid: it starts with a lowercase letter, and has at "
                f"most {_LABEL_LENGTH} lowercase letters, digits, '_' and '-'.",
            )
        if not _is_label_text(value):
            raise not_created(
                400,
                f"The value {value!r} of the label {key!r} is invalid: it has at most "
                f"{_LABEL_LENGTH} lowercase letters, digits, '_' and '-'.",
            )


def _is_label_text(text: str) -> bool:
    return (
        len(text) <= _LABEL_LENGTH
        and len(text.encode()) <= _LABEL_BYTES
        and all(
            char in "_-" or unicodedata.category(char) in ("Ll", "Lo", "Nd", "Nl", "No")
            for char in text
        )
    )
