"""The real definitions with a launcher that runs no job and reports what `script.json` in the instance's folder states.

Keys of an asset in the script:
    fails: message of the failed step; with `fails_on`, only a job of that date fails.
    failed_checks: metadata by name of a failed check.
    passed_checks: metadata by name of a passed check.
    not_judged: names of checks that were not judged.
    content: a word that changes the content hashes.
    absent: dates that a range omits.
    numbers: metadata by date; totals: metadata of all dates.
    inputs, source_versions, model_version: metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetExecutionContext,
    DagsterInstance,
    DataVersion,
    Definitions,
    Failure,
    MaterializeResult,
    MetadataValue,
    TableRecord,
)

from ruter_dagster.config.settings import Settings, load_settings
from ruter_dagster.contracts.jobs import JobParameters
from ruter_dagster.definitions import build_assets, build_definitions
from ruter_dagster.resources.launcher import JobEvent, NoData, SequentialLauncher

SETTINGS = load_settings(_env_file=None, history_start="2026-01-01", step_retries=0)


def write_script(instance: DagsterInstance, **assets: dict[str, Any]) -> None:
    """`raw__stop_visits={…}`: what the asset raw/stop_visits reports from now on."""
    path = Path(instance.root_directory) / "script.json"
    path.write_text(json.dumps({name.replace("__", "/"): step for name, step in assets.items()}))


class ScriptedLauncher(SequentialLauncher):
    def __init__(self, days_per_job: int) -> None:
        self.days_per_job = days_per_job

    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        asset = context.asset_key.to_user_string()
        step = self._script(context.instance).get(asset, {})
        dates = [day.isoformat() for day in getattr(parameters, "dates", ())]
        if "fails" in step and ("fails_on" not in step or step["fails_on"] in dates):
            raise Failure(step["fails"], allow_retries=False)
        if dates and set(dates) <= set(step.get("absent", ())):
            raise NoData(f"None of {dates[0]} to {dates[-1]}", allow_retries=False)
        checks = [
            AssetCheckResult(
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=spec.name not in step.get("failed_checks", {}),
                severity=AssetCheckSeverity.ERROR if spec.blocking else AssetCheckSeverity.WARN,
                metadata={"judged": spec.name not in step.get("not_judged", ())}
                | _metadata_of_check(
                    (step.get("passed_checks", {}) | step.get("failed_checks", {})).get(spec.name, {})
                ),
            )
            for spec in context.assets_def.check_specs
        ]
        return [_materialised(asset, parameters, step), *checks]

    def _script(self, instance: DagsterInstance) -> dict[str, Any]:
        path = Path(instance.root_directory) / "script.json"
        return json.loads(path.read_text()) if path.exists() else {}


def _metadata_of_check(values: dict[str, Any]) -> dict[str, Any]:
    """Lists of rows become tables, as the jobs report them."""
    return {
        name: MetadataValue.table([TableRecord(row) for row in value]) if isinstance(value, list) else value
        for name, value in values.items()
    }


def _materialised(asset: str, parameters: JobParameters, step: dict[str, Any]) -> MaterializeResult:
    dates = getattr(parameters, "dates", ())
    word = f"{asset} {step.get('content', '')}"
    versions = {day.isoformat(): hashlib.sha256(f"{word} {day}".encode()).hexdigest()[:16] for day in dates}
    versions = {day: version for day, version in versions.items() if day not in step.get("absent", ())}
    metadata: dict[str, Any] = {
        "dates": MetadataValue.json(
            {
                day: {"rows": 1, "version": version, "numbers": step.get("numbers", {}).get(day, {})}
                for day, version in versions.items()
            }
        ),
        "rows": len(versions),
        **step.get("totals", {}),
        "parameters": MetadataValue.json(parameters.model_dump(mode="json")),
    }
    if "inputs" in step:
        metadata["inputs"] = MetadataValue.json(step["inputs"])
    if "source_versions" in step:
        own = {day.isoformat(): step["source_versions"] for day in dates}
        metadata["source_versions"] = MetadataValue.json(own)
    if "model_version" in step:
        metadata["model_version"] = step["model_version"]
    return MaterializeResult(
        asset_key=asset.split("/"),
        metadata=metadata,
        data_version=DataVersion(hashlib.sha256(word.encode()).hexdigest()[:16]),
    )


def scripted_definitions(settings: Settings, days_per_job: int = 400) -> Definitions:
    """The definitions for these settings, with the scripted launcher."""
    definitions = build_definitions(settings)
    return Definitions(
        assets=definitions.assets,
        jobs=definitions.jobs,
        schedules=definitions.schedules,
        sensors=definitions.sensors,
        resources={"launcher": ScriptedLauncher(days_per_job)},
        executor=definitions.executor,
    )


defs = scripted_definitions(SETTINGS)
JOBS = {job.name: job for job in defs.jobs or []}
ASSETS = [asset.definition for asset in build_assets(SETTINGS)]
