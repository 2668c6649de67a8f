"""The clients with real jobs: processes that the double of SageMaker runs, reporting through dagster_pipes over HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, asset, build_sensor_context, materialize
from dagster._core.test_utils import create_run_for_test

from dagster_sagemaker import (
    Pacing,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    unawaited_jobs_sensor,
)
from dagster_sagemaker.calls import Calls
from dagster_sagemaker.folder import Attempt, Folder, Record
from dagster_sagemaker_tests.conftest import metadata, processing, training
from sagemaker_double.control import Remote
from sagemaker_double.requests import processing as processing_request
from sagemaker_double.requests import training as training_request

pytestmark = pytest.mark.extended

JOB = """
import sys, time, boto3
from dagster_pipes import PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes
s3 = boto3.client("s3")
print("line 1", flush=True)
with open_dagster_pipes(context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3, interval=1)) as pipes:
    time.sleep(float(sys.argv[1]))
    print("line 2", flush=True)
    pipes.report_asset_materialization(metadata={"rows": 3, "extra": pipes.get_extra("extra")})
print("line 3", flush=True)
"""
LONG = "import time; time.sleep(600)"
PACING = Pacing().scaled(0.05)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.py"
    path.write_text(JOB)
    return path


def materialised(client: Any, job: Any, instance: DagsterInstance) -> Any:
    @asset
    def loads(context):
        yield from client.run(context=context, job=job, extras={"extra": "x"}).get_results()

    return materialize([loads], instance=instance, raise_on_error=False)


@pytest.mark.parametrize(
    ("made", "described"),
    [(PipesSageMakerProcessingClient, processing), (PipesSageMakerTrainingClient, training)],
    ids=["Processing", "Training"],
)
def test_real_job_reports_through_s3_with_each_line_once(
    sagemaker_double: Remote, aws: Any, script: Path, capfd: Any, made: Any, described: Any
):
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client = made("s3://bucket/artifacts", pacing=PACING)
    job = described(entrypoint=("python", str(script)), arguments=("2",))
    with DagsterInstance.ephemeral() as instance:
        told = metadata(materialised(client, job, instance))
    assert (told["rows"], told["extra"]) == (3, "x")
    assert re.findall(r"line \d", capfd.readouterr().out) == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("kind", ["Processing", "Training"])
def test_sensor_stops_real_job_of_cancelled_run(sagemaker_double: Remote, aws: Any, kind: str):
    """The sensor makes its own clients, and S3 answers it."""
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    sensor = unawaited_jobs_sensor("s3://bucket/artifacts")
    with DagsterInstance.ephemeral() as instance:
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
        for key in ("first", "second"):
            folder = Folder(aws("s3"), Calls(), "s3://bucket/artifacts", run.run_id, key)
            folder.write_record(Record(key, [Attempt(0, key, "ml.m5.large", False, run.run_id)]))
            request = {"Processing": processing_request, "Training": training_request}[kind](key, LONG)
            getattr(aws("sagemaker"), f"create_{kind.lower()}_job")(**request)
        instance.report_run_canceled(run)
        with build_sensor_context(instance=instance) as context:
            result = sensor.evaluate_tick(context)
    stopped = [f"{key} stopped: no run waits for it" for key in ("first", "second")]
    assert (result.skip_message or "").split("; ") == stopped
    for key in ("first", "second"):
        sagemaker_double.wait_for(key, "Stopped")
    assert not [call for call in sagemaker_double.calls()["total"] if call.startswith("sagemaker.List")]
