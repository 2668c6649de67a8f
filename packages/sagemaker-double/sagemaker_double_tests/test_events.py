"""Events of jobs and of new objects reach a queue by EventBridge's rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sagemaker_double.control import Remote
from sagemaker_double.requests import processing, training


@pytest.fixture
def received(sagemaker_double: Remote, aws: Any) -> Callable[[], list[dict[str, Any]]]:
    """What has come to a queue that gets every event of SageMaker and S3."""
    sqs, rules = aws("sqs"), aws("events")
    queue = sqs.create_queue(QueueName="changes")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules.put_rule(Name="changes", EventPattern=json.dumps({"source": ["aws.sagemaker", "aws.s3"]}))
    rules.put_targets(Rule="changes", Targets=[{"Id": "queue", "Arn": arn}])

    def receive() -> list[dict[str, Any]]:
        found = []
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            found += [json.loads(message["Body"]) for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    return receive


def test_event_of_a_state_holds_the_answer_of_describe(
    sagemaker_double: Remote, aws: Any, received: Callable[[], list[dict[str, Any]]]
) -> None:
    arn = aws("sagemaker").create_processing_job(
        **processing("job", "raise SystemExit(65)", Tags=[{"Key": "run", "Value": "7"}])
    )["ProcessingJobArn"]
    sagemaker_double.wait_for("job")
    events: list[dict[str, Any]] = []
    sagemaker_double.wait(lambda: events.extend(received()) or len(events) == 2)
    assert [each["detail"]["ProcessingJobStatus"] for each in events] == ["InProgress", "Failed"]
    last = events[-1]
    assert (last["source"], last["detail-type"]) == ("aws.sagemaker", "SageMaker Processing Job State Change")
    assert (last["resources"], last["detail"]["Tags"]) == ([arn], {"run": "7"})
    assert last["detail"]["FailureReason"] == "AlgorithmError: , exit code: 65"
    assert isinstance(last["detail"]["CreationTime"], int)


def test_events_are_lost_or_sent_twice(
    sagemaker_double: Remote, aws: Any, received: Callable[[], list[dict[str, Any]]]
) -> None:
    sagemaker_double.fault("event_lost", states=["InProgress"])
    sagemaker_double.fault("event_duplicate", states=["Completed"])
    aws("sagemaker").create_training_job(**training("job"))
    events: list[dict[str, Any]] = []
    sagemaker_double.wait(lambda: events.extend(received()) or len(events) == 2)
    assert [each["detail"]["TrainingJobStatus"] for each in events] == ["Completed"] * 2
    assert events[0]["id"] == events[1]["id"]


def test_new_object_sends_an_event(
    sagemaker_double: Remote, aws: Any, received: Callable[[], list[dict[str, Any]]]
) -> None:
    s3 = aws("s3")
    s3.create_bucket(Bucket="raw-data", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_notification_configuration(
        Bucket="raw-data", NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    s3.put_object(Bucket="raw-data", Key="stops/2025-01-01.parquet", Body=b"x")
    (event,) = sagemaker_double.wait(received)
    assert (event["detail-type"], event["detail"]["bucket"]) == ("Object Created", {"name": "raw-data"})
    assert event["detail"]["object"]["key"] == "stops/2025-01-01.parquet"


def test_events_come_to_the_default_bus_only(
    sagemaker_double: Remote, aws: Any, received: Callable[[], list[dict[str, Any]]]
) -> None:
    rules = aws("events")
    rules.create_event_bus(Name="other")
    (target,) = rules.list_targets_by_rule(Rule="changes")["Targets"]
    rules.put_rule(Name="same", EventBusName="other", EventPattern=json.dumps({"source": ["aws.sagemaker"]}))
    rules.put_targets(Rule="same", EventBusName="other", Targets=[target])
    aws("sagemaker").create_processing_job(**processing("job"))
    sagemaker_double.wait_for("job")
    events: list[dict[str, Any]] = []
    sagemaker_double.wait(lambda: events.extend(received()) or len(events) >= 2)
    assert len(events) == 2  # InProgress and Completed
