"""The clients beside those of dagster-aws: raw parameters, other readers and injectors, tags."""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager
from typing import Any

import pytest
from dagster import PipesContextInjector, PipesMessageReader, asset, materialize
from dagster._core.pipes.utils import PipesBlobStoreMessageReader
from dagster_pipes import PIPES_PROTOCOL_VERSION_FIELD, decode_param

from dagster_sagemaker_tests.conftest import messages, metadata, processing, training
from dagster_sagemaker_tests.fake_aws import (
    CLOSED,
    IMAGE,
    OPENED,
    ROLE,
    completes,
    ends,
    fails,
    forever,
    materialised,
)
from dagster_sagemaker_tests.test_adoption import killed

RAW = {
    "Processing": {
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": IMAGE},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.c5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}
        },
    },
    "Training": {
        "RoleArn": ROLE,
        "AlgorithmSpecification": {"AlgorithmName": "our-algorithm", "TrainingInputMode": "File"},
        "ResourceConfig": {"InstanceType": "ml.c5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
    },
}


TYPES = ("ml.m5.large", "ml.m5.xlarge")


def run_raw(runner: Any, kind: str, **arguments: Any) -> Any:
    client = runner.client(kind)

    @asset
    def loads(context):
        return client.run(context=context, **arguments).get_materialize_result()

    return materialize([loads], instance=runner.instance, raise_on_error=False)


@pytest.mark.parametrize("kind", RAW)
def test_client_runs_raw_parameters_of_boto3(runner, kind):
    runner.aws.scripts = [completes()]
    before = json.dumps(RAW[kind])
    result = run_raw(runner, kind, **{f"create_{kind.lower()}_job_params": RAW[kind]})
    assert result.success
    (job,) = runner.aws.jobs.values()
    assert job.request.items() >= {name: RAW[kind][name] for name in ("RoleArn",)}.items()
    assert "DAGSTER_PIPES_CONTEXT" in job.request["Environment"]
    assert "StoppingCondition" not in job.request
    assert metadata(result)["sagemaker/instance_type"] == "ml.c5.large"
    assert json.dumps(RAW[kind]) == before


@pytest.mark.parametrize(
    "arguments",
    [{}, {"job": processing(), "create_processing_job_params": RAW["Processing"]}],
    ids=["neither", "both"],
)
def test_client_needs_a_job_or_parameters(runner, arguments):
    result = run_raw(runner, "Processing", **arguments)
    assert "either job or create_processing_job_params" in str(result.failure_data_for_node("loads"))


def test_timeout_of_the_request_is_a_timeout(runner):
    runner.aws.scripts = [ends("Stopped", after=50)]
    job = processing(request={"StoppingCondition": {"MaxRuntimeInSeconds": 30}})
    failed = runner.failure(job)
    assert "exceeded max_runtime_seconds=30" in failed.description


class Reader(PipesMessageReader):
    """Gets what the test hands over. Each session has places of its own, unless they are given."""

    sessions = 0

    def __init__(self, place: str = "") -> None:
        self.place, self.handlers, self.launches = place, [], []

    @contextmanager
    def read_messages(self, handler):
        Reader.sessions += 1
        self.handlers.append(handler)
        yield {"place": self.place or f"place-{Reader.sessions}"}

    def on_launched(self, launched_payload):
        self.launches.append(launched_payload["extras"])

    def no_messages_debug_text(self):
        return "the test's reader"

    def script(self, *sent: Any, run: float = 100.0):
        """A job that reports through the reader that is open as it starts."""

        def script(aws, job):
            aws.at(1, lambda: (aws.start(job), self.handlers[-1].handle_message(OPENED)))
            for message in sent:
                aws.at(run, lambda m=message: self.handlers[-1].handle_message(m))
            aws.at(run + 1, lambda: aws.end(job, "Completed"))

        return script


class Injector(PipesContextInjector):
    def __init__(self) -> None:
        self.injected: list[Any] = []

    @contextmanager
    def inject_context(self, context_data):
        self.injected.append(context_data)
        yield {"injected": len(self.injected)}

    def no_messages_debug_text(self):
        return "the test's injector"


def test_messages_come_from_a_custom_reader(runner):
    reader, injector = Reader(), Injector()
    runner.aws.scripts = [reader.script(materialised(rows=7), CLOSED)]
    result = runner.run(message_reader=reader, context_injector=injector)
    assert result.success and metadata(result)["rows"] == 7
    (job,) = runner.aws.jobs.values()
    assert decode_param(job.request["Environment"]["DAGSTER_PIPES_MESSAGES"])["place"].startswith("place-")
    assert decode_param(job.request["Environment"]["DAGSTER_PIPES_CONTEXT"]) == {"injected": 1}
    assert injector.injected[0]["asset_keys"] == ["loads"]
    (launch,) = reader.launches
    assert launch == {
        "job_name": job.name,
        "log_group": "/aws/sagemaker/ProcessingJobs",
        "log_stream_prefix": f"{job.name}/",
    }


