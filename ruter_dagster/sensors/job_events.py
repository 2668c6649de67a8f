"""The sensor that reads SageMaker's job events when no run does. `resources/sagemaker/events.py` detects the end of a job."""

from __future__ import annotations

from dagster import SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from ruter_dagster.config.settings import Settings
from ruter_dagster.sensors.chain import sensor_status

INTERVAL_SECONDS = 30
MAX_EVENTS_PER_TICK = 200


def job_event_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `sagemaker_job_ends`, if the settings name a queue."""
    if not (settings.job_events_queue and settings.runs_in_sagemaker):
        return []

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Passes events of ended SageMaker jobs on to the runs that wait for them. Those runs read the same "
        "queue every second; this sensor reads events that no run has read.",
    )
    def sagemaker_job_ends(context: SensorEvaluationContext) -> SkipReason:
        from ruter_dagster.resources.sagemaker.events import QueuedJobEnds

        ends = QueuedJobEnds.of(settings, in_run_worker=False)
        passed = ends.pass_on(most=MAX_EVENTS_PER_TICK) if ends else set()
        return SkipReason(f"Passed on the ends of {len(passed)} jobs")

    return [sagemaker_job_ends]
