"""SageMaker pipelines as templates for Terraform, which fills in what differs between environments.

A template is the definition of `pipeline_definition.py` with `${name}` for buckets, keys, roles, networks, variables and tags.
So one rendering serves all environments. Choosing steps and their order belongs in `pipeline_definition.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ruter_dagster.commands.pipeline_definition import pipeline_definition
from ruter_dagster.config.settings import Settings
from ruter_dagster.contracts.jobs import JOBS

SOURCES: Mapping[str, Mapping[str, str]] = {
    "demo": {"source": "demo"},
    "tides": {"source": "tides", "operator": "ruter", "tides_path": "s3://raw/any"},
    "tides-timetable": {
        "source": "tides",
        "operator": "ruter",
        "tides_path": "s3://raw/any",
        "gtfs_path": "s3://timetable/any",
    },
}
"""Settings of the source by the name of its templates: the dates of a step depend on whether there is a timetable.

A warehouse and operators of one's own have no templates: the version of an asset's code depends on their files.
"""

PLACEHOLDERS = (
    "image", "artifacts", "kms_key", "environment_name", "branch", "source", "environment", "environment_with_kafka", "subnets", "security_groups",
)  # fmt: skip
"""Names that a template may use, beside `role_<job>`. The last four stand for JSON values, the others for text."""
_JSON_VALUES = PLACEHOLDERS[-4:]

_ANY_LAKE = "s3://lake/any"
_ANY_VARIABLES: Mapping[str, Any] = {
    "environment": "dev",
    "branch": "any",
    "lake": _ANY_LAKE,
    "AWS_REGION": "eu-north-1",
    "mlflow_tracking_uri": "https://mlflow.invalid",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.invalid:9096",
    "sagemaker_subnets": ("subnet-any",),
    "sagemaker_security_groups": ("sg-any",),
    "sagemaker_kms_key": "any",
}
"""Valid settings, so that the definition has all parts that an environment needs. Placeholders replace the values."""


def pipeline_template(name: str, source: str) -> str:
    """The template of one of `PIPELINES` for one of `SOURCES`: JSON, except that placeholders of JSON values have no quotes.

    Raises SettingsError if variables of this process are no valid settings.
    """
    settings = Settings(_env_file=None, **_ANY_VARIABLES | SOURCES[source])  # type: ignore[call-arg]
    definition = pipeline_definition(name, settings, role="", image=_token("image"))
    # Each step has the role of its job, so the parameter would have no effect.
    parameters = [parameter for parameter in definition["Parameters"] if parameter["Name"] != "Role"]
    steps = [_with_placeholders(step, settings) for step in definition["Steps"]]
    return _to_template(definition | {"Parameters": parameters, "Steps": steps})


def _with_placeholders(step: dict[str, Any], settings: Settings) -> dict[str, Any]:
    tags = {tag["Key"]: tag["Value"] for tag in step["Arguments"]["Tags"]}
    values = {
        "RoleArn": _token(f"role_{tags['job']}"),
        "Environment": _token("environment_with_kafka" if JOBS[tags["job"]].uses_kafka else "environment"),
        "Subnets": _token("subnets"),
        "SecurityGroupIds": _token("security_groups"),
        "VolumeKmsKeyId": _token("kms_key"),
        "KmsKeyId": _token("kms_key"),
    }
    of_environment = {tag: _token(tag) for tag in ("branch", "source")} | {
        "environment": _token("environment_name")
    }
    arguments = _replace(step["Arguments"], values, settings.artifacts_location)
    arguments["Tags"] = [{"Key": key, "Value": of_environment.get(key, value)} for key, value in tags.items()]
    return step | {"Arguments": arguments}


def _replace(value: Any, values: Mapping[str, str], artifacts: str) -> Any:
    """The request with `values` for fields of these names, and with a placeholder for the prefix of files."""
    if isinstance(value, dict):
        return {
            name: values[name] if name in values else _replace(inner, values, artifacts)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_replace(inner, values, artifacts) for inner in value]
    return value.replace(artifacts, _token("artifacts")) if isinstance(value, str) else value


def _token(name: str) -> str:
    """Stands for a placeholder until other text is escaped. The brackets appear nowhere else."""
    return f"⟦{name}⟧"


def _to_template(definition: Mapping[str, Any]) -> str:
    text = json.dumps(definition, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    # Terraform's templates would evaluate these signs.
    text = text.replace("${", "$${").replace("%{", "%%{")
    for name in _JSON_VALUES:
        text = text.replace(f'"{_token(name)}"', f"${{{name}}}")
    for name in (*PLACEHOLDERS, *(f"role_{job}" for job in JOBS)):
        text = text.replace(_token(name), f"${{{name}}}")
    return text
