"""The S3 folder of one job's key, `<artifacts>/pipes/<origin run>/<key>/`.

It holds the record and, for each attempt, the context, inputs and messages. Nothing is deleted, because a process that
adopts the job needs it. A lifecycle rule on `<artifacts>/pipes/` may delete old files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

from dagster_sagemaker.calls import Calls, NotFound
from dagster_sagemaker.jobs import InlineInput, Job, ProcessingJob


@dataclass
class Attempt:
    """One launch. It is recorded before Create is called, so each job has a record."""

    number: int
    name: str
    instance_type: str
    spot: bool
    run_id: str
    """The Dagster run that launched it."""
    ended: str = ""
    """Value of its `Ending`; empty until the end is known."""
    made_of: dict[str, str] = field(default_factory=dict)
    """Digests of what identifies the job's work, by part. Empty if unknown."""

    def differs(self, made_of: Mapping[str, str]) -> list[str]:
        """The parts whose digests differ from those of the job to run now."""
        parts = {**self.made_of, **made_of} if self.made_of else {}
        return [part for part in parts if self.made_of.get(part) != made_of.get(part)]


@dataclass
class Record:
    """The attempts of a key, for processes that continue its work."""

    key: str
    attempts: list[Attempt] = field(default_factory=list)
    delivered: str = ""
    """The Dagster run whose step received the results."""


@dataclass
class Progress:
    """How far one Dagster run has read an attempt's log lines and messages, so that it shows each one once."""

    run_id: str
    attempt: int
    incarnation: str = ""
    messages: int = 0
    streams: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class S3Object:
    """An S3 object that was read."""

    content: bytes
    modified: datetime
    """S3's time, in whole seconds."""
    container: str
    """Name of the container that wrote the object, from its metadata. Empty if the writer sets none."""


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
        self._put(f"{attempt}/context.json", json.dumps(context_data))
        for item in job.inputs if isinstance(job, ProcessingJob) else ():
            if isinstance(item, InlineInput):
                self._put(f"{attempt}/inputs/{item.name}/{item.filename}", item.content)

    def read_record(self, key: str) -> Record:
        content = self._read_json("record.json")
        if content is None:
            return Record(key)
        known = {field.name for field in fields(Attempt)}
        # A newer version may have written more fields.
        attempts = [
            Attempt(**{name: value for name, value in attempt.items() if name in known})
            for attempt in content["attempts"]
        ]
        return Record(content["key"], attempts, content["delivered"])

    def update_record(self, record: Record) -> None:
        """Writes the record, and keeps the attempts that another run has launched meanwhile."""
        stored = self.read_record(record.key)
        attempts = [
            theirs if own is None or (theirs and theirs.run_id != own.run_id) else own
            for own, theirs in zip_longest(record.attempts, stored.attempts)
        ]
        if attempts != record.attempts:
            record = replace(stored, attempts=attempts)
        self.write_record(record)

    def write_record(self, record: Record) -> None:
        self._put("record.json", json.dumps(asdict(record), indent=1))

    def new_progress(self, run_id: str, attempt: int) -> Progress:
        """The progress of a run that has shown nothing yet."""
        return Progress(run_id, attempt)

    def read_progress(self, run_id: str, attempt: int) -> Progress:
        """The progress of this run in this attempt. It starts anew if the stored one is of another attempt."""
        content = self._read_json(f"seen-{run_id}.json")
        progress = Progress(**content) if content else None
        return progress if progress and progress.attempt == attempt else self.new_progress(run_id, attempt)

    def write_progress(self, progress: Progress) -> None:
        self._put(f"seen-{progress.run_id}.json", json.dumps(asdict(progress)))

    def read_message(self, attempt: int, number: int, since: datetime | None = None) -> S3Object:
        """Chunk `number` of an attempt's messages. Raises `NotFound`, or `NotModified` if not written after `since`."""
        return self._get(f"{attempt}/messages/{number}.json", since)

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads(self._get(name).content)
        except NotFound:
            return None

    def _get(self, name: str, since: datetime | None = None) -> S3Object:
        condition = {"IfModifiedSince": since} if since else {}

        def get_object(**parameters: Any) -> S3Object:
            answer = self.s3.get_object(**parameters)
            container = answer.get("Metadata", {}).get("container", "")
            return S3Object(answer["Body"].read(), answer["LastModified"], container)

        return self.calls(get_object, Bucket=self.bucket, Key=f"{self.prefix}/{name}", **condition)

    def _put(self, name: str, text: str) -> None:
        self.calls(self.s3.put_object, Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=text.encode())
