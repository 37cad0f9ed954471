"""Says what is wrong with a field of a dataset file in words that name the remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from beam_jobs.datasets.yaml_document import FieldPath, Problem, YamlDocument

NAME_RULE = (
    "a name has small letters, digits and _ only, begins with a letter, and is at most 63 long"
)

# By pydantic's error type; each follows the value.
_PREDICATES = {
    "bool_type": "is neither true nor false",
    "dict_type": "is not a mapping; write an indented 'name: value' on each line below",
    "greater_than_equal": "is too small; write {ge} or more",
    "int_type": "is not a whole number; write one, without quotes",
    "model_type": "is neither a query nor a mapping with a query; write the SQL",
    "string_pattern_mismatch": f"is not a name: {NAME_RULE}",
    "string_too_long": "is too long; write {max_length} characters or fewer",
    "string_too_short": "is empty; write some text",
    "too_short": "is empty; write at least one",
    "tuple_type": "is not a list; write it in brackets, as in [a, b]",
}


def explain(
    error: ErrorDetails, fields: Mapping[str, FieldInfo], document: YamlDocument
) -> Problem:
    """Turns an error of pydantic into a problem of the file.

    Args:
        error: What pydantic found.
        fields: The fields that are valid where the error is.
        document: The file.
    """
    path: FieldPath = error["loc"]
    if path[-1:] == ("[key]",):
        path = path[:-1]
        text = f"{error['input']!r} {_predicate(error, document, path)}"
    elif error["type"] == "missing":
        example = fields[str(path[-1])].examples
        text = "is missing; add it" + (f", as in '{path[-1]}: {example[0]}'" if example else "")
    elif error["type"] == "extra_forbidden":
        near = _did_you_mean(path[-1], fields) or f"; the fields are {', '.join(fields)}"
        text = f"unknown field{near}"
    else:
        text = f"{document.shown(path)} {_predicate(error, document, path)}"
    return Problem(document.line(path), path, text)


def _did_you_mean(value: object, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(value).lower(), list(names), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _predicate(error: ErrorDetails, document: YamlDocument, path: FieldPath) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            valid = re.findall(r"'(\w+)'", context["expected"])
            return f"is not one of {', '.join(valid)}{_did_you_mean(error['input'], valid)}"
        case "string_type":
            if kind := document.misread_as(path):
                return f"is read by YAML as {kind}; quote it: '{document.shown(path)}'"
            return "is not text; write text, in quotes if it begins with a bracket"
        case other:
            return _PREDICATES.get(other, error["msg"]).format(**context)
