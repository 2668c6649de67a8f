"""What a client was made with, handed to each job that it supervises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagster import MetadataValue

from dagster_sagemaker.kinds import Kind
from dagster_sagemaker.metadata import Prices, links
from dagster_sagemaker.pacing import Clock, Pacing


@dataclass(frozen=True)
class Tools:
    """boto3 clients, places and manners."""

    kind: Kind
    sagemaker: Any
    s3: Any
    logs: Any
    """None where logs are not followed."""
    artifacts: str
    name_prefix: str
    studio_url: str
    prices: Prices | None
    pushed: bool
    pacing: Pacing
    clock: Clock

    @property
    def region(self) -> str:
        """Empty where the client, a test's perhaps, does not tell."""
        return getattr(getattr(self.sagemaker, "meta", None), "region_name", "") or ""

    def links(self, name: str) -> dict[str, MetadataValue]:
        """Where a person looks at the job of this name."""
        return links(self.kind, name, self.region, self.studio_url)
