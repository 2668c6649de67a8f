from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.calendar import Event, OperatingCalendar, Rename
from ruter_dagster.forecasting.features import calendar_facts, departure_features, lag_dates
from tests.forecasting.network import DAYS, FIRST, LAST, OSLO, loads, plan, scrambled

DAY = LAST - timedelta(10)
SLOT = {"line_id": "31", "stop_id": "skøyen", "slot_hour": 13}


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


def of_slot(frame: pl.DataFrame, **extra) -> pl.DataFrame:
    return frame.filter(**SLOT, **extra)


def test_every_planned_departure_has_one_valid_row(history):
    features = departure_features(plan([DAY]), history, OSLO)
    validate(features, DEPARTURE_FEATURES, [DAY])
    assert features.height == plan([DAY]).height


def test_lag_is_the_mean_of_the_slot_weeks_before(history):
    features = of_slot(departure_features(plan([DAY]), history, OSLO))
    assert features.height == 2
    for week in (1, 8):
        expected = of_slot(history, service_date=DAY - timedelta(7 * week))["load"].mean()
        assert features[f"lag_{week}"].to_list() == pytest.approx([expected, expected])


def test_ha4_and_ha8_are_means_of_present_lags(history):
    gone = history.filter(pl.col("service_date") != DAY - timedelta(7))
    row = of_slot(departure_features(plan([DAY]), gone, OSLO)).row(0, named=True)
    lags = [of_slot(gone, service_date=DAY - timedelta(7 * week))["load"].mean() for week in range(2, 9)]
    assert row["lag_1"] is None
    assert row["history_count"] == 7
    assert row["ha4"] == pytest.approx(sum(lags[:3]) / 3)
    assert row["ha8"] == pytest.approx(sum(lags) / 7)


def test_public_holiday_is_compared_with_sundays():
    good_friday = date(2026, 4, 3)
    assert OSLO.comparable_weekday(good_friday) == 6
    comparable = OSLO.comparable_dates(good_friday, 7, 56)
    assert comparable
    assert {day.weekday() for day in comparable} == {6}
    assert good_friday - timedelta(7) in lag_dates(good_friday, OSLO)


def test_features_ignore_the_last_six_days_and_the_future(history):
    features = departure_features(plan([DAY]), history, OSLO)
    altered = departure_features(plan([DAY]), scrambled(history, DAY - timedelta(7)), OSLO)
    assert_frame_equal(features, altered, check_exact=True)
    earlier = departure_features(plan([DAY]), scrambled(history, DAY - timedelta(8)), OSLO)
    assert not features["lag_1"].equals(earlier["lag_1"])


def test_features_read_only_lag_dates(history):
    wanted = lag_dates(DAY, OSLO)
    assert all(7 <= (DAY - day).days <= 56 for day in wanted)
    alone = departure_features(plan([DAY]), history.filter(pl.col("service_date").is_in(wanted)), OSLO)
    assert_frame_equal(alone, departure_features(plan([DAY]), history, OSLO), check_exact=True)


def test_features_do_not_depend_on_other_dates(history):
    days = [DAY - timedelta(1), DAY, DAY + timedelta(1)]
    together = departure_features(plan(days), history.sample(fraction=1, shuffle=True, seed=3), OSLO)
    alone = departure_features(plan([DAY]), history, OSLO)
    assert_frame_equal(together.filter(pl.col("service_date") == DAY), alone, check_exact=True)


def test_load_without_weight_is_in_no_feature(history):
    """Neither in lags, HA4, HA8 and usual loads, nor in the guesses for new slots."""
    untrusted = (pl.col("trip_id") == "31-1300") & (pl.col("service_date") >= DAY - timedelta(28))
    weight = pl.when(untrusted).then(0.0).otherwise("weight").alias("weight")
    for load in (None, 71.0):
        strange = history.with_columns(pl.when(~untrusted).then("load").otherwise(load).alias("load"), weight)
        assert_frame_equal(
            departure_features(plan([DAY]), strange, OSLO),
            departure_features(plan([DAY]), history.filter(~untrusted), OSLO),
            check_exact=True,
        )


