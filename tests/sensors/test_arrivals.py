"""A day that appears at the source starts the chain: once, in order, one at a time, and not before it has closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRunStatus, SensorDefinition

from ruter_dagster.config.operator import load_operator
from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.tables import STOP_VISITS
from ruter_dagster.sensors import arrivals as arrivals_module
from ruter_dagster.sensors.arrivals import Listing, arrival_sensors
from ruter_dagster.sources.file_versions import file_versions
from tests.scripted_launcher import JOBS, defs, write_script
from tests.sensors.conftest import Tick

RUTER = load_operator("ruter")
TIDES = load_settings(_env_file=None, history_start="2026-01-01", source="tides", tides_path="somewhere")
RUTER_ZONE = ZoneInfo(RUTER.time_zone)
NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)


def arrivals(
    *days: int,
    settings: Settings = TIDES,
    now: datetime = NOON,
    files: Mapping[int, str] | None = None,
    timetable: str | None = None,
) -> SensorDefinition:
    """The sensor at a source that has these days of March 2026, and this timetable; `files` are the versions of a day's own files."""
    versions = {date(2026, 3, day): own for day, own in (files or {}).items()}
    listing = Listing(frozenset(date(2026, 3, day) for day in days), versions, timetable)
    (sensor,) = arrival_sensors(settings, RUTER, JOBS, lambda _: listing, lambda: now)
    return sensor


@pytest.fixture
def history(holds: Callable[..., None]) -> None:
    holds("raw/stop_visits", "first", "2026-03-20", "2026-03-21", "2026-03-22")


def asked(result) -> list[str]:
    return [run.partition_key for run in result.run_requests or [] if run.job_name == "counts"]


def test_a_new_day_starts_counts_and_plan(tick: Tick, history: None) -> None:
    counts, plan = tick(arrivals(20, 21, 22, 23)).run_requests or []
    assert (counts.job_name, counts.partition_key) == ("counts", "2026-03-23")
    assert plan.job_name == "plan"
    assert plan.tags["dagster/asset_partition_range_start"] == "2026-03-20", (
        "the issue date: its four dates are there"
    )
    assert plan.tags["dagster/asset_partition_range_end"] == "2026-03-23"


def test_each_day_is_asked_for_once_and_in_order(tick: Tick, history: None) -> None:
    source = arrivals(20, 21, 22, 24, 25)
    assert [asked(tick(source)) for _ in range(4)] == [["2026-03-24"], ["2026-03-25"], [], []]


def test_a_late_day_within_the_history_is_new_too(tick: Tick, holds: Callable[..., None]) -> None:
    holds("raw/stop_visits", "first", "2026-03-20", "2026-03-22")
    assert asked(tick(arrivals(20, 21, 22))) == ["2026-03-21"]


def test_a_day_that_a_range_found_absent_is_new_when_it_comes(tick: Tick, instance: DagsterInstance) -> None:
    """Dagster records the step of a range for all of its dates, those that the source lacked too."""
    write_script(instance, raw__stop_visits={"absent": ["2026-03-21"]})
    span = {"start": "2026-03-20", "end": "2026-03-22"}
    result = defs.resolve_job_def("counts").execute_in_process(
        instance=instance,
        asset_selection=[AssetKey(["raw", "stop_visits"])],
        tags={f"dagster/asset_partition_range_{end}": day for end, day in span.items()},
    )
    assert result.success
    assert len(instance.get_materialized_partitions(AssetKey(["raw", "stop_visits"]))) == 3
    assert not asked(tick(arrivals(20, 22)))
    assert [asked(tick(arrivals(20, 21, 22))) for _ in range(2)] == [["2026-03-21"], []]


def test_days_before_the_first_materialised_one_are_history(tick: Tick, history: None) -> None:
    assert not asked(tick(arrivals(1, 2, 19, 20, 21, 22)))


def test_the_next_day_waits_until_the_counts_of_the_former_have_ended(
    tick: Tick, history: None, ended: Callable[..., None]
) -> None:
    source = arrivals(20, 21, 22, 23, 24)
    assert asked(tick(source)) == ["2026-03-23"]
    ended("counts", "2026-03-20", DagsterRunStatus.STARTED)
    waiting = tick(source)
    assert not asked(waiting)
    assert waiting.skip_message == "The counts of 2026-03-23 have not ended yet"
    ended("counts", "2026-03-20", DagsterRunStatus.FAILURE)
    assert asked(tick(source)) == ["2026-03-24"]


def read_from(instance: DagsterInstance, day: int, version: str, kept: bool = True) -> None:
    """Records that a day of March 2026 was read from this version of its files, and whether its rows were kept."""
    partition = f"2026-03-{day}"
    instance.report_runless_asset_event(
        AssetMaterialization(
            asset_key=["raw", "stop_visits"],
            partition=partition,
            metadata={"source_version": version}
            | ({"content_hash": f"{version} {partition}"} if kept else {}),
        )
    )


