"""The run report survives JSON whatever is in it, and the guide explains all of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from beam_jobs.engine import run_report
from beam_jobs.engine.run_report import ColumnProfile, RejectFound

GUIDE = Path(__file__).parents[2] / "docs" / "run-report.md"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, TEXT)
def test_any_text_survives_and_cannot_leave_its_place(text: str, reason: str) -> None:
    reject = RejectFound(file=text, line=1, text=text, reason=reason)
    written = reject.model_dump_json()
    assert json.loads(written) == dict(reject)
    assert RejectFound.model_validate_json(written) == reject


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e308, -0.0])
def test_every_number_survives_in_valid_json(value: float) -> None:
    column = ColumnProfile(
        name="x",
        type="DOUBLE",
        nulls=0,
        distinct=1,
        min=None,
        max=None,
        mean=value,
        quantiles={"50": value},
        frequent=(),
        others_at_most=0,
    )
    written = column.model_dump_json()
    json.loads(written, parse_constant=pytest.fail)
    found = ColumnProfile.model_validate_json(written)
    assert found.mean is not None
    assert math.copysign(1, found.mean) == math.copysign(1, value) or math.isnan(value)
    assert str(found.mean) == str(value)


def test_the_guide_explains_every_field() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    models = [
        model
        for model in vars(run_report).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__module__ == run_report.__name__
    ]
    names = {name for model in models for name in model.model_fields}
    assert len(names) > 40
    assert [name for name in sorted(names) if name not in guide] == []