def test_first_day_has_rows_without_history():
    features = departure_features(plan([FIRST]), loads([FIRST + timedelta(DAYS)]), OSLO)
    assert features["history_count"].unique().to_list() == [0]
    assert features["ha8"].null_count() == features.height


def test_event_loads_are_lags_but_not_usual_loads(history):
    thursday = DAY - timedelta(7)
    last_week, hour = thursday - timedelta(7), SLOT["slot_hour"]
    eventful = replace(OSLO, events=(Event(last_week, hour, hour, ("31",)),))
    match_day = pl.col("service_date") == last_week
    crowded = history.with_columns(pl.when(match_day).then(90.0).otherwise("load").alias("load"))
    row = of_slot(departure_features(plan([thursday]), crowded, eventful)).row(0, named=True)
    plain = of_slot(departure_features(plan([thursday]), crowded, OSLO)).row(0, named=True)
    other_dates = [
        of_slot(history, service_date=day)["load"].mean() for day in OSLO.comparable_dates(thursday, 8, 56)
    ]
    assert row["usual"] == pytest.approx(sum(other_dates) / len(other_dates))
    assert row["usual"] < plain["usual"]
    assert (row["events"], row["events_last_week"], plain["events_last_week"]) == (0, 1, 0)
    assert (row["lag_1"], row["ha4"]) == (plain["lag_1"], plain["ha4"])


def test_departure_expects_its_own_mean_of_the_day_class(history):
    minute = pl.col("scheduled_departure_time").dt.minute() == 30
    uneven = history.with_columns(pl.when(minute).then(3.0 * pl.col("load")).otherwise("load").alias("load"))
    rows = of_slot(departure_features(plan([DAY]), uneven, OSLO)).sort("departure_minute")
    loads_of = of_slot(uneven.filter(minute), stop_sequence=1).filter(
        pl.col("service_date").is_in(OSLO.dates_of_class(DAY, 7, 56))
    )
    weight = 0.9 ** ((DAY - loads_of["service_date"]).dt.total_days() / 7)
    mean = (loads_of["load"] * weight).sum() / weight.sum()
    assert rows["departure_of_day_class"][1] == pytest.approx(mean, rel=1e-4)
    assert rows["departure_of_day_class"][1] > 2 * rows["departure_of_day_class"][0]
    assert rows["expected"].to_list() == rows["departure_of_day_class"].to_list()
    assert rows["slot_of_day_class"][0] == pytest.approx(rows["departure_of_day_class"].mean(), rel=0.05)


def test_recent_mean_uses_only_four_weeks(history):
    old = pl.col("service_date") < DAY - timedelta(34)
    other = history.with_columns(pl.when(old).then(90.0).otherwise("load").alias("load"))
    before, after = (departure_features(plan([DAY]), known, OSLO) for known in (history, other))
    for name in ("departure_of_day_class_recent", "slot_of_day_class_recent"):
        assert before[name].to_list() == after[name].to_list()
    assert (before["departure_of_day_class"] < after["departure_of_day_class"]).all()


def test_departure_of_a_new_timetable_expects_its_slot_load(history):
    moved = plan([DAY]).with_columns(pl.col("scheduled_departure_time") + timedelta(minutes=7))
    rows = departure_features(moved, history, OSLO)
    assert rows["departure_of_day_class"].null_count() == rows.height
    assert rows["expected"].to_list() == rows["usual"].to_list()


def new_line(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit("74").alias("line_id"))


def test_new_line_expects_loads_of_other_lines(history):
    rows = departure_features(new_line(plan([DAY])), history, OSLO)
    of_class = history.filter(pl.col("service_date").is_in(OSLO.dates_of_class(DAY, 7, 56))).with_columns(
        (0.9 ** ((DAY - pl.col("service_date")).dt.total_days() / 7)).alias("decay")
    )
    means = of_class.group_by("stop_id", "slot_hour").agg(
        (pl.col("load") * pl.col("decay")).sum() / pl.col("decay").sum()
    )
    assert rows["history_count"].max() == 0
    assert set(rows["expected_tier"]) == {"stop_hour"}
    joined = rows.join(means, on=["stop_id", "slot_hour"])
    assert joined.height == rows.height
    assert joined["expected"].to_list() == pytest.approx(joined["load"].to_list(), rel=1e-4)


