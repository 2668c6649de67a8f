"""An in-memory SageMaker, S3 and CloudWatch in simulated time: jobs do what a test's script says. Runs nothing."""

from __future__ import annotations

import heapq
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from dagster_pipes import decode_param

from dagster_sagemaker import Clock

ROLE = "arn:aws:iam::123456789012:role/jobs"
IMAGE = "123456789012.dkr.ecr.eu-north-1.amazonaws.com/jobs@sha256:" + "a" * 64
START = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)

Script = Callable[["FakeAws", "FakeJob"], None]


def refusal(code: str, message: str = "", status: int = 400) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message or code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "call",
    )


THROTTLED = refusal("ThrottlingException", "Rate exceeded")
LOST = ReadTimeoutError(endpoint_url="https://sagemaker")


@dataclass
class FakeJob:
    request: dict[str, Any]
    kind: str
    created: float
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.request[f"{self.kind}JobName"]

    @property
    def status(self) -> str:
        return self.answer[f"{self.kind}JobStatus"]

    @property
    def messages(self) -> dict[str, str]:
        return decode_param(self.request["Environment"]["DAGSTER_PIPES_MESSAGES"])


class FakeAws:
    """Each created job follows the next of `scripts`; `faults` are raised by a call instead of, or after, doing it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: Counter[str] = Counter()
        self.log: list[tuple[float, str]] = []
        self.jobs: dict[str, FakeJob] = {}
        self.scripts: list[Script] = []
        self.faults: dict[str, list[Any]] = {}
        self.objects: dict[str, tuple[str, float]] = {}
        self.containers: dict[str, str] = {}
        self.streams: dict[str, list[tuple[int, str]]] = {}
        self.page = 10_000
        self.log_lag = 0.0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = itertools.count()
        self.meta = type("Meta", (), {"region_name": "eu-north-1"})

    # Time

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, sleep=self.sleep, jitter=lambda: 0.5)

    def sleep(self, seconds: float) -> None:
        self.until(self.now + max(seconds, 0.001))

    def until(self, end: float) -> None:
        while self._later and self._later[0][0] <= end:
            self.now, _, action = heapq.heappop(self._later)
            action()
        self.now = max(self.now, end)

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """After so many seconds from now."""
        heapq.heappush(self._later, (self.now + seconds, next(self._tie), action))

    def time(self) -> datetime:
        return START + timedelta(seconds=self.now)

    # What scripts do

    def write(self, job: FakeJob, number: int, *messages: Any, container: str = "") -> None:
        """`container` names the writer's own, as our writer does."""
        lines = [m if isinstance(m, str) else json.dumps(m) for m in messages]
        key = f"{job.messages['bucket']}/{job.messages['key_prefix']}/{number}.json"
        self.put(key, "\n".join(lines))
        self.containers[key] = container

    def put(self, key: str, text: str) -> None:
        self.objects[key] = (text, self.now)

    def say(self, job: FakeJob, *lines: str, host: str = "algo-1-1700000000") -> None:
        stream, said = f"/aws/sagemaker/{job.kind}Jobs:{job.name}/{host}", int(self.now * 1000)
        self.at(
            self.log_lag, lambda: self.streams.setdefault(stream, []).extend((said, line) for line in lines)
        )

    def start(self, job: FakeJob) -> None:
        job.answer[f"{job.kind}StartTime"] = self.time()
        self.step(job, "Training")

    def end(self, job: FakeJob, status: str, **answer: Any) -> None:
        secondary = answer.pop("SecondaryStatus", status)
        job.answer |= {f"{job.kind}JobStatus": status, f"{job.kind}EndTime": self.time(), **answer}
        self.step(job, secondary)

    def step(self, job: FakeJob, status: str) -> None:
        if job.kind == "Training":
            job.answer["SecondaryStatus"] = status
            steps = job.answer.setdefault("SecondaryStatusTransitions", [])
            steps.append({"Status": status, "StartTime": self.time(), "StatusMessage": f"{status} it"})

    # The three clients

    def _call(self, name: str) -> Any:
        """Counts, and raises what a test has planned. A fault in a list, `[LOST]`, is raised after the call was done."""
        self.calls[name] += 1
        self.log.append((self.now, name))
        planned = self.faults.get(name, [])
        fault = planned.pop(0) if planned else None
        if isinstance(fault, Exception):
            raise fault
        if callable(fault):
            fault()
            return None
        return fault

    def _create(self, kind: str, request: dict[str, Any]) -> dict[str, str]:
        after = self._call("create")
        name = request[f"{kind}JobName"]
        if name in self.jobs:
            raise refusal("ResourceInUse", "Job name must be unique within an AWS account and region")
        job = self.jobs[name] = FakeJob(request, kind, self.now)
        arn = f"arn:aws:sagemaker:eu-north-1:123456789012:{kind.lower()}-job/{name}"
        job.answer = {**request, f"{kind}JobArn": arn, f"{kind}JobStatus": "InProgress"}
        job.answer["CreationTime"] = self.time()
        self.step(job, "Starting")
        self.scripts.pop(0)(self, job)
        if after:
            raise after[0]
        return {f"{kind}JobArn": arn}

    def create_processing_job(self, **request: Any) -> dict[str, str]:
        return self._create("Processing", request)

    def create_training_job(self, **request: Any) -> dict[str, str]:
        return self._create("Training", request)

    def _of(self, kind: str, name: str) -> FakeJob:
        """The job of this name, if it is of that kind."""
        if name not in self.jobs or self.jobs[name].kind != kind:
            raise refusal("ValidationException", f"Could not find requested job with name: {name}")
        return self.jobs[name]

    def _describe(self, kind: str, name: str) -> dict[str, Any]:
        self._call("describe")
        job = self._of(kind, name)
        headers = {"date": format_datetime(self.time().replace(microsecond=0), usegmt=True)}
        return {**job.answer, "ResponseMetadata": {"HTTPHeaders": headers}}

    def describe_processing_job(self, ProcessingJobName: str) -> dict[str, Any]:  # noqa: N803
        return self._describe("Processing", ProcessingJobName)

    def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:  # noqa: N803
        return self._describe("Training", TrainingJobName)

    def _stop(self, kind: str, name: str) -> None:
        self._call("stop")
        job = self._of(kind, name)
        if job.status != "InProgress":
            words = f"The request was rejected because the {kind.lower()} job is in status {job.status}."
            raise refusal("ValidationException", words)
        self.stop_now(job)

    def stop_now(self, job: FakeJob) -> None:
        self.end(job, "Stopped")

    def stop_processing_job(self, ProcessingJobName: str) -> None:  # noqa: N803
        self._stop("Processing", ProcessingJobName)

    def stop_training_job(self, TrainingJobName: str) -> None:  # noqa: N803
        self._stop("Training", TrainingJobName)

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803
        self._call("put")
        self.put(f"{Bucket}/{Key}", Body.decode())

    def get_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        IfModifiedSince: datetime = datetime.min.replace(tzinfo=UTC),  # noqa: B008, N803
    ) -> dict[str, Any]:
        """To the second, as S3."""
        self._call("get")
        if f"{Bucket}/{Key}" not in self.objects:
            raise refusal("NoSuchKey", status=404)
        text, modified = self.objects[f"{Bucket}/{Key}"]
        written = START + timedelta(seconds=int(modified))
        if written <= IfModifiedSince:
            raise refusal("304", status=304)
        named = self.containers.get(f"{Bucket}/{Key}")
        metadata = {"container": named} if named else {}
        return {"Body": io.BytesIO(text.encode()), "LastModified": written, "Metadata": metadata}

    def get_paginator(self, name: str) -> FakeAws:
        assert name == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str, Delimiter: str) -> list[dict[str, Any]]:  # noqa: N803
        self._call("list")
        start = f"{Bucket}/{Prefix}"
        rests = (key.removeprefix(start) for key in self.objects if key.startswith(start))
        folders = sorted({rest.partition(Delimiter)[0] for rest in rests if Delimiter in rest})
        return [{"CommonPrefixes": [{"Prefix": f"{Prefix}{folder}/"} for folder in folders]}]

    def describe_log_streams(
        self,
        logGroupName: str,  # noqa: N803
        logStreamNamePrefix: str,  # noqa: N803
    ) -> dict[str, Any]:
        self._call("log_streams")
        start = f"{logGroupName}:{logStreamNamePrefix}"
        names = [name.partition(":")[2] for name in self.streams if name.startswith(start)]
        return {"logStreams": [{"logStreamName": name} for name in names]}

    def get_log_events(
        self,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        nextToken: str = "f/0/0",  # noqa: N803
        startFromHead: bool = False,  # noqa: N803
        startTime: int = 0,  # noqa: N803
        limit: int = 10_000,
    ) -> dict[str, Any]:
        """Every second page is empty, as CloudWatch's may be; only a token that does not change is the end."""
        self._call("log_events")
        lines = self.streams[f"{logGroupName}:{logStreamName}"]
        if not startFromHead:
            assert nextToken == "f/0/0", "CloudWatch wants startFromHead with forward tokens too"
            nextToken = f"f/{max(0, len(lines) - limit)}/0"  # noqa: N806
        _, place, parity = nextToken.split("/")
        if place == "expired":
            raise refusal("InvalidParameterException", "The specified nextToken is invalid.")
        begin = max(int(place), sum(time < startTime for time, _ in lines))
        if begin < len(lines) and parity == "1":
            return {"events": [], "nextForwardToken": f"f/{begin}/2"}
        page = lines[begin : begin + self.page]
        after = f"f/{begin + len(page)}/1" if page else nextToken
        late = int(self.log_lag * 1000)
        events = [{"timestamp": time, "ingestionTime": time + late, "message": text} for time, text in page]
        return {"events": events, "nextForwardToken": after}


