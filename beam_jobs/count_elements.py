"""Counts everything in the files that match a pattern: files, lines, bytes, or distinct values.

    python -m beam_jobs.count_elements --input 'data/flights/date=2013-01-*/*.csv' --by file

Counting is a query like any other: this job is `aggregate_files` with queries of its own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from beam_jobs import options
from beam_jobs.engine.results import print_table
from beam_jobs.engine.run import Output, Run, run
from beam_jobs.engine.run_files import check_outputs, find_files
from beam_jobs.formats.find_layout import find_layout
from beam_jobs.formats.formats import FileFormat
from beam_jobs.formats.layout import counts_layout
from beam_jobs.sql import plan_query

QUERIES: Mapping[str, str] = MappingProxyType(
    {
        "total": """
            SELECT coalesce(sum(files), 0)::BIGINT AS files,
                   coalesce(sum(lines), 0)::BIGINT AS lines,
                   coalesce(sum(bytes), 0)::BIGINT AS bytes
            FROM input""",
        "file": """
            SELECT filename AS file, sum(lines)::BIGINT AS lines, sum(bytes)::BIGINT AS bytes
            FROM input GROUP BY filename ORDER BY file""",
        "line": """
            SELECT line, count(*) AS count
            FROM input GROUP BY line ORDER BY count DESC, line""",
        # A word is a run of letters, digits, underscores and apostrophes, in any alphabet.
        "word": r"""
            SELECT word, count(*) AS count
            FROM (
                SELECT unnest(regexp_extract_all(line, '[\p{L}\p{M}\p{N}_'']+')) AS word FROM input
            )
            GROUP BY word ORDER BY count DESC, word""",
    }
)

_EXAMPLES = """
examples:
  # how many files, lines and bytes
  python -m beam_jobs.count_elements --input 'data/flights/date=2013-01-*/*.csv'
  # lines and bytes of each file, as a CSV file
  python -m beam_jobs.count_elements --input 'data/**/*.csv' --by file --output counts.csv
  # the ten most frequent words
  python -m beam_jobs.count_elements --input 'logs/*.log' --by word --top 10
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the job's command line."""
    parser = options.job_parser(
        "beam_jobs.count_elements",
        "Count everything in the files that match a pattern. Without --output, print a table.",
        _EXAMPLES,
    )
    parser.add_argument(
        "--input",
        required=True,
        type=options.path,
        metavar="PATTERN",
        help="files to count: a path or gs:// URL, with * (within a folder) and ** (any folders); "
        "quote it, so that the shell leaves it alone; .gz, .bz2 and .zst are decompressed",
    )
    parser.add_argument(
        "--by",
        choices=list(QUERIES),
        default="total",
        help="total: one row with files, lines and bytes (default); file: a row per file with its "
        "lines and bytes; line, word: a row per distinct value with its count, most frequent first",
    )
    parser.add_argument(
        "--top",
        type=options.natural_number,
        metavar="N",
        help="only the N most frequent, with --by line or word",
    )
    parser.add_argument(
        "--output",
        type=options.path,
        metavar="FILE",
        help="write the result there; the ending says how: .csv, .jsonl or .parquet",
    )
    return parser


def parse_args(argv: Sequence[str]) -> options.Arguments:
    """Parse the job's command line, Beam's options included.

    Raises:
        SystemExit: With status 2, after an error message.
    """
    parser = build_parser()
    arguments = options.parse(parser, argv)
    if arguments.job.top is not None and arguments.job.by not in ("line", "word"):
        parser.error(f"--top goes with --by line or word, not --by {arguments.job.by}")
    options.check_output(parser, arguments.job.output, arguments.job.runner)
    return arguments


def main(argv: Sequence[str]) -> None:
    """Run the job.

    Raises:
        TallyflowError: The run failed; nothing was published.
    """
    arguments = parse_args(argv)
    job = arguments.job
    files = find_files(job.input, None, allow_empty=job.allow_empty)
    check_outputs([job.output] if job.output else [], job.input, files)
    by_value = job.by in ("line", "word")
    layout = find_layout(files, FileFormat("text")) if by_value else counts_layout()
    query = QUERIES[job.by] + (f" LIMIT {job.top}" if job.top is not None else "")
    plan = plan_query(query, layout.input_columns)
    with tempfile.TemporaryDirectory(prefix="tallyflow-") as folder:
        output = job.output or f"{folder}/result.parquet"
        rejects = f"{output}.rejects.jsonl" if job.output else None
        work = Run(
            pattern=job.input,
            files=files,
            layout=layout,
            outputs=[Output(job.by, plan, output, is_printed=not job.output)],
            rejects_path=rejects,
            max_rejects=job.max_rejects or 0,
        )
        run(work, job.runner, arguments.beam)
        if not job.output:
            print_table(output)


if __name__ == "__main__":
    options.run_main(main)
