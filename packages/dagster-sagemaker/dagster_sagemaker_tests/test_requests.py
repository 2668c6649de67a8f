"""Requests, limits, names: pure, and checked against botocore's own model."""

from __future__ import annotations

import copy
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
    ProcessingJob,
    S3Input,
    S3Output,
    TrainingJob,
    create_request,
    preflight,
)
from dagster_sagemaker.folder import Folder
from dagster_sagemaker.names import folder_name, job_name
from dagster_sagemaker.requests import identity_digests, json_extras
from dagster_sagemaker_tests.conftest import processing, training
from dagster_sagemaker_tests.fake_aws import IMAGE, ROLE

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
            create_request(full_processing(), "n", "ml.m5.large", {"A": "b"}, folder="s3://b/f"),
        ),
        ("CreateProcessingJob", create_request(processing(), "n", "ml.m5.large")),
        (
            "CreateTrainingJob",
            create_request(full_training(), "n", "ml.m5.large", {"A": "b"}, folder="s3://b/f"),
        ),
        ("CreateTrainingJob", create_request(training(), "n", "ml.m5.large", folder="s3://b/f")),
    ],
)
def test_requests_are_valid_and_within_the_limits(operation, request_):
    shape = MODEL.operation_model(operation).input_shape
    assert not ParamValidator().validate(request_, shape).has_errors()
    preflight(request_)


def test_on_demand_attempt_of_a_spot_job_keeps_checkpoints():
    request = create_request(full_training(), "n", "ml.m5.large", folder="s3://b/f", spot=False)
    assert request["EnableManagedSpotTraining"] is False
    assert "MaxWaitTimeInSeconds" not in request["StoppingCondition"]
    assert request["CheckpointConfig"]["S3Uri"] == "s3://bucket/checkpoints/"


def test_inline_inputs_are_in_the_folder_of_the_attempt():
    request = create_request(full_processing(), "n", "ml.m5.large", folder="s3://b/f/0")
    assert request["ProcessingInputs"][1]["S3Input"]["S3Uri"] == "s3://b/f/0/inputs/parameters/"


def test_other_parts_of_the_request_are_merged():
    job = processing(request={"ProcessingResources": {"ClusterConfig": {"InstanceCount": 2}}})
    cluster = create_request(job, "n", "ml.m5.large")["ProcessingResources"]["ClusterConfig"]
    assert cluster == {"InstanceCount": 2, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}


@pytest.mark.parametrize("key", AWKWARD)
def test_name_of_any_key_is_valid(key):
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
    "environment (Environment) has 101": {"environment": {f"V{n}": "" for n in range(101)}},
    "environment.LONG (Environment.LONG) has 257 characters, at most 256": {
        "environment": {"LONG": "x" * 257}
    },
    "environment.1X (Environment.1X) is '1X'": {"environment": {"1X": ""}},
    "arguments[0]": {"arguments": ("x" * 257,)},
    "entrypoint (AppSpecification.ContainerEntrypoint) has 101": {"entrypoint": ("x",) * 101},
    "inputs (ProcessingInputs) has 11": {
        "inputs": tuple(S3Input(f"i{n}", "s3://b/k", PLACE) for n in range(11))
    },
    "input names": {"inputs": (S3Input("i", "s3://b/k", PLACE),) * 2},
    "outputs[o].S3Output.S3Uri (ProcessingOutputConfig.Outputs[o].S3Output.S3Uri) is 'bucket/k'": {
        "outputs": (S3Output("o", PLACE, "bucket/k"),)
    },
    "tags (Tags) has 51": {"tags": {f"t{n}": "" for n in range(51)}},
    "AWS reserves": {"tags": {"aws:x": "y"}},
    "max_runtime_seconds": {"max_runtime_seconds": 9 * 86400 + 1},
    "instance_count": {"instance_count": 0},
    "volume_gb": {"volume_gb": 0},
    "security_groups (NetworkConfig.VpcConfig.SecurityGroupIds) is missing": {"subnets": ("subnet-1",)},
    "instance type": {"instance_types": ("m5.large",)},
    "inputs[i].S3Input.LocalPath is '/p', it must be below": {"inputs": (S3Input("i", "s3://b/k", "/p"),)},
    "outputs[o].S3Output.LocalPath is '/opt/ml/processing/'": {
        "outputs": (S3Output("o", "/opt/ml/processing/", "s3://b/k"),)
    },
    "without spaces": {"image": "account/jobs: latest"},
    "subnets[0] (NetworkConfig.VpcConfig.Subnets[0]) is 'subnet 1'": {
        "subnets": ("subnet 1",),
        "security_groups": ("sg-1",),
    },
    "security_groups (NetworkConfig.VpcConfig.SecurityGroupIds) has 'subnet-1'": {
        "subnets": ("subnet-1",),
        "security_groups": ("subnet-1",),
    },
    "volume_kms_key": {"volume_kms_key": "k" * 2049},
    "output_kms_key": {"output_kms_key": "a key", "outputs": (S3Output("o", PLACE, "s3://b/k"),)},
    "arguments[0] (AppSpecification.ContainerArguments[0]) has a line break": {"arguments": ("a\nb",)},
}
TRAINING_FAULTS = {
    "environment.LONG (Environment.LONG) has 513": {"environment": {"LONG": "x" * 513}},
    "hyperparameters.long (HyperParameters.long) has 2501 characters, at most 2,500": {
        "hyperparameters": {"long": "x" * 2501}
    },
    "hyperparameters (HyperParameters) has 101": {"hyperparameters": {f"h{n}": "" for n in range(101)}},
    "channels (InputDataConfig) has 21": {"channels": tuple(Channel(f"c{n}", "s3://b/k") for n in range(21))},
    "channels[a b].ChannelName (InputDataConfig[a b].ChannelName) is 'a b'": {
        "channels": (Channel("a b", "s3://b/k"),)
    },
    "max_wait_seconds": {"max_wait_seconds": 1},
    "warm pool": {"keep_alive_seconds": 600},
    "keep_alive_seconds (ResourceConfig.KeepAlivePeriodInSeconds) is 21601, at most": {
        "keep_alive_seconds": 21_601
    },
    "max_runtime_seconds": {"max_runtime_seconds": 28 * 86400 + 1},
    "checkpoint_path": {"checkpoint_path": "checkpoints"},
}


