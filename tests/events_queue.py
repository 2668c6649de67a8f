"""A queue that EventBridge's events come to, in the double of AWS."""

from __future__ import annotations

import json
from typing import Any


def queue_of_events(aws: Any, name: str, source: str) -> str:
    """URL of a queue that gets every event of a source, `aws.sagemaker` or `aws.s3`."""
    sqs, rules = aws("sqs"), aws("events")
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules.put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))
    rules.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def waiting(aws: Any, url: str) -> int:
    """Messages in the queue, those that are received and not deleted too."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)
