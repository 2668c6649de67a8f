"""Jobs that are declared in YAML: what they become, what is refused, and that they run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import (
    AssetCheckSpec,
    AssetKey,
    AssetSpec,
    DagsterInstance,
    Definitions,
    component_defs,
    materialize,
)
from dagster.components.testing.utils import DefsFolderSandbox, create_defs_folder_sandbox

from dagster_sagemaker import LimitsExceeded, ProcessingJob, TrainingJob
from dagster_sagemaker.components import ProcessingJobComponent, TrainingJobComponent
from dagster_sagemaker.components.job_fields import ProcessingJobFields, TrainingJobFields
from dagster_sagemaker_tests.conftest import DG, needs_dg
from dagster_sagemaker_tests.fake_aws import IMAGE, ROLE, completes, fails, materialised

ROOT = Path(__file__).parents[1]

PROCESSING = f"""
type: dagster_sagemaker.components.ProcessingJobComponent
attributes:
  assets:
    - key: transit/loads
      deps: [counts]
      group_name: transit
      description: Passengers by departure.
      partitions_def: {{type: daily, start_date: "2026-11-01"}}
  client: sagemaker
  pool: sagemaker_jobs
  retry_policy: {{max_retries: 2, delay: 60, backoff: EXPONENTIAL}}
  job:
    image: {IMAGE}
    role: "arn:aws:iam::{{{{ env.ACCOUNT }}}}:role/jobs"
    instance_types: [ml.m5.large, ml.m6i.large]
    entrypoint: [python, -m, jobs]
    arguments: [--date, "{{{{ partition_key }}}}", --limit, 3]
    environment: {{VERSION: "1.10", DEBUG: true}}
    max_runtime_seconds: "{{{{ env.RUNTIME }}}}"
    retryable_exit_codes: "{{{{ range(1, 64) }}}}"
    extras: {{limits: [1, 2]}}
    inputs:
      - {{name: counts, local_path: /opt/ml/processing/input, s3_uri: "s3://bucket/counts/"}}
      - name: parameters
        local_path: /opt/ml/processing/parameters
        filename: parameters.json
        content: '{{"date": "{{{{ partition_key }}}}"}}'
    outputs:
      - name: loads
        local_path: /opt/ml/processing/output
        s3_uri: s3://bucket/loads/{{{{ partition_key[:4] }}}}/{{{{ partition_key }}}}/
"""

TRAINING = f"""
type: dagster_sagemaker.components.TrainingJobComponent
attributes:
  assets: [{{key: model, deps: [transit/loads]}}]
  artifacts: s3://bucket/artifacts
  prices: {{ml.m5.large: 0.1}}
  job:
    image: {IMAGE}
    role: {ROLE}
    instance_types: [ml.m5.large]
    channels: [{{name: train, s3_uri: "s3://bucket/loads/"}}]
    hyperparameters: {{epochs: 3, rate: 0.1, name: trees}}
    spot: true
    checkpoint_s3: s3://bucket/checkpoints/
