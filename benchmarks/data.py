"""Makes the files that are read, on this machine, the same ones each time."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import duckdb
import numpy as np

from benchmarks.places import BENCH_BIN, DATA, ROOT
from demo.lay_out_flights import lay_out_flights

_STATIONS = 413
_STATION_ROWS = 100_000_000
_TEXT_BYTES = 3_000_000_000
_SMALL_FILES = 10_000
_SEED = 20_130_101

Maker = Callable[[Path, float], None]


def _tpch(kind: str) -> Maker:
    def make(path: Path, scale: float) -> None:
        folder = path.parent / f".{kind}"
        subprocess.run(
            [
                *(BENCH_BIN / "tpchgen-cli", kind, f"--scale-factor={scale:g}", "--quiet"),
                *("--tables=lineitem", f"--output-dir={folder}", "--overwrite"),
            ],
            check=True,
        )
        (folder / f"lineitem.{kind}").replace(path)
        folder.rmdir()

    return make


def _jsonl(path: Path, scale: float) -> None:
    duckdb.sql(f"COPY (FROM '{ensure('lineitem.parquet', scale)}') TO '{path}' (FORMAT json)")


def _avro(path: Path, scale: float) -> None:
    subprocess.run(
        [
            *(BENCH_BIN / "python", "-m", "benchmarks.make_avro"),
            *(ensure("lineitem.parquet", scale), path),
        ],
        check=True,
        cwd=ROOT,
    )


def _stations(path: Path, scale: float) -> None:
    """Rows `station;temperature`, normally distributed about a mean that each station has."""
    # DuckDB's random() depends on its threads; a hash of the row's number does not.
    uniform = "(hash(i, {}) + 1) / 18446744073709551617"
    normal = f"sqrt(-2 * ln({uniform.format(1)})) * cos(2 * pi() * {uniform.format(2)})"
    with duckdb.connect() as session:
        session.execute("CREATE TABLE stations (number UBIGINT, name VARCHAR, mean DOUBLE)")
        random = np.random.default_rng(_SEED)
        syllables = ["ber", "lo", "São ", "ri", "mün", "ka", "to", "new ", "xi", "dor", "a", "łód"]
        for number, mean in enumerate(random.normal(12, 10, _STATIONS)):
            name = "".join(random.choice(syllables, random.integers(1, 5))).strip().title()
            session.execute(
                "INSERT INTO stations VALUES (?, ?, ?)", [number, f"{name} {number}", float(mean)]
            )
        session.execute(
            f"COPY (SELECT name, round(mean + 10 * {normal}, 1)::DECIMAL(5, 1) "
            f"FROM range({int(_STATION_ROWS * scale)}) rows (i) "
            f"JOIN stations ON number = hash(i, 0) % {_STATIONS}) "
            f"TO '{path}' (FORMAT csv, DELIMITER ';', HEADER false)"
        )


def _lines(path: Path, scale: float) -> None:
    """Lines of up to 20 words: a block of a hundredth of them, again and again."""
    random = np.random.default_rng(_SEED)
    words = random.choice(
        ["the", "of", "flight", "delayed", "landed", "a", "weather", "New York", "on", "time"],
        int(_TEXT_BYTES * scale / 600),
    )
    ends = np.sort(random.choice(len(words), len(words) // 10))
    block = "\n".join(" ".join(line) for line in np.split(words, ends)).encode() + b"\n"
    with path.open("wb") as file:
        for _ in range(max(1, round(_TEXT_BYTES * scale / len(block)))):
            file.write(block)


def _one_line(path: Path, _: float) -> None:
    path.write_text("one line\n")


def _small_files(path: Path, scale: float) -> None:
    """TPC-H's lineitem cut into files of equally many rows, each with the header."""
    source = ensure("lineitem.csv", scale)
    with source.open("rb") as file:
        rows = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 24), b"")) - 1
    count = max(2, round(_SMALL_FILES * scale))
    path.mkdir()
    with source.open("rb") as file:
        header = file.readline()
        for number in range(count):
            size = (number + 1) * rows // count - number * rows // count
            lines = itertools.islice(file, size)
            (path / f"{number:05}.csv").write_bytes(header + b"".join(lines))


def _flights(path: Path, _: float) -> None:
    lay_out_flights(path)


# By the name of the file or folder.
MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        "lineitem.csv": _tpch("csv"),
        "lineitem.parquet": _tpch("parquet"),
        "lineitem.jsonl": _jsonl,
        "lineitem.avro": _avro,
        "stations.csv": _stations,
        "lines.txt": _lines,
        "one_line.txt": _one_line,
        "small": _small_files,
        "flights": _flights,
    }
)
_PATTERNS = MappingProxyType({"small": "small/*.csv", "flights": "flights/flights/*/flights.csv"})


def ensure(name: str, scale: float) -> Path:
    """Return a data set's file or folder; make it if it is not there.

    Args:
        name: In `MAKERS`.
        scale: 1 is the full size; TPC-H's scale factor.
    """
    path = DATA / f"scale-{scale:g}" / name
    if not path.exists():
        print(f"making {path.relative_to(ROOT)}", flush=True)
        # Renamed when complete: what was interrupted is made anew.
        partial = path.parent / f"{name}.partial" / name
        shutil.rmtree(partial.parent, ignore_errors=True)
        partial.parent.mkdir(parents=True)
        MAKERS[name](partial, scale)
        partial.replace(path)
        partial.parent.rmdir()
    return path


def pattern(name: str, scale: float) -> str:
    """Return the pattern of a data set's files; make them if they are not there."""
    return str(ensure(name, scale).parent / _PATTERNS.get(name, name))
