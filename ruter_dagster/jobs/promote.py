"""Makes a model version champion, if it passed the release gate."""

from __future__ import annotations

import json

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import CHAMPION, EVALUATION, MODEL_NAME, Promote
from ruter_dagster.jobs.context import JobContext
from ruter_dagster.jobs.models import EVALUATION_FILE


def run(parameters: Promote, context: JobContext) -> None:
    record = context.models.load(MODEL_NAME, parameters.model_version)
    verdict = json.loads(context.models.files(record).get(EVALUATION_FILE, b"{}"))
    if not verdict.get("passed"):
        failed = ", ".join(verdict.get("failed", ())) or "it was never evaluated"
        raise PermanentFailure(
            f"Model {record.version} did not pass the release gate ({failed}) and does not become champion; the former "
            f"champion stands. Look at {EVALUATION}, then train again with other parameters or more dates."
        )
    metrics = {name: float(value) for name, value in verdict["scores"].items() if value is not None}
    context.models.promote(MODEL_NAME, record.version, parameters.promoted_at, metrics)
    context.experiments.record_champion(record, context.models.uri(MODEL_NAME, record.version))
    context.report.materialised(
        CHAMPION,
        version=record.version,
        model_version=record.version,
        training_cutoff=record.training_cutoff.isoformat(),
        wape=metrics["wape"],
        **context.provenance(),
    )
