"""Requests, limits, names: pure, and checked against botocore's own model."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace

import botocore.session
import pytest
from botocore.validate import ParamValidator
from dagster_pipes import encode_param

from dagster_sagemaker import (
    Channel,
    InlineInput,
    LimitsExceeded,
    S3Input,
    S3Output,
    preflight,
    processing_request,
    training_request,
)
from dagster_sagemaker.folder import Folder
from dagster_sagemaker.names import folder_name, job_name
from dagster_sagemaker.requests import identity_digests
from dagster_sagemaker_tests.conftest import processing, training

MODEL = botocore.session.get_session().get_service_model("sagemaker")
AWKWARD = [
    "",
    "_",
    "åäö",
    "a|b[c]",
    "日本",
    "-" * 80,
    "x" * 200,
    "2026-11-20",
    "a/b c\n",
    "🚍",
    "%2F",
    "..",
    "A_b",
]


def full_processing(**changes):
    return processing(
        entrypoint=("python", "-m", "jobs"),
        arguments=("features",),
        environment={"LEVEL": "info"},
        inputs=(
            S3Input("counts", "s3://bucket/counts/", "/opt/ml/processing/input/counts"),
            InlineInput("parameters", "{}", "/opt/ml/processing/input/parameters", "parameters.json"),
        ),
        outputs=(S3Output("report", "/opt/ml/processing/output", "s3://bucket/reports/"),),
        subnets=("subnet-1",),
        security_groups=("sg-1",),
        volume_kms_key="key/1",
        output_kms_key="key/2",
        tags={"project": "loads"},
        **changes,
    )


def full_training(**changes):
    given = {
        "channels": (Channel("counts", "s3://bucket/counts/", mode="FastFile"),),
        "hyperparameters": {"parameters": "{}"},
        "spot": True,
        "checkpoint_s3": "s3://bucket/checkpoints/",
        "subnets": ("subnet-1",),
        "security_groups": ("sg-1",),
        "tags": {"project": "loads"},
        "environment": {"LEVEL": "info"},
    }
    return training(**{**given, **changes})


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        (
            "CreateProcessingJob",
            processing_request(full_processing(), "n", "ml.m5.large", {"A": "b"}, folder="s3://b/f"),
        ),
        ("CreateProcessingJob", processing_request(processing(), "n", "ml.m5.large")),
        (
            "CreateTrainingJob",
            training_request(full_training(), "n", "ml.m5.large", {"A": "b"}, folder="s3://b/f"),
        ),
        ("CreateTrainingJob", training_request(training(), "n", "ml.m5.large", folder="s3://b/f")),
    ],
)
def test_requests_are_what_botocore_takes_and_within_the_limits(operation, request_):
    shape = MODEL.operation_model(operation).input_shape
    assert not ParamValidator().validate(request_, shape).has_errors()
    preflight(request_)


def test_on_demand_attempt_of_a_spot_job_keeps_checkpoints():
    request = training_request(full_training(), "n", "ml.m5.large", folder="s3://b/f", spot=False)
    assert request["EnableManagedSpotTraining"] is False
    assert "MaxWaitTimeInSeconds" not in request["StoppingCondition"]
    assert request["CheckpointConfig"]["S3Uri"] == "s3://bucket/checkpoints/"


def test_inline_inputs_lie_below_the_attempts_folder():
    request = processing_request(full_processing(), "n", "ml.m5.large", folder="s3://b/f/0")
    assert request["ProcessingInputs"][1]["S3Input"]["S3Uri"] == "s3://b/f/0/inputs/parameters/"


def test_anything_else_of_the_request_is_merged_in():
    job = processing(request={"ProcessingResources": {"ClusterConfig": {"InstanceCount": 2}}})
    cluster = processing_request(job, "n", "ml.m5.large")["ProcessingResources"]["ClusterConfig"]
    assert cluster == {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}


@pytest.mark.parametrize("key", AWKWARD)
def test_a_name_of_any_key_is_one_that_sagemaker_takes(key):
    pattern = MODEL.shape_for("TrainingJobName").metadata["pattern"]
    for prefix in ("", "ruter-dev", "_x_"):
        name = job_name(key, str(uuid.uuid4()), 123, step=key, prefix=prefix)
        assert re.fullmatch(pattern, name)
        assert len(name) <= 63


def test_names_differ_by_key_step_run_and_attempt_only():
    names = [
        job_name(key, run, attempt, step=step)
        for key in ("a|b", "a/b", "x" * 99, "x" * 98)
        for run in ("r1", "r2")
        for attempt in (0, 1)
        for step in ("s", "t")
    ]
    assert len(set(names)) == len(names)
    assert names[0] == job_name("a|b", "r1", 0, step="s")


def test_pipes_addresses_fit_into_a_processing_jobs_variables():
    run, key = str(uuid.uuid4()), "raw/stop_visits/2026-11-20...2026-11-26"
    folder = Folder(None, None, "s3://" + "b" * 63 + "/some/artifacts", run, folder_name(key))  # type: ignore[arg-type]
    assert len(encode_param(folder.context_at(12))) <= 256
    assert len(encode_param(folder.messages_at(12))) <= 256


PLACE = "/opt/ml/processing/here"
PROCESSING_FAULTS = {
    "role": {"role": "jobs"},
    "image": {"image": "x" * 256},
    "environment: 101": {"environment": {f"V{n}": "" for n in range(101)}},
    "variable LONG": {"environment": {"LONG": "x" * 257}},
    "variable '1X'": {"environment": {"1X": ""}},
    "arguments[0]": {"arguments": ("x" * 257,)},
    "entrypoint: 101": {"entrypoint": ("x",) * 101},
    "inputs: 11": {"inputs": tuple(S3Input(f"i{n}", "s3://b/k", PLACE) for n in range(11))},
    "input names": {"inputs": (S3Input("i", "s3://b/k", PLACE),) * 2},
    "no S3 address": {"outputs": (S3Output("o", PLACE, "bucket/k"),)},
    "tags: 51": {"tags": {f"t{n}": "" for n in range(51)}},
    "belongs to AWS": {"tags": {"aws:x": "y"}},
    "max_runtime_seconds": {"max_runtime_seconds": 9 * 86400 + 1},
    "instance_count": {"instance_count": 0},
    "volume_gb": {"volume_gb": 0},
    "security groups: 0": {"subnets": ("subnet-1",)},
    "instance type": {"instance_types": ("m5.large",)},
    "path '/p'": {"inputs": (S3Input("i", "s3://b/k", "/p"),)},
    "path '/opt/ml/processing/'": {"outputs": (S3Output("o", "/opt/ml/processing/", "s3://b/k"),)},
    "no spaces": {"image": "account/jobs: latest"},
    "subnet 'subnet 1'": {"subnets": ("subnet 1",), "security_groups": ("sg-1",)},
    "security group 'subnet-1'": {"subnets": ("subnet-1",), "security_groups": ("subnet-1",)},
    "volume_kms_key": {"volume_kms_key": "k" * 2049},
    "output_kms_key": {"output_kms_key": "a key", "outputs": (S3Output("o", PLACE, "s3://b/k"),)},
    "arguments[0] has a line break": {"arguments": ("a\nb",)},
}
TRAINING_FAULTS = {
    "variable LONG": {"environment": {"LONG": "x" * 513}},
    "hyperparameter long": {"hyperparameters": {"long": "x" * 2501}},
    "hyperparameters: 101": {"hyperparameters": {f"h{n}": "" for n in range(101)}},
    "channels: 21": {"channels": tuple(Channel(f"c{n}", "s3://b/k") for n in range(21))},
    "channel 'a b'": {"channels": (Channel("a b", "s3://b/k"),)},
    "max_wait_seconds": {"max_wait_seconds": 1},
    "warm pool": {"keep_alive_seconds": 600},
    "keep_alive_seconds is": {"keep_alive_seconds": 21_601},
    "max_runtime_seconds": {"max_runtime_seconds": 28 * 86400 + 1},
    "checkpoint_path": {"checkpoint_path": "checkpoints"},
}


@pytest.mark.parametrize(("said", "changes"), PROCESSING_FAULTS.items(), ids=PROCESSING_FAULTS)
def test_every_limit_of_processing_is_told(said, changes):
    job = processing(**changes)
    with pytest.raises(LimitsExceeded, match=re.escape(said)):
        preflight(processing_request(job, "n", job.instance_types[0]))


@pytest.mark.parametrize(("said", "changes"), TRAINING_FAULTS.items(), ids=TRAINING_FAULTS)
def test_every_limit_of_training_is_told(said, changes):
    with pytest.raises(LimitsExceeded, match=re.escape(said)):
        preflight(training_request(full_training(**changes), "n", "ml.m5.large", folder="s3://b/f"))


@pytest.mark.parametrize("make", [processing_request, training_request])
def test_pipes_need_a_network(make):
    job = (processing if make is processing_request else training)(network_isolation=True)
    with pytest.raises(LimitsExceeded, match="pipes=False"):
        preflight(make(job, "n", "ml.m5.large", {"DAGSTER_PIPES_CONTEXT": "x"}, folder="s3://b/f"))
    preflight(make(job, "n", "ml.m5.large", folder="s3://b/f"))


def test_all_faults_come_in_one_error():
    jobs = [full_processing(role="x", volume_gb=0, max_runtime_seconds=0)]
    with pytest.raises(LimitsExceeded) as caught:
        preflight(processing_request(jobs[0], "a_b", "ml.m5.large", folder="s3://b/f"))
    assert len(caught.value.faults) == 4


TEXT = InlineInput("parameters", "{}", "/opt/ml/processing/input", "parameters.json")
OTHERS = {
    "image": [processing(image="other"), processing(request={"AppSpecification": {"ImageUri": "other"}})],
    "command": [processing(entrypoint=("other",)), processing(arguments=("other",))],
    "environment": [processing(environment={"A": "other"})],
    "outputs": [
        processing(outputs=(S3Output("o", "/opt/ml/processing/output", "s3://b/other"),)),
        processing(request={"ProcessingOutputConfig": {"Outputs": [{"OutputName": "o"}]}}),
    ],
    "parameters": [processing(inputs=(replace(TEXT, content="[]"),)), processing(identity="other")],
}


@pytest.mark.parametrize("part", OTHERS)
def test_what_decides_a_jobs_results_makes_it_another(part):
    for other in OTHERS[part]:
        job = processing(inputs=(TEXT,)) if other.inputs else processing()
        before, after = identity_digests(job, {}), identity_digests(other, {})
        assert [name for name in before if before[name] != after[name]] == [part]


def test_hyperparameters_and_extras_are_parameters():
    before = identity_digests(training(), {})
    for after in (
        identity_digests(training(hyperparameters={"a": "1"}), {}),
        identity_digests(training(), {"days": 30}),
    ):
        assert [name for name in before if before[name] != after[name]] == ["parameters"]


def test_an_identity_stands_for_parameters_that_differ_with_each_try():
    first = training(identity="train", hyperparameters={"at": "06:00"})
    second = training(identity="train", hyperparameters={"at": "06:05"})
    assert identity_digests(first, {}) == identity_digests(second, {"at": "06:05"})


def test_training_output_address_identifies_the_job():
    before, after = (
        identity_digests(training(output_s3=f"s3://bucket/{name}"), {}) for name in ("models", "other")
    )
    assert [part for part in before if before[part] != after[part]] == ["outputs"]
