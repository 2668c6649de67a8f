"""Pipes through S3: a job reads its context, and writes each message once, in order and before it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import boto3
import pytest
from dagster_pipes import encode_param
from moto.server import ThreadedMotoServer

from ruter_dagster.contracts.container import Container
from ruter_dagster.contracts.jobs import Balance, JobParameters, Snapshot
from ruter_dagster.contracts.tables import WEATHER_FORECASTS
from ruter_dagster.jobs.pipes import S3Messages
from tests.jobs import job_process
from tests.jobs.test_entry_point import LONG, PROGRESS_LINE

DAY = date(2026, 11, 20)
WEATHER = Snapshot(table=WEATHER_FORECASTS.name, dates=(DAY,))
PREFIX = "pipes/run/job/1"


class Bucket:
    """A bucket of one test, and the environment of a job that writes to it."""

    def __init__(self, address: str) -> None:
        self.name = f"artifacts-{uuid4().hex}"
        self.variables = {
            "AWS_ENDPOINT_URL": address, "AWS_REGION": "eu-north-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "DAGSTER_PIPES_CONTEXT": encode_param({"bucket": self.name, "key": f"{PREFIX}/context.json"}),
            "DAGSTER_PIPES_MESSAGES": encode_param({"bucket": self.name, "key_prefix": f"{PREFIX}/messages"}),
        }  # fmt: skip
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        self.s3: Any = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
        self.s3.create_bucket(Bucket=self.name)

    def put_context(self, asset: str) -> None:
        context = {"asset_keys": [asset], "run_id": "run", "job_name": "job", "retry_number": 0, "extras": {}}
        self.s3.put_object(Bucket=self.name, Key=f"{PREFIX}/context.json", Body=json.dumps(context))

    def messages(self) -> list[dict[str, Any]]:
        """All messages, in the order of their numbers."""
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=f"{PREFIX}/messages/").get("Contents", [])
        keys = [f"{PREFIX}/messages/{number}.json" for number in range(1, len(listed) + 1)]
        assert sorted(keys) == sorted(item["Key"] for item in listed)
        texts = [self.s3.get_object(Bucket=self.name, Key=key)["Body"].read().decode() for key in keys]
        return [json.loads(line) for text in texts for line in text.splitlines()]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def bucket(address: str) -> Bucket:
    return Bucket(address)


def methods(messages: list[dict[str, Any]]) -> list[str]:
    return [message["method"] for message in messages]


def run(parameters: JobParameters, folder: Path, bucket: Bucket) -> tuple[int, str]:
    return job_process.run(parameters, folder, **bucket.variables)


def test_job_reports_to_the_bucket(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_context("raw/weather_forecasts")
    exit_code, printed = run(WEATHER, tmp_path, bucket)
    assert exit_code == 0, printed
    messages = bucket.messages()
    assert methods(messages) == ["opened", "report_asset_materialization", "closed"]
    assert messages[1]["params"]["asset_key"] == "raw/weather_forecasts"


def test_failed_job_closes_with_its_error(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_context("loads/stop_loads")
    exit_code, _ = run(Balance(dates=(DAY,)), tmp_path, bucket)
    assert exit_code == 65
    assert "raw.stop_visits" in bucket.messages()[-1]["params"]["exception"]["message"]


def test_stopped_job_closes_with_its_reason(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_context("raw/stop_visits")
    with job_process.start(LONG, tmp_path, **bucket.variables) as process:
        assert process.stdout and any(PROGRESS_LINE in line for line in process.stdout)
        process.terminate()
        process.communicate(timeout=120)
    assert process.returncode == 128 + 15
    closed = bucket.messages()[-1]
    assert closed["method"] == "closed" and closed["params"]["exception"]["name"] == "Stopped"
    assert (Container(tmp_path / "ml").read_failure() or "").startswith("Stopped by signal 15")


def test_job_without_delivered_reports_fails(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put_context("raw/weather_forecasts")
    missing_bucket = encode_param({"bucket": "another", "key_prefix": "messages"})
    exit_code, _ = job_process.run(
        WEATHER, tmp_path, **{**bucket.variables, "DAGSTER_PIPES_MESSAGES": missing_bucket}
    )
    assert exit_code == 1
    assert "NoSuchBucket" in (Container(tmp_path / "ml").read_failure() or "")


@pytest.mark.parametrize(("kind", "folder"), [("Training", "input/config"), ("Processing", "config")])
@pytest.mark.parametrize(("host", "reports"), [("algo-1", True), ("algo-2", False)])
def test_only_the_first_of_several_instances_reports(
    bucket: Bucket, tmp_path: Path, kind: str, folder: str, host: str, reports: bool
) -> None:
    bucket.put_context("raw/weather_forecasts")
    resources = tmp_path / "ml" / folder / "resourceconfig.json"
    resources.parent.mkdir(parents=True)
    resources.write_text(json.dumps({"current_host": host, "hosts": ["algo-10", "algo-2", "algo-1"]}))
    assert run(WEATHER, tmp_path, bucket)[0] == 0
    assert (bucket.messages() != []) is reports


class Flaky:
    """An S3 that stores an object but fails to answer the first few calls."""

    def __init__(self, losses: int) -> None:
        self.losses, self.objects = losses, {}
        self.recovered = Event()

    def put_object(self, *, Body: str, Bucket: str, Key: str, Metadata: dict[str, str]) -> None:  # noqa: N803
        number = int(Key.rsplit("/", 1)[1].removesuffix(".json"))
        assert self.objects.setdefault(number, Body) == Body, "a number has two contents"
        if self.losses:
            self.losses -= 1
            raise ConnectionError("the answer was lost")
        self.recovered.set()


def test_failed_object_is_repeated_with_the_same_content() -> None:
    s3 = Flaky(losses=2)
    with S3Messages(s3, interval=0.01).open({"bucket": "any", "key_prefix": PREFIX}) as channel:
        for number in range(200):
            channel.write_message({"method": "log", "params": {"number": number}})  # type: ignore[typeddict-item]
        assert s3.recovered.wait(30)
    sent = [json.loads(line) for number in sorted(s3.objects) for line in s3.objects[number].splitlines()]
    assert [message["params"]["number"] for message in sent] == list(range(200))
    assert sorted(s3.objects) == list(range(1, len(s3.objects) + 1))


def test_messages_are_written_while_the_job_runs(bucket: Bucket) -> None:
    with S3Messages(bucket.s3, interval=0.01).open(
        {"bucket": bucket.name, "key_prefix": f"{PREFIX}/messages"}
    ) as channel:
        channel.write_message({"method": "opened"})  # type: ignore[typeddict-item]
        bucket.s3.get_waiter("object_exists").wait(
            Bucket=bucket.name,
            Key=f"{PREFIX}/messages/1.json",
            WaiterConfig={"Delay": 0.05, "MaxAttempts": 200},
        )
        assert methods(bucket.messages()) == ["opened"]
