"""What was found in the files: rejects, missing and new columns, and how many rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

# Of a reject's text, this much is kept.
TEXT_CHARACTERS = 1000
KEPT_REJECTS = 1000
KEPT_OF_RUN = 10_000
VALUE_CHARACTERS = 200


@dataclass(frozen=True)
class Reject:
    """A record that could not be parsed.

    Attributes:
        file: Path or URL of the file.
        line: Line of the file where the record begins, from 1.
        text: The record as it stands in the file, cut after 1,000 characters.
        reason: What is wrong with it.
        lines: How many lines of the file it takes.
    """

    file: str
    line: int
    text: str
    reason: str
    lines: int = 1

    def __str__(self) -> str:
        last = self.line + self.lines - 1
        lines = f" (lines {self.line} to {last})" if self.lines > 1 else ""
        return f"{self.file}:{self.line}: {self.reason}{lines}: {self.text[:VALUE_CHARACTERS]!r}"


@dataclass(frozen=True)
class BlockReport:
    """What was found in one block, or in the part of a block that is of one file.

    Attributes:
        file: Path or URL of the file.
        rows: Records that went into ``input``.
        reject_count: Records that did not. One that takes several lines counts as so many, for a
            quote that is never closed makes one record of all that follow.
        rejects: The first of them, at most 1,000 a block; a line is counted from that of the
            block's beginning, which is 1.
        missing: Columns of the run that the file does not have; they are NULL.
        ignored: Columns of the file that the run does not have.
        lines: How many lines the block takes in the file.
    """

    file: str
    rows: int
    reject_count: int = 0
    rejects: tuple[Reject, ...] = ()
    missing: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = field(default=())
    lines: int = 0

    def followed_by(self, other: BlockReport) -> BlockReport:
        """Return the report of this block and of the one that follows it in the same file."""
        shifted = (replace(reject, line=reject.line + self.lines) for reject in other.rejects)
        return BlockReport(
            self.file,
            self.rows + other.rows,
            self.reject_count + other.reject_count,
            (*self.rejects, *shifted)[:KEPT_REJECTS],
            self.missing + other.missing,
            self.ignored + other.ignored,
            self.lines + other.lines,
        )


@dataclass(frozen=True)
class Findings:
    """What was found in any number of files; findings add up in any order.

    Attributes:
        files: How many files.
        rows: Records that went into ``input``.
        reject_count: Lines of the records that did not.
        rejects: The first of them in the order of file and line, at most 10,000.
        missing: In how many files a column of the run is missing, and the first of these files.
        ignored: In how many files there is a column that the run does not have, and the first.
    """

    files: int = 0
    rows: int = 0
    reject_count: int = 0
    rejects: tuple[Reject, ...] = ()
    missing: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    ignored: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, report: BlockReport) -> Findings:
        """Return the findings of one file."""
        return cls(
            1,
            report.rows,
            report.reject_count,
            report.rejects,
            dict.fromkeys(report.missing, (1, report.file)),
            dict.fromkeys(report.ignored, (1, report.file)),
        )

    @classmethod
    def sum(cls, findings: Iterable[Findings]) -> Findings:
        """Return the findings of all files."""
        found = list(findings)
        rejects = sorted(
            (reject for one in found for reject in one.rejects),
            key=lambda reject: (reject.file, reject.line),
        )
        return cls(
            sum(one.files for one in found),
            sum(one.rows for one in found),
            sum(one.reject_count for one in found),
            tuple(rejects[:KEPT_OF_RUN]),
            _sum_drift(one.missing for one in found),
            _sum_drift(one.ignored for one in found),
        )


def _sum_drift(found: Iterable[Mapping[str, tuple[int, str]]]) -> dict[str, tuple[int, str]]:
    total: dict[str, tuple[int, str]] = {}
    for drift in found:
        for column, (files, first) in drift.items():
            before, known = total.get(column, (0, first))
            total[column] = (before + files, min(known, first))
    return dict(sorted(total.items()))
