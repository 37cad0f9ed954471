"""Rows as BigQuery's JSON has them: cells within rows, every scalar a string."""

from __future__ import annotations

import base64
import datetime
import decimal
from collections.abc import Mapping, Sequence
from typing import Any

from local_cloud.bigquery.schema import Field

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def encode_rows(
    rows: Sequence[Mapping[str, object]], fields: Sequence[Field], *, int64_timestamps: bool
) -> list[dict[str, Any]]:
    """Rows in the API's form, ``{"f": [{"v": …}, …]}``.

    Args:
        rows: Values by column.
        fields: The columns, in the order of the answer.
        int64_timestamps: Whether timestamps are whole microseconds; otherwise seconds, as a
            floating-point number.
    """
    return [_record(row, fields, int64_timestamps) for row in rows]


def _record(
    row: Mapping[str, object], fields: Sequence[Field], int64_timestamps: bool
) -> dict[str, Any]:
    return {"f": [{"v": _value(row.get(field.name), field, int64_timestamps)} for field in fields]}


def _value(value: Any, field: Field, int64_timestamps: bool) -> Any:
    if field.is_repeated:
        return [{"v": _item(item, field, int64_timestamps)} for item in value or ()]
    return None if value is None else _item(value, field, int64_timestamps)


def _item(value: Any, field: Field, int64_timestamps: bool) -> Any:
    if field.type == "RECORD":
        return _record(value, field.fields, int64_timestamps)
    if isinstance(value, datetime.datetime) and field.type == "TIMESTAMP":
        microseconds = (value - _EPOCH) // _MICROSECOND
        return str(microseconds) if int64_timestamps else _seconds(microseconds)
    return scalar(value)


def _seconds(microseconds: int) -> str:
    # The real service's form, 1.3569984E9: the mantissa and exponent of the shortest number.
    digits = f"{decimal.Decimal(microseconds).scaleb(-6).normalize():E}"
    mantissa, _, exponent = digits.partition("E")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


def scalar(value: Any) -> str:
    """A value that is neither a record nor a timestamp, as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.standard_b64encode(value).decode("ascii")
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _decimal(value: decimal.Decimal) -> str:
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
