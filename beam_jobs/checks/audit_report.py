"""The report of an audit: one JSON document with what each check expected and found.

Whoever shows partitions reads it, DAG files too: nothing heavy is imported here.
"""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import Field

from beam_jobs.documents import Document, Part

_SHOWN_HISTORY = 10


Number = bool | int | float | str | None
"""A value: what JSON has no type for (dates, decimals, NaN) is text."""


class HistoryValue(Part):
    """What an earlier partition had."""

    partition: str = Field(description="Its key.")
    value: Number = Field(description="Null if it had none; it does not count then.")


class ValueFound(Part):
    """What was found for a part of a condition."""

    name: str = Field(description="The metric, or the subquery, as it is written.")
    value: Number
    approximate: bool = Field(description="Whether it is an estimate, shown with ~.")
    note: str | None = Field(description="Why there is no value.")
    of: str | None = Field(
        default=None, description="The metric whose history it is computed from; null for others."
    )
    history: tuple[HistoryValue, ...] = Field(
        default=(), description="That, in the published partitions before, newest first."
    )

    def __str__(self) -> str:
        sign = "~" if self.approximate and self.value is not None else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.name} = {sign}{_shown(self.value)}{note}"


class CheckResult(Part):
    """One check, and what came of it."""

    name: str
    condition: str
    severity: Literal["error", "warn"]
    passed: bool
    values: tuple[ValueFound, ...] = Field(description="What the condition was evaluated with.")
    message: str = Field(description="What was expected, what was found, and the history.")


class LateFile(Part):
    """A file of an earlier partition that its numbers do not include as it is now."""

    path: str
    bytes: int
    modified: datetime.datetime | None = Field(description="Null where that is not known.")
    change: Literal["new", "changed"] = Field(
        description="Whether the run did not see it, or it is not any more what it was then."
    )


class LateFiles(Part):
    """The files that came too late for the newest published partition before this one."""

    partition: str = Field(description="Its key.")
    run_id: str = Field(description="The run that computed it.")
    files: tuple[LateFile, ...] = Field(description="In the order of their paths.")
    remedy: str


class AuditReport(Document):
    """What the checks of a run found."""

    kind = "report of an audit"

    dataset: str
    partition: str
    run_id: str
    audited: datetime.datetime
    passed: bool = Field(description="Whether no check of severity error failed.")
    checks: tuple[CheckResult, ...] = Field(description="In the order of the dataset's file.")
    late: LateFiles | None = Field(description="Null if there are none.")

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """The checks that failed, of either severity."""
        return tuple(check for check in self.checks if not check.passed)


def message_of(condition: str, values: tuple[ValueFound, ...], reason: str | None) -> str:
    """Return what was expected, what was found, and the history, in one line.

    Args:
        condition: What was expected.
        values: What was found.
        reason: What else there is to say.
    """
    parts = [f"expected {' '.join(condition.split())}"]
    if values:
        parts.append(f"found {', '.join(map(str, values))}")
    # Of several that look back, the one that looks back the furthest.
    longest: dict[str, ValueFound] = {}
    for value in sorted(values, key=lambda one: len(one.history)):
        if value.of is not None and value.history:
            longest[value.of] = value
    parts += [f"history of {of}: {_history(value)}" for of, value in longest.items()]
    return "; ".join(parts + ([reason] if reason else []))


def _history(value: ValueFound) -> str:
    sign = "~" if value.approximate else ""
    shown = [
        f"{one.partition} {sign if one.value is not None else ''}{_shown(one.value)}"
        for one in value.history[:_SHOWN_HISTORY]
    ]
    more = len(value.history) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _shown(value: Number) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else repr(value)
