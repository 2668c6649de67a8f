"""Records materialisations and observations in Dagster's event log at a given time, without executing a run."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from dagster import AssetMaterialization, AssetObservation, DagsterEvent, DagsterEventType, DagsterInstance
from dagster._core.events import AssetObservationData, StepMaterializationData

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(
    instance: DagsterInstance, *recorded: AssetMaterialization | AssetObservation, at: datetime = NOON
) -> str:
    """Records the events in a run of their own, and returns its id."""
    run_id = str(uuid4())
    for item in recorded:
        is_observation = isinstance(item, AssetObservation)
        kind = (
            DagsterEventType.ASSET_OBSERVATION if is_observation else DagsterEventType.ASSET_MATERIALIZATION
        )
        event = DagsterEvent(
            event_type_value=kind.value,
            job_name="daily",
            event_specific_data=AssetObservationData(item)
            if is_observation
            else StepMaterializationData(item),
        )
        instance.report_dagster_event(event, run_id, timestamp=at.timestamp())
    return run_id
