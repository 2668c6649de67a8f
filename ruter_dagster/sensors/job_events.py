"""Empties the queue of SageMaker's job state changes where no run does. How an end is noticed belongs in resources/sagemaker/events.py."""

from __future__ import annotations

from dagster import SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from ruter_dagster.config.settings import Settings
from ruter_dagster.sensors.chain import sensor_status

INTERVAL_SECONDS = 30
AT_ONCE = 200


def job_event_sensors(settings: Settings) -> list[SensorDefinition]:
    """The sensor `sagemaker_job_ends`, where there is a queue."""
    if not (settings.job_events_queue and settings.runs_in_sagemaker):
        return []

    @sensor(
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(settings),
        description="Passes events of ended SageMaker jobs on to the runs that wait for them. Those runs read the same "
        "queue every second; here is read what no run did.",
    )
    def sagemaker_job_ends(context: SensorEvaluationContext) -> SkipReason:
        from ruter_dagster.resources.sagemaker.events import QueuedJobEnds

        ends = QueuedJobEnds.of(settings, hurried=False)
        passed = ends.pass_on(most=AT_ONCE) if ends else set()
        return SkipReason(f"{len(passed)} ended jobs told to whoever waits for them")

    return [sagemaker_job_ends]
