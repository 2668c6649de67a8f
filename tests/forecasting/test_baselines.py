"""The baselines that a model is compared with."""

from datetime import date, timedelta

import polars as pl
import pytest

from ruter_dagster.forecasting.baselines import baseline_quantiles, six_month_means

ISSUED = date(2026, 6, 1)
SLOT = {"line_id": "31", "direction_id": 0, "stop_id": "skøyen", "weekday": 0, "school_holiday": False}


def departure(
    days_before: int, load: float | None = None, minute: int = 480, **other: object
) -> dict[str, object]:
    known = {"service_date": ISSUED - timedelta(days_before), "departure_minute": minute, **SLOT, **other}
    return known if load is None else {**known, "load": load}


def test_six_month_mean_groups_by_weekday_and_school_period() -> None:
    counted = pl.DataFrame(
        [
            departure(7, 10.0), departure(182, 20.0, minute=494),
            departure(183, 900.0), departure(0, 900.0), departure(7, 900.0, minute=495), departure(7, 900.0, weekday=1),
            departure(7, 900.0, school_holiday=True), departure(7, 900.0, direction_id=1), departure(7, 900.0, stop_id="helsfyr"),
        ]
    )  # fmt: skip
    rows = pl.DataFrame([departure(-1), departure(-1, stop_id="unknown"), departure(-1, minute=485)])
    means = six_month_means(counted, rows, ISSUED)
    assert means["six_month_mean"].to_list() == [15.0, None, 15.0]
    assert means["six_month_mean_p10"].to_list() == pytest.approx([11.0, None, 11.0])
    assert means["six_month_mean_p90"].to_list()[0] == pytest.approx(19.0)


def test_baseline_quantiles_are_quantiles_of_its_lags() -> None:
    lags = {f"lag_{week}": [float(10 * week)] for week in range(1, 9)} | {"lag_2": [None]}
    frame = pl.DataFrame({**lags, "seats": [35]}).select(baseline_quantiles())
    row = frame.row(0, named=True)
    assert (row["last_week_p10"], row["last_week_p90"]) == (10, 10)
    assert (row["ha4_p50"], row["ha4_p10"]) == (30, pytest.approx(14))
    assert row["ha4_above_seats"] == pytest.approx(1 / 3)
    assert row["ha8_above_seats"] == pytest.approx(5 / 7)


def test_quantiles_without_lags_are_unknown() -> None:
    nothing = pl.DataFrame({f"lag_{week}": [None] for week in range(1, 9)} | {"seats": [35]}).cast(pl.Float64)
    assert all(value is None for value in nothing.select(baseline_quantiles()).row(0))
