"""Answers of the double compared with botocore's model of SageMaker."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from sagemaker_double.control import Remote
from sagemaker_double.faults import KINDS, Fault
from sagemaker_double.jobs import output_members
from sagemaker_double.layout import local_paths
from sagemaker_double.limits import Refused, service_model
from sagemaker_double.requests import processing, training
from sagemaker_double.server import Double
from sagemaker_double.settings import Settings
from sagemaker_double_tests.models import needs_preferences

README = Path(__file__).parents[1] / "README.md"
PROCESSING = processing(
    "job",
    "raise SystemExit(3)",
    Environment={"A": "1"},
    NetworkConfig={"EnableNetworkIsolation": False},
    ExperimentConfig={"ExperimentName": "e"},
    ProcessingOutputConfig={"Outputs": []},
    ProcessingInputs=[],
    Tags=[{"Key": "a", "Value": "b"}],
)
METRICS = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}, {"Name": "absent", "Regex": "absent=(.*)"}]
TRAINING = training(
    "job",
    "print('loss=0.5'); print('loss=0.25')",
    HyperParameters={"trees": "7"},
    CheckpointConfig={"S3Uri": "s3://bucket/checkpoints"},
    SessionChainingConfig={"EnableSessionTagChaining": True},
    Tags=[{"Key": "a", "Value": "b"}],
)
TRAINING["AlgorithmSpecification"]["MetricDefinitions"] = METRICS
TRAINING["ResourceConfig"]["KeepAlivePeriodInSeconds"] = 60


@pytest.fixture(params=["Processing", "Training"])
def ended(request: pytest.FixtureRequest, aws: Any, sagemaker_double: Remote) -> tuple[str, dict[str, Any]]:
    """The kind and the request of a job that has ended."""
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    body = PROCESSING if request.param == "Processing" else TRAINING
    getattr(aws("sagemaker"), f"create_{request.param.lower()}_job")(**body)
    sagemaker_double.wait_for("job")
    return request.param, body


def unknown_members(shape: Any, value: Any, path: str = "") -> list[str]:
    """Paths of members that the model does not have, and of required members that are missing."""
    if value is None:
        return [f"{path} is null"]
    if shape.type_name == "structure":
        wrong = [f"{path}.{name} is missing" for name in shape.required_members if name not in value]
        wrong += [f"{path}.{name}" for name in value if name not in shape.members]
        known = [(shape.members[name], item, f"{path}.{name}") for name, item in value.items() if name in shape.members]  # fmt: skip
        return wrong + [each for part in known for each in unknown_members(*part)]
    if shape.type_name == "list":
        return [each for item in value for each in unknown_members(shape.member, item, path)]
    if shape.type_name == "map":
        return [each for item in value.values() for each in unknown_members(shape.value, item, path)]
    return []


def test_answers_of_calls_have_the_members_of_the_model() -> None:
    double = Double()
    double.jobs._launch = lambda job: None
    try:
        for kind, body in (("Processing", PROCESSING), ("Training", TRAINING)):
            name = {f"{kind}JobName": "job"}
            for call, request in zip(
                (f"Create{kind}Job", f"Describe{kind}Job", f"List{kind}Jobs", f"Stop{kind}Job"),
                (body, name, {}, name),
                strict=True,
            ):
                answer = json.loads(json.dumps(double.jobs.call(call, request)))
                shape = service_model().operation_model(call).output_shape
                missing = ["DescribeTrainingJob.ModelArtifacts is missing"]
                assert set(unknown_members(shape, answer, call) if shape else []) <= set(missing)
    finally:
        double._server.server_close()
        double.logs.stop()


def test_answers_of_an_ended_job_have_the_members_of_the_model(
    ended: tuple[str, dict[str, Any]], sagemaker_double: Remote
) -> None:
    kind, _ = ended
    answer = sagemaker_double.job("job")["describe"]
    shape = service_model().operation_model(f"Describe{kind}Job").output_shape
    assert unknown_members(shape, answer) == []
    parser = create_parser("json")
    body = {"status_code": 200, "headers": {}, "body": json.dumps(answer).encode()}
    parsed = parser.parse(body, shape)
    assert set(parsed) - {"ResponseMetadata"} == set(answer)


def test_describe_answers_the_fields_of_the_request(ended: tuple[str, dict[str, Any]], aws: Any) -> None:
    kind, body = ended
    described = getattr(aws("sagemaker"), f"describe_{kind.lower()}_job")(**{f"{kind}JobName": "job"})
    hidden = {"Tags", "SessionChainingConfig"}
    assert {name: described[name] for name in body if name not in hidden} == {
        name: value for name, value in body.items() if name not in hidden
    }
    assert not hidden & set(described)


UNANSWERED = {
    "Processing": {"AutoMLJobArn", "MonitoringScheduleArn", "TrainingJobArn"},
    "Training": {
        "AutoMLJobArn", "BillableTokenCount", "DebugRuleEvaluationStatuses", "LabelingJobArn", "MlflowDetails",
        "OutputModelPackageArn", "ProfilerRuleEvaluationStatuses", "ProfilingStatus", "ProgressInfo", "TuningJobArn",
    },
}  # fmt: skip
"""Fields that no request sets and that Describe of the double never answers."""


def test_readme_lists_the_fields_that_describe_never_answers() -> None:
    row = next(line for line in README.read_text().splitlines() if "never answers" in line)
    assert set(re.findall(r"`(\w+)`", row)) == set.union(*UNANSWERED.values())


def test_describe_answers_all_other_fields_of_the_model(
    ended: tuple[str, dict[str, Any]], sagemaker_double: Remote
) -> None:
    kind, _ = ended
    request: Any = service_model().operation_model(f"Create{kind}Job").input_shape
    own = output_members(f"Describe{kind}Job") - set(request.members)
    # An ended job has either no message or no failure.
    absent = {"ExitMessage", "FailureReason"}
    unanswered = own - set(sagemaker_double.job("job")["describe"]) - absent
    # An older botocore knows fewer fields.
    assert unanswered <= UNANSWERED[kind]


def test_readme_has_a_row_for_each_fault_and_field() -> None:
    rows = [
        re.findall(r"`(\w+)`", line.split("|")[1])
        for line in README.read_text().splitlines()
        if line.startswith("| `")
    ]
    names = {row[0] for row in rows if row}
    assert set(KINDS) <= names
    assert {each.name for each in fields(Fault)} - {"kind", "taken"} <= names
    assert {each.name for each in fields(Settings)} <= names


def test_final_metrics_are_the_last_values_that_were_printed(aws: Any, sagemaker_double: Remote) -> None:
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    aws("sagemaker").create_training_job(**TRAINING)
    sagemaker_double.wait_for("job")
    (metric,) = aws("sagemaker").describe_training_job(TrainingJobName="job")["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)


def test_old_wording_of_a_failure_names_no_exit_code(aws: Any, sagemaker_double: Remote) -> None:
    sagemaker_double.set(failure_wording="old")
    aws("sagemaker").create_processing_job(**processing("job", "raise SystemExit(65)"))
    described = sagemaker_double.wait_for("job")["describe"]
    assert described["FailureReason"] == "AlgorithmError: See job logs for more information"


def test_groups_of_instances_are_hosts_of_one_job(aws: Any, sagemaker_double: Remote) -> None:
    code = (
        "import json, os, pathlib; base = pathlib.Path(os.environ['SAGEMAKER_DOUBLE_CONTAINER_BASE']); "
        "found = json.loads((base / 'input/config/resourceconfig.json').read_text()); "
        "raise SystemExit(0 if len(found['hosts']) == 3 and len(found['instance_groups']) == 2 else 1)"
    )
    groups = [
        {"InstanceGroupName": name, "InstanceType": f"ml.m5.{name}", "InstanceCount": count}
        for name, count in (("large", 1), ("xlarge", 2))
    ]
    resources = {"InstanceGroups": groups, "VolumeSizeInGB": 1}
    algorithm = {"AlgorithmName": "mine", "TrainingInputMode": "File", **_entry_point(code)}
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    aws("sagemaker").create_training_job(
        **training("job", ResourceConfig=resources, AlgorithmSpecification=algorithm)
    )
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["exits"]) == ("Completed", [0, 0, 0])
    assert job["describe"]["ResourceConfig"] == resources


def _entry_point(code: str) -> dict[str, Any]:
    return {"ContainerEntrypoint": training("x", code)["AlgorithmSpecification"]["ContainerEntrypoint"]}


TYPES = [{"InstanceType": "ml.m5.large", "InstanceCount": 1}]


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        pytest.param(
            {"InstancePreferences": TYPES, "InstanceType": "ml.m5.large", "InstanceCount": 1},
            "exactly one",
            marks=needs_preferences,
        ),
        ({"InstanceGroups": [TYPES[0] | {"InstanceGroupName": "g"}], "InstanceCount": 1}, "InstanceGroups"),
        ({"InstanceType": "ml.m5.large"}, "InstanceCount is required"),
    ],
)
def test_instances_given_in_two_ways_are_refused(
    aws: Any, sagemaker_double: Remote, resources: dict[str, Any], words: str
) -> None:
    with pytest.raises(ClientError, match=words):
        aws("sagemaker").create_training_job(
            **training("job", ResourceConfig=resources | {"VolumeSizeInGB": 1})
        )


def test_value_of_a_wrong_type_is_refused() -> None:
    """A caller without botocore can send anything."""
    double = Double()
    try:
        with pytest.raises(Refused, match="wrong type"):
            double.jobs.call("CreateProcessingJob", processing("job", Environment={"A": 3}))
    finally:
        double._server.server_close()
        double.logs.stop()


def test_paths_of_arguments_and_environment_are_below_the_base() -> None:
    base = Path("/tmp/base")
    assert local_paths("/opt/ml/model", base) == "/tmp/base/model"
    assert local_paths("--out=/opt/ml/processing/out", base) == "--out=/tmp/base/processing/out"
    for other in ("s3://bucket/opt/ml/x", "/opt/mlflow", "text about /opt/ml/model"):
        assert local_paths(other, base) == other


def test_script_finds_its_output_by_a_variable_of_the_request(aws: Any, sagemaker_double: Remote) -> None:
    code = "import os, pathlib; pathlib.Path(os.environ['OUT'], 'x').write_text('1')"
    target = {"S3Uri": "s3://bucket/out", "LocalPath": "/opt/ml/processing/out", "S3UploadMode": "EndOfJob"}
    outputs = {"Outputs": [{"OutputName": "out", "S3Output": target}]}
    environment = {"OUT": "/opt/ml/processing/out"}
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    aws("sagemaker").create_processing_job(
        **processing("job", code, Environment=environment, ProcessingOutputConfig=outputs)
    )
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["describe"]["Environment"]) == ("Completed", environment)
    assert aws("s3").get_object(Bucket="bucket", Key="out/x")["Body"].read() == b"1"
