"""What docs/operate.md names exists, and what it shows is so."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import airflow
import pyarrow as pa
import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.sdk.observability import stats

from beam_jobs import aggregate_options, partitions, roll_up
from beam_jobs.checks.audit_report import AuditReport, CheckResult, LateFile, LateFiles
from beam_jobs.datasets.dataset_model import Dataset
from beam_jobs.datasets.partition import Partition
from beam_jobs.publishing.partition_folder import PartitionFolder
from benchmarks import cost_model
from tallyflow import partition_metrics
from tests.unit.published_parts import NOW, publish_part

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
AIRFLOW = Path(airflow.__file__).parent
FENCED = re.compile(r"```sh\n(.*?)```", re.DOTALL)
FLIGHTS = Dataset.model_validate(
    {
        "name": "flights",
        "description": "d",
        "owner": "o",
        "start_date": "2013-01-01",
        "pattern": "{date}.csv",
        "aggregates": {"n": "SELECT count(*) AS n FROM input"},
    }
)
PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "aggregate_files": aggregate_options.parse_args,
    "partitions": partitions._parser().parse_args,
    "roll_up": roll_up._parser().parse_args,
}


def commands(program: str) -> list[list[str]]:
    """The arguments of each command of a program, those with gaps left out."""
    lines = "".join(FENCED.findall(GUIDE)).replace("\\\n", " ").splitlines()
    lines += [" ".join(text.split()) for text in re.findall(r"`([^`]+)`", FENCED.sub("", GUIDE))]
    found = [line.removeprefix("/usr/bin/time -v ") for line in lines]
    return [
        shlex.split(line.removeprefix(program), comments=True)
        for line in found
        if line.startswith(program) and "…" not in line
    ]


@pytest.mark.parametrize("job", PARSERS)
def test_commands_of_ours_take_the_options_that_are_shown(job: str) -> None:
    shown = commands(f"python -m beam_jobs.{job} ")
    assert shown
    for arguments in shown:
        PARSERS[job](arguments)


def test_commands_of_airflow_take_the_options_that_are_shown() -> None:
    shown = commands("airflow ")
    assert len(shown) > 7
    parser = get_parser()
    for arguments in shown:
        parser.parse_args(arguments)


def test_every_command_of_make_and_module_exists() -> None:
    targets = re.findall(r"^([a-z-]+):.*?##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)", GUIDE)) <= set(targets)
    for module in re.findall(r"python -m ([a-z_.]+)", GUIDE):
        assert importlib.util.find_spec(module.rstrip(".")), module


def test_every_metric_of_airflow_that_is_named_is_one() -> None:
    registry = AIRFLOW / "_shared/observability/metrics/metrics_template.yaml"
    known = {
        name
        for metric in yaml.safe_load(registry.read_text())["metrics"]
        for name in (metric["name"], metric["legacy_name"])
    }
    table = GUIDE.split("### Alerts to set")[1].split("`deadline_alerts.deadline_missed` has")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert len(named) > 12
    for name in named:
        general = name.replace("flights_daily", "{dag_id}").replace("default_pool", "{pool_name}")
        assert general in known, name


def test_every_setting_of_airflow_that_is_named_is_one() -> None:
    options = yaml.safe_load((AIRFLOW / "config_templates/config.yml").read_text())
    named = set(re.findall(r"AIRFLOW__METRICS__([A-Z_]+)", GUIDE))
    assert {name.lower() for name in named} <= set(options["metrics"]["options"])
    read = (AIRFLOW / "_shared/observability/otel_env_config.py").read_text()
    for name in re.findall(r"OTEL_EXPORTER_[A-Z_]+|OTEL_METRIC_[A-Z_]+", GUIDE):
        assert f'"{name}"' in read, name


def test_what_publish_sends_is_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, float] = {}
    monkeypatch.setattr(stats, "gauge", sent.__setitem__)
    day = Partition.parse("2013-01-07", "day")
    version = publish_part(
        tmp_path, FLIGHTS, day, pa.table({"k": [1, 2]}), columns={"k": "BIGINT"}, run_id="r1"
    )
    folder = PartitionFolder(str(tmp_path), "flights", day)
    partition_metrics.send_metrics(folder, version)
    assert sent["tallyflow.flights.rows"] == 2
    assert sent["tallyflow.flights.failed_checks"] == sent["tallyflow.flights.late_files"] == 0
    assert {name for name in sent if f"`{name}`" not in GUIDE} == set()

    late = LateFile(path="a", bytes=1, modified=None, change="new")
    bad = CheckResult(
        name="c", condition="rows > 2", severity="warn", passed=False, message="", values=()
    )
    audit = AuditReport(
        dataset="flights",
        partition=day.key,
        run_id="r1",
        audited=NOW,
        passed=True,
        checks=(bad, bad.model_copy(update={"passed": True})),
        late=LateFiles(partition="2013-01-06", run_id="r0", files=(late, late), remedy=""),
    )
    Path(folder.run("r1"), "audit.json").write_text(audit.to_json())
    partition_metrics.send_metrics(folder, version)
    assert sent["tallyflow.flights.failed_checks"] == 1
    assert sent["tallyflow.flights.late_files"] == 2


def test_the_costs_are_those_of_the_model() -> None:
    shown = GUIDE.split("<!-- cost: begin -->\n")[1].split("<!-- cost: end -->")[0]
    assert shown.splitlines() == list(cost_model.table())


def test_a_day_costs_what_its_workers_and_bytes_do(monkeypatch: pytest.MonkeyPatch) -> None:
    small = cost_model.day(seconds=0, gigabytes=1, states_gb=0)
    assert (small.workers, small.hours) == (1, cost_model.START_HOURS)
    # 3 hours' work of a worker, half of whose time is lost, in half an hour: 12 workers.
    monkeypatch.setattr(cost_model, "BUSY", 0.5)
    large = cost_model.day(seconds=3 * 3600 * cost_model.VCPUS / 100, gigabytes=100, states_gb=0.5)
    assert (large.cpu_hours, large.workers) == (12, 12)
    assert large.hours == pytest.approx(0.55)
    assert large.shuffled_gb == 200
    assert large.price == pytest.approx(
        12 * 0.55 * (4 * 0.056 + 16 * 0.003557 + 50 * 0.000054) + 200 * 0.011
    )


def test_what_workers_install_is_what_the_launcher_has() -> None:
    """Beam and DuckDB stand in two places, and the guide says to change both."""
    launcher = (ROOT / "requirements.in").read_text()
    workers = (ROOT / "pyproject.toml").read_text()
    for name in ("apache-beam[gcp]", "duckdb"):
        (pinned,) = re.findall(rf"^{re.escape(name)}==(\S+)", launcher, re.MULTILINE)
        assert f'"{name}=={pinned}"' in workers


def test_what_the_guide_links_to_is_there() -> None:
    for path, anchor in re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", GUIDE):
        target = ROOT / "docs" / path if path else ROOT / "docs" / "operate.md"
        assert target.is_file(), path
        titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if anchor else []
        known = {re.sub(r"[^a-z0-9 _-]", "", one.lower()).replace(" ", "-") for one in titles}
        assert not anchor or anchor[1:] in known, (path, anchor)
