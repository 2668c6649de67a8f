"""The one interface between an asset and the place where its job runs. What runs a job belongs in `local.py` or `sagemaker/`."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    DataVersion,
    MaterializeResult,
    MetadataValue,
)

from ruter_dagster.contracts.jobs import DatesParameters, JobParameters

JobEvent = MaterializeResult | AssetCheckResult


class JobLauncher(ABC):
    """Runs a job for an asset, and gives back what the job reported.

    A range of dates is cut into chunks of `days_per_job`, a job each; their reports become one.
    """

    days_per_job: int

    @abstractmethod
    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        """Runs one job to its end. Raises `Failure`, with `allow_retries=False` where no retry can help."""

    def run(self, context: AssetExecutionContext, parameters: JobParameters) -> Iterator[JobEvent]:
        """Runs the job, in chunks where it is over dates, and yields each asset's materialisation and checks."""
        events = [
            event
            for number, chunk in enumerate(self._chunks(parameters))
            for event in self.launch(context, chunk, number)
        ]
        for result in _merge_materialisations(
            [event for event in events if isinstance(event, MaterializeResult)]
        ):
            _describe_partitions(context, result)
            yield result
        yield from _merge_checks([event for event in events if isinstance(event, AssetCheckResult)])

    def _chunks(self, parameters: JobParameters) -> list[JobParameters]:
        if not isinstance(parameters, DatesParameters):
            return [parameters]
        dates, size = parameters.dates, self.days_per_job
        return [
            parameters.model_copy(update={"dates": dates[i : i + size]}) for i in range(0, len(dates), size)
        ]


def version_of_dates(versions: dict[str, str]) -> str:
    """Data version of a materialisation: the content hash of its date, or of all of a range's dates together."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()[:32]


def _merge_materialisations(results: Sequence[MaterializeResult]) -> Iterator[MaterializeResult]:
    """One result an asset: rows added up, dates joined, other metadata from the last job."""
    for key in dict.fromkeys(AssetKey.from_coercible(result.asset_key or "") for result in results):
        chunks = [result for result in results if result.asset_key == key]
        metadata: dict[str, Any] = {}
        dates: dict[str, Any] = {}
        for chunk in chunks:
            metadata.update(chunk.metadata or {})
            dates.update(_dates(chunk))
        version = chunks[-1].data_version
        if dates:
            metadata |= {
                "rows": sum(part["rows"] for part in dates.values()),
                "dates": MetadataValue.json(dates),
            }
            version = DataVersion(version_of_dates({day: part["version"] for day, part in dates.items()}))
        yield MaterializeResult(asset_key=key, metadata=metadata, data_version=version)


def _merge_checks(results: Sequence[AssetCheckResult]) -> Iterator[AssetCheckResult]:
    """One result a check: the first failed job's, else the last's."""
    for key in dict.fromkeys((result.asset_key, result.check_name) for result in results):
        chunks = [result for result in results if (result.asset_key, result.check_name) == key]
        yield next((result for result in chunks if not result.passed), chunks[-1])


def _dates(result: MaterializeResult) -> dict[str, Any]:
    value = (result.metadata or {}).get("dates")
    return dict(getattr(value, "data", None) or {})


def _describe_partitions(context: AssetExecutionContext, result: MaterializeResult) -> None:
    """Gives each partition of a range its own rows and content hash."""
    if not context.has_partition_key_range and not context.has_partition_key:
        return
    keys = set(context.partition_keys)
    for day, part in _dates(result).items():
        if day in keys:
            context.add_asset_metadata(
                {"partition_rows": part["rows"], "content_hash": part["version"]},
                asset_key=result.asset_key,
                partition_key=day,
            )
