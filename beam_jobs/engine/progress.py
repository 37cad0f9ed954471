"""Shows how far a run on this machine has come: a bar on a terminal, else a line every 10 seconds.

Beam's local runner works in this process, so what the workers report is gathered here. On other
machines nothing is shown; the run's counters say as much.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TextIO

from beam_jobs.engine.parts import BLOCK_BYTES, COMPRESSION, Piece, Share
from beam_jobs.engine.reports import BlockReport

if TYPE_CHECKING:
    from tqdm import tqdm

_LOG = logging.getLogger(__name__)

# Between two lines, in seconds.
_PAUSE = 10.0
_MEGABYTE = 1_000_000


class Progress:
    """How much of the input is read; several threads may report.

    Args:
        total: Bytes of the files as they are stored.
        stream: Where to show it: a bar if it is a terminal, else lines in the log.
        clock: The time in seconds.
    """

    def __init__(
        self, total: int, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._clock = clock
        self._started = self._said = clock()
        self._done = 0
        self._rejects = 0
        self._lock = threading.Lock()
        self._bar: tqdm[NoReturn] | None = None
        if stream.isatty():
            from tqdm import tqdm  # workers on other machines do without it

            self._bar = tqdm(
                total=total,
                file=stream,
                unit="B",
                unit_scale=True,
                dynamic_ncols=True,
                leave=False,
                desc="reading",
            )

    def advance(self, size: int, rejects: int) -> None:
        """Add bytes that were read, and lines that were rejected among them."""
        with self._lock:
            # What has to be read a second time does not count twice.
            size = min(size, self._total - self._done)
            self._done += size
            self._rejects += rejects
            if self._bar is not None:
                self._bar.set_postfix_str(f"rejects: {self._rejects:,}", refresh=False)
                self._bar.update(size)
            elif self._clock() - self._said >= _PAUSE:
                self._said = self._clock()
                _LOG.info("%s", self._line(self._said - self._started))

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds
        left = f"{(self._total - self._done) / rate:,.0f} s left" if rate else "time left unknown"
        share = 100 * self._done // self._total if self._total else 100
        return (
            f"read {self._done / _MEGABYTE:,.0f} of {self._total / _MEGABYTE:,.0f} MB ({share} %), "
            f"{rate / _MEGABYTE:,.0f} MB/s, {left}, rejects: {self._rejects:,}"
        )


class ShareProgress:
    """Reports what is read of one share, block by block, and at the end what is left of it."""

    def __init__(self, share: Share, progress: Progress | None) -> None:
        self._parts = share.parts
        self._left = sum(part.end - part.start for part in share.parts)
        self._progress = progress

    def __enter__(self) -> ShareProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._advance(self._left, 0)

    def block(self, block: Sequence[Piece], reports: Sequence[BlockReport]) -> None:
        """Report a block that was computed."""
        rejects = sum(report.reject_count for report in reports)
        self._advance(sum(map(self._stored_bytes, block)), rejects)

    def _stored_bytes(self, piece: Piece) -> int:
        """Return about how many bytes of the stored file a piece is."""
        if piece.data:
            size = len(piece.data)
            return size // COMPRESSION if piece.part.file.is_compressed else size
        size = piece.part.end - piece.part.start
        # Blocks of Parquet and Avro files name the part that they are of, and not their bytes.
        return min(size, BLOCK_BYTES) if piece.part in self._parts[:1] else size

    def _advance(self, size: int, rejects: int) -> None:
        size = min(size, self._left)
        self._left -= size
        if self._progress is not None:
            self._progress.advance(size, rejects)


_shown: Progress | None = None


@contextlib.contextmanager
def showing(total: int) -> Iterator[None]:
    """Show the progress of a run within this process, on the standard error.

    Args:
        total: Bytes of the files as they are stored.
    """
    global _shown  # noqa: PLW0603  (Beam makes the workers; nothing can be handed to them)
    _shown = Progress(total, sys.stderr)
    try:
        with _lines_above_the_bar():
            yield
    finally:
        _shown.close()
        _shown = None


def _lines_above_the_bar() -> contextlib.AbstractContextManager[None]:
    """Return a context in which lines of the log do not stand within the bar."""
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from tqdm.contrib.logging import logging_redirect_tqdm

    return logging_redirect_tqdm()


def of_share(share: Share) -> ShareProgress:
    """Return the progress of a share, of a run that is shown or not."""
    return ShareProgress(share, _shown)
