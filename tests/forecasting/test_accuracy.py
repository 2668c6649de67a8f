"""Accuracy on real loads: Aarhus line 1A, two days ahead, with a weekly rolling origin."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.config.operator import load_operator
from ruter_dagster.forecasting.backtest import Backtest, backtest
from ruter_dagster.forecasting.calendar import OperatingCalendar
from ruter_dagster.forecasting.counts import balance
from ruter_dagster.forecasting.evaluation import (
    comparable,
    distribution_scores,
    improvement,
    release_gate,
    scores,
)
from ruter_dagster.sources.tides import TidesSource

AARHUS = Path(__file__).parents[2] / "examples" / "aarhus_1a"


@pytest.fixture(scope="module")
def autumn() -> pl.DataFrame:
    operator = load_operator(AARHUS)
    source = TidesSource(AARHUS, operator.time_zone, operator.route_types)
    calendar = OperatingCalendar(operator.country, operator.time_zone, operator.school_holiday_dates())
    trial = Backtest(date(2023, 9, 1), date(2023, 11, 30), horizon=2, history_start=operator.history_start)
    folds = backtest(
        trial,
        lambda days: balance(source.read(days).stop_visits, operator.time_zone),
        lambda days: source.read(days).planned_departures,
        calendar,
    )
    return pl.concat([fold.forecasts for fold in folds])


@pytest.mark.extended
def test_autumn_is_forecast_as_well_as_documented(autumn):
    judged = comparable(autumn)
    score = scores(judged).row(0, named=True)
    assert score["rows"] == 8960
    assert score["wape_last_week"] == pytest.approx(0.2041, abs=1e-4)
    assert score["wape_ha4"] == pytest.approx(0.1690, abs=1e-4)
    # 0.1502 where it was measured (docs/decisions/load-model.md); other builds of LightGBM differ a little.
    assert score["wape"] <= 0.1515
    assert score["improvement_last_week"] >= 0.25
    assert score["improvement_ha4"] >= 0.09
    assert abs(score["bias"]) <= 0.02
    assert 0.78 <= score["coverage"] <= 0.83
    assert improvement(judged, "ha4").low > 0
    assert all(gate.passed for gate in release_gate(autumn))


@pytest.mark.extended
def test_distributions_are_sharper_than_those_of_the_baselines(autumn):
    model, *baselines = distribution_scores(autumn).to_dicts()
    assert [one["forecast"] for one in baselines] == ["last_week", "ha4", "ha8", "six_month_mean"]
    for loss in ("wape", "crps", "pinball_p10", "pinball_p50", "pinball_p90"):
        assert model[loss] <= 0.95 * min(one[loss] for one in baselines)
    assert model["crowded_recall"] > max(one["crowded_recall"] for one in baselines)


@pytest.mark.extended
def test_as_many_crowded_departures_as_expected(autumn):
    model = distribution_scores(autumn).row(0, named=True)
    assert model["crowded"] == 43
    assert model["crowded_expected"] == pytest.approx(43, rel=0.25)
