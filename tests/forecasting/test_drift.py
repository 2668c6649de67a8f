"""Drift: no warning without a change, a warning or an action after a change, unknown without enough data."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from ruter_dagster.contracts.drift import DRIFT_METRICS, DriftMetric
from ruter_dagster.contracts.tables import DRIFT, FORECAST_PERFORMANCE
from ruter_dagster.contracts.validation import conform, polars_schema, validate
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.forecasting.drift_sums import DriftSums
from tests.forecasting.test_counts import visits

DAY = date(2026, 11, 20)
HISTORY = [DAY - timedelta(days) for days in range(56, -1, -1)]
DEPARTURES = 600


def network(days=None, shift=lambda day: 1.0, modes=("bus",)) -> pl.DataFrame:
    """Loads with the contract's key: negative binomial, times `shift(day)`."""
    frames = []
    for day in days or HISTORY:
        random = np.random.default_rng(day.toordinal())
        loads = random.negative_binomial(2, 2 / (2 + 14 * shift(day)), DEPARTURES).astype(float)
        trips = [str(i) for i in range(DEPARTURES)]
        frames.append(
            pl.DataFrame(
                {
                    "service_date": [day] * DEPARTURES,
                    "trip_id": trips,
                    "stop_sequence": [1] * DEPARTURES,
                    "mode": [modes[i % len(modes)] for i in range(DEPARTURES)],
                    "load": loads,
                },
                schema_overrides={"stop_sequence": pl.Int32},
            )
        )
    return pl.concat(frames)


def forecast_of(
    loads: pl.DataFrame, bias=lambda day: 1.0, error=lambda day: 3.0, source="model"
) -> pl.DataFrame:
    """A forecast of these loads that errs by `error(day)`, beside an HA4 that errs by 4."""
    frames = []
    for (day,), of_date in loads.group_by("service_date", maintain_order=True):
        random = np.random.default_rng(day.toordinal() + 1)
        truth = of_date["load"].to_numpy()
        sign = random.choice([-1, 1], len(truth))
        centre = np.where(random.random(len(truth)) < 0.8, truth, truth + 20)
        frames.append(
            of_date.rename({"service_date": "operating_date"}).with_columns(
                mean=pl.Series((truth + sign * error(day)).clip(0) * bias(day)),
                ha4=pl.Series((truth - sign * 4.0).clip(0)),
                p10=pl.Series((centre - 5).clip(0)),
                p90=pl.Series(centre + 5),
                source=pl.lit(source),
            )
        )
    others = {
        "horizon_days": pl.lit(1, pl.Int32),
        "line_id": pl.lit("31"),
        "direction_id": pl.lit(0, pl.Int32),
        "stop_id": pl.lit("s"),
        "slot_hour": pl.lit(8, pl.Int32),
        "p50": pl.col("mean"),
        **{
            name: pl.lit(None, polars_schema(FORECAST_PERFORMANCE)[name])
            for name in ("seats", "prob_above_seats", "last_week", "ha8", "expected_tier", "model_version")
        },
    }
    frame = pl.concat(frames).with_columns(**others)
    return conform(frame.select(FORECAST_PERFORMANCE.column_names), FORECAST_PERFORMANCE)


def verdicts(frame: pl.DataFrame, scope: str = "network") -> dict[str, str]:
    return dict(frame.filter(pl.col("scope") == scope).select("metric", "verdict").iter_rows())


def drift(
    dates: list[date], performance: pl.DataFrame, loads: pl.DataFrame, visits: pl.DataFrame | None = None
) -> pl.DataFrame:
    return measure_drift(dates, DriftSums.of(dates, performance, loads, visits))


def values(frame: pl.DataFrame, scope: str = "network") -> dict[str, float]:
    return dict(frame.filter(pl.col("scope") == scope).select("metric", "value").iter_rows())


@pytest.fixture(scope="module")
def quiet() -> pl.DataFrame:
    return network()


def test_unchanged_loads_give_no_warning(quiet):
    day_visits = visits([150, 0], [0, 149], day=DAY)
    measured = drift([DAY], forecast_of(quiet), quiet, day_visits)
    validate(measured, DRIFT, {DAY})
    assert verdicts(measured) == {metric.name: "ok" for metric in DRIFT_METRICS}


def test_every_mode_of_the_date_is_measured_too():
    loads = network(modes=("bus", "metro"))
    measured = drift([DAY], forecast_of(loads), loads)
    assert set(measured["scope"]) == {"network", "bus", "metro"}
    assert verdicts(measured, "metro")["skill_against_ha4"] == "ok"


def test_dates_of_a_range_equal_single_dates(quiet):
    performance, days = forecast_of(quiet), [DAY - timedelta(1), DAY]
    together = drift(days, performance, quiet)
    assert together.equals(pl.concat(drift([day], performance, quiet) for day in days))


def test_date_without_loads_is_unknown(quiet):
    measured = drift([DAY + timedelta(1)], forecast_of(quiet), quiet)
    assert set(measured["verdict"]) == {"unknown"}
    assert set(measured["scope"]) == {"network"}


def test_too_little_history_is_unknown():
    loads = network(HISTORY[-2:])
    measured = verdicts(drift([DAY], forecast_of(loads), loads))
    assert measured.pop("matched_share") == "ok"
    assert set(measured.values()) == {"unknown"}


