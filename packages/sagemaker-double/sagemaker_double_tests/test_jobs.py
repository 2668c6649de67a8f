"""Jobs without faults: their files, and the answers of Describe, List and the logs."""

from __future__ import annotations

import io
import json
import math
import os
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from sagemaker_double.control import Remote
from sagemaker_double.process import aws_environment, double_process
from sagemaker_double.requests import processing, training

BASE = "import os, pathlib; base = pathlib.Path(os.environ['SAGEMAKER_DOUBLE_CONTAINER_BASE']); "


@pytest.fixture
def bucket(aws: Any) -> Any:
    s3 = aws("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return s3


def lines(aws: Any, group: str, job: str) -> dict[str, list[str]]:
    """The lines of each stream of a job."""
    logs = aws("logs")
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")["logStreams"]
    return {
        name: [
            each["message"]
            for each in logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)[
                "events"
            ]
        ]
        for name in (stream["logStreamName"] for stream in streams)
    }


def test_processing_runs_its_entry_point_on_inputs_and_uploads_outputs(
    sagemaker_double: Remote, aws: Any, bucket: Any
) -> None:
    bucket.put_object(Bucket="bucket", Key="in/a/x.txt", Body=b"seven")
    code = BASE + (
        "text = (base / 'processing/input/x/a/x.txt').read_text(); print('read', text); "
        "(base / 'processing/output/y.txt').write_text(text.upper()); (base / 'output').mkdir(); "
        "(base / 'output/message').write_text('all well')"
    )
    request = processing(
        "job",
        code,
        ProcessingInputs=[_input("s3://bucket/in", "/opt/ml/processing/input/x")],
        ProcessingOutputConfig={"Outputs": [_output("s3://bucket/out", "/opt/ml/processing/output")]},
    )
    aws("sagemaker").create_processing_job(**request)
    sagemaker_double.wait_for("job")
    described = aws("sagemaker").describe_processing_job(ProcessingJobName="job")
    assert (described["ProcessingJobStatus"], described["ExitMessage"]) == ("Completed", "all well")
    assert described["ProcessingStartTime"] >= described["CreationTime"]
    assert bucket.get_object(Bucket="bucket", Key="out/y.txt")["Body"].read() == b"SEVEN"
    (stream,) = (found := lines(aws, "/aws/sagemaker/ProcessingJobs", "job"))
    assert stream.startswith("job/algo-1-") and stream.removeprefix("job/algo-1-").isdigit()
    assert found[stream] == ["read seven"]


