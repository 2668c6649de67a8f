"""Makes a model version the champion, if its evaluated version passed the release gate."""

from __future__ import annotations

from ruter_dagster.contracts.jobs import CHAMPION, MODEL_NAME, Promote
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.model_inputs import require_passed


def run(parameters: Promote, context: JobContext) -> None:
    record = context.models.load(MODEL_NAME, parameters.model_version)
    evaluated = context.models.load(MODEL_NAME, record.evaluated_version or record.version)
    scores = require_passed(evaluated, context)
    metrics = {name: float(value) for name, value in scores.items() if value is not None}
    # The evaluated version too: only it can forecast issue dates before the cut-off of the refitted version.
    for version in dict.fromkeys((evaluated.version, record.version)):
        context.models.promote(MODEL_NAME, version, parameters.promoted_at, metrics)
    context.experiments.record_champion(record, context.models.uri(MODEL_NAME, record.version))
    context.report.materialised(
        CHAMPION,
        version=record.version,
        model_version=record.version,
        evaluated_version=evaluated.version,
        training_cutoff=record.training_cutoff.isoformat(),
        wape=metrics["wape"],
        **context.provenance(),
    )
