"""Settings of metrics: the environment that they name, and where they are sent."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class MetricsSettings(BaseSettings):
    """Where jobs and the sensor `run_metrics` send metrics. Without these settings, no metric is sent."""

    metrics_environment: str | None = Field(
        None,
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Value of the dimension Environment of CloudWatch metrics (docs/metrics.md). With it, jobs and the sensor "
        "`run_metrics` write metrics in the embedded metric format (EMF) to standard output",
    )
    emf_endpoint: str | None = Field(
        None,
        pattern=r"^(tcp|udp)://[^/\s:]+(:\d{1,5})?$",
        description="Address of a CloudWatch agent that takes EMF instead of standard output: tcp://host:port or udp://host:port. "
        "Jobs in SageMaker write to standard output all the same",
    )
    statsd_host: str | None = Field(
        None, description="Host of DataDog's agent. With it, metrics are also sent by DogStatsD (UDP)"
    )
    statsd_port: int = Field(8125, ge=1, le=65535, description="Port of DataDog's agent")