@pytest.mark.parametrize(("said", "changes"), PROCESSING_FAULTS.items(), ids=PROCESSING_FAULTS)
def test_processing_limit_is_reported(said, changes):
    job = processing(**changes)
    with pytest.raises(LimitsExceeded, match=re.escape(said)):
        preflight(create_request(job, "n", job.instance_types[0]))


@pytest.mark.parametrize(("said", "changes"), TRAINING_FAULTS.items(), ids=TRAINING_FAULTS)
def test_training_limit_is_reported(said, changes):
    with pytest.raises(LimitsExceeded, match=re.escape(said)):
        preflight(create_request(full_training(**changes), "n", "ml.m5.large", folder="s3://b/f"))


@pytest.mark.parametrize("make", [processing, training])
def test_pipes_need_a_network(make):
    job = make(network_isolation=True)
    with pytest.raises(LimitsExceeded, match="pipes=False"):
        preflight(create_request(job, "n", "ml.m5.large", {"DAGSTER_PIPES_CONTEXT": "x"}, folder="s3://b/f"))
    preflight(create_request(job, "n", "ml.m5.large", folder="s3://b/f"))


def test_all_faults_are_in_one_error():
    jobs = [full_processing(role="x", volume_gb=0, max_runtime_seconds=0)]
    with pytest.raises(LimitsExceeded) as caught:
        preflight(create_request(jobs[0], "a_b", "ml.m5.large", folder="s3://b/f"))
    assert len(caught.value.faults) == 4


WRONG_TYPES = {
    'hyperparameters.epochs (HyperParameters.epochs) is 3 of type int, a text is needed: write "3"': training(
        hyperparameters={"epochs": 3}
    ),
    'environment.DEBUG (Environment.DEBUG) is True of type bool, a text is needed: write "True"': processing(
        environment={"DEBUG": True}
    ),
    "arguments[1] (AppSpecification.ContainerArguments[1]) is 3 of type int, a text": processing(
        arguments=("--days", 3)
    ),
    "entrypoint (AppSpecification.ContainerEntrypoint) is 'run' of type str, a list": processing(
        request={"AppSpecification": {"ContainerEntrypoint": "run"}}
    ),
    "volume_gb (ResourceConfig.VolumeSizeInGB) is 1.5 of type float, a whole number": training(volume_gb=1.5),
    "max_runtime_seconds (StoppingCondition.MaxRuntimeInSeconds) is True of type bool, a whole number": training(
        max_runtime_seconds=True
    ),
    "hyperparameters (HyperParameters) is 'x=1' of type str, a mapping": training(hyperparameters="x=1"),
}


def requested(job, **options):
    """The request of an attempt, as the client makes it."""
    return create_request(job, "n", (job.instance_types or ("",))[0], folder="s3://b/f", **options)


@pytest.mark.parametrize("said", WRONG_TYPES)
def test_wrong_type_is_named_with_its_entry_and_remedy(said):
    with pytest.raises(LimitsExceeded, match=re.escape(said)):
        preflight(requested(WRONG_TYPES[said]))


