"""The process that supervises a job learns of its end, whichever process receives the event. Lost and duplicate events do no harm."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from dagster._core.test_utils import freeze_time

from ruter_dagster.aws.queues import EventQueue
from ruter_dagster.config.settings import Settings
from ruter_dagster.resources.sagemaker.events import EndNotes, QueuedJobEnds
from ruter_dagster.sensors.job_events import job_event_sensors
from sagemaker_double.control import Remote
from sagemaker_double.requests import processing, training
from sagemaker_double.settings import Settings as Double
from tests.events_queue import queue_of_events, waiting
from tests.sensors.conftest import tick  # noqa: F401

REGION = Double.region


@pytest.fixture
def queue(sagemaker_double: Remote, aws: Any) -> str:
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    return queue_of_events(aws, "job-events", "aws.sagemaker")


def worker(queue: str, aws: Any) -> QueuedJobEnds:
    """The reader of events in one run worker."""
    return QueuedJobEnds(EventQueue(queue, aws("sqs")), EndNotes("s3://lake/artifacts", aws("s3")))


def settings_with_queue(queue: str) -> Settings:
    return Settings(
        launcher="sagemaker",
        lake="s3://lake",
        job_events_queue=queue,
        mlflow_tracking_uri="https://mlflow.example.org",
    )


def end_jobs(double: Remote, aws: Any, *names: str) -> None:
    for name in names:
        aws("sagemaker").create_processing_job(**processing(name))
        double.wait_for(name)


def test_end_of_job_is_returned_once(sagemaker_double: Remote, aws: Any, queue: str) -> None:
    mine = worker(queue, aws)
    assert mine.ended({"mine"}) == set()
    end_jobs(sagemaker_double, aws, "mine")
    assert sagemaker_double.wait(lambda: mine.ended({"mine"})) == {"mine"}
    assert mine.ended({"mine"}) == set()
    assert waiting(aws, queue) == 0


def test_running_job_is_not_returned(sagemaker_double: Remote, aws: Any, queue: str) -> None:
    mine = worker(queue, aws)
    aws("sagemaker").create_training_job(**training("mine", "import time; time.sleep(30)"))
    sagemaker_double.wait(lambda: waiting(aws, queue))
    assert mine.ended({"mine"}) == set()
    aws("sagemaker").stop_training_job(TrainingJobName="mine")
    assert sagemaker_double.wait(lambda: mine.ended({"mine"})) == {"mine"}


def test_event_read_by_one_worker_reaches_another(sagemaker_double: Remote, aws: Any, queue: str) -> None:
    first, second = worker(queue, aws), worker(queue, aws)
    end_jobs(sagemaker_double, aws, "mine", "yours")
    assert sagemaker_double.wait(lambda: first.ended({"mine"})) == {"mine"}
    sagemaker_double.wait(lambda: first.ended({"mine"}) or not waiting(aws, queue))
    assert second.ended({"yours"}) == {"yours"}


def test_duplicate_event_is_returned_once_and_lost_never(
    sagemaker_double: Remote, aws: Any, queue: str
) -> None:
    sagemaker_double.fault("event_duplicate", jobs="twice", states=["Completed"])
    sagemaker_double.fault("event_lost", jobs="lost", states=["Completed"])
    end_jobs(sagemaker_double, aws, "lost", "twice")
    mine, names = worker(queue, aws), {"lost", "twice"}
    assert sagemaker_double.wait(lambda: mine.ended(names)) == {"twice"}
    sagemaker_double.wait(lambda: mine.ended(names) or not waiting(aws, queue))
    assert mine.ended(names) == set()


def test_event_stays_in_queue_when_note_fails(sagemaker_double: Remote, aws: Any, queue: str) -> None:
    end_jobs(sagemaker_double, aws, "yours")
    sagemaker_double.wait(lambda: waiting(aws, queue) == 2)
    sagemaker_double.fault("error", operations="s3.PutObject", code="AccessDenied", status=403)
    with pytest.raises(ClientError, match="AccessDenied"):
        worker(queue, aws).ended({"mine"})
    other = worker(queue, aws)
    assert sagemaker_double.wait(lambda: other.ended({"yours"})) == {"yours"}


def test_received_event_survives_unreadable_notes(
    sagemaker_double: Remote, aws: Any, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ruter_dagster.resources.sagemaker.events.PAUSE_SECONDS", 0.0)
    mine = worker(queue, aws)
    end_jobs(sagemaker_double, aws, "mine")
    sagemaker_double.wait(lambda: waiting(aws, queue) == 2)
    sagemaker_double.fault("error", operations="s3.ListObjects", code="AccessDenied", status=403)
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.ended({"mine"})
    assert waiting(aws, queue) == 0
    assert mine.ended({"mine"}) == {"mine"}


def test_unreadable_queue_is_paused(sagemaker_double: Remote, aws: Any, queue: str) -> None:
    mine = worker(f"{queue}-gone", aws)
    with pytest.raises(ClientError):
        mine.ended({"mine"})
    assert mine.ended({"mine"}) == set()


@pytest.mark.parametrize("service", ["SQS", "S3"])
@pytest.mark.timeout(30)
def test_silent_service_does_not_delay_run(
    aws: Any, queue: str, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{silent.getsockname()[1]}")
        mine = QueuedJobEnds.of(settings_with_queue(queue), in_run_worker=True)
        assert mine
        with pytest.raises(ReadTimeoutError):
            mine.ended({"mine"})
        assert mine.ended({"mine"}) == set(), "the service was called again at once"
        silent.setblocking(False)
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_old_notes_are_ignored(aws: Any, queue: str) -> None:
    moment = datetime(2026, 11, 20, 5, tzinfo=UTC)
    notes = EndNotes("s3://lake/artifacts", aws("s3"))
    with freeze_time(moment):
        notes.write(["old"])
    with freeze_time(moment + timedelta(minutes=3)):
        notes.write(["new"])
        assert notes.recent() == {"new"}


def test_sensor_passes_on_unread_events(
    sagemaker_double: Remote,
    aws: Any,
    queue: str,
    tick: Any,  # noqa: F811
) -> None:
    end_jobs(sagemaker_double, aws, "yours")
    sagemaker_double.wait(lambda: waiting(aws, queue) == 2)
    settings = settings_with_queue(queue)
    (sensor,) = job_event_sensors(settings)
    assert tick(sensor).skip_message == "Passed on the ends of 1 jobs"
    assert waiting(aws, queue) == 0
    notes = EndNotes(settings.artifacts_location, aws("s3"))
    assert QueuedJobEnds(EventQueue(queue, aws("sqs")), notes).ended({"yours"}) == {"yours"}


def test_jobs_are_polled_without_queue() -> None:
    assert QueuedJobEnds.of(Settings(), in_run_worker=True) is None
    assert job_event_sensors(Settings()) == []
