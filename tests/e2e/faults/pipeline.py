"""The pipeline whose job the faults meet: it adds up some numbers, and writes the sum.

The harness holds it back by files in a folder of this machine: until there is ``CASE.submit`` no
job is submitted (where that is asked for), until there is ``CASE.work`` its worker waits, and
unless there is ``CASE.sane`` a job that is to fail does. Each job writes a file of its own, so that
the jobs that have written can be counted.
"""

from __future__ import annotations

import argparse
import logging
import time
import uuid
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

NUMBERS = range(1, 101)
TOTAL = sum(NUMBERS)


def main() -> None:
    """Runs it."""
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument("--signs", required=True, help="<folder>/<case>")
    parser.add_argument("--output", required=True)
    parser.add_argument("--is_held_back", action="store_true")
    parser.add_argument("--fails", action="store_true")
    mine, beams = parser.parse_known_args()
    signs, output, fails = mine.signs, f"{mine.output}/{uuid.uuid4()}", mine.fails

    def wait(sign: str) -> None:
        while not Path(f"{signs}.{sign}").exists():
            if not Path(signs).parent.exists():
                raise SystemExit("the harness is gone")
            time.sleep(0.1)

    def write(total: int) -> None:
        wait("work")
        if fails and not Path(f"{signs}.sane").exists():
            raise ValueError("bad record 'x'")
        with FileSystems.create(output) as file:
            file.write(str(total).encode())

    if mine.is_held_back:
        wait("submit")
    pipeline = beam.Pipeline(options=PipelineOptions(beams))
    _ = pipeline | beam.Create([sum(NUMBERS)]) | beam.Map(write)
    pipeline.run().wait_until_finish()


if __name__ == "__main__":
    main()
