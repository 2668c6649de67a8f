"""Runs the jobs of a round through dagster_sagemaker's clients: `python -m benchmarks.sagemaker_ours PLAN RESULTS PACE`.

Each job is the one asset of a Dagster run of its own, in a thread of its own, with an instance of its own. Where events are
asked for, EventBridge sends the ends of all jobs to one SQS queue, which the runs share as ruter_dagster's workers do
(`QueuedJobEnds`). The job's end is seen when Dagster has stored the materialisation. Each job's boto3 clients have its token as
access key, so that the double counts its calls apart.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from dagster import DagsterEventType, DagsterInstance, asset, materialize

from benchmarks.sagemaker_work import Case, Work
from dagster_sagemaker import (
    Job,
    Pacing,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    ProcessingJob,
    TrainingJob,
)
from ruter_dagster.aws.queues import EventQueue
from ruter_dagster.resources.sagemaker.events import ENDED, EndNotes, QueuedJobEnds

CLIENTS = {"Processing": PipesSageMakerProcessingClient, "Training": PipesSageMakerTrainingClient}
JOBS: dict[str, type[Job]] = {"Processing": ProcessingJob, "Training": TrainingJob}
ROLE = "arn:aws:iam::123456789012:role/jobs"
BUCKET = "benchmark"
ARTIFACTS = f"s3://{BUCKET}/artifacts"
_ONE_TRY = Config(retries={"total_max_attempts": 1})
"""The clients' default."""


def main(plan: Path, results: Path, pace: float) -> None:
    works = [Work(**{**work, "case": Case(**work["case"])}) for work in json.loads(plan.read_text())]
    session = boto3.Session()
    queue = queue_of_ends(session)
    clients = [_client(work, session, queue, pace) for work in works]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(works)) as pool:
        ends = pool.map(lambda work, client: run_job(work, client, begun), works, clients)
        results.write_text(json.dumps({work.token: end for work, end in zip(works, ends, strict=True)}))


def run_job(work: Work, client: Any, begun: float) -> dict[str, Any]:
    """The job's name, and when the materialisation was stored, in seconds since 1970."""
    job = JOBS[work.case.service](
        image="image",
        role=ROLE,
        instance_types=("ml.m5.large",),
        entrypoint=work.entrypoint,
        arguments=work.arguments,
    )
    time.sleep(max(0.0, begun + work.delay - time.monotonic()))

    @asset
    def loads(context):
        yield from client.run(context=context, job=job).get_results()

    with DagsterInstance.ephemeral() as instance:
        run = materialize([loads], instance=instance)
        (entry,) = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
    (materialisation,) = run.asset_materializations_for_node("loads")
    return {
        "job": str(materialisation.metadata["sagemaker/job_arn"].value).rpartition("/")[2],
        "seen": entry.timestamp,
    }


def _client(work: Work, session: boto3.Session, queue: str, pace: float) -> Any:
    def made(service: str, **options: Any) -> Any:
        return session.client(service, aws_access_key_id=work.token, aws_secret_access_key="none", **options)

    s3 = made("s3")
    return CLIENTS[work.case.service](
        ARTIFACTS,
        sagemaker=made("sagemaker", config=_ONE_TRY),
        s3=s3,
        logs=made("logs", config=_ONE_TRY),
        follow_logs=work.case.logs,
        job_ends=_job_ends(queue, made("sqs"), s3) if work.case.mode == "events" else None,
        pacing=Pacing().scaled(pace),
    )


def _job_ends(url: str, sqs: Any, s3: Any) -> QueuedJobEnds:
    """The project's `QueuedJobEnds`, with clients whose calls count for this job."""
    return QueuedJobEnds(EventQueue(url, sqs), EndNotes(ARTIFACTS, s3))


def queue_of_ends(session: boto3.Session) -> str:
    """The SQS queue to which EventBridge sends the end of every job."""
    sqs, rules = session.client("sqs"), session.client("events")
    queue = sqs.create_queue(QueueName="job-ends")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    for service in CLIENTS:
        pattern = {
            "source": ["aws.sagemaker"],
            "detail-type": [f"SageMaker {service} Job State Change"],
            "detail": {f"{service}JobStatus": list(ENDED)},
        }
        rules.put_rule(Name=service, EventPattern=json.dumps(pattern))
        rules.put_targets(Rule=service, Targets=[{"Id": "queue", "Arn": arn}])
    return queue


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