def test_wrong_types_and_other_faults_are_in_one_error():
    with pytest.raises(LimitsExceeded) as caught:
        preflight(
            requested(
                training(
                    hyperparameters={"epochs": 3}, role="x", checkpoint_s3="s3://b/k", checkpoint_path="c"
                )
            )
        )
    assert len(caught.value.faults) == 3


def test_missing_image_and_role_are_named():
    with pytest.raises(LimitsExceeded) as caught:
        preflight(requested(ProcessingJob(instance_types=("ml.m5.large",))))
    text = str(caught.value)
    assert "role (RoleArn) is missing" in text and "image (AppSpecification.ImageUri) is missing" in text


def test_instance_type_newer_than_botocore_passes():
    preflight(requested(processing(instance_types=("ml.z99.48xlarge",))))


RAW_PROCESSING = {
    "RoleArn": ROLE,
    "AppSpecification": {"ImageUri": IMAGE},
    "ProcessingResources": {
        "ClusterConfig": {"InstanceType": "ml.c5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    },
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "Environment": {"LEVEL": "info"},
    "Tags": [{"Key": "team", "Value": "loads"}],
}
RAW_TRAINING = {
    "RoleArn": ROLE,
    "AlgorithmSpecification": {"AlgorithmName": "our-algorithm", "TrainingInputMode": "File"},
    "ResourceConfig": {
        "InstanceGroups": [
            {"InstanceGroupName": "cpu", "InstanceType": "ml.c5.large", "InstanceCount": 2},
            {"InstanceGroupName": "gpu", "InstanceType": "ml.g5.large", "InstanceCount": 1},
        ],
        "VolumeSizeInGB": 5,
    },
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
}


def test_raw_parameters_keep_all_parts_and_receive_the_clients():
    before = copy.deepcopy(RAW_PROCESSING)
    job = ProcessingJob.of_request(RAW_PROCESSING)
    request = requested(
        job, environment={"DAGSTER_PIPES_CONTEXT": "x"}, tags={"dagster/run-id": "1", "team": "?"}
    )
    assert request["Environment"] == {"LEVEL": "info", "DAGSTER_PIPES_CONTEXT": "x"}
    assert request["Tags"] == [{"Key": "dagster/run-id", "Value": "1"}, {"Key": "team", "Value": "loads"}]
    added = {"ProcessingJobName", "NetworkConfig", "Environment", "Tags"}
    assert {name: part for name, part in request.items() if name not in added} == {
        name: part for name, part in RAW_PROCESSING.items() if name not in added
    }
    preflight(request)
    assert before == RAW_PROCESSING
    assert (job.instance_types, job.instance_count, job.max_runtime_seconds) == (("ml.c5.large",), 2, 60)


def test_raw_training_parameters_may_have_groups_and_an_algorithm():
    job = TrainingJob.of_request(RAW_TRAINING)
    request = requested(job)
    preflight(request)
    assert request["ResourceConfig"] == RAW_TRAINING["ResourceConfig"]
    assert "TrainingImage" not in request["AlgorithmSpecification"]
    assert (job.spot, job.instance_types, job.instance_count) == (True, (), 3)
    assert identity_digests(job, {})["image"] != identity_digests(training(image=""), {})["image"]


def test_on_demand_attempt_of_raw_spot_parameters_has_no_wait():
    request = requested(TrainingJob.of_request(RAW_TRAINING), spot=False)
    assert request["EnableManagedSpotTraining"] is False
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 60}
    assert RAW_TRAINING["StoppingCondition"] == {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}


PREFERENCES = [{"InstanceType": "ml.m5.large", "InstanceCount": 1}, {"InstanceType": "ml.c5.large"}]

PREFERENCES_ARE_KNOWN = "InstancePreferences" in MODEL.shape_for("ResourceConfig").members


@pytest.mark.skipif(
    not PREFERENCES_ARE_KNOWN, reason="the installed botocore is older than InstancePreferences"
)
@pytest.mark.parametrize(
    "job",
    [
        processing(
            instance_types=(),
            request={"ProcessingResources": {"ClusterConfig": {"InstancePreferences": PREFERENCES}}},
        ),
        training(instance_types=(), request={"ResourceConfig": {"InstancePreferences": PREFERENCES}}),
    ],
    ids=["Processing", "Training"],
)
def test_instance_preferences_are_allowed_alone(job):
    request = requested(job)
    preflight(request)
    with pytest.raises(LimitsExceeded, match="InstanceType and InstancePreferences, exactly one"):
        preflight(requested(replace(job, instance_types=("ml.m5.large",))))


BESIDE = {
    "InstanceType and InstanceGroups": training(request={"ResourceConfig": RAW_TRAINING["ResourceConfig"]}),
    "instance_types is empty: name a type": training(instance_types=()),
    "on-demand instances only": training(
        instance_types=(), spot=True, request={"ResourceConfig": {"InstancePreferences": PREFERENCES}}
    ),
    "either an image or": training(request={"AlgorithmSpecification": {"AlgorithmName": "ours"}}),
    "NoSuchPart is unknown": training(request={"NoSuchPart": 1}),
}


@pytest.mark.parametrize("said", BESIDE)
def test_mutually_exclusive_parts_are_refused(said):
    with pytest.raises(LimitsExceeded, match=said):
        preflight(requested(BESIDE[said]))


@pytest.mark.parametrize("job_class", [ProcessingJob, TrainingJob])
def test_request_cannot_name_the_job(job_class):
    name = f"{job_class.word}JobName"
    with pytest.raises(ValueError, match=f"{name}: the client names its jobs"):
        job_class.of_request({name: "mine"})


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
def test_changed_program_or_outputs_changes_the_identity(part):
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


def test_identity_replaces_parameters_that_differ_between_tries():
    first = training(identity="train", hyperparameters={"at": "06:00"})
    second = training(identity="train", hyperparameters={"at": "06:05"})
    assert identity_digests(first, {}) == identity_digests(second, {"at": "06:05"})


def test_training_output_address_identifies_the_job():
    before, after = (
        identity_digests(training(output_s3=f"s3://bucket/{name}"), {}) for name in ("models", "other")
    )
    assert [part for part in before if before[part] != after[part]] == ["outputs"]


@pytest.mark.parametrize("field", ["instance_types", "entrypoint", "arguments", "subnets", "security_groups"])
def test_single_text_instead_of_a_tuple_is_refused(field: str):
    with pytest.raises(
        TypeError, match=rf"{field} is the text 'one', a tuple of texts is needed: \('one',\)"
    ):
        processing(**{field: "one"})


def test_single_retryable_exit_code_is_refused():
    with pytest.raises(TypeError, match=r"a collection is needed: \(66,\)"):
        processing(retryable_exit_codes=66)


def test_extra_that_is_not_json_is_named():
    with pytest.raises(TypeError, match=r"extras\['a'\] is a object, which is not JSON"):
        json_extras({"b": 1, "a": object()})


def other_parts(made, before, after):
    """The parts of the identity in which two jobs differ."""
    old, new = (identity_digests(made(**changes), {}) for changes in (before, after))
    return [name for name in old if old[name] != new[name]]


def inline(filename):
    return {"inputs": (InlineInput("p", "x", "/opt/ml/processing/input/p", filename),)}


CHANGED = {
    "checkpoints": (training, {"checkpoint_s3": "s3://a/1"}, {"checkpoint_s3": "s3://a/2"}, "outputs"),
    "compression": (training, {}, {"request": {"OutputDataConfig": {"CompressionType": "NONE"}}}, "outputs"),
    "key of outputs": (training, {"output_kms_key": "a"}, {"output_kms_key": "b"}, "outputs"),
    "TensorBoard": (
        training,
        {},
        {"request": {"TensorBoardOutputConfig": {"S3OutputPath": "s3://a/2"}}},
        "outputs",
    ),
    "debugger": (training, {}, {"request": {"DebugHookConfig": {"S3OutputPath": "s3://a/2"}}}, "outputs"),
    "name of an inline file": (processing, inline("a.json"), inline("b.json"), "parameters"),
    "raw part": (training, {}, {"request": {"DebugRuleConfigurations": []}}, "parameters"),
    "Pipes": (processing, {"pipes": True}, {"pipes": False}, "pipes"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_changed_part_belongs_to_the_identity(what):
    made, before, after, part = CHANGED[what]
    assert other_parts(made, before, after) == [part]


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_count": 2},
        {"instance_types": ("ml.c5.large",)},
        {"max_runtime_seconds": 7},
        {"tags": {"a": "b"}},
        {"role": "arn:aws:iam::123456789012:role/other"},
        {"subnets": ("subnet-1",), "security_groups": ("sg-1",)},
        {"volume_gb": 99, "volume_kms_key": "k"},
        {"network_isolation": True},
        {"encrypt_between_instances": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("made", [processing, training])
def test_infrastructure_settings_do_not_change_the_identity(made, changes):
    assert other_parts(made, {}, changes) == []


def test_extras_with_mixed_keys_are_named():
    with pytest.raises(TypeError, match=r"extras\['m'\] is a dict"):
        json_extras({"m": {1: 2, "a": 3}})


@pytest.mark.parametrize("part", ["Environment", "Tags"])
def test_absent_part_of_raw_parameters_may_be_none(part):
    assert requested(processing(request={part: None}))[part] in ({}, [])