def test_baselines_have_no_skill(quiet):
    measured = verdicts(drift([DAY], forecast_of(quiet, source="baseline"), quiet))
    assert measured["skill_against_ha4"] == measured["bias"] == "unknown"


def test_little_skill_warns(quiet):
    measured = drift([DAY], forecast_of(quiet, error=lambda day: 3.9), quiet)
    assert 0 < values(measured)["skill_against_ha4"] < 0.05
    assert verdicts(measured)["skill_against_ha4"] == "warn"


def test_missing_skill_warns_first_and_acts_on_third_date(quiet):
    def since(days: int):
        """A model that fails so badly that one date turns its seven-day skill negative."""
        return forecast_of(quiet, error=lambda day: 30.0 if day > DAY - timedelta(days) else 3.0)

    assert verdicts(drift([DAY], since(2), quiet))["skill_against_ha4"] == "warn"
    assert verdicts(drift([DAY], since(3), quiet))["skill_against_ha4"] == "act"


def test_larger_error_than_on_the_same_weekday_warns(quiet):
    measured = drift([DAY], forecast_of(quiet, error=lambda day: 3.6 if day == DAY else 3.0), quiet)
    assert values(measured)["wape_deviation"] > 3
    assert verdicts(measured)["wape_deviation"] in ("warn", "act")


@pytest.mark.parametrize(("factor", "verdict"), [(1.12, "ok"), (1.2, "warn"), (0.7, "act")])
def test_bias_counts_on_either_side(quiet, factor, verdict):
    measured = drift([DAY], forecast_of(quiet, bias=lambda day: factor, error=lambda day: 0.1), quiet)
    assert values(measured)["bias"] == pytest.approx(factor - 1, abs=0.01)
    assert verdicts(measured)["bias"] == verdict


def test_loads_without_a_forecast_lower_the_matched_share(quiet):
    performance = forecast_of(quiet).filter((pl.col("operating_date") < DAY) | (pl.col("trip_id") < "5"))
    measured = drift([DAY], performance, quiet)
    assert values(measured)["matched_share"] < 0.9
    assert verdicts(measured)["matched_share"] == "warn"


def test_rows_without_a_load_are_in_no_metric(quiet):
    loads, performance = quiet, forecast_of(quiet)
    nothing = network([DAY]).with_columns(
        pl.lit(None, pl.Float64).alias("load"), trip_id=pl.col("trip_id") + "-bad"
    )
    assert drift([DAY], performance, pl.concat([loads, nothing])).equals(drift([DAY], performance, loads))


def test_changed_loads_are_drift_after_three_dates():
    def since(days: int) -> dict[str, str]:
        loads = network(shift=lambda day: 2.5 if day > DAY - timedelta(days) else 1.0)
        return verdicts(drift([DAY], forecast_of(loads), loads))

    metrics = ("population_stability_index", "jensen_shannon", "normed_wasserstein")
    assert {since(2)[metric] for metric in metrics} == {"ok"}
    assert [since(3)[metric] for metric in metrics] == ["act", "warn", "warn"]


def test_loads_are_compared_with_their_own_weekday():
    loads = network(shift=lambda day: 0.3 if day.weekday() >= 5 else 1.0)
    saturday = DAY - timedelta(6)
    assert saturday.weekday() == 5
    measured = verdicts(drift([saturday], forecast_of(loads), loads))
    assert measured["population_stability_index"] == "ok"


def test_later_dates_change_nothing(quiet):
    day = DAY - timedelta(7)
    known = quiet.filter(pl.col("service_date") <= day)
    assert drift([day], forecast_of(quiet), quiet).equals(drift([day], forecast_of(known), known))


def test_half_dead_door_warns_without_requesting_a_training(quiet):
    measured = drift([DAY], forecast_of(quiet), quiet, visits([150, 0], [0, 75], day=DAY))
    assert values(measured)["vehicle_imbalance"] == pytest.approx(75 / 225)
    assert verdicts(measured)["vehicle_imbalance"] == "warn"


@pytest.mark.parametrize("name", ["vehicle_imbalance", "matched_share"])
def test_bad_data_never_requests_a_training(name):
    metric = next(metric for metric in DRIFT_METRICS if metric.name == name)
    worst = 0.0 if metric.side == "below" else 1.0
    assert metric.verdict((worst,) * 30) == "warn"


def test_short_act_excess_only_warns():
    metric = DriftMetric("m", "", warn=0.1, act=0.25)
    assert metric.verdict((0.3, 0.3, 0.3)) == "act"
    assert metric.verdict((0.3, 0.3, 0.2)) == "warn"
    assert metric.verdict((0.3, 0.3, None)) == "warn"
    assert metric.verdict((0.05, 0.3, 0.3)) == "ok"
    assert metric.verdict((None, 0.3, 0.3)) == "unknown"


def test_short_excess_is_ok_if_it_must_last():
    metric = DriftMetric("m", "", warn=0.1, act=None, days_to_warn=3)
    assert metric.verdict((0.2, 0.2, 0.2)) == "warn"
    assert metric.verdict((0.9, 0.9, 0.05)) == "ok"
    assert metric.verdict((0.9, 0.9)) == "ok"
