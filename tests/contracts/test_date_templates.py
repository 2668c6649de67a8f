"""Parameters relative to an issue date say the same every day, and come back as they were."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from ruter_dagster.contracts.date_templates import to_absolute, to_relative
from ruter_dagster.contracts.jobs import JOBS, Balance, CheckQuality, JobParameters, Promote, Snapshot, Train

ISSUED = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 2, 30, tzinfo=UTC)


def days(first: int, last: int) -> tuple[date, ...]:
    return tuple(ISSUED + timedelta(day) for day in range(first, last + 1))


@pytest.mark.parametrize(
    ("parameters", "written"),
    [
        (Balance(dates=days(-1, -1)), '{"dates":["D-1"]}'),
        (
            Snapshot(table="raw.planned_departures", dates=days(0, 3), of_range=True),
            '{"dates":["D","D+1","D+2","D+3"],"of_range":true,"table":"raw.planned_departures"}',
        ),
        (
            CheckQuality(table="raw.stop_visits", dates=days(-1, 0)),
            '{"dates":["D-1","D"],"table":"raw.stop_visits"}',
        ),
        (
            Train(days=42, held_out=14, cutoff=ISSUED - timedelta(400)),
            '{"cutoff":"D-400","days":42,"held_out":14}',
        ),
        (Promote(model_version="newest", promoted_at=NOW), '{"model_version":"newest","promoted_at":"NOW"}'),
    ],
    ids=lambda value: value.job if isinstance(value, JobParameters) else "",
)
def test_relative_parameters_follow_the_issue_date(parameters: JobParameters, written: str):
    relative = to_relative(parameters, ISSUED)
    assert json.loads(relative) == json.loads(written)
    kind = JOBS[parameters.job]
    assert kind.model_validate_json(to_absolute(relative, ISSUED, NOW)) == parameters
    next_day = kind.model_validate_json(to_absolute(relative, ISSUED + timedelta(1), NOW + timedelta(1)))
    assert to_relative(next_day, ISSUED + timedelta(1)) == relative


def test_absolute_dates_need_no_issue_date():
    assert json.loads(to_absolute('{"dates":["2026-11-20"]}', None, NOW)) == {"dates": ["2026-11-20"]}


def test_relative_date_needs_an_issue_date():
    with pytest.raises(ValueError, match=r"D-1 is relative to an issue date, but no issue date is given"):
        to_absolute('{"dates":["D-1"]}', None, NOW)
