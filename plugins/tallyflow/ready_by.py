"""The deadline of a dataset: its partitions are published by a time of day."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.deadline import BaseDeadlineReference, deadline_reference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@deadline_reference
@dataclass(eq=False)
class ReadyBy(BaseDeadlineReference):
    """The first time after the start of a scheduled run at which a clock shows a time of day.

    Runs that were triggered by hand, and those of a backfill, are about days whose time has passed:
    they have no deadline.

    Attributes:
        ready_by: The time, as in ``06:00``.
        timezone: Of the clock.
    """

    ready_by: str = "00:00"
    timezone: str = "UTC"

    # What Airflow calls `_evaluate_with` with.
    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def serialize_reference(self) -> dict[str, Any]:
        """What the scheduler makes the reference of."""
        return {
            "reference_type": self.reference_name,
            "ready_by": self.ready_by,
            "timezone": self.timezone,
        }

    @classmethod
    def deserialize_reference(cls, reference_data: dict[str, Any]) -> ReadyBy:
        """Reads what `serialize_reference` wrote."""
        return cls(reference_data["ready_by"], reference_data["timezone"])

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun  # noqa: PLC0415 - runs in the scheduler only
        from airflow.utils.types import DagRunType  # noqa: PLC0415
        from sqlalchemy import select  # noqa: PLC0415

        runs = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        run = session.scalars(runs).one()
        if run.run_type != DagRunType.SCHEDULED:
            return None
        return self.after(run.run_after)

    def after(self, moment: datetime) -> datetime:
        """The first time after a moment at which the clock shows the time of day."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        local = moment.astimezone(zone)
        at = time.fromisoformat(self.ready_by)
        found = datetime.combine(local.date(), at, zone)
        if found <= local:
            found = datetime.combine(local.date() + timedelta(days=1), at, zone)
        return found