def test_a_corrected_day_is_asked_for_once(tick: Tick, instance: DagsterInstance) -> None:
    for day in (20, 21, 22):
        read_from(instance, day, "first")
    unchanged = {20: "first", 21: "first", 22: "first"}
    corrected = unchanged | {21: "second"}
    assert not asked(tick(arrivals(20, 21, 22, files=unchanged)))
    assert not asked(tick(arrivals(20, 21, 22, files=corrected))), "perhaps it is still being written"
    result = tick(arrivals(20, 21, 22, files=corrected))
    assert [run.job_name for run in result.run_requests or []] == ["counts", "plan"]
    assert asked(result) == ["2026-03-21"]
    assert (result.run_requests or [])[0].run_key == "counts 2026-03-21 second"
    assert not asked(tick(arrivals(20, 21, 22, files=corrected))), "refused perhaps: its former rows stand"
    read_from(instance, 21, "second")
    assert not asked(tick(arrivals(20, 21, 22, files=corrected)))
    source = arrivals(20, 21, 22, files=corrected | {21: "third"})
    assert [asked(tick(source)) for _ in range(3)] == [[], ["2026-03-21"], []]


def test_a_day_blocked_in_a_range_is_asked_for_once_corrected(tick: Tick, instance: DagsterInstance) -> None:
    """The run of the range recorded what it had read of the day, and kept none of it."""
    read_from(instance, 20, "first")
    read_from(instance, 21, "bad", kept=False)
    source = arrivals(20, 21, files={20: "first", 21: "bad"})
    assert [asked(tick(source)) for _ in range(2)] == [[], []]
    assert asked(tick(arrivals(20, 21, files={20: "first", 21: "good"}))) == ["2026-03-21"]


def test_new_days_come_before_corrected_ones(tick: Tick, instance: DagsterInstance) -> None:
    for day in (20, 21):
        read_from(instance, day, "first")
    source = arrivals(20, 21, 22, files={20: "first", 21: "second", 22: "first"})
    assert [asked(tick(source)) for _ in range(3)] == [["2026-03-22"], ["2026-03-21"], []]


def test_a_new_day_that_failed_is_asked_for_again_once_corrected(
    tick: Tick, instance: DagsterInstance, ended: Callable[..., None]
) -> None:
    for day in (20, 21):
        read_from(instance, day, "first")
    files = {20: "first", 21: "first", 22: "first"}
    assert asked(tick(arrivals(20, 21, 22, files=files))) == ["2026-03-22"]
    ended("counts", "2026-03-19", DagsterRunStatus.FAILURE)
    assert not asked(tick(arrivals(20, 21, 22, files=files)))
    source = arrivals(20, 21, 22, files=files | {22: "second"})
    assert [asked(tick(source)) for _ in range(2)] == [[], ["2026-03-22"]]


def test_a_correction_waits_until_the_counts_of_the_former_have_ended(
    tick: Tick, instance: DagsterInstance, ended: Callable[..., None]
) -> None:
    for day in (20, 21, 22):
        read_from(instance, day, "first")
    source = arrivals(20, 21, 22, files={20: "first", 21: "second", 22: "second"})
    assert [asked(tick(source)) for _ in range(2)] == [[], ["2026-03-21"]]
    ended("counts", "2026-03-18", DagsterRunStatus.STARTED)
    assert tick(source).skip_message == "The counts of 2026-03-21 have not ended yet"


def test_files_that_dates_share_are_not_looked_into(tick: Tick, instance: DagsterInstance) -> None:
    """Such a file changes with every date that is added to it."""
    read_from(instance, 21, "first+before+rows")
    read_from(instance, 22, "first+before+rows")
    source = arrivals(21, 22, files={21: "first", 22: "second"})
    assert [asked(tick(source)) for _ in range(3)] == [[], ["2026-03-22"], []]


def test_a_day_that_is_still_being_written_is_not_asked_for(tick: Tick, history: None) -> None:
    at_three = datetime(2026, 3, 24, 3, tzinfo=RUTER_ZONE)
    at_four = datetime(2026, 3, 24, 4, tzinfo=RUTER_ZONE)
    assert not asked(tick(arrivals(20, 21, 22, 23, now=at_three)))
    assert asked(tick(arrivals(20, 21, 22, 23, now=at_four))) == ["2026-03-23"]


def test_without_history_nothing_starts(tick: Tick) -> None:
    result = tick(arrivals(20, 21))
    assert not result.run_requests
    assert result.skip_message and "ruter-dagster demo" in result.skip_message


def test_the_demo_source_is_left_to_the_schedules(tick: Tick, history: None) -> None:
    result = tick(arrivals(23, settings=load_settings(_env_file=None, source="demo")))
    assert not result.run_requests
    assert result.skip_message == "The source demo answers any date: the schedules start its days"


