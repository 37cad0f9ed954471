"""The package by which Dataflow's workers get `beam_jobs`, where no image has it.

Its bytes depend on the code alone, so that all tasks, wherever they run, make the same file, and
Beam's cache of staged files has it once for each version of the code.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

_PACKAGE = "beam_jobs"
_BUILD_DIGITS = 12
# The earliest that a zip file has; any would do that is always the same.
_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE_FILE = 0o100644 << 16
_WHEEL = "Wheel-Version: 1.0\nGenerator: tallyflow\nRoot-Is-Purelib: true\n"


def build_wheel(folder: Path) -> Path:
    """Writes a wheel of `beam_jobs`, as it is imported here, into a folder.

    Args:
        folder: Any that can be written.

    Returns:
        Its path; the name has the version, and a hash of its content.

    Raises:
        AirflowFailException: What the workers require cannot be found out.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None and spec.origin is not None  # noqa: S101, PT018 - it is imported here
    root = Path(spec.origin).parent
    project = _project(root.parent)
    code = {
        f"{_PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*.py"))
    }
    return _written(folder, project, code)


def _project(repository: Path) -> Mapping[str, Any]:
    file = repository / "pyproject.toml"
    try:
        found: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError) as error:
        raise AirflowFailException(
            f"{file}: does not say what the workers of a job require ({error}), so that no package "
            "can be made for them: put it beside beam_jobs, or set TALLYFLOW_EXTRA_PACKAGE or "
            "TALLYFLOW_SDK_CONTAINER_IMAGE"
        ) from error
    return found


def _written(folder: Path, project: Mapping[str, Any], code: Mapping[str, bytes]) -> Path:
    name, version = project["name"], project["version"]
    lines = [
        *("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"),
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    about = {"METADATA": "\n".join(lines) + "\n"}
    build = _digest([about["METADATA"].encode(), *code.values(), *map(str.encode, code)])
    # A build tag begins with a digit.
    tag = f"0{build.hexdigest()[:_BUILD_DIGITS]}"
    about["WHEEL"] = f"{_WHEEL}Build: {tag}\nTag: py3-none-any\n"
    info = f"{name}-{version}.dist-info"
    files = {**code, **{f"{info}/{file}": text.encode() for file, text in about.items()}}
    record = [f"{file},{_record_hash(data)},{len(data)}" for file, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{name}-{version}-{tag}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, data in files.items():
            entry = zipfile.ZipInfo(file, _TIME)
            entry.external_attr = _READABLE_FILE
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def _digest(parts: list[bytes]) -> hashlib._Hash:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found


def _record_hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"
