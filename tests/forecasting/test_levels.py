from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.features import LEVELS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.calendar import Rename
from ruter_dagster.forecasting.features import departure_features
from ruter_dagster.forecasting.levels import (
    EXPECTED_COLUMNS,
    LOAD_COLUMNS,
    level_dates,
    levels,
    levels_with_renamed_ids,
)
from tests.forecasting.network import FIRST, LAST, OSLO, dates, loads, plan, scrambled

ISSUED = LAST - timedelta(9)
FEATURED = dates(ISSUED - timedelta(20), ISSUED + timedelta(3))


@pytest.fixture(scope="module")
def history() -> pl.DataFrame:
    return loads()


@pytest.fixture(scope="module")
def features(history) -> pl.DataFrame:
    return departure_features(plan(FEATURED), history, OSLO)


def network_of(frame: pl.DataFrame) -> dict:
    return frame.filter(scope="network").row(0, named=True)


def test_levels_keep_their_contract(history, features):
    issue_dates = [ISSUED, ISSUED + timedelta(1)]
    validate(levels(history, features, issue_dates), LEVELS, issue_dates)


def test_ratio_is_recent_load_over_expected_load(history, features):
    recent = dates(ISSUED - timedelta(3), ISSUED - timedelta(1))
    of_line = pl.col("service_date").is_in(recent) & (pl.col("line_id") == "31")
    load, expected = history.filter(of_line)["load"].sum(), features.filter(of_line)["expected"].sum()
    result = levels(history, features, [ISSUED]).filter(scope="line", scope_id="31").row(0, named=True)
    assert result["ratio_3"] == pytest.approx((load + 10) / (expected + 10))
    assert result["departure_count"] == 14 * 120


def test_fuller_week_raises_its_ratios(history, features):
    recent = pl.col("service_date") >= ISSUED - timedelta(7)
    fuller = history.with_columns(pl.when(recent).then(1.5 * pl.col("load")).otherwise("load").alias("load"))
    network, usual = (network_of(levels(known, features, [ISSUED])) for known in (fuller, history))
    assert network["ratio_7"] / usual["ratio_7"] == pytest.approx(1.5, rel=0.01)
    assert network["ratio_14"] / usual["ratio_14"] == pytest.approx(1.25, rel=0.05)


def test_loads_without_weight_or_with_events_do_not_count(history, features):
    yesterday = pl.col("service_date") == ISSUED - timedelta(1)
    crowded = history.with_columns(pl.when(yesterday).then(90.0).otherwise("load").alias("load"))
    weightless = crowded.with_columns(pl.when(yesterday).then(0.0).otherwise("weight").alias("weight"))
    eventful = features.with_columns(pl.when(yesterday).then(1).otherwise("events").cast(pl.Int32).alias("events"))  # fmt: skip
    without = levels(history.filter(~yesterday), features, [ISSUED])
    assert_frame_equal(levels(weightless, features, [ISSUED]), without, check_exact=True)
    assert_frame_equal(levels(crowded, eventful, [ISSUED]), without, check_exact=True)
    assert without["ratio_1"].null_count() == without.height


def test_no_level_changes_when_later_loads_do(history, features):
    before = levels(history, features, [ISSUED])
    later = scrambled(history, ISSUED - timedelta(1))
    assert_frame_equal(before, levels(later, features, [ISSUED]), check_exact=True)
    assert not before.equals(levels(scrambled(history, ISSUED - timedelta(2)), features, [ISSUED]))


def test_levels_read_only_declared_dates_and_columns(history, features):
    assert [(ISSUED - day).days for day in level_dates(ISSUED)] == list(range(1, 15))
    window = pl.col("service_date").is_in(level_dates(ISSUED))
    only = levels(
        history.filter(window).select(LOAD_COLUMNS),
        features.filter(window).select(EXPECTED_COLUMNS),
        [ISSUED],
    )
    assert_frame_equal(only, levels(history, features, [ISSUED]), check_exact=True)


def test_levels_do_not_depend_on_other_issue_dates(history, features):
    together = levels(history, features, [ISSUED - timedelta(3), ISSUED])
    alone = levels(history, features, [ISSUED])
    assert_frame_equal(together.filter(issue_date=ISSUED), alone, check_exact=True)


def test_issue_date_before_any_load_has_no_levels(history, features):
    assert levels(history, features, [FIRST]).is_empty()


def of_lines(result: pl.DataFrame) -> dict[str, float]:
    rows = result.filter(scope="line").select("scope_id", "ratio_14").rows()
    return dict(rows)


@pytest.mark.parametrize("days_ago", [-30, 0, 5])
def test_renamed_line_keeps_its_level(history, features, days_ago):
    """Renamed a month after the issue date (forecasts of the next year look back to it), on it, and five days before."""
    first = ISSUED - timedelta(days_ago)
    renamed = pl.when(pl.col("service_date") >= first).then(pl.lit("74")).otherwise("line_id")
    is_31 = pl.col("line_id") == "31"
    with_rename = features.with_columns(line_id=pl.when(is_31).then(renamed).otherwise("line_id"))
    calendar = replace(OSLO, renames=(Rename("line_id", "31", "74", first),))
    usual = of_lines(levels(history, features, [ISSUED]))
    result = levels_with_renamed_ids(history, with_rename, [ISSUED], calendar)
    validate(result, LEVELS, [ISSUED])
    assert of_lines(result)["74"] == usual["31"]
    assert {line: of_lines(result)[line] for line in usual if line != "31"} == {
        line: ratio for line, ratio in usual.items() if line != "31"
    }
    hours = result.filter(pl.col("scope_id").str.starts_with("74|")).height
    assert (
        hours == levels(history, features, [ISSUED]).filter(pl.col("scope_id").str.starts_with("31|")).height
    )


def test_lines_that_swap_their_ids_keep_their_levels(history, features):
    usual = of_lines(levels(history, features, [ISSUED]))
    swap = (Rename("line_id", "31", "17", ISSUED), Rename("line_id", "17", "31", ISSUED))
    result = of_lines(levels_with_renamed_ids(history, features, [ISSUED], replace(OSLO, renames=swap)))
    assert (result["31"], result["17"]) == (usual["17"], usual["31"])
    later = tuple(replace(one, first=ISSUED + timedelta(30)) for one in swap)
    result = of_lines(levels_with_renamed_ids(history, features, [ISSUED], replace(OSLO, renames=later)))
    assert (result["31"], result["17"]) == (usual["31"], usual["17"])
