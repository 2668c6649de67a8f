"""The demo's runs: their order, and that none is made for a date that is no partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import AssetKey, DagsterInstance, Definitions

from ruter_dagster.config.settings import Settings, SettingsError, load_settings
from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.plan import MODEL_STAGE, Stage, needed, require_partitions, stages
from tests.partition_time import partitions_as_of
from tests.scripted_launcher import ScriptedLauncher, defs, write_script

SETTINGS = load_settings(_env_file=None, history_days=49)
FIRST, TODAY = date(2026, 2, 19), date(2026, 11, 20)
"""The issue dates whose history and plan are partitions: 49 days from the first partition, and today, whose counts are yesterday's."""


@pytest.fixture(autouse=True)
def _today() -> Iterator[None]:
    with partitions_as_of(TODAY):
        yield


def require(issue_date: date, settings: Settings = SETTINGS) -> None:
    require_partitions(stages(issue_date, settings), defs, issue_date, settings)


def test_what_was_planned_is_known_before_the_reports_that_compare_with_it() -> None:
    runs = stages(TODAY, SETTINGS)
    order = [asset for stage in runs for asset in stage.all_assets]
    dates = {asset: stage.dates for stage in runs for asset in stage.all_assets}
    for judged in ("quality/stop_visits", "quality/stop_loads", "quality/departure_features"):
        assert order.index("quality/planned_departures") < order.index(judged)
        assert set(dates[judged]) <= set(dates["raw/planned_departures"])


@pytest.mark.parametrize("issue_date", [FIRST, TODAY], ids=["first", "today"])
def test_issue_dates_whose_runs_lie_within_the_partitions_are_taken(issue_date: date) -> None:
    require(issue_date)


@pytest.mark.parametrize(
    "issue_date", [FIRST - timedelta(1), TODAY + timedelta(1), date(2099, 1, 1)], ids=["early", "late", "far"]
)
def test_others_are_refused_with_the_variable_and_what_it_may_be(issue_date: date) -> None:
    with pytest.raises(SettingsError) as refused:
        require(issue_date)
    assert f"RUTER_ISSUE_DATE={issue_date}: allowed {FIRST} to {TODAY}" in str(refused.value)


def set_clock(day: date, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ruter_dagster.orchestration.plan.get_current_datetime",
        lambda zone: datetime(day.year, day.month, day.day, tzinfo=UTC),
    )


@pytest.mark.parametrize("today", [date(2025, 11, 20), date(2026, 1, 1)], ids=["a year ago", "first day"])
def test_clock_before_the_first_partition_is_a_sentence(today: date, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(today, monkeypatch)
    with partitions_as_of(today), pytest.raises(SettingsError) as refused:
        require(TODAY, load_settings(_env_file=None, history_days=49, history_start="2026-01-01"))
    assert "RUTER_HISTORY_START: partitions begin on 2026-01-01" in str(refused.value)
    assert f"today is {today} by this machine's clock" in str(refused.value)
    assert "Set the clock right" in str(refused.value)


def test_issue_date_after_a_clock_that_is_behind_names_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(date(2026, 9, 1), monkeypatch)
    with (
        partitions_as_of(date(2026, 9, 1)),
        pytest.raises(SettingsError, match="2026-09-01 by this machine's clock"),
    ):
        require(TODAY)


def test_more_history_than_there_are_partitions_is_refused_by_its_own_variable() -> None:
    with pytest.raises(SettingsError, match=r"RUTER_HISTORY_DAYS=5000: .* partitions begin on 2026-01-01"):
        require(TODAY, load_settings(_env_file=None, history_days=5000))


def test_features_reach_a_year_before_the_oldest_training_date() -> None:
    with_years = stages(TODAY, load_settings(_env_file=None, history_days=900))
    dates = {asset: stage.dates for stage in with_years for asset in stage.all_assets}
    oldest = dates["features/training_sample"][0]
    assert oldest == TODAY - timedelta(400)
    assert dates["features/levels"][0] <= oldest - timedelta(364)
    assert dates["features/departure_features"][0] < dates["features/levels"][0]


@pytest.mark.parametrize("days", [1, 3, 7])
def test_few_days_of_history_need_no_date_before_them(days: int) -> None:
    settings = load_settings(_env_file=None, history_start=str(TODAY - timedelta(days)))
    planned = stages(TODAY, settings)
    first = TODAY - timedelta(days)
    assert min(stage.dates[0] for stage in planned if stage.dates) == first
    assert all(stage.dates for stage in planned if stage.title != MODEL_STAGE)


HISTORY = [TODAY - timedelta(days) for days in range(5, 0, -1)]
PLANNED = ("raw/planned_departures", "quality/planned_departures")


def materialise(
    instance: DagsterInstance,
    job: str,
    assets: Sequence[str],
    days: Sequence[date],
    house: Definitions = defs,
) -> None:
    result = house.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[AssetKey.from_user_string(asset) for asset in assets],
        tags={
            "dagster/asset_partition_range_start": str(days[0]),
            "dagster/asset_partition_range_end": str(days[-1]),
        },
    )
    assert result.success


