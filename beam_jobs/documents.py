"""JSON documents that one process writes and others read, each a pydantic model.

DAG files import this module each time they are parsed, so it imports nothing heavy.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from beam_jobs.errors import InputError


class Part(BaseModel):
    """A part of a document, or a whole one."""

    # JSON has no NaN and no infinity: they are the strings "NaN", "Infinity" and "-Infinity".
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Document(Part):
    """A whole document.

    Attributes:
        kind: What it is, in errors about what is none.
    """

    kind: ClassVar[str]

    def to_json(self) -> str:
        """The document for people and programs: indented, with a line's end."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def of_json(cls, text: str | bytes, path: str) -> Self:
        """Reads a document.

        Args:
            text: The JSON document.
            path: Where it is from, for errors.

        Raises:
            InputError: It is none, or one of another version; names the path and the first field
                that is wrong.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise InputError(f"{path}: is no {cls.kind}: {where}: {first['msg']}") from error
