"""The JSON schema of a dataset file, by which editors complete and check it."""

from __future__ import annotations

import json

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from beam_jobs.datasets.dataset_model import Dataset


class _FileSchema(GenerateJsonSchema):
    """Describes what the file may hold, where that is less than what the model takes."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leaves null out: in the file, a field without a value is a mistake."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Leaves the default null out: it says that the field is not in the file."""
        described = super().default_schema(schema)
        if described.get("default", ...) is None:
            del described["default"]
        return described

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Refuses keys that do not match the pattern of names, which pydantic's schema lets by."""
        described = super().dict_schema(schema)
        if patterns := described.pop("patternProperties", None):
            ((pattern, value),) = patterns.items()
            described |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
        return described


def render_schema() -> str:
    """Renders the JSON schema of a dataset file, ready to be written to disk."""
    schema = Dataset.model_json_schema(schema_generator=_FileSchema)
    return json.dumps({"$schema": _FileSchema.schema_dialect, **schema}, indent=2) + "\n"
