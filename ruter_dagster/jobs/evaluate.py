"""Compares a model version with the baselines on operating dates after its training, and applies the release gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from ruter_dagster.contracts.dates import day_range
from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import EVALUATION, MODEL_NAME, Evaluate
from ruter_dagster.contracts.model_checks import COVERAGE, MAX_BIAS
from ruter_dagster.contracts.strict_json import strict_json
from ruter_dagster.forecasting.baselines import BASELINES, baseline_columns, baseline_quantiles
from ruter_dagster.forecasting.evaluation import (
    Gate,
    comparable,
    distribution_scores,
    improvement,
    release_gate,
    reliability,
    scores,
)
from ruter_dagster.forecasting.forecast import forecast_rows
from ruter_dagster.forecasting.model_rows import HORIZONS
from ruter_dagster.forecasting.training_sample import SAMPLE_ROWS
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import EVALUATION_FILE, load_model, read_inputs
from ruter_dagster.jobs.pipes import table
from ruter_dagster.jobs.plots import Plot, accuracy_by_horizon, calibration, forecast_against_truth
from ruter_dagster.storage.registry import ModelRecord


def run(parameters: Evaluate, context: JobContext) -> None:
    record = context.models.load(MODEL_NAME, parameters.model_version)
    first = record.training_cutoff + timedelta(1)
    forecasts = _forecasts(day_range(first, first + timedelta(parameters.days - 1)), record, context)
    if forecasts is None or comparable(forecasts).is_empty():
        raise PermanentFailure(
            f"Model {record.version} cannot be evaluated: no departure from {first} on has loads, features and a load "
            "of the week before. Materialise loads and departure features of these dates."
        )
    overall, gates = scores(comparable(forecasts)).row(0, named=True), release_gate(forecasts)
    context.models.attach(record, EVALUATION_FILE, _verdict(overall, gates))
    metrics = {name: float(value) for name, value in overall.items() if value is not None}
    plots = _plots(forecasts)
    files = {f"plots/{name}.png": plot.png for name, plot in plots.items()}
    context.experiments.record_evaluation(record, metrics, all(gate.passed for gate in gates), files)
    _report_checks(overall, gates, context)
    _report_evaluation(record.version, forecasts, overall, gates, plots, context)


def _plots(forecasts: pl.DataFrame) -> dict[str, Plot]:
    """Plots of an evaluation by name, for MLflow and Dagster."""
    return {
        "forecast_against_truth": forecast_against_truth(forecasts),
        "accuracy_by_horizon": accuracy_by_horizon(comparable(forecasts)),
        "calibration": calibration(forecasts),
    }


def _forecasts(dates: Sequence[date], record: ModelRecord, context: JobContext) -> pl.DataFrame | None:
    """The forecasts of the model and of the baselines for each departure with a load and each horizon; None without dates.

    A network with more departures than a training sample is sampled evenly.
    """
    model = load_model(context, record.version)
    most = SAMPLE_ROWS * len(dates)
    frames = []
    for inputs in read_inputs(context, dates, most, model.parameters.seed):
        for horizon in HORIZONS:
            rows = inputs.rows((horizon,))
            frames.append(
                pl.concat(
                    [
                        rows.with_columns(*baseline_columns(), *baseline_quantiles()),
                        forecast_rows(rows, model),
                    ],
                    how="horizontal",
                )
            )
    return pl.concat(frames) if frames else None


def _verdict(overall: dict[str, float], gates: Sequence[Gate]) -> bytes:
    failed = [f"{gate.mode} at horizon {gate.horizon_days}" for gate in gates if not gate.passed]
    return strict_json({"passed": not failed, "failed": failed, "scores": overall}).encode()


def _report_checks(overall: dict[str, float], gates: Sequence[Gate], context: JobContext) -> None:
    context.report.checked(
        EVALUATION,
        "not_worse_than_baselines",
        all(gate.passed for gate in gates),
        gates=table([_gate_row(gate) for gate in gates]),
    )
    bias, coverage = overall["bias"], overall["coverage"]
    context.report.checked(
        EVALUATION,
        "bias_within_five_percent",
        abs(bias) <= MAX_BIAS,
        "WARN",
        measured=bias,
        minimum=-MAX_BIAS,
        maximum=MAX_BIAS,
    )
    context.report.checked(
        EVALUATION,
        "coverage_near_80_percent",
        COVERAGE[0] <= coverage <= COVERAGE[1],
        "WARN",
        measured=coverage,
        minimum=COVERAGE[0],
        maximum=COVERAGE[1],
    )


def _gate_row(gate: Gate) -> dict[str, Any]:
    """One row of the table of gates in the UI."""
    return {
        "mode": gate.mode,
        "horizon_days": gate.horizon_days,
        "wape": gate.wape,
        "best_baseline": gate.best.baseline,
        "improvement": gate.best.relative,
        "low": _finite(gate.best.low),
        "high": _finite(gate.best.high),
        "passed": gate.passed,
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _report_evaluation(
    version: str,
    forecasts: pl.DataFrame,
    overall: dict[str, float],
    gates: Sequence[Gate],
    plots: Mapping[str, Plot],
    context: JobContext,
) -> None:
    improvements = [improvement(forecasts, baseline) for baseline in BASELINES]
    accuracy = [
        {
            "baseline": one.baseline,
            "wape_baseline": overall[f"wape_{one.baseline}"],
            "wape_model": overall["wape"],
            "improvement": one.relative,
            "low_95": _finite(one.low),
            "high_95": _finite(one.high),
        }
        for one in improvements
    ]
    context.report.materialised(
        EVALUATION,
        version=f"{version}-{'passed' if all(gate.passed for gate in gates) else 'failed'}",
        model_version=version,
        rows=forecasts.height,
        wape=overall["wape"],
        bias=overall["bias"],
        coverage=overall["coverage"],
        accuracy=table(accuracy),
        distributions=table(distribution_scores(forecasts).to_dicts()),
        reliability=table(reliability(forecasts).to_dicts()),
        by_mode=table(scores(comparable(forecasts), ("mode",)).to_dicts()),
        by_horizon=table(scores(comparable(forecasts), ("horizon_days",)).to_dicts()),
        **{name: plot.markdown() for name, plot in plots.items()},
        **context.provenance(),
    )
