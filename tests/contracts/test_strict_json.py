"""Every JSON that a command prints is valid for every parser."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from ruter_dagster.commands.backtest import BacktestResult, _score, show
from ruter_dagster.contracts.strict_json import strict_json
from ruter_dagster.forecasting.baselines import baseline_quantiles

EMPTY = BacktestResult(date(2026, 3, 2), date(2026, 3, 8), 2, 1, 1.0, Path("out.parquet"), {}, [], 0.0, None)


def strictly(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def forecasts(last_week: float | None, load: float | None = 4.0) -> pl.DataFrame:
    """A week of forecasts, with one departure on each date."""
    days = pl.date_range(EMPTY.first, EMPTY.last, eager=True)
    values = {"mean": 5.0, "p10": 2.0, "p50": 5.0, "p90": 9.0, "last_week": last_week, "ha4": 4.5, "ha8": 5.5}
    lags = {f"lag_{week}": last_week for week in range(1, 9)}
    crowding = {"seats": 40.0, "prob_above_seats": 0.1, **lags}
    columns = [
        pl.lit(value, pl.Float64).alias(name) for name, value in {**values, **crowding, "load": load}.items()
    ]
    return pl.DataFrame({"service_date": days}).with_columns(columns).with_columns(baseline_quantiles())


def test_infinite_numbers_and_nan_are_null() -> None:
    value = {"a": math.nan, "b": [math.inf, (-math.inf, 1.5)], "c": {"d": "Ærlig", "e": None}}
    assert strictly(strict_json(value)) == {
        "a": None,
        "b": [None, [None, 1.5]],
        "c": {"d": "Ærlig", "e": None},
    }


@pytest.mark.parametrize(
    ("last_week", "load"), [(None, 4.0), (3.0, 4.0), (3.0, 0.0), (None, 0.0), (None, None)]
)
def test_backtest_prints_with_and_without_results(
    last_week: float | None, load: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _score(forecasts(last_week, load), EMPTY)
    show(result)
    strictly(strict_json(result.to_json()))
    assert "nan" not in capsys.readouterr().out.lower()


def test_backtest_shows_the_dates_that_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = {"2026-03-04": "raw.stop_visits: service_date 2026-03-04 is blocked [rejects]"}
    result = _score(forecasts(3.0), replace(EMPTY, dates_left_out=left_out))
    show(result)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Left out, as in the chain: 1 dates, e.g. " + left_out["2026-03-04"] in shown
    parsed = strictly(strict_json(result.to_json()))
    assert isinstance(parsed, dict) and parsed["dates_left_out"] == left_out


def test_backtest_reports_dates_that_it_cannot_compare(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(_score(forecasts(last_week=None), EMPTY))
    printed = " ".join(capsys.readouterr().out.split())
    assert "no departure has a load the week before" in printed
    assert "Without a load the week before: 100.00% of the departures, WAPE 0.2500" in printed
    assert "Bias +25.00%, 100.0% of the loads are between P10 and P90" in printed
