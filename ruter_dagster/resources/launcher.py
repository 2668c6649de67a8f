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
    Failure,
    JsonMetadataValue,
    MarkdownMetadataValue,
    MaterializeResult,
    MetadataValue,
    TableMetadataValue,
)
from dagster._core.errors import DagsterExecutionInterruptedError

from ruter_dagster.contracts.jobs import DatesParameters, JobParameters

JobEvent = MaterializeResult | AssetCheckResult
_LARGE = (JsonMetadataValue, MarkdownMetadataValue, TableMetadataValue)


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
        materialised: list[MaterializeResult] = []
        checked: list[AssetCheckResult] = []
        for number, chunk in enumerate(_chunks(parameters, self.days_per_job)):
            for event in self._launch(context, _pinned(chunk, materialised), number):
                (materialised if isinstance(event, MaterializeResult) else checked).append(event)  # type: ignore[arg-type]
        for key in dict.fromkeys(_key(result) for result in materialised):
            result = _merged([result for result in materialised if _key(result) == key])
            yield _by_partition(context, result)
        for key in dict.fromkeys((result.asset_key, result.check_name) for result in checked):
            same = [result for result in checked if (result.asset_key, result.check_name) == key]
            yield next((result for result in same if not result.passed), same[-1])

    def _launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        try:
            return self.launch(context, parameters, number)
        except DagsterExecutionInterruptedError:
            # Dagster's retry policy would start a step again that a person has just ended.
            raise Failure(
                f"Job {parameters.job} was ended with its run, which was terminated", allow_retries=False
            ) from None


def _chunks(parameters: JobParameters, size: int) -> list[JobParameters]:
    if not isinstance(parameters, DatesParameters):
        return [parameters]
    dates = parameters.dates
    return [parameters.model_copy(update={"dates": dates[i : i + size]}) for i in range(0, len(dates), size)]


def _pinned(chunk: JobParameters, earlier: Sequence[MaterializeResult]) -> JobParameters:
    """The chunk pinned to the snapshots that the first one read: one run never sees two states of a table."""
    used = {
        table: int(noted["snapshot_id"])
        for result in reversed(earlier)
        for table, noted in _json(result, "inputs").items()
    }
    return chunk.model_copy(update={"pins": {**used, **chunk.pins}})


def version_of_dates(versions: dict[str, str]) -> str:
    """Data version of a materialisation: the content hash of its date, or of all of a range's dates together."""
    if len(versions) == 1:
        return next(iter(versions.values()))
    return hashlib.sha256(json.dumps(sorted(versions.items())).encode()).hexdigest()[:32]


def _key(result: MaterializeResult) -> AssetKey:
    return AssetKey.from_coercible(result.asset_key or "")


def _json(result: MaterializeResult, name: str) -> dict[str, Any]:
    value = (result.metadata or {}).get(name)
    return dict(getattr(value, "data", None) or {})


def _merged(chunks: Sequence[MaterializeResult]) -> MaterializeResult:
    """One result of an asset's chunks: rows added up, dates and inputs joined, other metadata from the last."""
    metadata: dict[str, Any] = {}
    dates: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for chunk in chunks:
        metadata.update(chunk.metadata or {})
        dates.update(_json(chunk, "dates"))
        for table, noted in _json(chunk, "inputs").items():
            inputs[table] = {**noted, "dates": {**inputs.get(table, {}).get("dates", {}), **noted["dates"]}}
    version = chunks[-1].data_version
    if inputs:
        metadata["inputs"] = MetadataValue.json(inputs)
    if dates:
        metadata |= {"rows": sum(part["rows"] for part in dates.values()), "dates": MetadataValue.json(dates)}
        version = DataVersion(version_of_dates({day: part["version"] for day, part in dates.items()}))
    return MaterializeResult(asset_key=_key(chunks[-1]), metadata=metadata, data_version=version)


def _by_partition(context: AssetExecutionContext, result: MaterializeResult) -> MaterializeResult:
    """Gives each partition its own rows and content hash; what describes a whole range stands at its last partition.

    Dagster copies a result's metadata to every partition's event: pictures and lists would be stored once a date.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        return result
    keys = context.partition_keys
    for day, part in _json(result, "dates").items():
        if day in keys:
            own = {"partition_rows": part["rows"], "content_hash": part["version"]}
            context.add_asset_metadata(own, asset_key=result.asset_key, partition_key=day)
    metadata = {name: value for name, value in (result.metadata or {}).items() if name != "dates"}
    whole = {name: value for name, value in metadata.items() if isinstance(value, _LARGE)}
    if whole:
        context.add_asset_metadata(whole, asset_key=result.asset_key, partition_key=keys[-1])
    small = {name: value for name, value in metadata.items() if name not in whole}
    return MaterializeResult(asset_key=result.asset_key, metadata=small, data_version=result.data_version)
