"""A pipeline that does as it is told: succeeds, fails, or goes on for ever."""

from __future__ import annotations

import argparse
import logging
import sys
import time

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions


def main() -> int:
    """Runs it; what is said after the job's end is for those who wait for that."""
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("--what")
    parser.add_argument("--run_id")
    mine, beams = parser.parse_known_args()

    def work(what: str) -> str:
        Metrics.counter("tallyflow", "rows").inc(1234)
        if what == "fails":
            raise ValueError("bad record 'x'")
        if what in {"goes-on", "lost"}:
            time.sleep(600)
        return what

    # More than a pipe takes, with no end of a line; and what is no text.
    sys.stdout.write("x" * 100_000)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\xff\xfe\n")
    sys.stdout.flush()
    pipeline = beam.Pipeline(options=PipelineOptions(beams))
    _ = pipeline | beam.Create([mine.what]) | "Check" >> beam.Map(work)
    pipeline.run().wait_until_finish()
    sys.stdout.write("said after the job\n")
    return 3 if mine.what == "unhappy" else 0


if __name__ == "__main__":
    sys.exit(main())
