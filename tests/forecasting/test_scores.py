"""Scores of departures, their daily sums by line and by stop, and the ratios of sums."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import scoringrules

from ruter_dagster.contracts.scores import LINE_SCORES, PEAKS, STOP_SCORES, VARIANTS
from ruter_dagster.contracts.tables import LOAD_FORECASTS, STOP_LOADS
from ruter_dagster.contracts.validation import conform, validate
from ruter_dagster.forecasting.forecast_performance import forecast_performance
from ruter_dagster.forecasting.scores import departure_scores, peak, ratios, score_sums

FRIDAY = date(2026, 11, 20)
DAYS = [FRIDAY, FRIDAY + timedelta(1)]
ROWS = 400
LEVELS = np.array([0.1, 0.5, 0.9])


def forecasts(seed: int = 1) -> pl.DataFrame:
    """Forecasts of two horizons on a Friday and a Saturday: some without seats, some without a baseline."""
    random = np.random.default_rng(seed)
    number = np.arange(ROWS)
    mean = random.gamma(2, 12, ROWS)
    frame = pl.DataFrame(
        {
            "operating_date": [DAYS[at % 2] for at in number],
            "horizon_days": number // 2 % 2,
            "trip_id": [f"journey {at // 4}" for at in number],
            "stop_sequence": number % 7 + 1,
            "line_id": [("31", "T12")[at // 40 % 2] for at in number],
            "mode": [("bus", "tram")[at // 40 % 2] for at in number],
            "direction_id": number // 80 % 2,
            "stop_id": [f"stop {at % 7}" for at in number],
            "slot_hour": number // 4 % 27,
            "seats": [None if at % 5 == 0 else 34 for at in number],
            "mean": mean,
            "p10": mean * 0.6,
            "p50": mean * 0.95,
            "p90": mean * 1.5,
            "prob_above_seats": [None if at % 5 == 0 else min(1.0, mean[at] / 60) for at in number],
            "last_week": [None if at % 3 == 0 else mean[at] * 1.2 for at in number],
            "ha4": [None if at % 11 == 0 else mean[at] * 1.1 + 1 for at in number],
            "ha8": mean * 0.8,
            "source": ["model"] * ROWS,
        }
    ).with_columns(
        issue_date=pl.col("operating_date") - pl.duration(days=pl.col("horizon_days")),
        scheduled_departure_time=pl.lit(datetime(2026, 11, 20, 7, tzinfo=UTC)),
        occupancy_level=pl.lit("unknown"),
        occupancy_status=pl.lit(7),
        history_count=pl.lit(4),
        reasons=pl.lit(""),
        thresholds_version=pl.lit("1"),
    )
    absent = [name for name in LOAD_FORECASTS.column_names if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None).alias(name) for name in absent)
    return conform(frame.select(LOAD_FORECASTS.column_names), LOAD_FORECASTS)


def loads(of: pl.DataFrame, share: int = 10) -> pl.DataFrame:
    """A load of each departure, except for one in `share`."""
    departures = of.unique(("operating_date", "trip_id", "stop_sequence"), maintain_order=True)
    number = pl.int_range(pl.len())
    frame = departures.filter(number % share > 0).with_columns(
        service_date="operating_date",
        trip_id_performed="trip_id",
        load=(pl.col("mean") * (0.4 + number % 13 / 8)).round(),
        weight=pl.lit(1.0),
    )
    absent = [name for name in STOP_LOADS.column_names if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None).alias(name) for name in absent)
    return conform(frame.select(STOP_LOADS.column_names), STOP_LOADS)


FORECASTS = forecasts()
PERFORMANCE = forecast_performance(FORECASTS, loads(FORECASTS))[0]
BY_LINE, BY_STOP = score_sums(PERFORMANCE, FORECASTS, 0.5)


def total(values: pl.Series) -> float:
    return float(values.sum())


def plain_pinball(load: float, quantile: float, level: float) -> float:
    return level * (load - quantile) if load >= quantile else (1 - level) * (quantile - load)


def test_scores_equal_a_plain_implementation() -> None:
    for row in PERFORMANCE.to_dicts():
        losses = [plain_pinball(row["load"], row[f"p{round(100 * level)}"], level) for level in LEVELS]
        assert row["pinball_loss"] == pytest.approx(sum(losses) / 3)
        assert row["absolute_error"] == pytest.approx(abs(row["mean"] - row["load"]))
        assert row["covered"] == (row["p10"] <= row["load"] <= row["p90"])


def test_crps_is_that_of_scoringrules() -> None:
    quantiles = PERFORMANCE.select("p10", "p50", "p90").to_numpy()
    expected = scoringrules.crps_quantile(PERFORMANCE["load"].to_numpy(), quantiles, LEVELS)
    assert PERFORMANCE["crps"].to_numpy() == pytest.approx(expected)


def test_point_forecast_has_its_absolute_error_as_crps() -> None:
    point = pl.DataFrame({"load": [3.0, 8.0], "mean": [5.0, 5.0]}).with_columns(
        p10="mean", p50="mean", p90="mean"
    )
    assert point.select(departure_scores())["crps"].to_list() == pytest.approx([2.0, 3.0])


@pytest.mark.parametrize(
    ("day", "hour", "name"),
    [
        (0, 5, "night"), (0, 6, "morning_peak"), (0, 8, "morning_peak"), (0, 9, "midday"), (0, 14, "midday"),
        (0, 15, "afternoon_peak"), (0, 17, "afternoon_peak"), (0, 18, "evening"), (0, 22, "evening"), (0, 23, "night"),
        (0, 25, "night"), (1, 8, "weekend"), (2, 25, "weekend"), (3, 8, "morning_peak"),
    ],
)  # fmt: skip
def test_period_of_the_day_follows_date_and_hour(day: int, hour: int, name: str) -> None:
    row = pl.DataFrame({"operating_date": [FRIDAY + timedelta(day)], "slot_hour": [hour]})
    assert row.select(peak()).item() == name
    assert name in PEAKS


def test_sums_meet_their_contracts() -> None:
    validate(BY_LINE, LINE_SCORES, set(DAYS))
    validate(BY_STOP, STOP_SCORES, set(DAYS))
    assert set(BY_LINE["variant"]) == set(VARIANTS) - {"challenger"}


@pytest.mark.parametrize("sums", [BY_LINE, BY_STOP], ids=["line", "stop"])
def test_ratios_of_sums_are_those_of_the_departures(sums: pl.DataFrame) -> None:
    scores = ratios(sums, ("variant",)).filter(variant="published").row(0, named=True)
    rows, seats = PERFORMANCE, PERFORMANCE.filter(pl.col("seats").is_not_null())
    known = rows.filter(pl.col("ha4").is_not_null())
    crowded = seats.filter(pl.col("load") > pl.col("seats"))
    flagged = seats.filter(pl.col("prob_above_seats") >= 0.5)
    hits = crowded.filter(pl.col("prob_above_seats") >= 0.5).height
    assert scores["departures"] == FORECASTS.height > scores["matched"] == rows.height
    expected = {
        "matched_share": rows.height / FORECASTS.height,
        "wape": total((rows["mean"] - rows["load"]).abs()) / total(rows["load"]),
        "bias": total(rows["mean"]) / total(rows["load"]) - 1,
        "coverage": rows["covered"].mean(),
        "pinball_loss": rows["pinball_loss"].mean(),
        "crps": rows["crps"].mean(),
        "crowded_recall": hits / crowded.height,
        "crowded_precision": hits / flagged.height,
        "skill_against_ha4": 1 - total(known["absolute_error"]) / total((known["ha4"] - known["load"]).abs()),
    }
    assert 0 < hits < min(crowded.height, flagged.height)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value), name


def test_baseline_is_scored_where_it_is_known() -> None:
    scores = ratios(BY_LINE, ("variant",)).filter(variant="last_week").row(0, named=True)
    rows = PERFORMANCE.filter(pl.col("last_week").is_not_null())
    seats = rows.filter(pl.col("seats").is_not_null())
    error = (rows["last_week"] - rows["load"]).abs()
    assert scores["departures"] == FORECASTS["last_week"].count()
    assert scores["matched"] == rows.height
    assert scores["crps"] == pytest.approx(error.mean())
    assert scores["crowded_forecasts"] == (seats["last_week"] > seats["seats"]).sum()
    assert scores["coverage"] is None


def test_each_group_has_its_own_departures() -> None:
    of_group = {"operating_date": FRIDAY, "horizon_days": 1, "line_id": "31", "direction_id": 0}
    expected = PERFORMANCE.filter(**of_group).filter(pl.col("slot_hour").is_between(9, 14))
    row = BY_LINE.filter(variant="published", peak="midday", **of_group).row(0, named=True)
    assert row["matched"] == expected.height > 0
    assert row["load"] == pytest.approx(expected["load"].sum())


def test_group_without_loads_has_departures_and_no_scores() -> None:
    line, _ = score_sums(PERFORMANCE.filter(line_id="31"), FORECASTS, 0.5)
    scores = ratios(line.filter(line_id="T12"), ("variant",)).filter(variant="published").row(0, named=True)
    assert scores["departures"] > 0 == scores["matched"]
    assert scores["wape"] is None
    assert scores["matched_share"] == 0


def test_challenger_is_scored_beside_the_champion() -> None:
    other = FORECASTS.with_columns(pl.col("mean") * 1.5)
    scored, _ = forecast_performance(other, loads(FORECASTS))
    line, _ = score_sums(PERFORMANCE, FORECASTS, 0.5, scored, other)
    scores = ratios(line, ("variant",))
    wape = {row["variant"]: row["wape"] for row in scores.to_dicts()}
    assert wape["challenger"] == pytest.approx(total(scored["absolute_error"]) / total(scored["load"]))
    assert wape["challenger"] > wape["published"]


def test_truth_is_final_if_all_rows_of_the_date_are() -> None:
    final = PERFORMANCE.with_columns(is_final=pl.col("operating_date") == FRIDAY)
    line, stop = score_sums(final, FORECASTS, 0.5)
    for sums in (line, stop):
        assert sums.filter(operating_date=FRIDAY)["is_final"].all()
        assert not sums.filter(operating_date=DAYS[1])["is_final"].any()


def test_date_without_forecasts_has_no_scores() -> None:
    line, stop = score_sums(PERFORMANCE.clear(), FORECASTS.clear(), 0.5)
    assert line.is_empty()
    assert stop.is_empty()
    assert ratios(line)["matched_share"].to_list() == [None]


def test_sums_do_not_depend_on_the_order_of_rows() -> None:
    for seed in range(5):
        shuffled = [frame.sample(fraction=1, shuffle=True, seed=seed) for frame in (PERFORMANCE, FORECASTS)]
        line, stop = score_sums(*shuffled, 0.5)
        assert line.equals(BY_LINE)
        assert stop.equals(BY_STOP)
