"""The job levels: needs the loads of the day before; what departures were expected to carry it takes where it is known."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import Features, Levels, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from tests.jobs.demo_jobs import judged, make_loads, run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

ISSUED = date(2026, 11, 20)
YESTERDAY = ISSUED - timedelta(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loads of one date, judged, of an operator that has just begun."""
    folder = tmp_path_factory.mktemp("state")
    make_loads(folder, YESTERDAY)
    return folder


def test_the_first_issue_date_has_no_levels_and_they_pass(folder: Path) -> None:
    run(Levels(dates=(ISSUED,)), folder)
    context = run(judged(LEVELS, ISSUED), folder)
    assert context.tables.read(LEVELS, [ISSUED]).is_empty()


def test_an_issue_date_without_loads_of_the_day_before_is_refused(folder: Path) -> None:
    with pytest.raises(PermanentFailure, match=f"loads.stop_loads has no service_date {ISSUED}"):
        run(Levels(dates=(ISSUED + timedelta(1),)), folder)


def test_features_that_were_not_judged_are_left_out_and_told(folder: Path) -> None:
    # Nothing is expected of departures without any history, so a week of it comes first.
    make_loads(folder, YESTERDAY - timedelta(7))
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=(YESTERDAY,)), folder)
    run(judged(PLANNED_DEPARTURES, YESTERDAY), folder)
    run(Features(dates=(YESTERDAY,)), folder)
    context = run(Levels(dates=(ISSUED,)), folder)
    assert context.tables.dates_refused == {DEPARTURE_FEATURES.name: [str(YESTERDAY)]}
    run(judged(DEPARTURE_FEATURES, YESTERDAY), folder)
    run(Levels(dates=(ISSUED,)), folder)
    context = run(judged(LEVELS, ISSUED), folder)
    assert set(context.tables.read(LEVELS, [ISSUED])["scope"]) == {"network", "line", "stop", "line_hour"}
