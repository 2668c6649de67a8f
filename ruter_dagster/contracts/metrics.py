"""Every metric: its name, unit, dimensions, statistic and meaning.

Jobs and the sensor `run_metrics` send only these. Alarms and the dashboard of terraform/modules/observability, and
docs/metrics.md, name the same ones, which tests compare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

NAMESPACE = "RuterDagster"
"""Namespace of all metrics in CloudWatch."""
ENVIRONMENT, ASSET = "Environment", "Asset"
"""Names of the dimensions. The value of Asset is an asset key such as `forecasts/load_forecasts`."""
OF_ENVIRONMENT, OF_ASSET = (ENVIRONMENT,), (ENVIRONMENT, ASSET)


@dataclass(frozen=True)
class Metric:
    """One metric.

    `dimensions`: the sets of dimensions under which CloudWatch stores each value. `statistic`: how values of a period are
    summed up. `kind`: DogStatsD's type. `sender`: the process that sends it.
    """

    name: str
    unit: Literal["Count", "Seconds", "Megabytes", "None"]
    statistic: Literal["Sum", "Average", "Maximum"]
    kind: Literal["count", "gauge", "distribution"]
    sender: Literal["dagster", "job"]
    meaning: str
    dimensions: tuple[tuple[str, ...], ...] = (OF_ENVIRONMENT,)

    @property
    def has_asset(self) -> bool:
        """Whether each value is of one asset."""
        return OF_ASSET in self.dimensions

    @property
    def statsd_name(self) -> str:
        """The name in DogStatsD: `ruter_dagster.run_seconds` for `RunSeconds`."""
        return "ruter_dagster." + re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


@dataclass(frozen=True)
class Measurement:
    """One value of a metric at one time, UTC. `asset` is None if the metric is of no asset."""

    metric: Metric
    value: float
    time: datetime
    asset: str | None = None


_OF_ASSET, _OF_BOTH = (OF_ASSET,), (OF_ENVIRONMENT, OF_ASSET)

RUN_SUCCESSES = Metric("RunSuccesses", "Count", "Sum", "count", "dagster", "Runs that succeeded")
RUN_FAILURES = Metric(
    "RunFailures", "Count", "Sum", "count", "dagster", "Runs that failed and are not retried"
)
RUN_SECONDS = Metric(
    "RunSeconds",
    "Seconds",
    "Average",
    "distribution",
    "dagster",
    "Duration of a run, retried and cancelled ones too",
)
RETRIES = Metric(
    "Retries", "Count", "Sum", "count", "dagster", "Repeated attempts of an asset's step in a run", _OF_BOTH
)
JOB_COST = Metric(
    "JobCost",
    "None",
    "Sum",
    "count",
    "dagster",
    "Estimated cost of an asset's jobs in SageMaker, US dollars; none for local jobs",
    _OF_BOTH,
)
PUBLICATIONS = Metric(
    "Publications",
    "Count",
    "Sum",
    "count",
    "dagster",
    "Issue dates that were published; the same forecasts again do not count",
)
WAPE = Metric(
    "Wape", "None", "Average", "gauge", "dagster", "Mean WAPE of the operating dates that a run measured"
)
SKILL = Metric(
    "Skill",
    "None",
    "Average",
    "gauge",
    "dagster",
    "1 - WAPE / WAPE of the mean of 4 weeks, over 7 days, of the newest operating date; below 0 the model is worse",
)
BIAS = Metric(
    "Bias",
    "None",
    "Average",
    "gauge",
    "dagster",
    "Sum of means / sum of loads - 1, over 7 days, of the newest operating date",
)
COVERAGE_DEVIATION = Metric(
    "CoverageDeviation",
    "None",
    "Average",
    "gauge",
    "dagster",
    "Share of loads within P10 to P90, minus 0.8, over 7 days, of the newest operating date",
)
MATCHED_SHARE = Metric(
    "MatchedShare",
    "None",
    "Average",
    "gauge",
    "dagster",
    "Share of the loads of the newest operating date that had a forecast",
)
DRIFT_WARNINGS = Metric(
    "DriftWarnings",
    "Count",
    "Maximum",
    "gauge",
    "dagster",
    "Drift metrics of the newest date with the verdict `warn`",
)
DRIFT_ALARMS = Metric(
    "DriftAlarms",
    "Count",
    "Maximum",
    "gauge",
    "dagster",
    "Drift metrics of the newest date with the verdict `act`; zero ends the alarm",
)
ASSET_SECONDS = Metric(
    "AssetSeconds",
    "Seconds",
    "Average",
    "distribution",
    "dagster",
    "Duration of an asset's step, with its waits and retries",
    _OF_ASSET,
)
ROWS = Metric(
    "Rows", "Count", "Sum", "count", "dagster", "Rows of the partitions that a run materialised", _OF_ASSET
)
LAG = Metric(
    "Lag",
    "Seconds",
    "Maximum",
    "gauge",
    "dagster",
    "Time from the end of the newest operating date, or the start of the newest issue date, to its first materialisation",
    _OF_ASSET,
)
FRESHNESS = Metric(
    "Freshness",
    "Seconds",
    "Maximum",
    "gauge",
    "dagster",
    "Age of the newest partition with data, every 15 minutes: time since it began to exist",
    _OF_ASSET,
)
JOB_SECONDS = Metric(
    "JobSeconds", "Seconds", "Average", "distribution", "job", "Duration of a job's own work", _OF_ASSET
)
JOB_CPU_SECONDS = Metric(
    "JobCpuSeconds", "Seconds", "Sum", "distribution", "job", "CPU time of a job, imports included", _OF_ASSET
)
JOB_MEMORY = Metric(
    "JobMemory", "Megabytes", "Maximum", "distribution", "job", "Most memory that a job used", _OF_ASSET
)
JOB_FAILURES = Metric(
    "JobFailures", "Count", "Sum", "count", "job", "Jobs that failed, also those that are retried"
)

METRICS = (
    RUN_SUCCESSES, RUN_FAILURES, RUN_SECONDS, RETRIES, JOB_COST, PUBLICATIONS, WAPE, SKILL, BIAS, COVERAGE_DEVIATION, MATCHED_SHARE,
    DRIFT_WARNINGS, DRIFT_ALARMS, ASSET_SECONDS, ROWS, LAG, FRESHNESS, JOB_SECONDS, JOB_CPU_SECONDS, JOB_MEMORY, JOB_FAILURES,
)  # fmt: skip
"""All metrics, in the order of docs/metrics.md."""
