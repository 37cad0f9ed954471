"""What a job used of Dataflow, and what that costs by its list prices.

None of it is worth a failure: what Dataflow does not say is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beam_jobs.engine.run_report import EstimatedPrice, Usage
from tallyflow.dataflow_jobs import CALL_ERRORS, DataflowJobs, NoAnswerError, Patience
from tallyflow.dataflow_prices import CURRENCY, PRICES

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

# XCom: the fields of a `Usage`.
JOB_USAGE = "job_usage"
_ASK_SECONDS = 30.0
_HOUR = 3600
_MEBIBYTES = 1024
_GIBIBYTE = 2**30
_PRIME = "enable_prime"
_DIGITS = 6


def used_by(
    jobs: DataflowJobs, job_id: str, options: Mapping[str, Any], log: Logger
) -> dict[str, Any] | None:
    """What a job that is over has used, as an XCom; None where Dataflow does not answer.

    Args:
        jobs: The client.
        job_id: Which job.
        options: Of its pipeline.
        log: Where it is told, too.
    """
    try:
        metrics = Patience(_ASK_SECONDS).keep_trying(lambda: jobs.metrics(job_id))
    except (NoAnswerError, *CALL_ERRORS) as error:
        log.warning("What job %s has used is not known: %s", job_id, error)
        return None
    usage = usage_of(metrics, job_id, jobs.location, options)
    log.info("Job %s has used %s", job_id, usage)
    return usage.model_dump(mode="json")


def usage_of(
    metrics: Sequence[Mapping[str, Any]], job_id: str, region: str, options: Mapping[str, Any]
) -> Usage:
    """What the service's own metrics of a job say.

    Their units are in no reference; they follow from the service's names of them, such as
    ``Service-mem_mb_seconds`` and ``Service-shuffle_service_chargeable_gb``, and from what they
    are for machines of a known size: vCPU seconds, mebibyte seconds, gibibyte seconds, gibibytes.
    """
    found = _service_metrics(metrics)

    def scaled(name: str, factor: float) -> float | None:
        return None if name not in found else round(found[name] * factor, _DIGITS)

    def size(name: str) -> int | None:
        return None if name not in found else round(found[name] * _GIBIBYTE)

    usage = Usage(
        job_id=job_id,
        region=region,
        flexrs=options.get("flexrs_goal") == "COST_OPTIMIZED",
        vcpu_hours=scaled("TotalVcpuTime", 1 / _HOUR),
        memory_gb_hours=scaled("TotalMemoryUsage", 1 / _MEBIBYTES / _HOUR),
        disk_gb_hours=scaled("TotalPdUsage", 1 / _HOUR),
        ssd_gb_hours=scaled("TotalSsdUsage", 1 / _HOUR),
        shuffled_bytes=size("TotalShuffleDataProcessed"),
        charged_shuffle_bytes=size("BillableShuffleDataProcessed"),
    )
    if why := _unpriced(usage, options, gpu_seconds=found.get("TotalGpuTime", 0)):
        return usage.model_copy(update={"no_price": why})
    return usage.model_copy(update={"estimated_price": _price(usage)})


def _service_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The service's metrics by name; those of all work where none of done work are there."""
    done: dict[str, float] = {}
    tentative: dict[str, float] = {}
    for metric in metrics:
        name, value = metric.get("name", {}), metric.get("scalar")
        if name.get("origin") == "dataflow/v1b3" and isinstance(value, int | float):
            kept = tentative if "tentative" in name.get("context", {}) else done
            kept[str(name.get("name"))] = value
    return {**tentative, **done}


def _unpriced(usage: Usage, options: Mapping[str, Any], *, gpu_seconds: float) -> str | None:
    """Why there is no estimate; None if there is one."""
    if _PRIME in str(options.get("dataflow_service_options", "")):
        return "Dataflow Prime is charged for by other units"
    if gpu_seconds:
        return "it used GPUs, whose prices are not in the table of prices"
    if usage.region not in PRICES:
        return f"the table of prices has none of region {usage.region}"
    needed = ("vcpu_hours", "memory_gb_hours", "disk_gb_hours", "ssd_gb_hours")
    for name in (*needed, "charged_shuffle_bytes"):
        if getattr(usage, name) is None:
            return f"Dataflow does not say {name}"
    return None


def _price(usage: Usage) -> EstimatedPrice:
    prices = PRICES[usage.region]
    vcpu, memory = prices.vcpu_hour, prices.memory_gb_hour
    if usage.flexrs:
        vcpu, memory = prices.flexrs_vcpu_hour, prices.flexrs_memory_gb_hour
    amount = (
        (usage.vcpu_hours or 0) * vcpu
        + (usage.memory_gb_hours or 0) * memory
        + (usage.disk_gb_hours or 0) * prices.disk_gb_hour
        + (usage.ssd_gb_hours or 0) * prices.ssd_gb_hour
        + (usage.charged_shuffle_bytes or 0) / _GIBIBYTE * prices.shuffle_gb
    )
    return EstimatedPrice(
        amount=round(amount, _DIGITS), currency=CURRENCY, prices_as_of=prices.as_of
    )
