"""Turns what workers count into the metrics that the API reports.

Counts of finished bundles are committed. Tentative are those together with what the bundles have
counted that are running.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from apache_beam.metrics import monitoring_infos
from apache_beam.portability.api import metrics_pb2

from local_cloud.dataflow.events import Distribution, Metric
from local_cloud.dataflow.workers.steps import Steps

Infos = list[metrics_pb2.MonitoringInfo]
_KEPT = (
    monitoring_infos.USER_COUNTER_URN,
    monitoring_infos.USER_DISTRIBUTION_URN,
    monitoring_infos.ELEMENT_COUNT_URN,
)


def add(*counted: Iterable[metrics_pb2.MonitoringInfo]) -> Infos:
    """The sum of what was counted by several bundles."""
    kept = (info for infos in counted for info in infos if info.urn in _KEPT)
    return list(monitoring_infos.consolidate(kept))


def without(infos: Iterable[metrics_pb2.MonitoringInfo], collections: Set[str]) -> Infos:
    """What was counted, but for the elements of some collections.

    A collection is counted by the stage that puts it out, and again by each that reads it; what
    the runner makes itself, such as groups, only by those that read it.
    """
    return [
        info
        for info in infos
        if info.urn != monitoring_infos.ELEMENT_COUNT_URN or _collection(info) not in collections
    ]


def elements(infos: Infos) -> dict[str, int]:
    """How many elements each collection has, by its id."""
    return {
        _collection(info): monitoring_infos.extract_counter_value(info)
        for info in infos
        if info.urn == monitoring_infos.ELEMENT_COUNT_URN
    }


def describe(committed: Infos, tentative: Infos, steps: Steps) -> list[Metric]:
    """All metrics of a job, as `GetJobMetrics` has them: each one committed and tentative."""
    found: list[Metric] = []
    for infos, is_tentative in ((committed, False), (tentative, True)):
        user = [info for info in infos if info.urn != monitoring_infos.ELEMENT_COUNT_URN]
        found += [_user_metric(info, steps, tentative=is_tentative) for info in user]
        found += _element_counts(elements(infos), steps, tentative=is_tentative)
    return found


def _collection(info: metrics_pb2.MonitoringInfo) -> str:
    return str(info.labels[monitoring_infos.PCOLLECTION_LABEL])


def _user_metric(info: metrics_pb2.MonitoringInfo, steps: Steps, *, tentative: bool) -> Metric:
    namespace, name = monitoring_infos.parse_namespace_and_name(info)
    about = {
        "origin": "user",
        "name": name,
        "namespace": namespace,
        "step": steps.owner(info.labels[monitoring_infos.PTRANSFORM_LABEL]),
        "tentative": tentative,
    }
    if info.urn == monitoring_infos.USER_COUNTER_URN:
        value = monitoring_infos.extract_counter_value(info)
        return Metric.model_validate({**about, "kind": "Sum", "scalar": value})
    count, total, least, most = monitoring_infos.extract_distribution(info)
    value = Distribution(count=count, sum=total, min=least, max=most)
    return Metric.model_validate({**about, "kind": "Distribution", "distribution": value})


def _element_counts(counts: Mapping[str, int], steps: Steps, *, tentative: bool) -> list[Metric]:
    return [
        Metric(
            origin="dataflow/v1b3",
            name="ElementCount",
            step=step,
            tentative=tentative,
            scalar=count,
        )
        for step in steps.ids
        if (count := steps.elements(step, counts)) is not None
    ]
