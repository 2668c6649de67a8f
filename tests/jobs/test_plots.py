"""The plots of a training and an evaluation: files of MLflow's runs, with units on their axes."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure

from ruter_dagster.contracts.jobs import LOAD_MODEL, Evaluate, Refit
from ruter_dagster.jobs import evaluate, plots, training
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.storage.experiments import NoExperiments
from tests.jobs.demo_jobs import context_of
from tests.storage.test_registry import RECORD

PNG = b"\x89PNG\r\n"
FIRST = date(2026, 11, 3)


def forecasts(rows: int = 400) -> pl.DataFrame:
    """Evaluated forecasts of two modes, four horizons and two weeks; every fifth vehicle is empty."""
    n = pl.int_range(rows, eager=True)
    load = pl.Series([float(number % 5) * 10 for number in range(rows)])
    mean = load * 0.9 + 2
    return pl.DataFrame(
        {
            "service_date": [FIRST + timedelta(number % 14) for number in range(rows)],
            "mode": ["bus", "tram"] * (rows // 2),
            "horizon_days": n % 4,
            "slot_hour": n % 18 + 6,
            "load": load,
            "mean": mean,
            "p10": mean * 0.6,
            "p50": mean,
            "p90": mean * 1.4,
            "last_week": load + 5,
            "ha4": load + 3,
            "ha8": load + 4,
            "seats": [35] * rows,
            "prob_above_seats": load / 50,
        }
    )


class Mlflow:
    """Keeps the files of the runs that a job records."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def record_training(self, record: Any, source: str, files: dict[str, bytes]) -> str:
        self.files |= files
        return "a-run"

    def record_evaluation(self, record: Any, metrics: Any, passed: bool, files: dict[str, bytes]) -> str:
        self.files |= files
        return "a-run"


@pytest.fixture
def mlflow() -> Mlflow:
    return Mlflow()


def context_with(parameters: Any, folder: Path, mlflow: Mlflow) -> JobContext:
    context = context_of(parameters, folder)
    context.models.save(RECORD, {})
    context.__dict__["experiments"] = mlflow
    return context


def test_a_training_keeps_its_importance_plot_in_mlflow(
    tmp_path: Path, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        def importance(self) -> dict[str, float]:
            return {"expected": 0.7, "weekday": 0.3}

    monkeypatch.setattr(training, "load_model", lambda *_: Model())
    monkeypatch.setattr(training, "TRAINING_SAMPLE", type("Table", (), {"name": next(iter(RECORD.inputs))}))
    record = training.replace(
        RECORD, inputs={name: {"dates": {}} for name in RECORD.inputs}, metrics={"rows": 2}
    )
    context = context_with(Refit(model_version=RECORD.version, days=400), tmp_path, mlflow)

    training.report_model(LOAD_MODEL, record, context)

    assert mlflow.files["plots/importance.png"].startswith(PNG)


def test_a_job_of_a_deployment_without_mlflow_records_no_experiment(tmp_path: Path) -> None:
    context = context_of(Evaluate(model_version=RECORD.version, days=14), tmp_path)
    context.settings = context.settings.model_copy(update={"mlflow_tracking_uri": "none"})
    assert isinstance(context.experiments, NoExperiments)


def test_an_evaluation_keeps_its_plots_in_mlflow(
    tmp_path: Path, mlflow: Mlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_forecasts", lambda *_: forecasts())
    monkeypatch.setattr(evaluate, "_report_evaluation", lambda *_: None)
    context = context_with(Evaluate(model_version=RECORD.version, days=14), tmp_path, mlflow)

    evaluate.run(context.parameters, context)  # pyright: ignore[reportArgumentType]

    assert sorted(mlflow.files) == [
        "plots/accuracy_by_horizon.png", "plots/calibration.png", "plots/forecast_against_truth.png"
    ]  # fmt: skip
    assert all(file.startswith(PNG) for file in mlflow.files.values())


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn during a test."""
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_plot", lambda figure, title: drawn.append(figure))
    return drawn


def labels(figure: Figure) -> list[tuple[str, str, str]]:
    return [(axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


def test_the_error_starts_at_zero_and_has_a_unit(figures: list[Figure]) -> None:
    plots.accuracy_by_horizon(forecasts())
    assert labels(figures[0]) == [
        (
            "Error by horizon, on dates that the model was not trained on",
            "horizon, days after the issue date",
            "WAPE, % of the load",
        )
    ]
    assert figures[0].axes[0].get_ylim()[0] == 0
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [
        "model", "last week (LW)", "mean of 4 weeks (HA4)", "mean of 8 weeks (HA8)"
    ]  # fmt: skip


def test_calibration_shows_quantiles_and_probabilities(figures: list[Figure]) -> None:
    plots.calibration(forecasts())
    quantiles, probabilities = labels(figures[0])
    assert quantiles == (
        "Quantiles (dashed: ideal)",
        "bars: from below to at most the quantile",
        "loads below P10, P50, P90, %",
    )
    assert probabilities == (
        "Probability above the seats", "forecast probability, % (departures)", "departures above the seats, %"
    )  # fmt: skip


def test_calibration_without_seats_shows_quantiles_alone(figures: list[Figure]) -> None:
    plots.calibration(forecasts().with_columns(prob_above_seats=pl.lit(None, pl.Float64)))
    assert [title for title, _, _ in labels(figures[0])] == ["Quantiles (dashed: ideal)"]
