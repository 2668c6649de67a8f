"""Events of new objects say when to list the source, and nothing else: the same runs are asked for as by listing now and then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from dagster import SensorDefinition

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import load_settings
from ruter_dagster.sensors.arrivals import INTERVAL_SECONDS, Listing, arrival_sensors
from sagemaker_double.control import Remote
from tests.events_queue import queue_of_events, waiting
from tests.scripted_launcher import JOBS
from tests.sensors.conftest import Tick

RUTER = load_operator("ruter")
MORNING = datetime(2026, 3, 30, 6, tzinfo=UTC)


class Source:
    """A bucket of TIDES tables whose events come to a queue, and the sensor on it, with a clock."""

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
        (sensor,) = arrival_sensors(settings, RUTER, JOBS, self._list, lambda: self.now)
        return sensor

    def _list(self, settings: Any) -> Listing:
        self.listings += 1
        return Listing(frozenset(date(2026, 3, day) for day in self.days))


@pytest.fixture
def source(sagemaker_double: Remote, aws: Any, tick: Tick, holds: Callable[..., None]) -> Source:
    """At first a listing found nothing new."""
    s3 = aws("s3")
    s3.create_bucket(Bucket="counts", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_notification_configuration(
        Bucket="counts", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    holds("raw/stop_visits", "first", "2026-03-20", "2026-03-21", "2026-03-22")
    source = Source(aws, sagemaker_double, queue_of_events(aws, "arrivals", "aws.s3"))
    assert not asked(tick(source.sensor()))
    return source


def asked(result: Any) -> list[str]:
    return [run.partition_key for run in result.run_requests or [] if run.job_name == "counts"]


def test_a_new_object_has_the_source_listed_at_once(tick: Tick, source: Source) -> None:
    source.days += [23]
    assert not asked(tick(source.sensor())), "nobody has told, and the last listing is young"
    source.put("tides/stop_visits/2026-03-23.csv")
    assert asked(tick(source.sensor())) == ["2026-03-23"]
    assert waiting(source.aws, source.queue) == 0


def test_the_days_of_one_event_follow_each_other_without_another(tick: Tick, source: Source) -> None:
    source.days += [23, 24]
    source.put("tides/stop_visits/2026-03.csv")
    assert [asked(tick(source.sensor())) for _ in range(3)] == [["2026-03-23"], ["2026-03-24"], []]
    listings = source.listings
    tick(source.sensor())
    assert source.listings == listings, "nothing more to do: the next event, or the next listing"


def test_a_lost_event_costs_five_minutes(tick: Tick, source: Source) -> None:
    source.days += [23]
    source.now += timedelta(seconds=INTERVAL_SECONDS)
    assert asked(tick(source.sensor())) == ["2026-03-23"]


def test_a_doubled_event_asks_for_nothing_twice(tick: Tick, source: Source, sagemaker_double: Remote) -> None:
    sagemaker_double.fault("event_duplicate", states=["Object Created"])
    source.days += [23]
    source.put("tides/stop_visits/2026-03-23.csv")
    source.put("tides/stop_visits/2026-03-23.csv")
    assert [asked(tick(source.sensor())) for _ in range(3)] == [["2026-03-23"], [], []]


def test_an_object_elsewhere_is_nobodys_business(tick: Tick, source: Source) -> None:
    source.days += [23]
    source.put("other/stop_visits/2026-03-23.csv")
    assert not asked(tick(source.sensor()))
    assert waiting(source.aws, source.queue) == 0


def test_an_event_stays_in_the_queue_where_the_source_cannot_be_listed(
    tick: Tick, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.put("tides/stop_visits/2026-03-23.csv")
    sensor = source.sensor()
    source.days = [0]
    with pytest.raises(ValueError, match="day"):
        tick(sensor)
    assert waiting(source.aws, source.queue) == 1
    source.days = [20, 21, 22, 23]
    source.remote.wait(lambda: asked(tick(sensor)) == ["2026-03-23"])
