"""Records materialisations in Dagster's event log at a given time, without executing a run."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

from dagster import AssetMaterialization, DagsterEvent, DagsterEventType, DagsterInstance
from dagster._core.events import StepMaterializationData

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def record(instance: DagsterInstance, *materialisations: AssetMaterialization, at: datetime = NOON) -> str:
    """Records the materialisations in a run of their own, and returns its id."""
    run_id = str(uuid4())
    for materialisation in materialisations:
        event = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name="daily",
            event_specific_data=StepMaterializationData(materialisation),
        )
        instance.report_dagster_event(event, run_id, timestamp=at.timestamp())
    return run_id
