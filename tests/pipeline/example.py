"""Two steps with everything that a job of ours may ask for, as `python -m tests.pipeline.example` prints them for `with_sdk.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from dagster_sagemaker import ProcessingJob, TrainingJob
from ruter_dagster.resources.sagemaker.pipeline import (
    IMAGE,
    ISSUE_DATE,
    RETRY_POLICIES,
    ROLE,
    STARTED,
    PipelineDefaults,
    PipelineStep,
)

DEFAULTS = PipelineDefaults(
    role="${role_arn}", image="${image}", issue_date="today", output="s3://lake/dev/artifacts/pipelines"
)
SHARED: dict[str, Any] = {
    "image": IMAGE, "role": ROLE, "entrypoint": ("python", "-m", "ruter_dagster.jobs"),
    "environment": {"RUTER_ENVIRONMENT": "dev", "AWS_REGION": "eu-north-1"}, "tags": {"project": "ruter-dagster"},
    "volume_gb": 50, "max_runtime_seconds": 7200, "encrypt_between_instances": True,
    "subnets": ("subnet-1", "subnet-2"), "security_groups": ("sg-1",), "volume_kms_key": "key-1",
}  # fmt: skip
VISITS = PipelineStep(
    name="raw/stop_visits",
    description="Stop visits of an operating date, as the source said them.",
    job=ProcessingJob(**SHARED, instance_types=("ml.m5.xlarge", "ml.m5.2xlarge")),
    arguments=(
        "snapshot",
        "--parameters",
        '{"dates":["D-1"]}',
        "--issue-date",
        ISSUE_DATE,
        "--requested-at",
        STARTED,
    ),
)
LOADS = replace(
    VISITS,
    name="loads/stop_loads",
    job=replace(VISITS.job, instance_types=("ml.r5.xlarge",)),
    after=(VISITS.name,),
)
QUALITY = replace(VISITS, name="quality/stop_visits", after=(VISITS.name,))
MODEL = PipelineStep(
    name="models/load_model",
    description="LightGBM: a Poisson mean and quantiles of the load.",
    job=TrainingJob(
        **SHARED, instance_types=("ml.m5.4xlarge",), output_kms_key="key-2", spot=True, max_wait_seconds=14400,
        checkpoint_s3="s3://lake/dev/checkpoints",
    ),
    arguments=("train", "--parameters", '{"days":42,"held_out":14}', "--issue-date", ISSUE_DATE, "--requested-at", STARTED),
    after=(QUALITY.name, LOADS.name),
)  # fmt: skip
STEPS = (VISITS, QUALITY, LOADS, MODEL)


if __name__ == "__main__":
    told = [asdict(step) | {"training": isinstance(step.job, TrainingJob)} for step in STEPS]
    print(json.dumps({"defaults": asdict(DEFAULTS), "retry_policies": RETRY_POLICIES, "steps": told}))
