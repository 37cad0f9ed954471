"""Reads dataset files, and says what is wrong with them.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.dataset_parts import NAME_PATTERN, Aggregate, BigQueryLoad, Check, Wait
from beam_jobs.datasets.dataset_problems import NAME_RULE, explain
from beam_jobs.datasets.yaml_document import FieldPath, Problem, YamlDocument, read_yaml
from beam_jobs.errors import UsageError

# The fields that datasets of one folder share, each for itself to overrule.
DEFAULTS = "_defaults.yaml"
_OWN_FIELDS = ("name", "description", "pattern", "columns", "aggregates")

# By the field of a dataset that holds them.
_PARTS: Mapping[str | int, type[BaseModel]] = {
    "aggregates": Aggregate,
    "bigquery": BigQueryLoad,
    "checks": Check,
    "wait": Wait,
}


class DatasetError(UsageError):
    """A dataset file that cannot be used, with all that is wrong with it.

    Args:
        problems: One line each, ``file:line: field: value and what to do``.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


def dataset_files(folder: Path) -> list[Path]:
    """The dataset files of a folder by name; a file whose name begins with ``_`` is none."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.startswith("_"))


def load_dataset(path: Path) -> Dataset:
    """Reads a dataset file; the dataset has the file's name, without ``.yaml``.

    A field that is not in the file is that of ``_defaults.yaml`` beside it, if it is there.

    Raises:
        DatasetError: A file cannot be read or has mistakes; it lists all of them.
    """
    document = _read_document(path)
    problems = [*document.problems, *_problems_of_the_name(path, document)]
    defaults = _read_defaults(path.with_name(DEFAULTS))
    values = defaults.document.value if isinstance(defaults.document.value, dict) else {}
    found = [render_problem(defaults.path, problem) for problem in defaults.problems]
    dataset = None
    if isinstance(document.value, dict):
        try:
            dataset = Dataset.model_validate({**values, **document.value, "name": path.stem})
        except ValidationError as error:
            for detail in error.errors():
                # What is said of the name, and of fields without a value, is enough.
                if detail["loc"] == ("name",) or detail["input"] is None:
                    continue
                is_default = detail["loc"][0] in values and detail["loc"][0] not in document.value
                source = defaults.document if is_default else document
                problem = explain(detail, _fields(detail["loc"]), source)
                if is_default:
                    found.append(render_problem(defaults.path, problem))
                else:
                    problems.append(problem)
    elif not problems:
        what = "the file is empty" if document.value is None else "the file holds no fields"
        problems.append(
            Problem(1, (), f"{what}; declare a dataset, beginning with its description")
        )
    if problems or found or dataset is None:
        problems.sort(key=lambda problem: problem.line)
        raise DatasetError([*found, *(render_problem(path, problem) for problem in problems)])
    return dataset


def _problems_of_the_name(path: Path, document: YamlDocument) -> Iterator[Problem]:
    if path.suffix != ".yaml":
        text = f"the ending {path.suffix!r} is not that of a dataset file; rename it to .yaml"
        yield Problem(1, (), text)
    if not re.fullmatch(NAME_PATTERN, path.stem):
        text = f"the file is named {path.stem!r}, and so would the dataset be; {NAME_RULE}"
        yield Problem(1, ("name",), text)
    if isinstance(document.value, dict) and "name" in document.value:
        text = f"the dataset has the file's name, {path.stem!r}; delete this line"
        yield Problem(document.line(("name",)), ("name",), text)


@dataclass(frozen=True)
class _Defaults:
    """What ``_defaults.yaml`` says, and what is wrong with it beside the values of its fields."""

    path: Path
    document: YamlDocument
    problems: Sequence[Problem]


def _read_defaults(path: Path) -> _Defaults:
    try:
        status = path.stat()
    except OSError:
        return _Defaults(path, read_yaml(""), ())
    return _read_changed_defaults(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _read_changed_defaults(path: Path, _modified: int, _size: int) -> _Defaults:
    """Read the file once for all datasets, and again when it has changed."""
    document = _read_document(path)
    fields = document.value if isinstance(document.value, dict) else {}
    problems = [
        Problem(document.line((name,)), (name,), "is each dataset's own; write it in their files")
        for name in fields
        if name in _OWN_FIELDS
    ]
    if document.value is not None and not isinstance(document.value, dict):
        problems.append(Problem(1, (), "the file holds no fields; write 'owner: …' and the like"))
    return _Defaults(path, document, (*document.problems, *problems))


def line_of(path: Path, field: FieldPath, position: int | None = None) -> int:
    """Finds the line of a field in a dataset file, or that of a character of the field's text.

    Args:
        path: The dataset file.
        field: The field, as in ``("aggregates", "by_origin", "query")``.
        position: Offset of a character in a query, None for the field's own line.

    Returns:
        The line, from 1.
    """
    return _read_document(path).line(field, position)


def render_problem(path: Path, problem: Problem) -> str:
    """Renders a problem of a dataset file as ``file:line: field: what``, in one line."""
    field = ".".join(map(str, problem.path)).replace("\n", "\\n")
    return ": ".join(filter(None, (f"{path}:{problem.line}", field, problem.text)))


def _read_document(path: Path) -> YamlDocument:
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise DatasetError([f"{path}: the folder has no dataset; add a .yaml file"]) from error
    except OSError as error:
        raise DatasetError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        return read_yaml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"the byte {data[error.start]:#x} is not UTF-8; save the file in that encoding"
        raise DatasetError([f"{path}:{line}: {text}"]) from error


def _fields(loc: FieldPath) -> Mapping[str, FieldInfo]:
    """The fields that are valid beside the one an error is about."""
    if len(loc) > 1 and (part := _PARTS.get(loc[0])):
        return part.model_fields
    return {name: field for name, field in Dataset.model_fields.items() if name != "name"}
