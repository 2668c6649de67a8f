"""The sensor of statuses runs its process when a status can be due, and not more often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from dagster import SensorDefinition

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.sensors import forecast_status as module
from ruter_dagster.sensors.forecast_status import forecast_status_sensors, send_statuses
from tests.sensors.conftest import Tick

RUTER = load_operator("ruter")
DEMO = load_settings(_env_file=None, source="demo")
Sent = list[tuple[date, datetime]]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SensorDefinition]:
    """The sensor at a time of 20 and 21 November (UTC; Oslo is an hour ahead)."""

    def create(
        day: int, hour: int, minute: int = 0, complete: bool = False, settings: Settings = DEMO
    ) -> SensorDefinition:
        now = datetime(2026, 11, day, hour, minute, tzinfo=UTC)
        monkeypatch.setattr(module, "get_current_datetime", lambda _: now)

        def send(_: Settings, issue_date: date, now: datetime) -> tuple[list[str], bool]:
            sent.append((issue_date, now))
            return [], complete

        monkeypatch.setattr(module, "send_statuses", send)
        (sensor,) = forecast_status_sensors(settings, RUTER)
        return sensor

    sent: Sent = []
    create.sent = sent  # pyright: ignore[reportFunctionMemberAccess]
    return create


def test_first_tick_of_a_local_day_sends(tick: Tick, at) -> None:
    tick(at(19, 23, 30))
    tick(at(20, 2))
    assert [day for day, _ in at.sent] == [date(2026, 11, 20)]


def test_ticks_after_the_deadline_send_until_complete(tick: Tick, at) -> None:
    tick(at(20, 4))
    tick(at(20, 5, 0))
    tick(at(20, 5, 1))
    tick(at(20, 5, 2, complete=True))
    tick(at(20, 5, 3))
    assert [now.minute for _, now in at.sent] == [0, 1, 2]


def test_next_day_sends_again(tick: Tick, at) -> None:
    tick(at(20, 6, complete=True))
    tick(at(21, 4))
    assert [day.day for day, _ in at.sent] == [20, 21]


def test_deadline_is_a_setting(tick: Tick, at) -> None:
    later = load_settings(_env_file=None, source="demo", publish_by="09:00")
    tick(at(20, 4, settings=later))
    tick(at(20, 7, settings=later))
    assert len(at.sent) == 1
    tick(at(20, 8, 1, settings=later))
    assert len(at.sent) == 2


def test_source_without_a_plan_ahead_is_never_late(tick: Tick, at) -> None:
    tides = load_settings(_env_file=None, source="tides", tides_path="somewhere")
    assert "at no fixed time" in (tick(at(20, 12, settings=tides)).skip_message or "")
    assert not at.sent


def test_missing_broker_fails_the_tick_with_a_remedy(tmp_path) -> None:
    settings = load_settings(_env_file=None, source="demo", state_dir=tmp_path)
    with pytest.raises(PermanentFailure, match="No Kafka broker: KAFKA_BOOTSTRAP_SERVERS is not set"):
        send_statuses(settings, date(2026, 11, 20), datetime(2026, 11, 20, 5, tzinfo=UTC))
