"""Makes `golden.json`: what AWS's own SDK renders of the steps that `example.py` prints. Runs with nothing of this project:

    .venv/bin/python -m tests.pipeline.example | uv run --isolated --no-project --with "sagemaker==2.257.7" \
        tests/pipeline/with_sdk.py tests/pipeline/golden.json

SDK 3 renders Processing steps alike; its ModelTrainer takes no pipeline parameter for the role, so that version 2 is asked.
"""

import json
import sys
from pathlib import Path

import boto3
from sagemaker.estimator import Estimator
from sagemaker.network import NetworkConfig
from sagemaker.processing import Processor
from sagemaker.workflow.execution_variables import ExecutionVariables
from sagemaker.workflow.parameters import ParameterString
from sagemaker.workflow.pipeline import Pipeline
from sagemaker.workflow.pipeline_context import PipelineSession
from sagemaker.workflow.retry import (
    SageMakerJobExceptionTypeEnum,
    SageMakerJobStepRetryPolicy,
    StepExceptionTypeEnum,
    StepRetryPolicy,
)
from sagemaker.workflow.steps import ProcessingStep, TrainingStep

GIVEN = json.load(sys.stdin)
DEFAULTS = GIVEN["defaults"]
AWS = boto3.Session(region_name="eu-north-1", aws_access_key_id="none", aws_secret_access_key="none")
# The SDK would tell AWS of its use.
QUIET = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
SESSION = PipelineSession(boto_session=AWS, default_bucket="lake", sagemaker_config=QUIET)
PARAMETERS = {
    name: ParameterString(name, default_value=value)
    for name, value in {
        "Role": DEFAULTS["role"],
        "Image": DEFAULTS["image"],
        "IssueDate": DEFAULTS["issue_date"],
        "ProcessingInstanceType": "ml.m5.xlarge",
        "TrainingInstanceType": "ml.m5.4xlarge",
    }.items()
}
PLACEHOLDERS = {f"Parameters.{name}": parameter for name, parameter in PARAMETERS.items()} | {
    "Execution.StartDateTime": ExecutionVariables.START_DATETIME
}


def step_name(key):
    return key.replace("/", "-").replace("_", "-")


def retry_policy(given):
    job = given["ExceptionType"][0].startswith("SageMaker.")
    policy = SageMakerJobStepRetryPolicy if job else StepRetryPolicy
    kinds = SageMakerJobExceptionTypeEnum if job else StepExceptionTypeEnum
    return policy(
        exception_types=[kind for kind in kinds if kind.value in given["ExceptionType"]],
        backoff_rate=given["BackoffRate"],
        interval_seconds=given["IntervalSeconds"],
        max_attempts=given.get("MaxAttempts"),
        expire_after_mins=given.get("ExpireAfterMin"),
    )


def shared(job, kind):
    preferred, usual = job["instance_types"][0], PARAMETERS[f"{kind}InstanceType"]
    return {
        "role": PARAMETERS["Role"],
        "image_uri": PARAMETERS["Image"],
        "instance_count": job["instance_count"],
        "instance_type": usual if preferred == usual.default_value else preferred,
        "volume_kms_key": job["volume_kms_key"],
        "tags": [{"Key": key, "Value": value} for key, value in job["tags"].items()],
        "sagemaker_session": SESSION,
    }


def processing(job, arguments):
    network = NetworkConfig(
        enable_network_isolation=job["network_isolation"],
        security_group_ids=job["security_groups"],
        subnets=job["subnets"],
        encrypt_inter_container_traffic=job["encrypt_between_instances"],
    )
    processor = Processor(
        **shared(job, "Processing"),
        entrypoint=job["entrypoint"],
        volume_size_in_gb=job["volume_gb"],
        max_runtime_in_seconds=job["max_runtime_seconds"],
        env=job["environment"],
        network_config=network,
    )
    return processor.run(arguments=arguments, wait=False)


def training(job, arguments, output):
    estimator = Estimator(
        **shared(job, "Training"),
        container_entry_point=job["entrypoint"],
        container_arguments=arguments,
        volume_size=job["volume_gb"],
        max_run=job["max_runtime_seconds"],
        max_wait=job["max_wait_seconds"],
        use_spot_instances=job["spot"],
        output_path=output,
        output_kms_key=job["output_kms_key"],
        checkpoint_s3_uri=job["checkpoint_s3"],
        checkpoint_local_path=job["checkpoint_path"],
        environment=job["environment"],
        subnets=job["subnets"],
        security_group_ids=job["security_groups"],
        encrypt_inter_container_traffic=job["encrypt_between_instances"],
        debugger_hook_config=False,
        disable_profiler=True,
    )
    return estimator.fit()


def step(given):
    arguments = [PLACEHOLDERS.get(word, word) for word in given["arguments"]]
    name, job = step_name(given["name"]), given["job"]
    if given["training"]:
        kind, request = TrainingStep, training(job, arguments, f"{DEFAULTS['output']}/{name}/output")
    else:
        kind, request = ProcessingStep, processing(job, arguments)
    return kind(
        name,
        step_args=request,
        display_name=given["name"],
        description=given["description"],
        depends_on=[step_name(key) for key in given["after"]] or None,
        retry_policies=[retry_policy(policy) for policy in GIVEN["retry_policies"]],
    )


PIPELINE = Pipeline(
    "any",
    parameters=list(PARAMETERS.values()),
    steps=[step(given) for given in GIVEN["steps"]],
    sagemaker_session=SESSION,
)
Path(sys.argv[1]).write_text(json.dumps(json.loads(PIPELINE.definition()), indent=2) + "\n")
