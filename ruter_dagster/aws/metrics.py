"""Sends metrics to CloudWatch. Which metrics a run has is decided in `sensors/metrics.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

NAMESPACE = "RuterDagster"
"""Namespace of all metrics. Alarms and the dashboard of terraform/modules/observability read it."""
MAX_METRICS = 1000
"""Most metrics of one call."""
MAX_AGE = timedelta(days=13)
"""CloudWatch refuses a call with a metric that is older than two weeks."""


@dataclass(frozen=True)
class Metric:
    """One value at one time."""

    name: str
    value: float
    time: datetime
    unit: Literal["Count", "Seconds", "None"] = "Count"


def send_metrics(metrics: Sequence[Metric], environment: str, cloudwatch: Any) -> None:
    """Sends metrics with the dimension Environment. More than `MAX_METRICS` take several calls."""
    dimensions = [{"Name": "Environment", "Value": environment}]
    data = [
        {
            "MetricName": metric.name,
            "Dimensions": dimensions,
            "Timestamp": metric.time,
            "Value": metric.value,
            "Unit": metric.unit,
        }
        for metric in metrics
    ]
    for start in range(0, len(data), MAX_METRICS):
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + MAX_METRICS])