def test_means_of_other_lines_leave_the_own_line_out(history):
    rows = departure_features(plan([DAY]), history, OSLO).filter(line_id="31")
    alone = departure_features(plan([DAY]), history.filter(line_id="17"), OSLO).filter(line_id="31")
    assert set(rows["expected_tier"]) == {"departure"}
    for shared in ("stop_hour", "mode_hour"):
        assert rows[f"{shared}_of_other_lines"].equals(alone[f"{shared}_of_other_lines"])
    assert rows["stop_hour_of_other_lines"].null_count() == 0
    assert rows["mode_hour_of_other_lines"].null_count() == rows.height


def test_new_stop_expects_a_load_between_its_neighbours(history):
    before = history.filter(pl.col("stop_id") != "nationaltheatret")
    rows = departure_features(plan([DAY]), before, OSLO)
    first, new, last = (rows.filter(stop_sequence=order).sort("trip_id") for order in (1, 2, 3))
    assert set(new["expected_tier"]) == {"journey"}
    assert new["expected"].to_list() == pytest.approx(
        ((first["expected"] + last["expected"]) / 2).to_list(), abs=1e-5
    )


def test_new_last_stop_expects_half_of_the_load_before_it(history):
    before = history.filter(pl.col("stop_id") != "jernbanetorget")
    rows = departure_features(plan([DAY]), before, OSLO)
    known, new = (rows.filter(stop_sequence=order).sort("trip_id") for order in (2, 3))
    assert new["expected"].to_list() == pytest.approx((known["expected"] / 2).to_list(), abs=1e-5)


def test_new_hour_expects_a_load_between_the_hours_around_it(history):
    before = history.filter(~pl.col("slot_hour").is_in([10, 11]))
    rows = of_first_stop(departure_features(plan([DAY]), before, OSLO))
    means = dict(rows.select("slot_hour", "slot_of_day_class").iter_rows())
    new = rows.filter(pl.col("slot_hour").is_in([10, 11])).sort("departure_minute")
    assert set(new["expected_tier"]) == {"neighbouring_hours"}
    steps = (means[12] - means[9]) / 3
    expected = [means[9] + steps] * 2 + [means[9] + 2 * steps] * 2
    assert new["expected"].to_list() == pytest.approx(expected, abs=1e-5)
    assert new["hours_to_earlier"].to_list() == [1, 1, 2, 2]
    assert new["hours_to_later"].to_list() == [2, 2, 1, 1]


def test_new_evening_hours_empty_towards_the_night(history):
    rows = of_first_stop(departure_features(plan([DAY]), history.filter(pl.col("slot_hour") < 22), OSLO))
    last = rows.filter(slot_hour=21)["slot_of_day_class"][0]
    new = rows.filter(pl.col("slot_hour") >= 22)
    assert new["expected"].to_list() == pytest.approx(
        (last * (28 - new["slot_hour"]) / 7).to_list(), abs=1e-5
    )
    assert new["hours_to_earlier"].to_list() == (new["slot_hour"] - 21).to_list()
    assert new["hours_to_later"].null_count() == new.height