def test_success_without_closed_is_refused_from_any_reader(runner):
    reader = Reader()
    runner.aws.scripts = [reader.script(materialised())]
    assert "it sent no `closed` message" in runner.failure(message_reader=reader).description


@pytest.mark.parametrize(("place", "jobs"), [("", 2), ("always-here", 1)], ids=["random", "fixed"])
def test_job_is_adopted_only_by_a_reader_of_the_same_addresses(runner, place, jobs):
    reader = Reader(place)
    runner.aws.scripts = [
        reader.script(materialised(), CLOSED, run=300),
        reader.script(materialised(), CLOSED),
    ]
    parent = killed(runner, 20, message_reader=reader)
    assert runner.retry(parent, message_reader=reader).success
    assert len(runner.aws.jobs) == jobs
    assert [job.status for job in runner.aws.jobs.values()] == ["Stopped", "Completed"][-jobs:]


def test_reader_that_fails_at_the_end_fails_the_job(runner):
    class Broken(Reader):
        @contextmanager
        def read_messages(self, handler):
            with super().read_messages(handler) as places:
                yield places
            raise OSError("the queue is gone")

    reader = Broken()
    runner.aws.scripts = [reader.script(materialised(), CLOSED)]
    assert "the queue is gone" in runner.failure(message_reader=reader).description


class ChunkReader(PipesBlobStoreMessageReader):
    """Dagster's own reader of numbered chunks, in a thread. It counts the chunks that it has read."""

    def __init__(self, chunks: list[str]) -> None:
        super().__init__(interval=0.1)
        self.chunks = chunks

    @contextmanager
    def get_params(self):
        yield {}

    def messages_are_readable(self, params):
        return True

    def download_messages_chunk(self, index, params):
        return self.chunks[index - 1] if index <= len(self.chunks) else None

    def no_messages_debug_text(self):
        return "the test's chunks"


def test_reader_of_dagster_serves_several_attempts_and_runs(runner):
    """Used twice as it is, it would read the second job's chunks from where the first one's ended."""
    sent = [OPENED, materialised(rows=7), CLOSED]
    reader = ChunkReader([json.dumps({PIPES_PROTOCOL_VERSION_FIELD: "0.1", **message}) for message in sent])
    for _ in range(2):
        runner.aws.scripts = [fails("CapacityError: none"), ends("Completed")]
        assert metadata(runner.run(processing(instance_types=TYPES), message_reader=reader))["rows"] == 7
    assert reader.counter == 1


def test_job_has_the_tags_of_dagster(runner):
    runner.aws.scripts = [completes()]
    result = runner.run()
    (job,) = runner.aws.jobs.values()
    tags = {tag["Key"]: tag["Value"] for tag in job.request["Tags"]}
    assert (
        tags.items()
        >= {
            "dagster/run-id": result.run_id,
            "dagster/job": result.dagster_run.job_name,
            "dagster/asset": "loads",
        }.items()
    )


def test_spot_restart_gives_no_warning_of_lost_messages(runner):
    def script(aws, job):
        aws.at(1, lambda: (aws.start(job), aws.write(job, 1, OPENED, container="a")))
        aws.at(60, lambda: aws.write(job, 1, OPENED, container="b"))
        aws.at(90, lambda: aws.write(job, 2, materialised(), CLOSED, container="b"))
        aws.at(91, lambda: aws.end(job, "Completed"))

    runner.aws.scripts = [script]
    result = runner.run(training(spot=True))
    assert result.success
    assert "did not receive" not in messages(result, runner.instance)


@pytest.mark.parametrize("pipes", [True, False])
def test_run_uses_nothing_that_dagster_deprecates(runner, pipes):
    runner.aws.scripts = [completes() if pipes else ends("Completed")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run_raw(runner, "Processing", job=processing(pipes=pipes))
    assert result.success
    log = messages(result, runner.instance)
    assert "deprecated" not in log and "did not receive" not in log


def test_cancelled_job_closes_its_reader(runner):
    closed = []

    class Closing(Reader):
        @contextmanager
        def read_messages(self, handler):
            with super().read_messages(handler) as places:
                try:
                    yield places
                finally:
                    closed.append(places["place"])

    runner.aws.scripts = [forever]
    killed(runner, 20, message_reader=Closing("here"), context_injector=Injector())
    assert closed == ["here"]
