"""Runs the benchmark: python -m benchmarks --scale 1 --cases tpch_q1_csv,stations --rounds 3."""

from __future__ import annotations

import argparse
import glob
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import aims, data, engines, machine, measure, report, results
from benchmarks.answers import difference
from benchmarks.cases import BY_NAME, CASES, Case
from benchmarks.measure import Measurement, RunError
from benchmarks.places import DATA, QUICK_REPORT, REPORT, RESULTS, ROOT
from benchmarks.works import WORKS

_TIMEOUT_SECONDS = 900


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Tallyflow and its peers. Files are made below .tallyflow/bench-data "
        "the first time. Results are kept there, and docs/benchmarks.md is made of all that are "
        "kept for scale 1 and above. The exit status is 1 if a command failed or answers differ.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--scale",
        type=_scale,
        default=1.0,
        help="TPC-H's scale factor, and up to 1 the size of the other files (default: 1); "
        "0.01 checks the suite in minutes, 10 is that of the aims",
    )
    parser.add_argument(
        "--cases",
        type=_cases,
        default=CASES,
        metavar="CASE,…",
        help=f"default: all; {', '.join(BY_NAME)}",
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="runs of each (default: 3)")
    return parser.parse_args(argv)


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not 0.001 <= scale <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.001 to 1000")
    return scale


def _cases(text: str) -> tuple[Case, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BY_NAME:
            raise argparse.ArgumentTypeError(f"no case {name!r}; there are {', '.join(BY_NAME)}")
    return tuple(case for case in CASES if not names or case.name in names)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def measure_case(case: Case, scale: float, rounds: int, folder: Path) -> results.Result:
    """Measure a case: all its engines in turn, as often as there are rounds.

    Args:
        case: The case.
        scale: Of its files, which are made if need be.
        rounds: Runs of each engine.
        folder: For answers and logs; anything in it may be lost.
    """
    pattern = data.pattern(case.data, scale)
    size = _read(pattern)
    runs: dict[str, list[Measurement]] = {engine: [] for engine in (engines.OURS, *case.peers)}
    notes = {engine: engines.why_not(engine, case, scale) for engine in runs}
    failed: set[str] = set()
    for number in range(rounds):
        answers: dict[str, Path] = {}
        for engine in (engine for engine, note in notes.items() if not note):
            progress = f"{case.name:16} round {number + 1}/{rounds}  {engine:10}"
            try:
                answer, found = _run(engine, case, pattern, folder)
            except RunError as error:
                notes[engine] = str(error).replace(f"{ROOT}/", "")
                failed.add(engine)
                print(f"{progress} FAILED: {error}", flush=True)
                continue
            runs[engine].append(found)
            answers[engine] = answer
            print(
                f"{progress} {found.wall:8.2f} s  CPU {found.cpu:8.2f} s  "
                f"{found.memory / 10**6:6.0f} MB",
                flush=True,
            )
        for engine, note in _compare(case, answers).items():
            notes[engine] = note
            failed.add(engine)
            print(f"{case.name:16} {engine:10} WRONG: {note}", flush=True)
    rows = {
        engine: results.Row(tuple(runs[engine]), notes[engine] or "", engine in failed)
        for engine in runs
    }
    return results.Result(case.name, scale, _now(), size, rows)


def _read(pattern: str) -> int:
    """Return the size of the files; read them, so that the first engine finds them in the cache."""
    size = 0
    for path in glob.glob(pattern):  # noqa: PTH207
        with open(path, "rb") as file:  # noqa: PTH123
            while chunk := file.read(1 << 22):
                size += len(chunk)
    return size


def _run(engine: str, case: Case, pattern: str, folder: Path) -> tuple[Path, Measurement]:
    """Run an engine once.

    Returns:
        Its answer and what it took.

    Raises:
        RunError: It failed, or took too long.
    """
    answer = engines.answer_path(folder, engine, case)
    if answer.is_dir():
        shutil.rmtree(answer)
    answer.unlink(missing_ok=True)
    stdout = answer if engine == "wc" else folder / f"{engine}.out"
    command = engines.command(engine, case, pattern, answer)
    found = measure.run(command, stdout, folder / f"{engine}.log", ROOT, _TIMEOUT_SECONDS)
    if not answer.exists():
        raise RunError("it wrote no answer")
    return answer, found


def _compare(case: Case, answers: dict[str, Path]) -> dict[str, str]:
    """Return the engines whose answer differs from the others', with what differs.

    The first peer's is the one to compare with.
    """
    if not answers:
        return {}
    reference = next((engine for engine in answers if engine != engines.OURS), engines.OURS)
    others = {engine: path for engine, path in answers.items() if engine != reference}
    return {
        engine: f"differs from {engines.TITLES[reference]}: {found}"
        for engine, path in others.items()
        if (found := difference(WORKS[case.work], path, answers[reference]))
    }


def _now() -> str:
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    revision = machine.revision()
    return f"{date}, revision {revision}" if revision else date


def write_report(quick: bool) -> list[aims.Verdict]:
    """Write the report of all results that are kept.

    Args:
        quick: Whether it is that of the small scales, which prove nothing, or of the others.

    Returns:
        The verdicts on the aims; none for the small scales.
    """
    kept = [
        result
        for result in results.load(RESULTS)
        if (result.scale < 1) == quick and result.case in BY_NAME
    ]
    verdicts = [] if quick else aims.check(kept)
    path = QUICK_REPORT if quick else REPORT
    path.write_text(report.render(kept, verdicts, machine.describe(), _now()))
    print(f"\nThe report is in {os.path.relpath(path)}")
    return verdicts


def main(argv: Sequence[str]) -> int:
    """Run the benchmark.

    Returns:
        The exit status.
    """
    arguments = parse_args(argv)
    problems = []
    DATA.mkdir(parents=True, exist_ok=True)
    for case in arguments.cases:
        if arguments.scale > case.most_scale:
            print(f"{case.name}: has its full size at scale {case.most_scale:g}; measure it there")
            continue
        with tempfile.TemporaryDirectory(prefix="bench-", dir=DATA) as folder:
            result = measure_case(case, arguments.scale, arguments.rounds, Path(folder))
        results.save(result, RESULTS)
        print(f"\n{report.heading(result)}\n\n{report.case_table(result)}\n", flush=True)
        problems += [
            f"{case.name}: {engines.TITLES[engine]}: {row.note}"
            for engine, row in result.rows.items()
            if row.failed
        ]
    verdicts = write_report(arguments.scale < 1)
    if verdicts:
        print(f"\n{report.aims_table(verdicts)}")
    if problems:
        print("\nFAILED:", *problems, sep="\n  ", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    # Whoever ends the benchmark also ends what it is measuring.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(sys.argv[1:]))
