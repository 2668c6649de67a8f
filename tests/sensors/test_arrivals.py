"""A new date at the source starts the chain: once, in order, one date at a time, and not before the date has closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol
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
from tests.sensors.conftest import SensorExecutionData, Tick

RUTER = load_operator("ruter")
TIDES = load_settings(_env_file=None, history_start="2026-01-01", source="tides", tides_path="somewhere")
RUTER_ZONE = ZoneInfo(RUTER.time_zone)
NOON = datetime(2026, 3, 30, 12, tzinfo=UTC)


class SensorAtSource(Protocol):
    def __call__(
        self,
        *days: int,
        settings: Settings = TIDES,
        now: datetime = NOON,
        files: Mapping[int, str] | None = None,
        timetable: str | None = None,
    ) -> SensorDefinition: ...


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> SensorAtSource:
    """Creates the sensor and sets what every later tick finds at the source.

    `days`: dates in March 2026. `files`: the versions of a day's own files. `timetable`: the version of the timetable.
    """

    def create(
        *days: int,
        settings: Settings = TIDES,
        now: datetime = NOON,
        files: Mapping[int, str] | None = None,
        timetable: str | None = None,
    ) -> SensorDefinition:
        versions = {date(2026, 3, day): version for day, version in (files or {}).items()}
        listing = Listing(frozenset(date(2026, 3, day) for day in days), versions, timetable)
        monkeypatch.setattr(arrivals_module, "list_source", lambda _: listing)
        monkeypatch.setattr(arrivals_module, "get_current_datetime", lambda _: now)
        (sensor,) = arrival_sensors(settings, RUTER, JOBS)
        return sensor

    return create


@pytest.fixture
def history(materialise: Callable[..., None]) -> None:
    materialise("raw/stop_visits", "first", "2026-03-20", "2026-03-21", "2026-03-22")


def requested(result: SensorExecutionData) -> list[str | None]:
    """The operating dates whose counts are requested."""
    return [run.partition_key for run in result.run_requests or [] if run.job_name == "counts"]


def test_new_date_requests_counts_and_plan(tick: Tick, arrivals: SensorAtSource, history: None) -> None:
    counts, plan = tick(arrivals(20, 21, 22, 23)).run_requests or []
    assert (counts.job_name, counts.partition_key) == ("counts", "2026-03-23")
    assert plan.job_name == "plan"
    assert plan.tags["dagster/asset_partition_range_start"] == "2026-03-20", (
        "the issue date: all of its four dates are known"
    )
    assert plan.tags["dagster/asset_partition_range_end"] == "2026-03-23"


def test_each_date_is_requested_once_in_order(tick: Tick, arrivals: SensorAtSource, history: None) -> None:
    source = arrivals(20, 21, 22, 24, 25)
    assert [requested(tick(source)) for _ in range(4)] == [["2026-03-24"], ["2026-03-25"], [], []]


def test_late_date_within_history_is_requested(
    tick: Tick, arrivals: SensorAtSource, materialise: Callable[..., None]
) -> None:
    materialise("raw/stop_visits", "first", "2026-03-20", "2026-03-22")
    assert requested(tick(arrivals(20, 21, 22))) == ["2026-03-21"]


def test_date_missing_from_range_is_requested_when_it_arrives(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance
) -> None:
    """Dagster records a range for all of its dates, also for dates that the source lacked."""
    write_script(instance, raw__stop_visits={"absent": ["2026-03-21"]})
    span = {"start": "2026-03-20", "end": "2026-03-22"}
    result = defs.resolve_job_def("counts").execute_in_process(
        instance=instance,
        asset_selection=[AssetKey(["raw", "stop_visits"])],
        tags={f"dagster/asset_partition_range_{end}": day for end, day in span.items()},
    )
    assert result.success
    assert len(instance.get_materialized_partitions(AssetKey(["raw", "stop_visits"]))) == 3
    assert not requested(tick(arrivals(20, 22)))
    assert [requested(tick(arrivals(20, 21, 22))) for _ in range(2)] == [["2026-03-21"], []]


def test_dates_before_first_materialised_one_are_ignored(
    tick: Tick, arrivals: SensorAtSource, history: None
) -> None:
    assert not requested(tick(arrivals(1, 2, 19, 20, 21, 22)))


def test_next_date_waits_for_running_counts(
    tick: Tick, arrivals: SensorAtSource, history: None, record_run: Callable[..., None]
) -> None:
    source = arrivals(20, 21, 22, 23, 24)
    assert requested(tick(source)) == ["2026-03-23"]
    record_run("counts", "2026-03-20", DagsterRunStatus.STARTED)
    waiting = tick(source)
    assert not requested(waiting)
    assert waiting.skip_message == "The counts of 2026-03-23 have not ended yet"
    record_run("counts", "2026-03-20", DagsterRunStatus.FAILURE)
    assert requested(tick(source)) == ["2026-03-24"]


def read_from(instance: DagsterInstance, day: int, version: str, kept: bool = True) -> None:
    """Records that a day of March 2026 was read from this version of its files. `kept`: its rows were written."""
    partition = f"2026-03-{day}"
    instance.report_runless_asset_event(
        AssetMaterialization(
            asset_key=["raw", "stop_visits"],
            partition=partition,
            metadata={"source_version": version}
            | ({"content_hash": f"{version} {partition}"} if kept else {}),
        )
    )


def test_corrected_date_is_requested_once(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance
) -> None:
    for day in (20, 21, 22):
        read_from(instance, day, "first")
    unchanged = {20: "first", 21: "first", 22: "first"}
    corrected = unchanged | {21: "second"}
    assert not requested(tick(arrivals(20, 21, 22, files=unchanged)))
    assert not requested(tick(arrivals(20, 21, 22, files=corrected))), "the file may still be written"
    result = tick(arrivals(20, 21, 22, files=corrected))
    assert [run.job_name for run in result.run_requests or []] == ["counts", "plan"]
    assert requested(result) == ["2026-03-21"]
    assert (result.run_requests or [])[0].run_key == "counts 2026-03-21 second"
    assert not requested(tick(arrivals(20, 21, 22, files=corrected))), (
        "requested already, perhaps blocked by a check"
    )
    read_from(instance, 21, "second")
    assert not requested(tick(arrivals(20, 21, 22, files=corrected)))
    source = arrivals(20, 21, 22, files=corrected | {21: "third"})
    assert [requested(tick(source)) for _ in range(3)] == [[], ["2026-03-21"], []]


def test_date_blocked_in_range_is_requested_once_corrected(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance
) -> None:
    """The run recorded the version that it read, and a check blocked the date."""
    read_from(instance, 20, "first")
    read_from(instance, 21, "bad", kept=False)
    source = arrivals(20, 21, files={20: "first", 21: "bad"})
    assert [requested(tick(source)) for _ in range(2)] == [[], []]
    assert requested(tick(arrivals(20, 21, files={20: "first", 21: "good"}))) == ["2026-03-21"]


def test_new_dates_come_before_corrected_ones(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance
) -> None:
    for day in (20, 21):
        read_from(instance, day, "first")
    source = arrivals(20, 21, 22, files={20: "first", 21: "second", 22: "first"})
    assert [requested(tick(source)) for _ in range(3)] == [["2026-03-22"], ["2026-03-21"], []]


def test_failed_new_date_is_requested_again_once_corrected(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance, record_run: Callable[..., None]
) -> None:
    for day in (20, 21):
        read_from(instance, day, "first")
    files = {20: "first", 21: "first", 22: "first"}
    assert requested(tick(arrivals(20, 21, 22, files=files))) == ["2026-03-22"]
    record_run("counts", "2026-03-19", DagsterRunStatus.FAILURE)
    assert not requested(tick(arrivals(20, 21, 22, files=files)))
    source = arrivals(20, 21, 22, files=files | {22: "second"})
    assert [requested(tick(source)) for _ in range(2)] == [[], ["2026-03-22"]]


def test_correction_waits_for_running_counts(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance, record_run: Callable[..., None]
) -> None:
    for day in (20, 21, 22):
        read_from(instance, day, "first")
    source = arrivals(20, 21, 22, files={20: "first", 21: "second", 22: "second"})
    assert [requested(tick(source)) for _ in range(2)] == [[], ["2026-03-21"]]
    record_run("counts", "2026-03-18", DagsterRunStatus.STARTED)
    assert tick(source).skip_message == "The counts of 2026-03-21 have not ended yet"


def test_changes_of_shared_files_are_ignored(
    tick: Tick, arrivals: SensorAtSource, instance: DagsterInstance
) -> None:
    """A shared file changes with every date that is added to it."""
    read_from(instance, 21, "first+before+rows")
    read_from(instance, 22, "first+before+rows")
    source = arrivals(21, 22, files={21: "first", 22: "second"})
    assert [requested(tick(source)) for _ in range(3)] == [[], ["2026-03-22"], []]


def test_open_operating_day_is_not_requested(tick: Tick, arrivals: SensorAtSource, history: None) -> None:
    at_three = datetime(2026, 3, 24, 3, tzinfo=RUTER_ZONE)
    at_four = datetime(2026, 3, 24, 4, tzinfo=RUTER_ZONE)
    assert not requested(tick(arrivals(20, 21, 22, 23, now=at_three)))
    assert requested(tick(arrivals(20, 21, 22, 23, now=at_four))) == ["2026-03-23"]


def test_nothing_is_requested_without_history(tick: Tick, arrivals: SensorAtSource) -> None:
    result = tick(arrivals(20, 21))
    assert not result.run_requests
    assert result.skip_message and "ruter-dagster demo" in result.skip_message


def test_demo_source_is_started_by_schedules(tick: Tick, arrivals: SensorAtSource, history: None) -> None:
    result = tick(arrivals(23, settings=load_settings(_env_file=None, source="demo")))
    assert not result.run_requests
    assert result.skip_message == "The source demo answers any date: the schedules start its days"


def test_folder_is_listed_by_its_file_names(
    tick: Tick, materialise: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / "tides"
    (folder / "stop_visits").mkdir(parents=True)
    for day in ("2026-03-22", "2026-03-23"):
        (folder / "stop_visits" / f"{day}.csv").write_text("service_date\n")
    materialise("raw/stop_visits", "first", "2026-03-22")
    settings = load_settings(_env_file=None, source="tides", tides_path=str(folder), operator="ruter")
    for table in ("trips_performed", "vehicles"):
        (folder / f"{table}.csv").write_text("vehicle_id\n")
    (sensor,) = arrival_sensors(settings, RUTER, JOBS)
    assert requested(tick(sensor)) == ["2026-03-23"]


def test_corrected_file_in_folder_is_requested(tick: Tick, instance: DagsterInstance, tmp_path: Path) -> None:
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
    assert not requested(tick(sensor))
    (folder / "stop_visits" / "2026-03-22.csv").write_text("service_date,stop_id\n")
    assert [requested(tick(sensor)) for _ in range(2)] == [[], ["2026-03-22"]]


TIMED = TIDES.model_copy(update={"gtfs_path": "feeds"})


def requested_runs(result: SensorExecutionData) -> list[tuple[str | None, str]]:
    """The requested jobs, each with its partition or the first date of its range."""
    start = "dagster/asset_partition_range_start"
    return [(run.job_name, run.partition_key or run.tags[start]) for run in result.run_requests or []]


def test_new_timetable_requests_plan_of_dates_ahead(
    tick: Tick, arrivals: SensorAtSource, history: None
) -> None:
    def requests(timetable: str, *days: int) -> list[tuple[str | None, str]]:
        return requested_runs(tick(arrivals(20, 21, 22, *days, settings=TIMED, timetable=timetable)))

    assert requests("autumn") == []
    assert requests("winter") == [("plan", "2026-03-23")]
    assert requests("winter") == []
    assert requests("spring", 23) == [("counts", "2026-03-23"), ("plan", "2026-03-24")]
    assert requests("spring", 23) == [], "the last plan already follows the new timetable"


def test_each_timetable_is_requested_once(tick: Tick, arrivals: SensorAtSource, history: None) -> None:
    keys = {
        run.run_key
        for timetable in ("autumn", "winter", "spring")
        for run in tick(arrivals(20, 21, 22, settings=TIMED, timetable=timetable)).run_requests or []
    }
    assert keys == {"plan 2026-03-23 winter", "plan 2026-03-23 spring"}


def test_new_timetable_waits_for_running_plan(
    tick: Tick, arrivals: SensorAtSource, history: None, record_run: Callable[..., None]
) -> None:
    tick(arrivals(20, 21, 22, settings=TIMED, timetable="autumn"))
    record_run("plan", "2026-03-23", DagsterRunStatus.STARTED)
    assert not requested_runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter")))
    record_run("plan", "2026-03-23")
    assert requested_runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))) == [
        ("plan", "2026-03-23")
    ]


def test_late_date_leaves_new_timetable_to_next_tick(
    tick: Tick, arrivals: SensorAtSource, materialise: Callable[..., None]
) -> None:
    materialise("raw/stop_visits", "first", "2026-03-20", "2026-03-22")
    tick(arrivals(20, 22, settings=TIMED, timetable="autumn"))
    late = tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))
    assert requested_runs(late) == [("counts", "2026-03-21"), ("plan", "2026-03-22")]
    assert requested_runs(tick(arrivals(20, 21, 22, settings=TIMED, timetable="winter"))) == [
        ("plan", "2026-03-23")
    ]


def test_missing_folder_fails_tick_with_its_path(tick: Tick, history: None) -> None:
    (sensor,) = arrival_sensors(TIDES, RUTER, JOBS)
    with pytest.raises(PermanentFailure, match="TIDES folder somewhere does not exist"):
        tick(sensor)


def test_slow_listing_fails_tick_with_path(
    tick: Tick, history: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load_settings(_env_file=None, source="tides", tides_path=str(tmp_path), operator="ruter")
    monkeypatch.setattr(arrivals_module, "LISTING_SECONDS", 0.001)
    (sensor,) = arrival_sensors(settings, RUTER, JOBS)
    with pytest.raises(PermanentFailure, match=f"{tmp_path} could not be listed in"):
        tick(sensor)
