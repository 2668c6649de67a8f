"""Drift: no warning without a change, a warning or an action after a change, unknown without enough data."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ruter_dagster.contracts.drift import (
    DRIFT_METRICS,
    FORECAST_METRICS,
    LOAD_METRICS,
    SENSOR_METRICS,
    TIMETABLE_CHANGE,
    DriftMetric,
)
from ruter_dagster.contracts.tables import DRIFT, DRIFT_SUMS
from ruter_dagster.contracts.validation import validate
from ruter_dagster.forecasting.drift import measure_drift
from ruter_dagster.forecasting.drift_sums import JOURNEY_COLUMNS, PERFORMANCE_COLUMNS, DriftSums
from ruter_dagster.forecasting.sensor_health import SensorSums
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
    return pl.concat(frames).select(PERFORMANCE_COLUMNS)


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
    assert verdicts(measured) == {
        **{metric.name: "ok" for metric in (*FORECAST_METRICS, *LOAD_METRICS)},
        **{metric.name: "unknown" for metric in (*SENSOR_METRICS, TIMETABLE_CHANGE)},
        "vehicle_imbalance": "ok",
        "passenger_level": "unknown",
    }


def test_every_mode_of_the_date_is_measured_too():
    loads = network(modes=("bus", "metro"))
    measured = drift([DAY], forecast_of(loads), loads)
    assert set(measured["scope"]) == {"network", "bus", "metro"}
    assert verdicts(measured, "metro")["skill_against_ha4"] == "ok"


def test_dates_of_a_range_equal_single_dates(quiet):
    performance, days = forecast_of(quiet), [DAY - timedelta(1), DAY]
    together = drift(days, performance, quiet)
    assert together.equals(pl.concat(drift([day], performance, quiet) for day in days))


def test_stored_sums_are_the_same(quiet):
    loads = network(HISTORY[-3:], modes=("bus", "metro")).with_columns(
        line_id=pl.lit("L"), vehicle_id=pl.lit("V"), imbalance=pl.lit(0.0)
    )
    start = pl.lit(datetime(2026, 11, 20, 8, tzinfo=UTC)).dt.cast_time_unit("us")
    plan = loads.with_columns(direction_id=pl.lit(1, pl.Int32), scheduled_departure_time=start)
    sensors = SensorSums.of(loads, plan, "Europe/Oslo")
    day_visits = visits([150, 0], [0, 149], day=DAY)
    sums = DriftSums.of(HISTORY[-3:], forecast_of(loads), loads, day_visits, sensors)
    rows = sums.to_rows()
    validate(rows, DRIFT_SUMS, HISTORY[-3:])
    again = DriftSums.of_rows(rows, rows.filter(measure="journeys").select(JOURNEY_COLUMNS))
    for stored, frame in zip(
        (*again._frames, *again.sensors.frames), (*sums._frames, *sums.sensors.frames), strict=True
    ):
        assert frame.height
        assert_frame_equal(stored, frame, check_exact=True)
        assert stored.schema == frame.schema


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
    measured = drift([DAY], forecast_of(quiet, error=lambda day: 4.6 if day == DAY else 3.0), quiet)
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
    measured = drift([DAY], forecast_of(quiet), quiet, visits([150, 0], [0, 75], day=DAY, vehicle="v7"))
    assert values(measured)["vehicle_imbalance"] == pytest.approx(75 / 225)
    assert verdicts(measured)["vehicle_imbalance"] == "warn"
    assert details(measured)["vehicle_imbalance"] == "v7 (0.33)"


def details(frame: pl.DataFrame) -> dict[str, str | None]:
    return dict(frame.filter(scope="network").select("metric", "detail").iter_rows())


def trips_of_vehicle(*counts: tuple[int, int]) -> pl.DataFrame:
    return pl.concat(
        visits([boarded, 0], [0, alighted], trip=str(number), vehicle="v7", day=DAY)
        for number, (boarded, alighted) in enumerate(counts)
    )


def test_dead_door_of_four_shifts_every_trip(quiet):
    measured = drift([DAY], forecast_of(quiet), quiet, trips_of_vehicle(*[(30, 40)] * 5))
    assert values(measured)["door_imbalance"] == pytest.approx(50 / 350 - 4 * (0.05 * 350) ** 0.5 / 350)
    assert verdicts(measured)["door_imbalance"] == "warn"
    assert verdicts(measured)["vehicle_imbalance"] == "ok"


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([(0, 90), *[(40, 40)] * 4], id="a trip lost the counts of one side"),
        pytest.param([(40, 60), (60, 40), (40, 60), (60, 40), (40, 60)], id="passengers stay on board"),
        pytest.param([(3, 5), (4, 5), (4, 6), (5, 6)], id="few passengers"),
    ],
)
def test_chance_is_no_dead_door(counts, quiet):
    measured = drift([DAY], forecast_of(quiet), quiet, trips_of_vehicle(*counts))
    assert values(measured)["door_imbalance"] == 0
    assert verdicts(measured)["door_imbalance"] == "ok"


def test_few_trips_show_no_dead_door(quiet):
    measured = drift([DAY], forecast_of(quiet), quiet, trips_of_vehicle(*[(30, 40)] * 3, (0, 0)))
    assert verdicts(measured)["door_imbalance"] == "unknown"


def test_dead_door_warns_until_its_imbalance_is_chance():
    metric = next(metric for metric in DRIFT_METRICS if metric.name == "door_imbalance")
    assert metric.verdict((0.005,) * 8) == "ok"
    assert metric.verdict((*(0.005,) * 6, 0.05)) == "warn"
    assert metric.verdict((0, 0, 0, 0, 0.05)) == "ok"


def network_of_trams(shift) -> pl.DataFrame:
    """Twice the loads of `network`, because the passenger level needs a thousand."""
    loads = network(shift=shift)
    return pl.concat([loads, loads.with_columns(trip_id=pl.col("trip_id") + "b")])


@pytest.mark.parametrize(("share", "verdict"), [(1.0, "ok"), (0.8, "ok"), (0.5, "warn")])
def test_half_of_the_passengers_warns_on_the_first_date(share, verdict):
    loads = network_of_trams(lambda day: share if day == DAY else 1.0)
    measured = drift([DAY], forecast_of(loads).head(0), loads)
    assert verdicts(measured)["passenger_level"] == verdict


def test_dates_of_another_kind_are_not_compared():
    """A school holiday has fewer passengers, and nothing to be compared with."""
    loads = network_of_trams(lambda day: 0.5 if day == DAY else 1.0)
    sums = DriftSums.of([DAY], forecast_of(loads).head(0), loads, None)
    measured = measure_drift([DAY], sums, kind_of_day=lambda day: "school holiday" if day == DAY else "usual")
    assert verdicts(measured)["passenger_level"] == "unknown"


def test_date_without_comparable_dates_is_unknown():
    loads = network_of_trams(lambda day: 0.5 if day == DAY else 1.0)
    sums = DriftSums.of([DAY], forecast_of(loads), loads, None)
    measured = verdicts(measure_drift([DAY], sums, kind_of_day=lambda day: None))
    assert measured["passenger_level"] == measured["wape_deviation"] == "unknown"
    assert measured["bias"] == "ok"


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
    assert metric.verdict((0.05, 0.05, 0.3, 0.3)) == "ok"
    assert metric.verdict((None, 0.3, 0.3)) == "unknown"


def test_short_excess_is_ok_if_it_must_last():
    metric = DriftMetric("m", "", warn=0.1, act=None, days_to_warn=3)
    assert metric.verdict((0.2, 0.2, 0.2)) == "warn"
    assert metric.verdict((0.9, 0.9, 0.05)) == "ok"
    assert metric.verdict((0.9, 0.9)) == "ok"


def verdicts_in_order(metric: DriftMetric, *values: float | None) -> str:
    """The verdict on each date, the oldest first, as its first letter."""
    newest_first = values[::-1]
    return "".join(
        metric.verdict(newest_first[len(values) - number - 1 :])[0] for number in range(len(values))
    )


def test_warning_ends_only_within_the_clear_threshold():
    metric = DriftMetric("m", "", warn=0.10, act=None)
    assert metric.clear_threshold == pytest.approx(0.08)
    assert verdicts_in_order(metric, 0.05, 0.12, 0.09, 0.09, 0.07, 0.07, 0.09) == "owwwwoo"


def test_value_about_the_threshold_warns_once():
    metric = DriftMetric("m", "", warn=0.10, act=None)
    assert verdicts_in_order(metric, *[0.11, 0.09] * 5) == "w" * 10


def test_unknown_dates_neither_raise_nor_end_a_warning():
    metric = DriftMetric("m", "", warn=0.10, act=None, days_to_warn=2)
    assert verdicts_in_order(metric, 0.2, None, 0.2, 0.2, None, 0.05, None, 0.05) == "ouowuwuo"


def test_clear_threshold_lies_between_usual_value_and_warning():
    share = DriftMetric("m", "", warn=0.90, act=None, side="below", usual=1.0)
    assert share.clear_threshold == pytest.approx(0.92)
    assert verdicts_in_order(share, 0.89, 0.91, 0.91, 0.93, 0.93) == "wwwwo"
    count = DriftMetric("m", "", warn=0, act=None)
    assert verdicts_in_order(count, 1, 0, 0) == "wwo"


def test_verdict_of_a_date_ignores_the_order_of_measurement():
    loads = network(shift=lambda day: 2.5 if DAY - timedelta(7) < day < DAY - timedelta(3) else 1.0)
    performance, days = forecast_of(loads), [DAY - timedelta(ago) for ago in range(8, -1, -1)]
    needed = [days[0] - timedelta(ago) for ago in range(7, 0, -1)] + days
    sums = DriftSums.of(needed, performance, loads, None)
    together = measure_drift(days, sums)
    alone = pl.concat(measure_drift([day], sums) for day in reversed(days)).sort(
        "operating_date", maintain_order=True
    )
    assert together.equals(alone)
    psi = together.filter(metric="population_stability_index", scope="network")["verdict"].to_list()
    assert psi == ["ok", "ok", "ok", "ok", "act", "warn", "ok", "ok", "ok"]
