"""The folder of one job's key on S3, `<artifacts>/pipes/<origin run>/<key>/`: its record, and per attempt context, inputs, messages.

Nothing is deleted: whoever takes over needs it. A lifecycle rule on `<artifacts>/pipes/` keeps it small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from dagster_sagemaker.calls import Calls, NotFound
from dagster_sagemaker.jobs import InlineInput, Job, ProcessingJob


@dataclass
class Attempt:
    """One launch: written before Create is called, so that no job is ever unknown."""

    number: int
    name: str
    instance_type: str
    spot: bool
    run_id: str
    """The Dagster run that launched it."""
    ended: str = ""
    """Class of its end, once that was seen."""
    made_of: dict[str, str] = field(default_factory=dict)
    """Digests of what decides its results, by part; empty where they are not known."""

    def differs(self, made_of: Mapping[str, str]) -> list[str]:
        """The parts in which a job that is to run now is another."""
        parts = {**self.made_of, **made_of} if self.made_of else {}
        return [part for part in parts if self.made_of.get(part) != made_of.get(part)]


@dataclass
class Record:
    """What is known of a key's jobs by whoever comes later."""

    key: str
    attempts: list[Attempt] = field(default_factory=list)
    delivered: str = ""
    """The Dagster run to whose step the results were handed."""


@dataclass
class Seen:
    """How far one Dagster run has shown an attempt's log lines and messages: what it showed it does not show again."""

    run_id: str
    attempt: int
    incarnation: str = ""
    messages: int = 0
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Object:
    """An object as it was read."""

    content: bytes
    modified: datetime
    """To the second, as S3 tells it."""
    container: str
    """What its writer calls the container that it runs in, in the object's metadata; empty where it does not."""


class Folder:
    """Reads and writes the folder. `artifacts` is an S3 address."""

    def __init__(self, s3: Any, calls: Calls, artifacts: str, origin_run: str, name: str) -> None:
        self.s3, self.calls = s3, calls
        self.bucket, _, prefix = artifacts.removeprefix("s3://").partition("/")
        self.prefix = "/".join(part for part in (prefix.strip("/"), "pipes", origin_run, name) if part)

    def address(self, attempt: int) -> str:
        return f"s3://{self.bucket}/{self.prefix}/{attempt}"

    def context_at(self, attempt: int) -> dict[str, str]:
        """Parameters of `PipesS3ContextLoader`."""
        return {"bucket": self.bucket, "key": f"{self.prefix}/{attempt}/context.json"}

    def messages_at(self, attempt: int) -> dict[str, str]:
        """Parameters of `PipesS3MessageWriter`, which writes `<key_prefix>/1.json`, `2.json`, …."""
        return {"bucket": self.bucket, "key_prefix": f"{self.prefix}/{attempt}/messages"}

    def write_inputs(self, attempt: int, job: Job, context_data: Mapping[str, Any]) -> None:
        """Lays out what the job reads: its Pipes context and its inline inputs."""
        self._put(f"{attempt}/context.json", json.dumps(context_data))
        for item in job.inputs if isinstance(job, ProcessingJob) else ():
            if isinstance(item, InlineInput):
                self._put(f"{attempt}/inputs/{item.name}/{item.filename}", item.content)

    def read_record(self, key: str) -> Record:
        content = self._read_json("record.json")
        if content is None:
            return Record(key)
        known = {field.name for field in fields(Attempt)}
        # A newer version's record may tell more than this one knows.
        attempts = [
            Attempt(**{name: value for name, value in attempt.items() if name in known})
            for attempt in content["attempts"]
        ]
        return Record(content["key"], attempts, content["delivered"])

    def write_record(self, record: Record) -> None:
        self._put("record.json", json.dumps(asdict(record), indent=1))

    def unseen(self, run_id: str, attempt: int) -> Seen:
        """Where a run begins that has shown nothing yet."""
        return Seen(run_id, attempt)

    def read_seen(self, run_id: str, attempt: int) -> Seen:
        """What this run has shown of this attempt; nothing where it looked at another one last."""
        content = self._read_json(f"seen-{run_id}.json")
        seen = Seen(**content) if content else None
        return seen if seen and seen.attempt == attempt else self.unseen(run_id, attempt)

    def write_seen(self, seen: Seen) -> None:
        self._put(f"seen-{seen.run_id}.json", json.dumps(asdict(seen)))

    def read_message(self, attempt: int, number: int, since: datetime | None = None) -> Object:
        """Chunk `number` of an attempt's messages. Raises `NotFound`, or `NotModified` where it was not written `since`."""
        return self._get(f"{attempt}/messages/{number}.json", since)

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads(self._get(name).content)
        except NotFound:
            return None

    def _get(self, name: str, since: datetime | None = None) -> Object:
        condition = {"IfModifiedSince": since} if since else {}

        def get_object(**parameters: Any) -> Object:
            answer = self.s3.get_object(**parameters)
            container = answer.get("Metadata", {}).get("container", "")
            return Object(answer["Body"].read(), answer["LastModified"], container)

        return self.calls(get_object, Bucket=self.bucket, Key=f"{self.prefix}/{name}", **condition)

    def _put(self, name: str, text: str) -> None:
        self.calls(self.s3.put_object, Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=text.encode())
