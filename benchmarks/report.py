"""Renders results: a table per case, and the report with all of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from benchmarks.aims import Verdict
from benchmarks.cases import CASES
from benchmarks.engines import OURS, TITLES
from benchmarks.measure import Measurement
from benchmarks.results import Result

_HEAD = ("", "wall s", "× ours", "CPU s", "× ours", "memory MB", "")

_INTRODUCTION = """\
# Benchmarks

Made by `make bench`; do not edit. The same work done by Tallyflow and by its peers. Each run is a
process of its own, start-up included, that reads the same files and writes its answer; the files
are in the page cache as far as it holds them. The runs of a case take turns (A B C, A B C, …); the
tables hold medians. Every answer is compared with the others': whole numbers are equal, others
agree to a billionth.

* *wall*: from the start of the command to its end. *CPU*: user and system time of all its
  processes. *× ours*: the peer's figure divided by Tallyflow's.
* *memory*: the larger of two peaks: the resident memory of all processes at one time, sampled ten
  times a second, and that of the largest process, which is exact. Both count pages of a file that
  is mapped into memory.
* *scale*: TPC-H's scale factor. The other files have their full size at scale 1: 100 million rows
  of stations, 3 GB of text, 10,000 small files.
* Beam is idiomatic Beam: its own sources, a Python function per row and `CombinePerKey`, on the
  in-process FnApiRunner.
* DuckDB, Polars and Spark are told the types of the columns of CSV and JSON lines; Tallyflow finds
  them out.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a Markdown table whose columns line up.

    Args:
        head: The columns' names.
        rows: The cells.
        texts: How many columns are flush left, beside the last; the others are flush right.
    """
    widths = [max(3, *(_width(row[i]) for row in (head, *rows))) for i in range(len(head))]
    flush_left = {*range(texts), len(head) - 1}

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell + " " * (width - _width(cell))
            if i in flush_left
            else " " * (width - _width(cell)) + cell
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * width if i in flush_left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def _width(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def case_table(result: Result) -> str:
    """Return the table of a case."""
    ours = result.rows[OURS].median
    rows = []
    for engine, row in result.rows.items():
        title = f"**{TITLES[engine]}**" if engine == OURS else TITLES[engine]
        note = row.note.replace("|", r"\|").replace("\n", " ")
        rows.append([title, *_figures(row.median, ours), f"**{note}**" if row.failed else note])
    return table(_HEAD, rows)


def _figures(found: Measurement | None, ours: Measurement | None) -> list[str]:
    if found is None:
        return [""] * 5
    wall, cpu = ("", "") if ours is None else (found.wall / ours.wall, found.cpu / ours.cpu)
    return [
        f"{found.wall:.2f}",
        _ratio(wall),
        f"{found.cpu:.2f}",
        _ratio(cpu),
        f"{found.memory / 10**6:.0f}",
    ]


def _ratio(ratio: float | str) -> str:
    return ratio if isinstance(ratio, str) else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def aims_table(verdicts: Sequence[Verdict]) -> str:
    """Return the table of the aims."""
    titles = {case.name: case.title for case in CASES}
    rows = []
    for verdict in verdicts:
        aim, ours, limit = verdict.aim, verdict.ours, verdict.limit
        verdict_text = {True: "met", False: "**missed**", None: "not measured"}[verdict.met]
        share = f"{ours / limit:.2f}" if ours is not None and limit else ""
        estimate = " (estimated)" if verdict.estimated else ""
        rows.append(
            [
                f"{titles[aim.case]}, scale {aim.scale:g}",
                aim.text,
                _amount(ours, aim.quantity),
                _amount(limit, aim.quantity) + estimate,
                share,
                verdict_text,
            ]
        )
    return table(("case", "aim", "ours", "limit", "of limit", ""), rows, texts=2)


def _aims(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the section on the aims."""
    missed = sum(verdict.met is False for verdict in verdicts)
    met = sum(verdict.met is True for verdict in verdicts)
    return [
        f"\n## Aims: {met} met, {missed} missed, {len(verdicts) - met - missed} not measured\n",
        "An estimated limit is worked out from what Beam takes at scale 1, its start and ten times "
        "the\nrest: a run at scale 10 takes over ten minutes. Reading `gs://` is not measured.\n",
        aims_table(verdicts),
    ]


def _amount(value: float | None, quantity: str) -> str:
    if value is None:
        return "?"
    return f"{value / 10**9:.2f} GB" if quantity == "memory" else f"{value:.2f} s"


def heading(result: Result) -> str:
    """Return the title of a result, with the size of its files."""
    titles = {case.name: case.title for case in CASES}
    return f"{titles[result.case]}: scale {result.scale:g}, {_size(result.size)}"


def _size(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def render(
    results: Sequence[Result], verdicts: Sequence[Verdict], machine: Sequence[str], date: str
) -> str:
    """Return the report.

    Args:
        results: In any order.
        verdicts: On the aims; none for scales that prove nothing.
        machine: Lines about it.
        date: Of the report.
    """
    order = {case.name: number for number, case in enumerate(CASES)}
    parts = [
        _INTRODUCTION,
        "\n".join([f"{date}:", "", *(f"* {line}" for line in machine)]),
        *(_aims(verdicts) if verdicts else ()),
        "\n## Results",
    ]
    for result in sorted(results, key=lambda result: (order[result.case], result.scale)):
        rounds = max(len(row.runs) for row in result.rows.values())
        parts.append(f"\n### {heading(result)}\n\n{case_table(result)}\n")
        parts.append(f"Medians of {rounds}; {result.measured}.")
    return "\n".join(parts) + "\n"
