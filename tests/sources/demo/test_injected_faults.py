"""Injected faults of the demo network: each changes its own dates and subject, and nothing else."""

from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.config.demo_faults import parse_faults
from ruter_dagster.config.operator import operator_of
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.errors import BadInput
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.sources.configured_source import open_source
from ruter_dagster.sources.demo.source import DemoSource

DAY = date(2026, 11, 18)


def faulty(fault: str, subject: str = "") -> DemoSource:
    return DemoSource(20, "demo", parse_faults(f"{fault}:{DAY}:{DAY}{subject}"))


@pytest.fixture(scope="module")
def quiet(source: DemoSource) -> pl.DataFrame:
    return source.stop_visits(DAY)


@pytest.mark.parametrize(
    "fault", ["timetable_change", "dead_door", "counter_failure", "half_the_passengers", "silent_line"]
)
def test_fault_changes_only_its_dates(fault: str, source: DemoSource, quiet: pl.DataFrame):
    with_fault = faulty(fault)
    visits = with_fault.stop_visits(DAY)
    validate(visits, STOP_VISITS, {DAY})
    validate(with_fault.planned_departures(DAY), PLANNED_DEPARTURES, {DAY})
    assert not visits.equals(quiet)
    for day in (DAY - timedelta(1), DAY + timedelta(1)):
        assert with_fault.stop_visits(day).equals(source.stop_visits(day))


def test_silent_line_reports_no_trips(quiet: pl.DataFrame):
    with_fault = faulty("silent_line", ":RUT:Line:11")
    assert with_fault.stop_visits(DAY).equals(quiet.filter(pl.col("line_id") != "RUT:Line:11"))
    assert "RUT:Line:11" in with_fault.planned_departures(DAY)["line_id"]


def test_failed_counter_keeps_trips_without_counts(quiet: pl.DataFrame):
    vehicle = quiet["vehicle_id"][0]
    visits = faulty("counter_failure", f":{vehicle}").stop_visits(DAY)
    counts = ("boardings", "alightings", "departure_load")
    assert visits.drop(counts).equals(quiet.drop(counts))
    failed = pl.col("vehicle_id") == vehicle
    assert (
        visits.filter(failed).select(pl.col(counts).null_count().sum()).row(0)
        == (quiet.filter(failed).height,) * 3
    )
    assert visits.filter(~failed).equals(quiet.filter(~failed))


def test_dead_door_loses_its_share_of_boardings(quiet: pl.DataFrame):
    bus = quiet.filter(pl.col("mode") == "bus", pl.col("total_capacity") == 120)
    vehicle = bus["vehicle_id"][0]
    before = quiet.filter(pl.col("vehicle_id") == vehicle)
    after = faulty("dead_door", f":{vehicle}").stop_visits(DAY).filter(pl.col("vehicle_id") == vehicle)
    assert after["boardings"].sum() == pytest.approx(3 / 4 * int(before["boardings"].sum()), rel=0.07)
    assert after["alightings"].sum() == pytest.approx(int(before["alightings"].sum()), rel=0.05)


def test_half_of_the_passengers_of_a_mode_stay_away(quiet: pl.DataFrame):
    def boardings(visits: pl.DataFrame) -> dict[str, int]:
        return dict(visits.group_by("mode").agg(pl.col("boardings").sum()).iter_rows())

    before = boardings(quiet)
    after = boardings(faulty("half_the_passengers", ":tram").stop_visits(DAY))
    assert after["tram"] / before["tram"] == pytest.approx(0.5, abs=0.05)
    assert after["metro"] / before["metro"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("fault", "subject", "column", "value"),
    [
        ("half_the_passengers", ":tram", "mode", "tram"),
        ("half_the_passengers", ":RUT:Line:11", "line_id", "RUT:Line:11"),
        ("dead_door", ":RUT:Vehicle:10031", "vehicle_id", "RUT:Vehicle:10031"),
        ("counter_failure", ":RUT:Vehicle:10031", "vehicle_id", "RUT:Vehicle:10031"),
        ("silent_line", ":RUT:Line:11", "line_id", "RUT:Line:11"),
    ],
)
def test_fault_leaves_other_rows_unchanged(
    fault: str, subject: str, column: str, value: str, quiet: pl.DataFrame
):
    others = pl.col(column) != value
    visits = faulty(fault, subject).stop_visits(DAY)
    assert not visits.filter(~others).equals(quiet.filter(~others))
    assert visits.filter(others).equals(quiet.filter(others))


def test_lost_passengers_leave_true_loads_of_other_lines_unchanged(source: DemoSource):
    usual, with_fault = source.truth(DAY), faulty("half_the_passengers", ":RUT:Line:11").truth(DAY)
    affected = pl.col("trip_id").is_in(
        source.planned_departures(DAY).filter(pl.col("line_id") == "RUT:Line:11")["trip_id"].to_list()
    )
    assert with_fault.filter(~affected).equals(usual.filter(~affected))
    before, after = usual.filter(affected), with_fault.filter(affected)
    assert after["mean_load"].to_numpy() == pytest.approx(before["mean_load"].to_numpy() / 2)
    assert after["load"].sum() == pytest.approx(int(before["load"].sum()) / 2, rel=0.1)


def test_two_faults_change_only_their_own_lines(quiet: pl.DataFrame):
    faults = f"half_the_passengers:{DAY}:{DAY}:tram,dead_door:{DAY}:{DAY}:RUT:Vehicle:10031"
    visits = DemoSource(20, "demo", parse_faults(faults)).stop_visits(DAY)
    others = (pl.col("mode") != "tram") & (pl.col("vehicle_id") != "RUT:Vehicle:10031")
    assert visits.filter(others).equals(quiet.filter(others))


def test_timetable_change_plans_other_journeys(source: DemoSource):
    before = source.planned_departures(DAY)["trip_id"].unique()
    after = faulty("timetable_change").planned_departures(DAY)["trip_id"].unique()
    assert not set(before) & set(after), "each version has its own journeys"


@pytest.mark.parametrize(("fault", "subject"), [("silent_line", "RUT:Line:9"), ("dead_door", "bus")])
def test_unknown_subject_is_refused(fault: str, subject: str):
    with pytest.raises(
        BadInput, match=f"RUTER_DEMO_FAULTS: {fault}: .* has no .* '{subject}'; allowed: RUT:"
    ):
        faulty(fault, f":{subject}").stop_visits(DAY)


def test_jobs_read_the_faulty_network(quiet: pl.DataFrame):
    settings = Settings(source="demo", demo_faults=f"silent_line:{DAY}:{DAY}", _env_file=None)  # pyright: ignore[reportCallIssue]
    visits = open_source(settings, operator_of(settings)).stop_visits(DAY)
    assert quiet.height > visits.height > 0
