"""A job's life without faults: what comes in, what goes out, what Describe, List and the logs tell."""

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
    """What each stream of a job holds."""
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
    told = aws("sagemaker").describe_processing_job(ProcessingJobName="job")
    assert (told["ProcessingJobStatus"], told["ExitMessage"]) == ("Completed", "all well")
    assert told["ProcessingStartTime"] >= told["CreationTime"]
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
    told = aws("sagemaker").describe_training_job(TrainingJobName="job")
    stages = [each["Status"] for each in told["SecondaryStatusTransitions"]]
    assert stages == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all("EndTime" in each for each in told["SecondaryStatusTransitions"])
    trained = (told["TrainingEndTime"] - told["TrainingStartTime"]).total_seconds()
    assert told["TrainingTimeInSeconds"] == told["BillableTimeInSeconds"] == math.ceil(trained) >= 1
    key = told["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://bucket/")
    body = bucket.get_object(Bucket="bucket", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        model = archive.extractfile("model.txt")
        assert model is not None and model.read().decode() == json.dumps({"trees": "7"}) + "1job"


def test_a_container_has_only_what_request_image_and_platform_give(
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


def test_network_isolation_cuts_a_container_off_from_s3(
    sagemaker_double: Remote, aws: Any, bucket: Any
) -> None:
    code = "import boto3; boto3.client('s3', 'eu-west-1').list_objects_v2(Bucket='bucket')"
    isolated = {"EnableNetworkIsolation": True}
    aws("sagemaker").create_processing_job(**processing("isolated", code, NetworkConfig=isolated))
    aws("sagemaker").create_processing_job(**processing("connected", code))
    assert sagemaker_double.wait_for("isolated")["status"] == "Failed"
    assert sagemaker_double.wait_for("connected")["status"] == "Completed"


def test_failures_are_told_as_aws_words_them(sagemaker_double: Remote, aws: Any, bucket: Any) -> None:
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
        "signal.signal(signal.SIGTERM, lambda *_: (print('told', flush=True), sys.exit(0))); "
        "print('child', child.pid, flush=True); time.sleep(60)"
    )
    sagemaker = aws("sagemaker")
    sagemaker.create_processing_job(**processing("job", code))
    said = sagemaker_double.wait(lambda: _said(aws, "job", "child"))
    sagemaker.stop_processing_job(ProcessingJobName="job")
    job = sagemaker_double.wait_for("job")
    assert job["status"] == "Stopped"
    assert "told" in next(iter(lines(aws, "/aws/sagemaker/ProcessingJobs", "job").values()))
    sagemaker_double.wait(lambda: not _alive(int(said.split()[1])))
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_processing_job(ProcessingJobName="job")


def test_a_double_that_ends_takes_its_containers_along(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_job_over_its_time_is_stopped(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker_double.set(limit_scale=0.1)
    limit = {"StoppingCondition": {"MaxRuntimeInSeconds": 3}}
    aws("sagemaker").create_training_job(**training("job", "import time; time.sleep(60)", **limit))
    job = sagemaker_double.wait_for("job")
    assert (job["status"], job["secondary"], job["exits"]) == ("Stopped", "MaxRuntimeExceeded", [143])


def test_every_host_of_several_has_its_own_container_and_stream(sagemaker_double: Remote, aws: Any) -> None:
    code = (
        BASE
        + "import json; print(json.loads((base / 'config/resourceconfig.json').read_text())['current_host'])"
    )
    cluster = {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 3, "VolumeSizeInGB": 1}}
    aws("sagemaker").create_processing_job(**processing("job", code, ProcessingResources=cluster))
    sagemaker_double.wait_for("job")
    found = lines(aws, "/aws/sagemaker/ProcessingJobs", "job")
    assert sorted(found.values()) == [["algo-1"], ["algo-2"], ["algo-3"]]


def test_a_name_is_taken_once_for_ever(sagemaker_double: Remote, aws: Any) -> None:
    sagemaker = aws("sagemaker")
    sagemaker.create_processing_job(**processing("job"))
    with pytest.raises(ClientError, match="ResourceInUse") as refused:
        sagemaker.create_processing_job(**processing("job"))
    assert "processing-job/job" in refused.value.response["Error"]["Message"]
    sagemaker.create_training_job(**training("job"))  # a Training job may have the same name
    with pytest.raises(ClientError, match="Could not find requested job"):
        sagemaker.describe_processing_job(ProcessingJobName="other")


def test_list_pages_filters_and_sorts(sagemaker_double: Remote, aws: Any) -> None:
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


def test_tags_of_a_job(sagemaker_double: Remote, aws: Any) -> None:
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


def _said(aws: Any, job: str, word: str) -> str | None:
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
