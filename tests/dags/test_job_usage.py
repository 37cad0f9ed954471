"""What a job used of Dataflow, what that costs, and how it comes into the report of a run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest
import structlog

from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.engine.run_report import RunReport
from beam_jobs.publishing.partition_folder import PartitionFolder
from tallyflow import partition_tasks
from tallyflow.dataflow_jobs import DataflowJobs
from tallyflow.job_usage import JOB_USAGE, usage_of, used_by
from tests.dags.test_partition_tasks import DATASET
from tests.unit.published_parts import publish_part

_LOG = structlog.get_logger()
# What Dataflow says of a small job on a machine with 2 vCPUs, 8 GB and a disk of 25 GB.
_USED = {
    "TotalVcpuTime": 182.0,
    "TotalMemoryUsage": 747068.0,
    "TotalPdUsage": 2279.0,
    "TotalSsdUsage": 0.0,
    "TotalShuffleDataProcessed": 6.414949893951416e-05,
    "BillableShuffleDataProcessed": 1.603737473487854e-05,
}


def metrics(used: dict[str, float]) -> list[dict[str, Any]]:
    found = []
    for name, value in used.items():
        named = {"origin": "dataflow/v1b3", "name": name}
        tentative = {**named, "context": {"tentative": "true"}}
        found += [{"name": tentative, "scalar": value * 2}, {"name": named, "scalar": value}]
    return found


def test_usage_is_in_hours_and_bytes_and_its_price_by_the_list() -> None:
    usage = usage_of(metrics(_USED), "j1", "us-central1", {})
    assert usage.vcpu_hours == pytest.approx(182 / 3600, abs=1e-6)
    # 4 GB for each vCPU.
    assert usage.memory_gb_hours == pytest.approx(4 * 182.4 / 3600, abs=2e-5)
    assert (usage.shuffled_bytes, usage.charged_shuffle_bytes) == (68880, 17220)
    price = usage.estimated_price
    assert price is not None
    by_hand = 182 * 0.056 / 3600 + 4 * 182.4 * 0.003557 / 3600 + 2279 * 0.000054 / 3600
    assert price.amount == pytest.approx(by_hand, abs=2e-6)
    assert str(usage) == (
        "0.05056 vCPU hours, 0.2027 GB hours of memory, 6.415e-05 GB of shuffle: an estimated "
        "0.0036 USD by the list prices of us-central1 as of 2026-09-08"
    )
    cheaper = usage_of(metrics(_USED), "j1", "us-central1", {"flexrs_goal": "COST_OPTIMIZED"})
    assert cheaper.estimated_price is not None
    assert cheaper.estimated_price.amount == pytest.approx(0.6 * price.amount, rel=0.02)


@pytest.mark.parametrize(
    ("region", "options", "used", "why"),
    [
        ("mars-north1", {}, _USED, "none of region mars-north1"),
        ("us-central1", {"dataflow_service_options": ["enable_prime"]}, _USED, "Prime"),
        ("us-central1", {}, {**_USED, "TotalGpuTime": 5.0}, "GPUs"),
        ("us-central1", {}, {"TotalMemoryUsage": 5.0}, "does not say vcpu_hours"),
    ],
)
def test_where_a_price_would_be_wrong_there_is_none(
    region: str, options: dict[str, Any], used: dict[str, float], why: str
) -> None:
    usage = usage_of(metrics(used), "j1", region, options)
    assert usage.estimated_price is None
    assert why in str(usage.no_price)
    assert why in str(usage)


def test_no_answer_is_no_usage_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = DataflowJobs(cast("Any", None), "project", "us-central1")

    def metrics(_: str) -> list[dict[str, Any]]:
        raise ConnectionResetError

    monkeypatch.setattr(jobs, "metrics", metrics)
    monkeypatch.setattr("tallyflow.job_usage._ASK_SECONDS", 0)
    assert used_by(jobs, "j1", {}, _LOG) is None


@pytest.mark.parametrize(
    ("used", "is_in_it"),
    [
        (usage_of(metrics(_USED), "j1", "us-central1", {}).model_dump(mode="json"), True),
        (None, False),
        ({"of": "another version"}, False),
    ],
)
def test_the_report_has_what_the_job_used_and_a_run_goes_on_without_it(
    used: dict[str, Any] | None, is_in_it: bool, tmp_path: Path
) -> None:
    path = tmp_path / "flights.yaml"
    path.write_text(DATASET)
    dataset = load_dataset(path)
    day = Partition.parse("2013-01-01", "day")
    version = publish_part(tmp_path, dataset, day, pa.table({"x": [1]}), columns={"x": "BIGINT"})
    folder = PartitionFolder(str(tmp_path), dataset.name, day)
    report = Path(folder.path) / version.report
    # As reports were before they could have it.
    written = json.loads(report.read_text())
    del written["usage"]
    report.write_text(json.dumps(written))
    before = RunReport.of_json(report.read_text(), str(report))
    pulled = {("aggregate", JOB_USAGE): json.loads(json.dumps(used))}
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key: pulled[task_ids, key])
    partition_tasks.audit_partition(
        path, str(tmp_path), day.key, version.run_id, ti=cast("Any", ti)
    )
    after = RunReport.of_json(report.read_text(), str(report))
    assert after.model_copy(update={"usage": None}) == before
    assert (after.usage is not None) == is_in_it
    if is_in_it:
        asked = "SELECT usage.job_id, usage.estimated_price.amount FROM read_json($1)"
        assert duckdb.execute(asked, [str(report)]).fetchall() == [("j1", 0.003586)]
