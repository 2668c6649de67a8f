"""The job levels needs the loads of the day before, and skips departure features without a verdict."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Features, Levels, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from tests.jobs.demo_jobs import quality_check, run, run_loads

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

ISSUED = date(2026, 11, 20)
YESTERDAY = ISSUED - timedelta(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checked loads of one date, as of a new operator."""
    folder = tmp_path_factory.mktemp("state")
    run_loads(folder, YESTERDAY)
    return folder


def test_first_issue_date_has_empty_levels(folder: Path) -> None:
    run(Levels(dates=(ISSUED,)), folder)
    context = run(quality_check(LEVELS, ISSUED), folder)
    assert context.tables.read(LEVELS, [ISSUED]).is_empty()


def test_issue_date_without_loads_of_the_day_before_fails(folder: Path) -> None:
    with pytest.raises(PermanentFailure, match=f"loads.stop_loads has no service_date {ISSUED}"):
        run(Levels(dates=(ISSUED + timedelta(1),)), folder)


def test_unchecked_features_are_skipped_and_reported(folder: Path) -> None:
    # Departures without any history have no expected load, so that the week before is needed.
    run_loads(folder, YESTERDAY - timedelta(7))
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=(YESTERDAY,)), folder)
    run(quality_check(PLANNED_DEPARTURES, YESTERDAY), folder)
    run(Features(dates=(YESTERDAY,)), folder)
    context = run(Levels(dates=(ISSUED,)), folder)
    assert context.tables.dates_refused == {DEPARTURE_FEATURES.name: [str(YESTERDAY)]}
    run(quality_check(DEPARTURE_FEATURES, YESTERDAY), folder)
    run(Levels(dates=(ISSUED,)), folder)
    context = run(quality_check(LEVELS, ISSUED), folder)
    assert set(context.tables.read(LEVELS, [ISSUED])["scope"]) == {"network", "line", "stop", "line_hour"}
