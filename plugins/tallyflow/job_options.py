"""The command line of a pipeline, and what makes two launches of one the same work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.beam.hooks.beam import beam_options_to_args
from airflow.utils.helpers import convert_camel_to_snake

if TYPE_CHECKING:
    from airflow.sdk import Context

WORK_LABEL = "tallyflow-work"
TRY_LABEL = "tallyflow-try"
# What a try of a task may say of itself; it makes no other work of it.
_OF_A_TRY = frozenset({"job_name", "labels", "run_id"})
_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# Dataflow makes labels of names elsewhere: their length is the limit.
_LONGEST_NAME = 63
_HASH_CHARS = 10


@dataclass(frozen=True)
class Work:
    """What a task has to do once, whatever the number of its tries.

    Attributes:
        job_name: Of each of its jobs, and of those of the same task in the same run before it was
            cleared: Dataflow has one active job of a name.
        label: Only of its own.
    """

    job_name: str
    label: str

    @classmethod
    def of(cls, context: Context, base_name: str, options: Mapping[str, Any]) -> Work:
        """The work of a task.

        A task that is cleared has new work: its ``max_tries`` grow then, and only then. So has the
        task of a run that was deleted and made anew: that starts at another time.

        Args:
            context: The task's.
            base_name: What people call the job.
            options: Of the pipeline.

        Raises:
            ValueError: The name cannot be that of a job.
        """
        base = str(base_name).replace("_", "-")
        if not _JOB_NAME.fullmatch(base):
            raise ValueError(
                f"job_name {base_name!r} is not one of Dataflow's: use a-z, 0-9 and -, beginning "
                "with a letter and ending with a letter or digit"
            )
        ti, run = context["ti"], context["dag_run"]
        task = [ti.dag_id, ti.task_id, ti.run_id, ti.map_index]
        kept = {name: value for name, value in options.items() if name not in _OF_A_TRY}
        since = [ti.max_tries, str(run.start_date)]
        name = f"{base[: _LONGEST_NAME - _HASH_CHARS - 1].rstrip('-')}-{_hash(task)}"
        return cls(name, _hash([task, since, kept]))


def _hash(document: Any) -> str:
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]


def merge_options(default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Pipeline options, of which `given` hold where both name one; labels are those of both.

    Names become ``snake_case``. None takes a default away.
    """
    merged: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for options in (default, given):
        for name, value in options.items():
            if name == "labels":
                labels |= _labels(value)
            else:
                merged[convert_camel_to_snake(name)] = value
    found = {name: value for name, value in merged.items() if value is not None}
    return {**found, "labels": labels} if labels else found


def _labels(value: Mapping[str, str] | Sequence[str] | str | None) -> dict[str, str]:
    """Labels as a dict, also where they are as on a command line: ``name=value``."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    pairs = (text.partition("=") for text in ([value] if isinstance(value, str) else value))
    return {name: text for name, _, text in pairs}


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options as a pipeline's command line has them."""
    shown = dict(options)
    if "labels" in shown:
        shown["labels"] = [f"{name}={value}" for name, value in shown["labels"].items()]
    found: list[str] = beam_options_to_args(shown)
    if shown.get("save_main_session") is False:
        # Beam has a flag for it too, which the provider does not know.
        found.append("--no_save_main_session")
    return found
