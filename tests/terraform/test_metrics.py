"""Alarms and the dashboard of CloudWatch read the metrics that the code sends, under the same namespace and dimension."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ruter_dagster.aws import metrics
from ruter_dagster.sensors import metrics as sensor

MODULES = Path(__file__).parents[2] / "terraform" / "modules"
ALARMS = (MODULES / "observability" / "main.tf").read_text()
DASHBOARD = (MODULES / "observability" / "dashboard.tf").read_text()


def sent() -> set[str]:
    """Names in the code's calls of `Metric`."""
    calls = [
        node for node in ast.walk(ast.parse(Path(sensor.__file__).read_text())) if isinstance(node, ast.Call)
    ]
    names = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Metric"]
    return {name.value for name in names if isinstance(name, ast.Constant)}


def in_alarms() -> set[str]:
    return set(re.findall(rf'namespace += "{metrics.NAMESPACE}", metric = "(\w+)"', ALARMS))


def in_dashboard() -> set[str]:
    lines = [line for line in DASHBOARD.splitlines() if f'"{metrics.NAMESPACE}"' in line]
    listed = [
        name
        for line in lines
        for names in re.findall(r"for name in \[([^]]+)\]", line)
        for name in re.findall(r'"(\w+)"', names)
    ]
    return {*listed, *re.findall(rf'"{metrics.NAMESPACE}", "(\w+)"', DASHBOARD)}


def test_drift_is_an_alarm_on_a_metric_that_is_sent() -> None:
    drift = ALARMS.split("      drift = {")[1].split("}\n")[0]
    assert 'metric = "DriftAlarms"' in drift and "threshold = 1" in drift
    assert "DriftAlarms" in sent()


def test_alarms_read_metrics_that_are_sent() -> None:
    assert {"RunFailures", "DriftAlarms", "Publications"} <= in_alarms() <= sent()


def test_every_metric_is_in_the_dashboard_or_an_alarm() -> None:
    assert in_dashboard() | in_alarms() == sent()


def test_metrics_are_sent_with_the_dimension_of_alarms() -> None:
    container = (MODULES / "dagster" / "main.tf").read_text()
    assert re.search(r"RUTER_METRICS_ENVIRONMENT = var\.name\n", container)
    own = re.findall(rf'namespace += "{metrics.NAMESPACE}".*\n +dimensions += \{{ (.+) \}}', ALARMS)
    assert own == ["Environment = var.name"] * len(in_alarms())
