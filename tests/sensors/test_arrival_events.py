"""Events of new objects decide when to list the source. The requested runs follow from the listing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import SensorDefinition

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors import arrivals
from ruter_dagster.sensors.arrivals import INTERVAL_SECONDS, Listing, arrival_sensors
from sagemaker_double.control import Remote
from tests.events_queue import queue_of_events, waiting
from tests.scripted_launcher import JOBS
from tests.sensors.conftest import SensorExecutionData, Tick

RUTER = load_operator("ruter")
MORNING = datetime(2026, 3, 30, 6, tzinfo=UTC)


class Source:
    """A bucket of TIDES tables whose events go to a queue, the sensor that reads it, and a clock."""

    def __init__(self, aws: Any, remote: Remote, queue: str) -> None:
        self.aws, self.remote, self.queue = aws, remote, queue
        self.days = [20, 21, 22]
        self.now = MORNING
        self.listings = 0

    def put(self, key: str) -> None:
        before = waiting(self.aws, self.queue)
        self.aws("s3").put_object(Bucket="counts", Key=key, Body=b"")
        self.remote.wait(lambda: waiting(self.aws, self.queue) > before)

    def sensor(self) -> SensorDefinition:
        settings = load_settings(
            _env_file=None,
            history_start="2026-01-01",
            source="tides",
            tides_path="s3://counts/tides/",
            arrivals_queue=self.queue,
        )
        (sensor,) = arrival_sensors(settings, RUTER, JOBS)
        return sensor

    def list(self, settings: Any) -> Listing:
        self.listings += 1
        return Listing(frozenset(date(2026, 3, day) for day in self.days))


@pytest.fixture
def source(
    sagemaker_double: Remote,
    aws: Any,
    tick: Tick,
    materialise: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> Source:
    """A source that was listed once, without new dates."""
    s3 = aws("s3")
    s3.create_bucket(Bucket="counts", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_notification_configuration(
        Bucket="counts", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    materialise("raw/stop_visits", "first", "2026-03-20", "2026-03-21", "2026-03-22")
    source = Source(aws, sagemaker_double, queue_of_events(aws, "arrivals", "aws.s3"))
    monkeypatch.setattr(arrivals, "list_source", source.list)
    monkeypatch.setattr(arrivals, "get_current_datetime", lambda _: source.now)
    assert not requested(tick(source.sensor()))
    return source


def requested(result: SensorExecutionData) -> list[str | None]:
    """The operating dates whose counts are requested."""
    return [run.partition_key for run in result.run_requests or [] if run.job_name == "counts"]


def test_new_object_lists_source_at_once(tick: Tick, source: Source) -> None:
    source.days += [23]
    assert not requested(tick(source.sensor())), "no event, and the last listing is recent"
    source.put("tides/stop_visits/2026-03-23.csv")
    assert requested(tick(source.sensor())) == ["2026-03-23"]
    assert waiting(source.aws, source.queue) == 0


def test_one_event_requests_all_new_dates_in_turn(tick: Tick, source: Source) -> None:
    source.days += [23, 24]
    source.put("tides/stop_visits/2026-03.csv")
    assert [requested(tick(source.sensor())) for _ in range(3)] == [["2026-03-23"], ["2026-03-24"], []]
    listings = source.listings
    tick(source.sensor())
    assert source.listings == listings, "the sensor waits for the next event or listing"


def test_lost_event_delays_listing_by_five_minutes(tick: Tick, source: Source) -> None:
    source.days += [23]
    source.now += timedelta(seconds=INTERVAL_SECONDS)
    assert requested(tick(source.sensor())) == ["2026-03-23"]


def test_duplicate_event_requests_nothing_twice(tick: Tick, source: Source, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("event_duplicate", states=["Object Created"])
    source.days += [23]
    source.put("tides/stop_visits/2026-03-23.csv")
    source.put("tides/stop_visits/2026-03-23.csv")
    assert [requested(tick(source.sensor())) for _ in range(3)] == [["2026-03-23"], [], []]


def test_object_outside_source_is_ignored(tick: Tick, source: Source) -> None:
    source.days += [23]
    source.put("other/stop_visits/2026-03-23.csv")
    assert not requested(tick(source.sensor()))
    assert waiting(source.aws, source.queue) == 0


def test_event_stays_in_queue_when_listing_fails(
    tick: Tick, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put("tides/stop_visits/2026-03-23.csv")
    sensor = source.sensor()
    source.days = [0]
    with pytest.raises(ValueError, match="day"):
        tick(sensor)
    assert waiting(source.aws, source.queue) == 1
    source.days = [20, 21, 22, 23]
    source.remote.wait(lambda: requested(tick(sensor)) == ["2026-03-23"])
