"""Tables of text, for people."""

from __future__ import annotations

from collections.abc import Sequence

import psutil


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, in columns as wide as they need to be."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)


def memory_of(pid: int) -> str:
    """The memory of a process and of those that it has started, as far as they share none."""
    try:
        leader = psutil.Process(pid)
        processes = [leader, *leader.children(recursive=True)]
        used = sum(process.memory_full_info().uss for process in processes)
    except psutil.Error:
        return "-"
    return f"{used / 2**20:.0f} MB"