def of_first_stop(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(line_id="31", stop_id="skøyen")


def test_far_hours_are_at_least_three_hours_away(history):
    rows = of_first_stop(departure_features(plan([DAY]), history, OSLO))
    means = dict(rows.select("slot_hour", "slot_of_day_class").iter_rows())
    row = rows.filter(slot_hour=13).row(0, named=True)
    assert (row["earlier_hour"], row["earlier_hour_far"]) == (means[12], means[10])
    assert (row["later_hour"], row["later_hour_far"]) == (means[14], means[16])


def test_line_at_new_stops_expects_the_mean_of_its_hour(history):
    before = history.filter(pl.col("line_id") == "31")
    moved = plan([DAY]).with_columns(pl.col("stop_id") + "_2", pl.col("trip_id") + "_2")
    rows = departure_features(moved, before, OSLO).filter(line_id="31")
    assert set(rows["expected_tier"]) == {"line_hour"}
    assert rows["expected"].equals(rows["line_hour_of_day_class"].alias("expected"))


def test_new_line_at_new_stops_expects_the_mode_mean(history):
    moved = plan([DAY]).with_columns(
        pl.when(line_id="17").then(pl.lit("74")).otherwise("line_id").alias("line_id"),
        pl.when(line_id="17").then(pl.lit("bus")).otherwise("mode").alias("mode"),
        pl.when(line_id="17").then(pl.col("stop_id") + "_2").otherwise("stop_id").alias("stop_id"),
    )
    rows = departure_features(moved, history, OSLO).sort("slot_hour", "trip_id")
    new, bus = (rows.filter(line_id=line) for line in ("74", "31"))
    assert set(new["expected_tier"]) == {"mode_hour"}
    assert new["expected"].equals(bus["mode_hour_of_day_class"].alias("expected"))


def test_tram_of_a_new_network_expects_the_mean_of_all(history):
    moved = (
        plan([DAY]).filter(line_id="17").with_columns(pl.lit("74").alias("line_id"), pl.col("stop_id") + "_2")
    )
    rows = departure_features(moved, history, OSLO)
    assert set(rows["expected_tier"]) == {"network"}
    assert rows["expected"].unique().to_list() == [rows["network_of_day_class"][0]]


def test_network_without_history_expects_nothing(history):
    rows = departure_features(plan([DAY]), history.clear(), OSLO)
    assert rows["expected"].unique().to_list() == [0.0]
    assert rows["expected_tier"].unique().to_list() == ["none"]


def renamed(*renames: Rename) -> OperatingCalendar:
    return replace(OSLO, renames=renames)


def test_declared_rename_keeps_the_history_of_a_line(history):
    calendar = renamed(Rename("line_id", "31", "74", DAY))
    new = plan([DAY]).with_columns(pl.col("line_id").replace({"31": "74"}))
    before = departure_features(plan([DAY]), history, OSLO)
    after = departure_features(new, history, calendar)
    assert set(after["line_id"]) == {"74", "17"}
    assert_frame_equal(after.drop("line_id"), before.drop("line_id"), check_exact=True)


def test_dates_before_a_rename_keep_their_history_too(history):
    calendar = renamed(Rename("stop_id", "skøyen", "skøyen_2", DAY + timedelta(30)))
    before = departure_features(plan([DAY]), history, OSLO)
    assert_frame_equal(departure_features(plan([DAY]), history, calendar), before, check_exact=True)


def test_two_lines_that_swap_their_ids_swap_their_histories(history):
    calendar = renamed(Rename("line_id", "31", "17", DAY), Rename("line_id", "17", "31", DAY))
    quiet = history.with_columns(
        pl.when(line_id="17").then(pl.col("load") / 4).otherwise("load").alias("load")
    )
    rows = departure_features(plan([DAY]), quiet, calendar)
    means = dict(rows.group_by("line_id").agg(pl.col("expected").mean()).iter_rows())
    assert means["17"] > 3 * means["31"]


def test_line_that_was_renamed_twice_keeps_all_of_its_history(history):
    middle = DAY - timedelta(30)
    calendar = renamed(Rename("line_id", "31", "74", middle), Rename("line_id", "74", "75", DAY))
    ids = pl.when(pl.col("service_date") < middle).then(pl.lit("31")).otherwise(pl.lit("74"))
    old = history.with_columns(pl.when(line_id="31").then(ids).otherwise("line_id").alias("line_id"))
    new = plan([DAY]).with_columns(pl.col("line_id").replace({"31": "75"}))
    before = departure_features(plan([DAY]), history, OSLO)
    assert_frame_equal(
        departure_features(new, old, calendar).drop("line_id"), before.drop("line_id"), check_exact=True
    )


def test_only_renames_within_the_lags_change_calendar_facts():
    oldest = min(lag_dates(DAY, OSLO))
    facts = calendar_facts(DAY, OSLO)
    assert calendar_facts(DAY, renamed(Rename("line_id", "31", "74", oldest))) == facts
    assert calendar_facts(DAY, renamed(Rename("line_id", "31", "74", DAY))) != facts
