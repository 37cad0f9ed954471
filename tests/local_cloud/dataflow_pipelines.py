"""Pipelines for the local Dataflow; as a script, submits some with Beam's own DataflowRunner.

``python dataflow_pipelines.py ENDPOINT BUCKET JOBS``: JOBS is a JSON object of the names of jobs,
each with the name of a pipeline and further options.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec


class CountWords(beam.DoFn):  # type: ignore[misc]
    """Counts with metrics too."""

    def process(self, line: str) -> Iterator[tuple[str, int]]:
        """A pair for each word."""
        for word in line.split():
            Metrics.counter("pipelines", "words").inc()
            Metrics.distribution("pipelines", "lengths").update(len(word))
            yield word, 1


class Number(beam.DoFn):  # type: ignore[misc]
    """Numbers the elements of a key, with state."""

    NEXT = ReadModifyWriteStateSpec("next", beam.coders.VarIntCoder())

    def process(
        self,
        keyed: tuple[str, str],
        following: Any = beam.DoFn.StateParam(NEXT),  # noqa: B008  (how Beam is told)
    ) -> Iterator[str]:
        """The key with its number."""
        number = following.read() or 0
        following.write(number + 1)
        yield f"{keyed[0]}{number}"


def counts(lines: beam.PCollection, output: str) -> None:
    words = lines | "Split" >> beam.ParDo(CountWords())
    total = beam.pvalue.AsSingleton(words | beam.combiners.Count.Globally())
    _ = (
        words
        | beam.CombinePerKey(sum)
        | "Format" >> beam.Map(lambda pair, of: f"{pair[0]} {pair[1]}/{of}", of=total)
        | beam.io.WriteToText(output, num_shards=1)
    )


def numbers(lines: beam.PCollection, output: str) -> None:
    _ = (
        lines
        | beam.Map(lambda line: ("key", line))
        | beam.ParDo(Number())
        | beam.io.WriteToText(output, num_shards=1)
    )


def large(lines: beam.PCollection, output: str) -> None:
    """Moves 75 MB between workers, more than once."""
    _ = (
        lines
        | beam.FlatMap(lambda line: ((n % 3, line[:1] * 1_000_000) for n in range(25)))
        | beam.GroupByKey()
        | beam.FlatMap(lambda group: ((text, 1) for text in group[1]))
        | beam.Reshuffle()
        | beam.combiners.Count.Globally()
        | beam.io.WriteToText(output, num_shards=1)
    )


def fails(lines: beam.PCollection, _: str) -> None:
    def check(line: str) -> str:
        raise ValueError(f"bad record {line!r}")

    lines | "Check" >> beam.Map(check)


def imports(lines: beam.PCollection, output: str) -> None:
    """Imports the modules that the lines name, in the worker."""

    def describe(name: str) -> str:
        module = importlib.import_module(name)
        return f"{name} {getattr(module, 'GREETING', '')} {os.environ.get('OF_IMAGE', '')}"

    lines | beam.Map(describe) | beam.io.WriteToText(output, num_shards=1)


def dies(lines: beam.PCollection, _: str) -> None:
    lines | beam.Map(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def waits(lines: beam.PCollection, output: str) -> None:
    """Waits in the worker, with a process of its own, until a file of the line's name exists."""

    def wait(path: str) -> str:
        Metrics.counter("pipelines", "begun").inc()
        process = subprocess.Popen(["sleep", "600"])  # noqa: S607
        while not os.path.exists(path):  # noqa: PTH110
            time.sleep(0.1)
        process.kill()
        return "awaited"

    lines | beam.Map(wait) | beam.io.WriteToText(output, num_shards=1)


PIPELINES: dict[str, Callable[[beam.PCollection, str], None]] = {
    one.__name__: one for one in (counts, numbers, large, fails, imports, dies, waits)
}


def submit(endpoint: str, bucket: str, name: str, job: dict[str, Any]) -> None:
    arguments: Iterable[str] = [
        "--runner=DataflowRunner",
        "--project=local-project",
        "--region=us-central1",
        f"--temp_location=gs://{bucket}/temp",
        f"--dataflow_endpoint={endpoint}",
        "--experiments=disable_logging_submission_environment",  # It takes a second.
        f"--job_name={name}",
        *job.get("options", []),
    ]
    pipeline = beam.Pipeline(options=PipelineOptions(list(arguments)))
    lines = pipeline | "Lines" >> beam.Create(job["lines"], reshuffle=len(job["lines"]) > 1)
    PIPELINES[job["pipeline"]](lines, f"gs://{bucket}/output/{name}")
    pipeline.run()


if __name__ == "__main__":
    # So that the functions above are pickled whole: workers do not have this file.
    beam.internal.cloudpickle_pickler.cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    for job_name, described in json.loads(sys.argv[3]).items():
        submit(sys.argv[1], sys.argv[2], job_name, described)
