"""The guide to checks names all there is, and its conditions work."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from beam_jobs.checks import audit_report
from beam_jobs.checks.check_conditions import parse_condition
from beam_jobs.checks.check_metrics import NAMES
from beam_jobs.checks.check_types import check_types
from beam_jobs.datasets.dataset import load_dataset
from beam_jobs.sql import plan_query

REPOSITORY = Path(__file__).parents[2]
GUIDE = (REPOSITORY / "docs/checks.md").read_text(encoding="utf-8")
IN_TABLE = re.findall(r"^\| `.* \| .* \| `(.*)` \|$", GUIDE, re.MULTILINE)
IN_BLOCK = GUIDE.partition("```sql\n")[2].partition("```")[0].splitlines()
CHECKS = yaml.safe_load(GUIDE.partition("```yaml\n")[2].partition("```")[0])["checks"]


def test_the_guide_explains_every_metric_and_field() -> None:
    assert [name for name in NAMES if f"`{name}" not in GUIDE] == []
    models = [
        model
        for model in vars(audit_report).values()
        if isinstance(model, type)
        and issubclass(model, BaseModel)
        and model.__module__ == audit_report.__name__
    ]
    names = {name for model in models for name in model.model_fields}
    assert [name for name in sorted(names) if not re.search(rf"[`.]{name}[`\[]", GUIDE)] == []


def test_every_condition_of_the_guide_fits_the_flights() -> None:
    dataset = load_dataset(REPOSITORY / "dags/datasets/flights.yaml")
    columns = dataset.columns
    assert columns is not None
    results = {
        name: plan_query(aggregate.query, columns).result
        for name, aggregate in dataset.aggregates.items()
    }
    in_yaml = [one if isinstance(one, str) else one["condition"] for one in CHECKS.values()]
    assert (len(IN_TABLE), len(IN_BLOCK), len(in_yaml)) == (13, 4, 4)
    for condition in (*IN_TABLE, *IN_BLOCK, *in_yaml):
        check_types(parse_condition(condition, results), columns, results, has_profile=True)
