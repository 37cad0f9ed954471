"""Progress adds up to the whole, however blocks estimate their bytes, and lines are rare."""

from __future__ import annotations

import io
import logging

import pytest

from beam_jobs.engine.parts import Part, Piece, Share
from beam_jobs.engine.progress import Progress, ShareProgress
from beam_jobs.engine.reports import BlockReport
from beam_jobs.files import InputFile


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:  # noqa: D102
        return self.now


def progress_of(total: int, clock: Clock) -> Progress:
    return Progress(total, io.StringIO(), clock)


def test_a_line_is_logged_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = progress_of(1_000_000_000, clock)
    for second in range(1, 26):
        clock.now = float(second)
        progress.advance(20_000_000, second % 2)
    assert caplog.messages == [
        "read 200 of 1,000 MB (20 %), 20 MB/s, 40 s left, rejects: 5",
        "read 400 of 1,000 MB (40 %), 20 MB/s, 30 s left, rejects: 10",
    ]


def test_a_short_run_logs_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = progress_of(10, clock)
    clock.now = 9.9
    progress.advance(10, 0)
    assert caplog.messages == []


def test_nothing_read_so_far_is_no_division_by_zero(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = progress_of(0, clock)
    clock.now = 10.0
    progress.advance(0, 0)
    assert caplog.messages == ["read 0 of 0 MB (100 %), 0 MB/s, time left unknown, rejects: 0"]


@pytest.mark.parametrize(("name", "data"), [("a.csv", 30), ("a.csv", 500), ("a.csv.gz", 400)])
def test_a_share_advances_by_block_and_ends_at_its_size(
    name: str, data: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = progress_of(1000, clock)
    part = Part(0, InputFile(name, 1000), 0, 200)
    seen = []
    with ShareProgress(Share(0, (part,)), progress) as shown:
        for _ in range(3):
            clock.now += 10.0
            shown.block([Piece(part, bytearray(data), is_first=True)], [BlockReport(name, 1)])
            seen.append(caplog.messages[-1].split("(")[1].split()[0])
    clock.now += 10.0
    progress.advance(0, 0)
    assert "(20 %)" in caplog.messages[-1]
    assert seen == sorted(seen, key=int)
    assert int(seen[0]) > 0
    assert int(seen[-1]) <= 20


def test_a_share_of_a_run_that_is_not_shown_is_counted_nowhere() -> None:
    part = Part(0, InputFile("a.csv", 10), 0, 10)
    with ShareProgress(Share(0, (part,)), None) as shown:
        shown.block([Piece(part, bytearray(10), is_first=True)], [BlockReport("a.csv", 1)])


def test_blocks_that_do_not_say_their_bytes_advance_a_large_part_step_by_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    progress = progress_of(100 * 1024 * 1024, clock)
    part = Part(0, InputFile("a.parquet", 100 * 1024 * 1024), 0, 100 * 1024 * 1024)
    with ShareProgress(Share(0, (part,)), progress) as shown:
        for _ in range(2):
            clock.now += 10.0
            shown.block([Piece(part, bytearray(), is_first=True)], [BlockReport("", 1)])
    assert [line.split("(")[1].split()[0] for line in caplog.messages] == ["16", "32"]