# Scripts

OPENED = {"method": "opened", "params": {}}
CLOSED = {"method": "closed", "params": {}}


def materialised(asset: str = "loads", rows: int = 1) -> dict[str, Any]:
    metadata = {"rows": {"raw_value": rows, "type": "int"}}
    params = {"asset_key": asset, "metadata": metadata, "data_version": "1"}
    return {"method": "report_asset_materialization", "params": params}


def told(text: str) -> dict[str, Any]:
    return {"method": "log", "params": {"message": text, "level": "INFO"}}


def completes(run: float = 180.0, tail: float = 1.0, report: Any = None, start: float = 0.0) -> Script:
    """Runs, reports, closes, and is `Completed` so many seconds after it has closed."""

    def script(aws: FakeAws, job: FakeJob) -> None:
        aws.at(start, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
        aws.at(start + run, lambda: aws.write(job, 2, *(report or [materialised()]), CLOSED))
        aws.at(start + run + tail, lambda: aws.end(job, "Completed"))

    return script


def ends(status: str, after: float = 50.0, **answer: Any) -> Script:
    """Ends without a word on Pipes."""

    def script(aws: FakeAws, job: FakeJob) -> None:
        aws.at(1.0, lambda: aws.start(job))
        aws.at(after, lambda: aws.end(job, status, **answer))

    return script


def fails(reason: str, after: float = 50.0, **answer: Any) -> Script:
    return ends("Failed", after, FailureReason=reason, **answer)


def forever(aws: FakeAws, job: FakeJob) -> None:
    aws.at(1.0, lambda: (aws.start(job), aws.write(job, 1, OPENED)))