def test_training_gets_hyperparameters_and_channels_and_leaves_a_model(
    sagemaker_double: Remote, aws: Any, bucket: Any
) -> None:
    bucket.put_object(Bucket="bucket", Key="train/part-0.csv", Body=b"1")
    code = BASE + (
        "given = (base / 'input/config/hyperparameters.json').read_text(); "
        "data = (base / 'input/data/train/part-0.csv').read_text(); "
        "(base / 'model/model.txt').write_text(given + data + os.environ['TRAINING_JOB_NAME'])"
    )
    channel = {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/train/"}}}
    request = training(
        "job", code, HyperParameters={"trees": "7"}, InputDataConfig=[{"ChannelName": "train", **channel}]
    )
    aws("sagemaker").create_training_job(**request)
    sagemaker_double.wait_for("job")
    described = aws("sagemaker").describe_training_job(TrainingJobName="job")
    stages = [each["Status"] for each in described["SecondaryStatusTransitions"]]
    assert stages == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all("EndTime" in each for each in described["SecondaryStatusTransitions"])
    trained = (described["TrainingEndTime"] - described["TrainingStartTime"]).total_seconds()
    assert described["TrainingTimeInSeconds"] == described["BillableTimeInSeconds"] == math.ceil(trained) >= 1
    key = described["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
    body = bucket.get_object(Bucket="bucket", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        model = archive.extractfile("model.txt")
        assert model is not None and model.read().decode() == json.dumps({"trees": "7"}) + "1job"


def test_container_gets_no_variable_of_the_test(
    sagemaker_double: Remote, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_TESTS", "1")
    code = "import os; [print(name) for name in sorted(os.environ) if not name.startswith('LC_')]"
    aws("sagemaker").create_processing_job(**processing("job", code, Environment={"OWN": "1"}))
    sagemaker_double.wait_for("job")
    ((_, names),) = lines(aws, "/aws/sagemaker/ProcessingJobs", "job").items()
    assert set(names) == {
        "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "HOME", "OMP_WAIT_POLICY", "OWN",
        "PATH", "PYTHONUNBUFFERED", "SAGEMAKER_DOUBLE_CONTAINER_BASE",
    }  # fmt: skip


def test_isolated_container_cannot_reach_s3(sagemaker_double: Remote, aws: Any, bucket: Any) -> None:
    code = "import boto3; boto3.client('s3', 'eu-west-1').list_objects_v2(Bucket='bucket')"
    isolated = {"EnableNetworkIsolation": True}
    aws("sagemaker").create_processing_job(**processing("isolated", code, NetworkConfig=isolated))
    aws("sagemaker").create_processing_job(**processing("connected", code))
    assert sagemaker_double.wait_for("isolated")["status"] == "Failed"
    assert sagemaker_double.wait_for("connected")["status"] == "Completed"


def test_failure_reasons_have_the_wording_of_aws(sagemaker_double: Remote, aws: Any, bucket: Any) -> None:
    code = BASE + (
        "(base / 'output').mkdir(exist_ok=True); (base / 'output/failure').write_text('no model'); "
        "(base / 'output/message').write_text('no date'); raise SystemExit(65)"
    )
    aws("sagemaker").create_training_job(**training("job-t", code))
    aws("sagemaker").create_processing_job(**processing("job-p", code))
    aws("sagemaker").create_processing_job(
        **processing("job-i", ProcessingInputs=[_input("s3://bucket/none/", "/opt/ml/processing/input/x")])
    )
    trained = sagemaker_double.wait_for("job-t")["describe"]
    processed = sagemaker_double.wait_for("job-p")["describe"]
    assert trained["FailureReason"] == "AlgorithmError: no model, exit code: 65"
    assert (processed["FailureReason"], processed["ExitMessage"]) == (
        "AlgorithmError: , exit code: 65",
        "no date",
    )
    nothing = sagemaker_double.wait_for("job-i")["describe"]["FailureReason"]
    assert nothing.startswith('ClientError: No S3 objects found under S3 URL "s3://bucket/none/"')


def test_stopping_ends_the_whole_process_group(sagemaker_double: Remote, aws: Any) -> None:
    code = (
        "import signal, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']); "
        "signal.signal(signal.SIGTERM, lambda *_: (print('stopping', flush=True), sys.exit(0))); "
        "print('child', child.pid, flush=True); time.sleep(60)"
    )
    sagemaker = aws("sagemaker")
    sagemaker.create_processing_job(**processing("job", code))
    line = sagemaker_double.wait(lambda: _line(aws, "job", "child"))
    sagemaker.stop_processing_job(ProcessingJobName="job")
    job = sagemaker_double.wait_for("job")
    assert job["status"] == "Stopped"
    assert "stopping" in next(iter(lines(aws, "/aws/sagemaker/ProcessingJobs", "job").values()))
    sagemaker_double.wait(lambda: not _alive(int(line.split()[1])))
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_processing_job(ProcessingJobName="job")


def test_double_ends_its_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    with double_process() as double:
        for name, value in aws_environment(double.url).items():
            monkeypatch.setenv(name, value)
        boto3.Session().client("sagemaker").create_processing_job(
            **processing("job", "import time; time.sleep(60)")
        )
        (pid,) = double.wait_for("job", "Training")["pids"] or double.wait(lambda: double.job("job")["pids"])
        assert _alive(pid)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(double.url)
    assert not _alive(pid)


def test_job_is_stopped_after_its_maximum_runtime(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker_double.set(limit_scale=0.1)
    limit = {"StoppingCondition": {"MaxRuntimeInSeconds": 3}}
    aws("sagemaker").create_training_job(**training("job", "import time; time.sleep(60)", **limit))
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["secondary"], job["exits"]) == ("Stopped", "MaxRuntimeExceeded", [143])


def test_each_host_has_a_container_and_a_log_stream(sagemaker_double: Remote, aws: Any) -> None:
    code = (
        BASE
        + "import json; print(json.loads((base / 'config/resourceconfig.json').read_text())['current_host'])"
    )
    cluster = {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 3, "VolumeSizeInGB": 1}}
    aws("sagemaker").create_processing_job(**processing("job", code, ProcessingResources=cluster))
    sagemaker_double.wait_for("job")
    found = lines(aws, "/aws/sagemaker/ProcessingJobs", "job")
    assert sorted(found.values()) == [["algo-1"], ["algo-2"], ["algo-3"]]


def test_name_of_a_job_cannot_be_used_again(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    sagemaker.create_processing_job(**processing("job"))
    with pytest.raises(ClientError, match="ResourceInUse") as refused:
        sagemaker.create_processing_job(**processing("job"))
    assert "processing-job/job" in refused.value.response["Error"]["Message"]
    sagemaker.create_training_job(**training("job"))  # a Training job may have the same name
    with pytest.raises(ClientError, match="Could not find requested job"):
        sagemaker.describe_processing_job(ProcessingJobName="other")


def test_list_filters_sorts_and_pages(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    for name in ("one", "two", "two-more"):
        sagemaker.create_processing_job(**processing(name))
        sagemaker_double.wait_for(name)
    pages = sagemaker.get_paginator("list_processing_jobs").paginate(
        NameContains="two", StatusEquals="Completed", SortBy="Name", SortOrder="Ascending", MaxResults=1
    )
    assert [[each["ProcessingJobName"] for each in page["ProcessingJobSummaries"]] for page in pages] == [
        ["two"],
        ["two-more"],
    ]


def test_tags_are_added_and_listed(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    tags = [{"Key": "asset", "Value": "features/æøå"}]
    arn = sagemaker.create_processing_job(**processing("job", Tags=tags))["ProcessingJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "run", "Value": "1"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [*tags, {"Key": "run", "Value": "1"}]
    assert "Tags" not in sagemaker.describe_processing_job(ProcessingJobName="job")


def _input(uri: str, path: str) -> dict[str, Any]:
    return {"InputName": "x", "S3Input": {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix"}}


def _output(uri: str, path: str) -> dict[str, Any]:
    return {"OutputName": "y", "S3Output": {"S3Uri": uri, "LocalPath": path, "S3UploadMode": "EndOfJob"}}


def _line(aws: Any, job: str, word: str) -> str | None:
    try:
        found = lines(aws, "/aws/sagemaker/ProcessingJobs", job)
    except ClientError:  # no group yet
        return None
    return next((line for each in found.values() for line in each if line.startswith(word)), None)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_failed_upload_is_a_client_error(sagemaker_double: Remote, aws: Any) -> None:
    code = BASE + "(base / 'processing/out/x').write_text('1')"
    outputs = {"Outputs": [_output("s3://no-bucket/out", "/opt/ml/processing/out")]}
    aws("sagemaker").create_processing_job(**processing("job", code, ProcessingOutputConfig=outputs))
    described = sagemaker_double.wait_for("job")["describe"]
    assert described["FailureReason"].startswith("ClientError: Artifact upload failed: ")


def test_model_without_compression_is_a_prefix(sagemaker_double: Remote, aws: Any, bucket: Any) -> None:
    config = {"S3OutputPath": "s3://bucket/models", "CompressionType": "NONE"}
    code = BASE + "(base / 'model/x').write_text('1')"
    aws("sagemaker").create_training_job(**training("job", code, OutputDataConfig=config))
    address = sagemaker_double.wait_for("job")["describe"]["ModelArtifacts"]["S3ModelArtifacts"]
    assert address == "s3://bucket/models/job/output/model/"
    (found,) = bucket.list_objects_v2(Bucket="bucket", Prefix=address.removeprefix("s3://bucket/"))[
        "Contents"
    ]
    assert found["Key"] == "models/job/output/model/x"


def test_list_is_ascending_by_default_as_in_the_model(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    for name in ("first", "second"):
        sagemaker.create_training_job(**training(name))
    summaries = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    assert [each["TrainingJobName"] for each in summaries] == ["first", "second"]
    assert sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")["TrainingJobSummaries"] == []


def test_tags_beyond_the_limits_are_refused(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    arn = sagemaker.create_processing_job(**processing("job"))["ProcessingJobArn"]
    for tags, resource, code in (
        ([{"Key": "aws:x", "Value": ""}], arn, "ValidationException"),
        ([{"Key": "x", "Value": ""}], f"{arn}-unknown", "ValidationException"),
        ([{"Key": f"k{number}", "Value": ""} for number in range(51)], arn, "ValidationException"),
    ):
        with pytest.raises(ClientError) as refused:
            sagemaker.add_tags(ResourceArn=resource, Tags=tags)
        assert refused.value.response["Error"]["Code"] == code
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": f"k{number}", "Value": ""} for number in range(50)])
    with pytest.raises(ClientError, match="at most 50 tags"):
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": ""}])


def test_input_that_the_container_manages_is_not_copied(sagemaker_double: Remote, aws: Any) -> None:
    source = {"S3Uri": "s3://no-bucket/x", "S3DataType": "S3Prefix"}
    inputs = [{"InputName": "x", "AppManaged": True, "S3Input": source}]
    aws("sagemaker").create_processing_job(**processing("job", ProcessingInputs=inputs))
    assert sagemaker_double.wait_for("job")["status"] == "Completed"
