"""A reforecast has one run for each span of issue dates with the same model. Its training uses no later counts."""

from __future__ import annotations

from datetime import date, timedelta

from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS, TRAINING_SAMPLE
from ruter_dagster.orchestration.reforecast import forecast_runs, monitoring_runs, training_runs

DAY = date(2026, 11, 16)


def days(first: int, last: int) -> list[date]:
    return [DAY + timedelta(number) for number in range(first, last + 1)]


def dates_of(features: list[date], levels: list[date], samples: list[date]) -> dict[str, list[date]]:
    return {DEPARTURE_FEATURES.name: features, LEVELS.name: levels, TRAINING_SAMPLE.name: samples}


def test_consecutive_dates_with_the_same_model_are_one_run() -> None:
    models = {day: "a" if day < DAY + timedelta(3) else "b" for day in days(0, 4)}
    runs = forecast_runs(models)
    assert [run.dates for run in runs] == [tuple(days(0, 2)), tuple(days(3, 4))]
    config = {"ops": {"forecasts__load_forecasts": {"config": {"model_version": "b"}}}}
    assert (runs[1].assets, runs[1].config) == (("forecasts/load_forecasts",), config)


def test_gap_between_dates_begins_a_new_run() -> None:
    runs = forecast_runs(dict.fromkeys([*days(0, 1), *days(4, 4)], "a"))
    assert [run.dates for run in runs] == [tuple(days(0, 1)), tuple(days(4, 4))]


def test_baseline_has_no_model_in_its_configuration() -> None:
    [run] = forecast_runs(dict.fromkeys(days(0, 2)))
    assert run.config == {}


def test_training_uses_no_date_from_the_first_issue_date_on() -> None:
    stored = dates_of(days(-60, 5), days(-60, 2), days(-50, 1))
    features, levels, samples, training = training_runs(days(0, 2), stored, training_days=35)
    assert samples.dates == tuple(days(-35, -1))
    assert features.dates == tuple(days(-35, 5))
    assert levels.dates == tuple(days(-38, 2))
    config = training.config["ops"]["models__load_model"]["config"]
    assert (training.assets, config) == (("models/load_model",), {"cutoff": str(days(-1, -1)[0]), "days": 35})


def test_drift_is_measured_on_issue_dates_with_counts() -> None:
    [run] = monitoring_runs(days(0, 2), days(-60, 1))
    assert (run.job, run.dates) == ("monitoring", tuple(days(0, 1)))
    assert run.config == {"ops": {"monitoring__forecast_performance": {"config": {"force": True}}}}
    assert monitoring_runs(days(0, 2), days(-60, -1)) == []


def test_missing_dates_have_no_run() -> None:
    runs = training_runs(days(0, 2), dates_of(days(-20, 5), [], days(-20, 1)), training_days=400)
    assert [run.job for run in runs] == ["plan", "sampling", "training"]
