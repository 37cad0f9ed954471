"""What was found in the files: rejects, and the report of each block."""

from __future__ import annotations

from dataclasses import dataclass, field

# Of a reject's text, this much is kept.
TEXT_CHARACTERS = 1000
KEPT_REJECTS = 1000
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
        return f"{self.file}:{self.line}: {self.reason}: {self.text[:VALUE_CHARACTERS]!r}"


@dataclass(frozen=True)
class BlockReport:
    """What was found in one block.

    Attributes:
        file: Path or URL of the file.
        rows: Records that went into ``input``.
        reject_count: Records that did not. One that takes several lines counts as so many, for a
            quote that is never closed makes one record of all that follow.
        rejects: The first of them, at most 1,000 a block.
        missing: Columns of the run that the file does not have; they are NULL.
        ignored: Columns of the file that the run does not have.
    """

    file: str
    rows: int
    reject_count: int = 0
    rejects: tuple[Reject, ...] = ()
    missing: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = field(default=())