def test_a_real_folder_is_listed_by_the_names_of_its_files(
    tick: Tick, holds: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / "tides"
    (folder / "stop_visits").mkdir(parents=True)
    for day in ("2026-03-22", "2026-03-23"):
        (folder / "stop_visits" / f"{day}.csv").write_text("service_date\n")
    holds("raw/stop_visits", "first", "2026-03-22")
    settings = load_settings(_env_file=None, source="tides", tides_path=str(folder), operator="ruter")
    for table in ("trips_performed", "vehicles"):
        (folder / f"{table}.csv").write_text("vehicle_id\n")
    (sensor,) = arrival_sensors(settings, RUTER, JOBS)
    assert asked(tick(sensor)) == ["2026-03-23"]


def test_a_corrected_file_of_a_real_folder_is_noticed(
    tick: Tick, instance: DagsterInstance, tmp_path: Path
) -> None:
    folder = tmp_path / "tides"
    (folder / "stop_visits").mkdir(parents=True)
    for table in ("trips_performed", "vehicles", "stop_visits/2026-03-21", "stop_visits/2026-03-22"):
        (folder / f"{table}.csv").write_text("service_date\n")
    settings = load_settings(_env_file=None, source="tides", tides_path=str(folder), operator="ruter")
    for day, files in file_versions(
        settings, STOP_VISITS.name, [date(2026, 3, 21), date(2026, 3, 22)]
    ).items():
        read_from(instance, day.day, files.own)
    (sensor,) = arrival_sensors(settings, RUTER, JOBS)
    assert not asked(tick(sensor))
    (folder / "stop_visits" / "2026-03-22.csv").write_text("service_date,stop_id\n")
    assert [asked(tick(sensor)) for _ in range(2)] == [[], ["2026-03-22"]]


TIMED = TIDES.model_copy(update={"gtfs_path": "feeds"})


def runs(result) -> list[tuple[str, str]]:
    """Jobs asked for, with their partition or the first of their range."""
    start = "dagster/asset_partition_range_start"
    return [(run.job_name, run.partition_key or run.tags[start]) for run in result.run_requests or []]


def test_a_new_timetable_has_the_dates_ahead_planned_anew(tick: Tick, history: None) -> None:
    def look(timetable: str, *more: int) -> list[tuple[str, str]]:
        return runs(tick(arrivals(20, 21, 22, *more, settings=TIMED, timetable=timetable)))

    assert look("autumn") == []
    assert look("winter") == [("plan", "2026-03-23")]
    assert look("winter") == []
    assert look("spring", 23) == [("counts", "2026-03-23"), ("plan", "2026-03-24")]
    assert look("spring", 23) == [], "that plan is by the new timetable already"


def test_each_timetable_is_planned_by_once(tick: Tick, history: None) -> None:
    keys = {
        run.run_key
        for timetable in ("autumn", "winter", "spring")
        for run in tick(arrivals(20, 21, 22, settings=TIMED, timetable=timetable)).run_requests or []
    }
    assert keys == {"plan 2026-03-23 winter", "plan 2026-03-23 spring"}


def test_a_new_timetable_waits_for_the_plan_under_way(
    tick: Tick, history: None, ended: Callable[..., None]
) -> None:
    tick(arrivals(20, 21, 22, settings=TIMED, timetable="autumn"))
    ended("plan", "2026-03-23", DagsterRunStatus.STARTED)
    assert not runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter")))
    ended("plan", "2026-03-23")
    assert runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))) == [("plan", "2026-03-23")]


def test_a_late_day_leaves_a_new_timetable_to_the_next_tick(tick: Tick, holds: Callable[..., None]) -> None:
    holds("raw/stop_visits", "first", "2026-03-20", "2026-03-22")
    tick(arrivals(20, 22, settings=TIMED, timetable="autumn"))
    late = tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))
    assert runs(late) == [("counts", "2026-03-21"), ("plan", "2026-03-22")]
    assert runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))) == [("plan", "2026-03-23")]


def test_a_folder_that_cannot_be_read_fails_the_tick_with_its_name(tick: Tick, history: None) -> None:
    (sensor,) = arrival_sensors(TIDES, RUTER, JOBS)
    with pytest.raises(PermanentFailure, match="TIDES folder somewhere does not exist"):
        tick(sensor)


def test_a_listing_that_takes_too_long_fails_the_tick_with_its_place(
    tick: Tick, history: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(_env_file=None, source="tides", tides_path=str(tmp_path), operator="ruter")
    monkeypatch.setattr(arrivals_module, "LISTING_SECONDS", 0.001)
    (sensor,) = arrival_sensors(settings, RUTER, JOBS)
    with pytest.raises(PermanentFailure, match=f"{tmp_path} could not be listed in"):
        tick(sensor)
