"""Sends the events of AWS to EventBridge: state changes of jobs, and new objects of S3. Moto's rules bring them to SQS."""

from __future__ import annotations

import threading
import time
import traceback
import uuid
from typing import Any, cast

import moto.s3.notifications as notifications
from moto.events.models import events_backends

from .faults import Faults
from .jobs import Job
from .settings import ACCOUNT, Settings

TIMES = ("CreationTime", "LastModifiedTime", "StartTime", "EndTime")
OBJECT_EVENTS = {"ObjectCreated": "Object Created", "ObjectRemoved": "Object Deleted"}


def send_state_change(job: Job, settings: Settings, faults: Faults) -> None:
    """One event of the job's present state, with Describe's answer."""
    detail = _in_milliseconds(job.describe()) | {"Tags": dict(job.tags)}
    message = _message(
        settings.region, "aws.sagemaker", f"SageMaker {job.kind} Job State Change", job.arn, detail
    )
    _deliver(message, faults, job.name, job.status)


def send_object_events(settings: Settings, faults: Faults) -> None:
    """From now on S3's events have the shape of AWS: moto gives all of them one id, and adds one of tags to each.

    A fault's `jobs` is here a pattern of the object's key, its `states` Object Created or Object Deleted.
    """

    def send_object_event(account_id: str, bucket: Any, event_name: str, key: Any) -> None:
        kind, reason = [*str.__str__(event_name).split(":"), ""][1:3]
        if kind not in OBJECT_EVENTS:
            return
        detail = {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": {
                "key": key.name,
                "size": key.size,
                "etag": key.etag.strip('"'),
                "sequencer": f"{time.time_ns():016X}",
            },
            "request-id": uuid.uuid4().hex[:16].upper(),
            "requester": account_id,
            "reason": reason if "Multipart" in reason else f"{reason}Object",
        }
        message = _message(
            settings.region, "aws.s3", OBJECT_EVENTS[kind], f"arn:aws:s3:::{bucket.name}", detail
        )
        _deliver(message, faults, key.name, OBJECT_EVENTS[kind])

    notifications._send_event_bridge_message = send_object_event


def _message(
    region: str, source: str, detail_type: str, resource: str, detail: dict[str, Any]
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": time.time(),  # moto writes it as AWS does
        "region": region,
        "resources": [resource],
        "detail": detail,
    }


def _deliver(message: dict[str, Any], faults: Faults, name: str, state: str) -> None:
    """Lost, late or twice if a fault says so; a duplicate has the same id, for EventBridge delivers at least once."""
    if faults.take_state("event_lost", job=name, state=state):
        return
    late = faults.take_state("event_late", job=name, state=state)
    copies = 2 if faults.take_state("event_duplicate", job=name, state=state) else 1
    if late:
        timer = threading.Timer(late.seconds, _put, [message, copies])
        timer.daemon = True
        timer.start()
    else:
        _put(message, copies)


def _put(message: dict[str, Any], copies: int) -> None:
    backend = events_backends[ACCOUNT][message["region"]]
    for rule in list(backend.event_buses["default"].rules.values()):  # AWS sends its events to no other bus
        for _ in range(copies if rule.state == "ENABLED" else 0):
            try:
                rule.send_to_targets(cast(Any, dict(message)), transform_input=False)
            except Exception:  # a rule whose queue is gone: AWS drops the event, too
                traceback.print_exc()


def _in_milliseconds(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _in_milliseconds(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_milliseconds(item) for item in value]
    return int(value * 1000) if name.endswith(TIMES) and isinstance(value, float) else value
