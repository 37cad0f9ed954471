"""What was measured, and where it is kept: the report is made of all results that are there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.measure import Measurement


@dataclass(frozen=True)
class Row:
    """What one engine took for a case.

    Attributes:
        runs: Its runs with a right answer, one a round.
        note: Why there are none, or fewer than rounds; empty if all is well.
        failed: Whether it failed or its answer was wrong.
    """

    runs: tuple[Measurement, ...]
    note: str = ""
    failed: bool = False

    @property
    def median(self) -> Measurement | None:
        """The median of each quantity; None for an engine that failed or did not run."""
        if self.failed or not self.runs:
            return None
        return Measurement(
            median(run.wall for run in self.runs),
            median(run.cpu for run in self.runs),
            round(median(run.memory for run in self.runs)),
        )


@dataclass(frozen=True)
class Result:
    """What a case took at a scale.

    Attributes:
        case: Name of the case.
        scale: Of its files.
        measured: Date and revision.
        size: Of its files, in bytes.
        rows: By engine; ours first.
    """

    case: str
    scale: float
    measured: str
    size: int
    rows: Mapping[str, Row]


def save(result: Result, folder: Path) -> None:
    """Keep a result in place of the case's earlier one at this scale."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.case}-{result.scale:g}.json"
    path.write_text(json.dumps(asdict(result), indent=1))


def load(folder: Path) -> list[Result]:
    """Return all results that are kept."""
    return [_parse(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def _parse(found: dict[str, object]) -> Result:
    rows = found.pop("rows")
    assert isinstance(rows, dict)  # noqa: S101
    parsed = {
        engine: Row(tuple(Measurement(**run) for run in row["runs"]), row["note"], row["failed"])
        for engine, row in rows.items()
    }
    return Result(**found, rows=parsed)  # type: ignore[arg-type]
