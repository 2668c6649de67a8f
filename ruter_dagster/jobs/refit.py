"""Trains an evaluated model version again, with its own parameters, up to the newest operating date."""

from __future__ import annotations

from ruter_dagster.contracts.jobs import MODEL_NAME, REFITTED_MODEL, Refit
from ruter_dagster.forecasting.boosting import ModelParameters
from ruter_dagster.forecasting.training import training_dates
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import EVALUATION_FILE, require_passed
from ruter_dagster.jobs.training import newest_sample, report_model, train_version


def run(parameters: Refit, context: JobContext) -> None:
    newest = context.models.load(MODEL_NAME, parameters.model_version)
    # The newest version is a refitted one itself if the job is repeated after it was saved.
    was_evaluated = EVALUATION_FILE in context.models.files(newest)
    version = newest.version if was_evaluated else newest.evaluated_version or newest.version
    evaluated = context.models.load(MODEL_NAME, version)
    require_passed(evaluated, context)
    record = train_version(
        training_dates(newest_sample(context), parameters.days),
        ModelParameters(**evaluated.parameters),
        evaluated.code_version,
        context,
        evaluated_version=evaluated.version,
    )
    report_model(REFITTED_MODEL, record, context)
