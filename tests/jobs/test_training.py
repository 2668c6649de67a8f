"""A training without enough dates is refused before it starts."""

from datetime import date
from pathlib import Path

import pytest
from pytest import LogCaptureFixture, MonkeyPatch

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.features import TRAINING_SAMPLE
from ruter_dagster.contracts.jobs import Train
from ruter_dagster.contracts.validation import empty_frame
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.training import training_dates
from ruter_dagster.jobs.training import TrainingLog, train_version
from tests.jobs.demo_jobs import context_of

NEWEST = date(2026, 11, 19)


def test_training_on_few_dates_of_the_sample_is_refused(tmp_path: Path) -> None:
    context = context_of(Train(days=42, held_out=0), tmp_path)
    dates = training_dates(NEWEST, 3)
    context.store.write(TRAINING_SAMPLE, empty_frame(TRAINING_SAMPLE), dates, code_version="1")
    with pytest.raises(PermanentFailure, match=r"features/training_sample has 3 of .* a training needs 14"):
        train_version(training_dates(NEWEST, 42), ModelParameters(), "1", context)
    assert not list((tmp_path / "demo").glob("artifacts/models/**/*"))


def test_a_training_logs_each_booster_and_every_five_seconds(
    monkeypatch: MonkeyPatch, caplog: LogCaptureFixture
) -> None:
    seconds = iter([100, 101, 105, 106, 111, 112])
    monkeypatch.setattr("ruter_dagster.jobs.training.monotonic", lambda: next(seconds))
    training_log = TrainingLog()
    with caplog.at_level("INFO", "ruter_dagster.jobs"):
        for tree in range(1, 5):
            training_log("mean, poisson", tree, 64)
        training_log("mean, root", 1, 64)
    assert caplog.messages == [
        "Training (mean, poisson): 1 of 64 trees, 1 s",
        "Training (mean, poisson): 3 of 64 trees, 6 s",
        "Training (mean, poisson): 4 of 64 trees, 11 s",
        "Training (mean, root): 1 of 64 trees, 12 s",
    ]