"""


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT", "123456789012")
    monkeypatch.setenv("RUNTIME", "1800")


@pytest.fixture
def sandbox() -> Iterator[DefsFolderSandbox]:
    with create_defs_folder_sandbox() as made:
        yield made


def loaded(sandbox: DefsFolderSandbox, text: str) -> tuple[Any, Definitions]:
    """The component of a `defs.yaml`, and its definitions."""
    folder = sandbox.defs_folder_path / "job"
    folder.mkdir()
    (folder / "defs.yaml").write_text(text)
    with sandbox.load_component_and_build_defs(folder) as (component, defs):
        return component, defs


def changed(text: str, **attributes: Any) -> str:
    """YAML with other attributes; `job` is merged."""
    document = yaml.safe_load(text)
    job = {**document["attributes"]["job"], **attributes.pop("job", {})}
    document["attributes"] |= {**attributes, "job": job}
    return yaml.safe_dump(document)


def error(sandbox: DefsFolderSandbox, text: str) -> str:
    """What loading it fails with, causes included."""
    with pytest.raises(Exception) as raised:
        loaded(sandbox, text)
    texts, cause = [], raised.value
    while cause:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return "\n".join(texts)


def test_yaml_becomes_a_processing_job(sandbox):
    component, _ = loaded(sandbox, PROCESSING)
    job = component.make_job(partition_key="2026-11-10")
    assert isinstance(job, ProcessingJob)
    assert (job.role, job.max_runtime_seconds) == (ROLE, 1800)
    assert job.instance_types == ("ml.m5.large", "ml.m6i.large")
    assert job.arguments == ("--date", "2026-11-10", "--limit", "3")
    assert job.environment == {"VERSION": "1.10", "DEBUG": "true"}
    assert job.inputs[1].content == '{"date": "2026-11-10"}'
    assert job.outputs[0].s3_uri == "s3://bucket/loads/2026/2026-11-10/"
    assert 63 in job.retryable_exit_codes and job.extras == {"limits": [1, 2]}


def test_yaml_becomes_a_training_job(sandbox):
    component, _ = loaded(sandbox, TRAINING)
    job = component.make_job()
    assert isinstance(job, TrainingJob)
    assert job.hyperparameters == {"epochs": "3", "rate": "0.1", "name": "trees"}
    assert job.spot and job.channels[0].s3_uri == "s3://bucket/loads/"


@pytest.mark.parametrize("key", ["1.10", "007", "true", "1e5", "[1]"])
def test_partition_key_stays_a_text(sandbox, key):
    component, _ = loaded(sandbox, PROCESSING)
    assert component.make_job(partition_key=key).arguments[1] == key


def test_yaml_sets_asset_and_step(sandbox):
    component, _ = loaded(sandbox, PROCESSING)
    defs = component_defs(component=component, resources={"sagemaker": None})
    loads = defs.resolve_assets_def(AssetKey(["transit", "loads"]))
    op, (spec,) = loads.op, loads.specs
    assert spec.group_name == "transit" and spec.description == "Passengers by departure."
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["counts"]
    assert spec.partitions_def and spec.partitions_def.get_first_partition_key() == "2026-11-01"
    assert (op.name, op.pool) == ("transit__loads", "sagemaker_jobs")
    assert op.retry_policy and (op.retry_policy.max_retries, op.retry_policy.delay) == (2, 60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed(PROCESSING, job={"instance_type": "ml.m5.large"}), "instance_type"),
        (changed(PROCESSING, job={"volume_gb": "large"}), "volume_gb"),
        (changed(PROCESSING, job={"instance_types": []}), "instance_types"),
        (changed(PROCESSING, job={"inputs": [{"name": "x", "local_path": "/x"}]}), "needs either `s3_uri`"),
        (changed(PROCESSING, artifacts="s3://bucket/artifacts"), "give either `artifacts`"),
        (changed(PROCESSING, client=None), "give either `artifacts`"),
        (changed(PROCESSING, prices={"ml.m5.large": 1.0}), "`client` has its own settings: remove prices"),
        (changed(PROCESSING, assets=[]), "assets"),
        (changed(PROCESSING, job={"arguments": ["{{ partion_key }}"]}), "job.arguments[0]"),
        (changed(PROCESSING, job={"arguments": ["{{ partion_key }}"]}), "'partion_key' is undefined"),
        (changed(PROCESSING, job={"volume_gb": "{{ env.NO_SIZE | int }}"}), "variable NO_SIZE is not set"),
        (changed(PROCESSING, job={"image": "{{ env.NO_REGISTRY }}/jobs"}), "variable NO_REGISTRY is not set"),
        (changed(PROCESSING, job={"volume_gb": "{{ 'large' }}"}), "job.volume_gb"),
        (changed(PROCESSING, job={"role": "jobs"}), "role (RoleArn) is 'jobs'"),
        (changed(TRAINING, job={"arguments": ["{{ partition_key }}"]}), "'partition_key' is undefined"),
    ],
)
def test_wrong_yaml_is_refused_with_its_field(sandbox, text, expected):
    assert expected in error(sandbox, text)


def test_exceeded_limits_are_found_when_definitions_load(sandbox):
    text = changed(TRAINING, job={"environment": {"LONG": "x" * 600}, "role": "jobs"})
    with pytest.raises(Exception) as raised:
        loaded(sandbox, text)
    cause = raised.value
    while cause and not isinstance(cause, LimitsExceeded):
        cause = cause.__cause__ or cause.__context__
    assert isinstance(cause, LimitsExceeded) and len(cause.faults) == 2


@pytest.mark.parametrize(
    ("job", "yaml_fields"), [(ProcessingJob, ProcessingJobFields), (TrainingJob, TrainingJobFields)]
)
def test_yaml_has_every_field_of_the_job(job, yaml_fields):
    assert set(yaml_fields.model_fields) == {field.name for field in fields(job)}
    for field in fields(job):
        if isinstance(field.default, str | int | bool):
            assert yaml_fields.model_fields[field.name].default == field.default


def test_declared_job_runs_with_a_resource_as_client(sandbox, runner):
    runner.aws.scripts = [
        fails("CapacityError: Unable to provision"),
        completes(report=[materialised("transit/loads")]),
    ]
    component, _ = loaded(sandbox, PROCESSING)
    client = runner.client("Processing")
    loads = component_defs(component=component, resources={"sagemaker": client}).resolve_assets_def(
        AssetKey(["transit", "loads"])
    )
    result = materialize([loads], partition_key="2026-11-10", instance=runner.instance)
    assert result.success
    first, second = runner.aws.jobs.values()
    assert first.request["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m5.large"
    assert second.request["ProcessingResources"]["ClusterConfig"]["InstanceType"] == "ml.m6i.large"
    assert second.request["AppSpecification"]["ContainerArguments"][1] == "2026-11-10"


def test_component_made_in_python_runs(runner):
    runner.aws.scripts = [completes(report=[materialised("model")])]
    job = TrainingJob(image=IMAGE, role=ROLE, instance_types=("ml.m5.large",))
    component = TrainingJobComponent(assets=[AssetSpec("model")], client="training", job=job)
    defs = component_defs(component=component, resources={"training": runner.client("Training")})
    with DagsterInstance.ephemeral() as instance:
        assert defs.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance).success


@pytest.mark.parametrize(
    ("reported", "materialized"), [([], 2), (["model"], 0), (["model", "report"], 2)], ids=str
)
def test_container_reports_all_of_its_assets_or_none(runner, reported, materialized):
    check = {"asset_key": "model", "check_name": "x", "passed": True, "severity": "WARN", "metadata": {}}
    reports = [materialised(key) for key in reported]
    runner.aws.scripts = [completes(report=[*reports, {"method": "report_asset_check", "params": check}])]
    component = TrainingJobComponent(
        assets=[AssetSpec("model"), AssetSpec("report")],
        checks=[AssetCheckSpec("x", asset="model")],
        client="training",
        job=TrainingJob(image=IMAGE, role=ROLE, instance_types=("ml.m5.large",)),
    )
    defs = component_defs(component=component, resources={"training": runner.client("Training")})
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=runner.instance, raise_on_error=False
    )
    assert len(result.get_asset_materialization_events()) == materialized
    if not materialized:
        failure = result.failure_data_for_node("model__report").user_failure_data
        assert "1 of its 2 assets, but not report" in failure.description


@pytest.mark.parametrize("component", [ProcessingJobComponent, TrainingJobComponent])
def test_scaffolded_component_loads(sandbox, component):
    folder = sandbox.scaffold_component(component_cls=component, defs_path="loads")
    with sandbox.load_component_and_build_defs(folder) as (_, defs):
        assert [spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()] == ["loads"]


def test_schema_describes_every_field_that_needs_it():
    schema = ProcessingJobComponent.get_model_cls().model_json_schema()
    assert schema["properties"]["job"]["$ref"].endswith(
        "/ProcessingJobFields"
    )  # `dg check yaml` names its fields
    job = schema["$defs"]["ProcessingJobFields"]["properties"]
    assert "order of preference" in job["instance_types"]["description"]
    assert "S3 address" in schema["properties"]["artifacts"]["description"]


def test_package_does_not_import_its_components():
    code = "import sys, dagster_sagemaker; sys.exit('dagster_sagemaker.components' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


PROJECT = """
[project]
name = "loads"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "loads"
code_location_target_module = "loads.definitions"

[tool.dg.cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]
"""
DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


def dg(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(DG), *arguments]
    environment = {**os.environ, "DAGSTER_HOME": "", "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.extended
@needs_dg
def test_dg_scaffolds_and_checks_a_job(tmp_path):
    (tmp_path / "loads" / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name in ("__init__.py", "defs/__init__.py"):
        (tmp_path / "loads" / name).touch()
    (tmp_path / "loads" / "definitions.py").write_text(DEFINITIONS)

    scaffolded = dg(
        tmp_path, "scaffold", "defs", "dagster_sagemaker.components.TrainingJobComponent", "model"
    )
    checked = dg(tmp_path, "check", "defs")
    assert scaffolded.returncode == checked.returncode == 0, scaffolded.stderr + checked.stderr

    file = tmp_path / "loads" / "defs" / "model" / "defs.yaml"
    file.write_text(file.read_text().replace("max_runtime_seconds", "max_runtime"))
    refused = dg(tmp_path, "check", "yaml")
    assert refused.returncode and "'max_runtime' was unexpected" in refused.stdout + refused.stderr
