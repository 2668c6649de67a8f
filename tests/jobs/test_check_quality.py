"""The job check_quality compares counts with earlier stops if the plan of their date is missing."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import CheckQuality
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.contracts.validation import with_optional_columns
from ruter_dagster.jobs import check_quality
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.pipes import Reporter
from tests.jobs.demo_jobs import context_of, quality_check
from tests.quality.frames import DAY, change, planned, visits

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

LIMIT = "few_visits_at_unknown_stops"
WEEK_BEFORE = DAY - timedelta(weeks=1)
AT_UNKNOWN_STOP = change(visits(DAY), "stop_id", "Atlantis", rows=11)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, _env_file=None)  # pyright: ignore[reportCallIssue]


def check(settings: Settings, frame: pl.DataFrame) -> dict:
    """Runs the job on a date of visits, and returns the recorded verdict."""
    (day,) = frame["service_date"].unique()
    parameters = CheckQuality(table=STOP_VISITS.name, dates=(day,), code_version="1")
    context = JobContext(settings, parameters, Container(settings.state_dir), Reporter(None))
    context.store.write(STOP_VISITS, frame, [day], code_version="1")
    check_quality.run(parameters, context)
    (verdict,) = context.verdicts.summaries(
        STOP_VISITS, context.tables.versions(STOP_VISITS, [day], verdict="ignore")
    )
    return verdict


def plan(settings: Settings, frame: pl.DataFrame) -> None:
    context = JobContext(
        settings,
        CheckQuality(table=STOP_VISITS.name, dates=(), code_version="1"),
        Container(settings.state_dir),
        Reporter(None),
    )
    context.store.write(PLANNED_DEPARTURES, frame, frame["service_date"].unique().to_list(), code_version="1")


def test_stops_without_any_plan_are_not_judged(settings: Settings) -> None:
    verdict = check(settings, AT_UNKNOWN_STOP)
    assert (verdict["passed"], verdict["measures"]["stop_points_known"]) == (True, None)


def test_earlier_plans_have_the_known_stops(settings: Settings) -> None:
    plan(settings, planned(WEEK_BEFORE))
    assert check(settings, AT_UNKNOWN_STOP)["failed"] == [LIMIT]
    assert check(settings, visits(DAY))["measures"]["stop_points_known"] == 0


def test_few_visits_at_unknown_stops_only_warn(settings: Settings) -> None:
    plan(settings, planned(DAY))
    verdict = check(settings, change(visits(DAY), "stop_id", "Atlantis"))
    assert (verdict["passed"], verdict["measures"]["stop_points_known"]) == (True, 1)
    assert "stop_points_known" in verdict["warned"]


def test_operator_sets_the_limit_of_unknown_stops(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "operator.toml"
    file.write_text(
        'name = "X"\ncountry = "NO"\ntime_zone = "Europe/Oslo"\nhistory_start = 2026-01-01\n[rejects]\nshare_of_date = 0.2\n'
    )
    plan(settings, planned(DAY))
    assert check(settings.model_copy(update={"operator": str(file)}), AT_UNKNOWN_STOP)["passed"]
    assert check(settings, change(AT_UNKNOWN_STOP, "stop_id", "Atlantis", rows=12))["failed"] == [LIMIT]


def test_earlier_visits_serve_without_any_plan(settings: Settings) -> None:
    check(settings, visits(WEEK_BEFORE))
    assert check(settings, AT_UNKNOWN_STOP)["failed"] == [LIMIT]


def test_refused_date_adds_no_known_stop(settings: Settings) -> None:
    check(settings, visits(WEEK_BEFORE - timedelta(weeks=1)))
    assert check(settings, change(visits(WEEK_BEFORE), "stop_id", "Atlantis", rows=11))["failed"]
    assert check(settings, AT_UNKNOWN_STOP)["failed"] == [LIMIT]


def test_plan_of_the_date_replaces_earlier_ones(settings: Settings) -> None:
    plan(settings, planned(WEEK_BEFORE))
    rows = with_optional_columns(AT_UNKNOWN_STOP, PLANNED_DEPARTURES)
    plan(settings, rows.select(PLANNED_DEPARTURES.column_names))
    assert check(settings, AT_UNKNOWN_STOP)["passed"]


def test_low_counts_of_a_week_are_reported(settings: Settings) -> None:
    """Each check stores the vehicles' counts, so that later dates need not read earlier visits."""
    half = pl.when(pl.col("vehicle_id") == "train-1").then(0).otherwise(1)
    fewer = [(pl.col(name) * half).cast(pl.Int32) for name in ("boardings", "alightings")]
    measures = [
        check(settings, visits(DAY + timedelta(ago), journeys=60).with_columns(fewer))["measures"]
        for ago in range(-6, 1)
    ]
    assert [one["vehicles_count_alike"] for one in measures] == [None, None, None, 1, 1, 1, 1]


def test_numbers_of_examples_are_rounded() -> None:
    row = {"date": DAY, "ratio": 0.597892176732874, "dates": 5}
    assert check_quality._texts(row) == {"date": str(DAY), "ratio": "0.5979", "dates": "5"}


def test_local_report_has_a_file_and_a_browser_address(tmp_path: Path) -> None:
    context = context_of(quality_check(STOP_VISITS, DAY), tmp_path)
    key = f"quality/reports/raw.stop_visits/{DAY}.html"
    links = check_quality._report_links(context.artifacts.uri(key), context)
    assert links["report"]["type"] == "path"
    assert links["report_page"] == {"raw_value": f"http://127.0.0.1:3001/{key}", "type": "url"}