def outdated_plans(instance: DagsterInstance, *, has_timetable: bool) -> list[tuple[str, date, date]]:
    """First asset, first and last date of the runs that plan five dates of history, one before them and today."""
    dates = (HISTORY[0] - timedelta(1), *HISTORY, TODAY)
    found = needed(Stage("", "plan", dates, PLANNED), defs, instance, has_timetable=has_timetable)
    return [(run.all_assets[0], run.dates[0], run.dates[-1]) for run in found]


def test_matched_dates_between_outdated_ones_keep_their_plan(instance: DagsterInstance) -> None:
    """The plan lacks the first date and today. One report between them is to be made again."""
    materialise(instance, "plan", PLANNED, HISTORY)
    materialise(instance, "counts", ["raw/stop_visits"], HISTORY)
    before = HISTORY[0] - timedelta(1)
    assert outdated_plans(instance, has_timetable=True) == [
        (PLANNED[0], before, before),
        (PLANNED[0], TODAY, TODAY),
    ]
    assert outdated_plans(instance, has_timetable=False) == [(PLANNED[0], before, TODAY)]
    write_script(instance, raw__planned_departures={"content": "another"})
    materialise(instance, "plan", PLANNED[:1], HISTORY[1:3])
    assert outdated_plans(instance, has_timetable=True) == [
        (PLANNED[0], before, before),
        (PLANNED[1], HISTORY[1], HISTORY[2]),
        (PLANNED[0], TODAY, TODAY),
    ]


def test_counts_follow_the_plan_that_they_are_matched_to(instance: DagsterInstance) -> None:
    """By a timetable: of TIDES tables alone, the plan is what ran, and counts follow nothing."""
    tides = load_settings(
        _env_file=None, history_start="2026-01-01", source="tides", tides_path="tides", operator="ruter"
    )
    timed = tides.model_copy(update={"gtfs_path": "feeds"})
    for settings, outdated in ((timed, [tuple(HISTORY[1:3])]), (tides, [])):
        house = build_definitions(settings, ScriptedLauncher())
        write_script(instance)
        materialise(instance, "plan", PLANNED, HISTORY, house)
        materialise(instance, "counts", ["raw/stop_visits"], HISTORY, house)
        counts = Stage("", "counts", tuple(HISTORY), ("raw/stop_visits",))
        materialise(instance, "plan", PLANNED, HISTORY, house)
        assert needed(counts, house, instance) == [], "the same plan again"
        write_script(instance, raw__planned_departures={"content": "another"})
        materialise(instance, "plan", PLANNED, HISTORY[1:3], house)
        assert [run.dates for run in needed(counts, house, instance)] == outdated
