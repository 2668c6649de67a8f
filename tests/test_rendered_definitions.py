"""`make definitions` writes what the code says, whatever the variables of its process are, and Terraform can read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ruter_dagster.commands.pipeline_definition import PIPELINES, pipeline_definition
from ruter_dagster.commands.pipeline_template import PLACEHOLDERS, SOURCES, pipeline_template
from ruter_dagster.config.settings import Settings, _variable
from ruter_dagster.contracts.jobs import JOBS
from ruter_dagster.resources.sagemaker.requests import _OF_KAFKA
from scripts.render_definitions import code_hash, features

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "render_definitions.py"
VALUES = {
    "image": "123456789012.dkr.ecr.eu-north-1.amazonaws.com/rd-jobs@sha256:" + "a" * 64,
    "artifacts": "s3://rd-prod-lake/lake/prod/demo/artifacts",
    "kms_key": "arn:aws:kms:eu-north-1:123456789012:key/1",
    "environment_name": "prod",
    "branch": "main",
    "source": "demo",
    "environment": '{"RUTER_ENVIRONMENT": "prod", "RUTER_LAKE": "s3://rd-prod-lake/lake"}',
    "environment_with_kafka": '{"RUTER_ENVIRONMENT": "prod", "RUTER_SECRETS": "rd-prod/passwords"}',
    "subnets": '["subnet-1", "subnet-2"]',
    "security_groups": '["sg-1"]',
} | {f"role_{job}": f"arn:aws:iam::123456789012:role/{job}" for job in JOBS}


def filled(template: str) -> dict[str, Any]:
    """The definition that Terraform's `templatefile` gives for VALUES."""
    text = re.sub(r"(?<!\$)\$\{(\w+)\}", lambda match: VALUES[match.group(1)], template)
    return json.loads(text.replace("$${", "${").replace("%%{", "%{"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, written by a process with variables that must have no effect."""
    folder = tmp_path_factory.mktemp("rendered")
    (folder / "left-over.json").write_text("{}")
    variables = {
        "RUTER_TRAINING_DAYS": "60",
        "RUTER_ENVIRONMENT": "prod",
        "KAFKA_BOOTSTRAP_SERVERS": "other:1",
    }
    subprocess.run([sys.executable, SCRIPT, folder], env=os.environ | variables, check=True)
    return folder


def test_folder_has_exactly_the_files_of_the_code(folder: Path) -> None:
    pipelines = {f"pipelines/{source}/{name}.json.tftpl" for source in SOURCES for name in PIPELINES}
    others = {f"{name}.json" for name in ("manifest", "views", "features", "dashboard")}
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.relative_to(folder).as_posix() for file in files} == pipelines | others


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", PIPELINES)
def test_variables_of_the_process_have_no_effect(folder: Path, name: str, source: str) -> None:
    written = (folder / "pipelines" / source / f"{name}.json.tftpl").read_text()
    assert written == pipeline_template(name, source)


@pytest.mark.parametrize("name", PIPELINES)
def test_filled_template_is_the_definition_with_the_settings_of_prod(name: str) -> None:
    settings = Settings(
        environment="prod", lake="s3://rd-prod-lake/lake", AWS_REGION="eu-north-1", branch="main", source="demo",
        mlflow_tracking_uri="https://mlflow.example.org", KAFKA_BOOTSTRAP_SERVERS="broker:9096", sagemaker_kms_key=VALUES["kms_key"],
        sagemaker_subnets=("subnet-1", "subnet-2"), sagemaker_security_groups=("sg-1",), _env_file=None,
        sagemaker_roles={job: VALUES[f"role_{job}"] for job in JOBS},
    )  # type: ignore[call-arg]  # fmt: skip
    expected = pipeline_definition(name, settings, role="unused", image=VALUES["image"])
    for step in expected["Steps"]:
        assert step["Arguments"]["Environment"]["RUTER_LAKE"] == "s3://rd-prod-lake/lake"
        kafka = step["Name"] == "forecasts-published-forecasts"
        assert ("KAFKA_BOOTSTRAP_SERVERS" in step["Arguments"]["Environment"]) == kafka
        step["Arguments"]["Environment"] = json.loads(
            VALUES["environment_with_kafka" if kafka else "environment"]
        )
    expected["Parameters"] = [item for item in expected["Parameters"] if item["Name"] != "Role"]
    assert filled(pipeline_template(name, "demo")) == expected


def test_terraform_gives_settings_of_kafka_to_the_same_jobs() -> None:
    settings = Settings(
        environment="prod", lake="s3://rd-prod-lake/lake", AWS_REGION="eu-north-1", source="demo", mlflow_tracking_uri="none",
        KAFKA_BOOTSTRAP_SERVERS="broker:9096", schema_registry_url="https://registry:8081", schema_registry_username="ruter",
        schema_registry_password="do-not-show", kafka_sasl_password="do-not-show", slack_token="do-not-show",
        secrets="rd-prod/passwords", _env_file=None,
    )  # type: ignore[call-arg]  # fmt: skip
    steps = pipeline_definition("daily", settings, role="unused", image=VALUES["image"])["Steps"]
    variables = {step["Name"]: set(step["Arguments"]["Environment"]) for step in steps}
    publishing = variables.pop("forecasts-published-forecasts")
    rule = re.search(r'can\(regex\("(.+?)", name\)\)', (ROOT / "terraform/stack/rendered.tf").read_text())
    assert rule and {"RUTER_SCHEMA_REGISTRY_URL", "RUTER_SCHEMA_REGISTRY_USERNAME"} <= publishing
    for others in variables.values():
        assert others == {name for name in publishing if not re.match(rule[1], name)}


def test_templates_name_only_known_placeholders(folder: Path) -> None:
    texts = "".join(file.read_text() for file in folder.rglob("*.tftpl"))
    used = set(re.findall(r"(?<!\$)\$\{(\w+)\}", texts))
    assert used == {*PLACEHOLDERS, *(name for name in used if name.startswith("role_"))}
    assert {name.removeprefix("role_") for name in used - set(PLACEHOLDERS)} <= set(JOBS)
    assert "⟦" not in texts and "any" not in re.findall(r'"([^"$ ]*)"', texts)


def test_signs_of_templates_in_text_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    from ruter_dagster.commands import pipeline_template as module

    step = {
        "Arguments": {"Tags": [{"Key": "job", "Value": "drift"}]},
        "Description": "costs ${HOME} and %{x}",
    }
    monkeypatch.setattr(module, "pipeline_definition", lambda *_, **__: {"Parameters": [], "Steps": [step]})
    text = pipeline_template("daily", "demo")
    assert "costs $${HOME} and %%{x}" in text
    assert filled(text)["Steps"][0]["Description"] == step["Description"]


def test_dates_follow_the_source(folder: Path) -> None:
    daily = {source: filled(pipeline_template("daily", source))["Steps"] for source in SOURCES}
    counted = {
        source: json.loads(step["Arguments"]["AppSpecification"]["ContainerArguments"][2])["dates"]
        for source, steps in daily.items()
        for step in steps
        if step["Name"] == "raw-stop-visits"
    }
    assert counted == {"demo": ["D-1"], "tides": ["D+3"], "tides-timetable": ["D-1"]}


def test_features_fit_a_feature_group() -> None:
    types = features()
    assert set(types.values()) == {"Integral", "Fractional", "String"}
    assert all(re.fullmatch(r"[a-zA-Z0-9]([-_]*[a-zA-Z0-9]){0,63}", name) for name in types)
    assert types.keys().isdisjoint(
        {"is_deleted", "write_time", "api_invocation_time", "departure_id", "event_time"}
    )


def test_manifest_has_the_hash_of_the_code(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["code"] == code_hash()
    assert set(manifest["jobs"]) == set(JOBS)
    assert (
        "RUTER_SAGEMAKER_ROLES" in manifest["not_for_jobs"] and "RUTER_LAKE" not in manifest["not_for_jobs"]
    )


def test_stack_and_requests_keep_the_same_variables_from_other_jobs() -> None:
    """The pipelines' rule in Terraform, and the rule of jobs that Dagster starts."""
    stack = (ROOT / "terraform" / "stack" / "rendered.tf").read_text()
    (pattern,) = re.findall(r'!can\(regex\("([^"]+)"', stack)
    variables = [_variable(name) for name in Settings.model_fields]
    by_stack = {variable for variable in variables if re.search(pattern, variable)}
    assert by_stack == {variable for variable in variables if variable.startswith(_OF_KAFKA)}
    assert by_stack >= {
        "KAFKA_BOOTSTRAP_SERVERS",
        "RUTER_KAFKA_SASL_PASSWORD",
        "RUTER_SCHEMA_REGISTRY_PASSWORD",
    }
