"""The planned runs of the demo: their order, and that all of their dates are partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from dagster import AssetKey, DagsterInstance, Definitions

from ruter_dagster.config.settings import Settings, SettingsError, load_settings
from ruter_dagster.orchestration.plan import MODEL_STAGE, Stage, outdated_stages, require_partitions, stages
from tests.partition_time import partitions_as_of
from tests.scripted_launcher import defs, scripted_definitions, write_script

SETTINGS = load_settings(_env_file=None, history_days=49)
FIRST, TODAY = date(2026, 2, 19), date(2026, 11, 20)
"""The first and last issue date whose history and plan are partitions: 49 days after the first partition, and today."""


@pytest.fixture(autouse=True)
def _today() -> Iterator[None]:
    with partitions_as_of(TODAY):
        yield


def require(issue_date: date, settings: Settings = SETTINGS) -> None:
    require_partitions(stages(issue_date, settings), defs, issue_date, settings)


def test_timetable_precedes_reports_that_compare_with_it() -> None:
    runs = stages(TODAY, SETTINGS)
    order = [asset for stage in runs for asset in stage.all_assets]
    dates = {asset: stage.dates for stage in runs for asset in stage.all_assets}
    for report in ("quality/stop_visits", "quality/stop_loads", "quality/departure_features"):
        assert order.index("quality/planned_departures") < order.index(report)
        assert set(dates[report]) <= set(dates["raw/planned_departures"])


@pytest.mark.parametrize("issue_date", [FIRST, TODAY], ids=["first", "today"])
def test_issue_date_within_partitions_is_accepted(issue_date: date) -> None:
    require(issue_date)


@pytest.mark.parametrize(
    "issue_date", [FIRST - timedelta(1), TODAY + timedelta(1), date(2099, 1, 1)], ids=["early", "late", "far"]
)
def test_issue_date_outside_partitions_is_refused(issue_date: date) -> None:
    with pytest.raises(SettingsError) as error:
        require(issue_date)
    assert f"RUTER_ISSUE_DATE={issue_date}: allowed {FIRST} to {TODAY}" in str(error.value)


def set_clock(day: date, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ruter_dagster.orchestration.plan.get_current_datetime",
        lambda zone: datetime(day.year, day.month, day.day, tzinfo=UTC),
    )


@pytest.mark.parametrize("today", [date(2025, 11, 20), date(2026, 1, 1)], ids=["a year ago", "first day"])
def test_clock_before_first_partition_is_reported(today: date, monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(today, monkeypatch)
    with partitions_as_of(today), pytest.raises(SettingsError) as error:
        require(TODAY, load_settings(_env_file=None, history_days=49, history_start="2026-01-01"))
    assert "RUTER_HISTORY_START: partitions begin on 2026-01-01" in str(error.value)
    assert f"today is {today} by this machine's clock" in str(error.value)
    assert "Correct the clock" in str(error.value)


def test_issue_date_after_clock_names_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(date(2026, 9, 1), monkeypatch)
    with (
        partitions_as_of(date(2026, 9, 1)),
        pytest.raises(SettingsError, match="2026-09-01 by this machine's clock"),
    ):
        require(TODAY)


def test_history_longer_than_partitions_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"RUTER_HISTORY_DAYS=5000: .* partitions begin on 2026-01-01"):
        require(TODAY, load_settings(_env_file=None, history_days=5000))


def test_features_reach_a_year_before_oldest_training_date() -> None:
    planned = stages(TODAY, load_settings(_env_file=None, history_days=900))
    dates = {asset: stage.dates for stage in planned for asset in stage.all_assets}
    oldest = dates["features/training_sample"][0]
    assert oldest == TODAY - timedelta(400)
    assert dates["features/levels"][0] <= oldest - timedelta(364)
    assert dates["features/departure_features"][0] < dates["features/levels"][0]


@pytest.mark.parametrize("days", [1, 3, 7])
def test_short_history_needs_no_earlier_date(days: int) -> None:
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
    definitions: Definitions = defs,
) -> None:
    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[AssetKey.from_user_string(asset) for asset in assets],
        tags={
            "dagster/asset_partition_range_start": str(days[0]),
            "dagster/asset_partition_range_end": str(days[-1]),
        },
    )
    assert result.success


def outdated_plans(instance: DagsterInstance, *, has_timetable: bool) -> list[tuple[str, date, date]]:
    """The first asset, first and last date of each run that plans five dates of history, one date before and today."""
    dates = (HISTORY[0] - timedelta(1), *HISTORY, TODAY)
    runs = outdated_stages(Stage("", "plan", dates, PLANNED), defs, instance, has_timetable=has_timetable)
    return [(run.all_assets[0], run.dates[0], run.dates[-1]) for run in runs]


def test_dates_with_counts_keep_their_plan(instance: DagsterInstance) -> None:
    """The plan lacks the first date and today. One report between them is outdated."""
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


def test_counts_are_outdated_by_new_plan(instance: DagsterInstance) -> None:
    """Only with a timetable. For TIDES tables alone, the plan follows from the counts."""
    tides = load_settings(
        _env_file=None, history_start="2026-01-01", source="tides", tides_path="tides", operator="ruter"
    )
    with_timetable = tides.model_copy(update={"gtfs_path": "feeds"})
    for settings, outdated in ((with_timetable, [tuple(HISTORY[1:3])]), (tides, [])):
        definitions = scripted_definitions(settings)
        write_script(instance)
        materialise(instance, "plan", PLANNED, HISTORY, definitions)
        materialise(instance, "counts", ["raw/stop_visits"], HISTORY, definitions)
        counts = Stage("", "counts", tuple(HISTORY), ("raw/stop_visits",))
        materialise(instance, "plan", PLANNED, HISTORY, definitions)
        assert outdated_stages(counts, definitions, instance) == [], "the plan has the same content"
        write_script(instance, raw__planned_departures={"content": "another"})
        materialise(instance, "plan", PLANNED, HISTORY[1:3], definitions)
        assert [run.dates for run in outdated_stages(counts, definitions, instance)] == outdated
