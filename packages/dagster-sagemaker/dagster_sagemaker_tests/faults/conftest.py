"""A run of one asset through the clients of dagster_sagemaker, on the double that runs its jobs; every wait is shortened."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterInstance, ExecuteInProcessResult, RetryPolicy, asset, materialize
from dagster._core.errors import DagsterExecutionInterruptedError

from dagster_sagemaker import (
    Clock,
    Pacing,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    ProcessingJob,
    SageMakerJobFailed,
    TrainingJob,
)
from sagemaker_double.control import Remote
from sagemaker_double.process import ROLE

CONTAINER = str(Path(__file__).with_name("container.py"))
PACING = replace(Pacing().scaled(0.02), messages=0.1, retry_patience=30.0, stop_patience=5.0)
GIVEN: dict[str, Any] = {
    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/jobs@sha256:" + "a" * 64,
    "role": ROLE,
    "instance_types": ("ml.m5.large",),
    "environment": {"AWS_DEFAULT_REGION": "eu-west-1"},
}
KINDS = pytest.mark.parametrize("kind", ["Processing", "Training"])


def processing(*command: object, **changes: Any) -> ProcessingJob:
    """A job of container.py: its name there, and its arguments."""
    words = tuple(str(word) for word in command)
    return ProcessingJob(**{**GIVEN, "entrypoint": ("python", CONTAINER), "arguments": words, **changes})


def training(*command: object, **changes: Any) -> TrainingJob:
    words = tuple(str(word) for word in command)
    return TrainingJob(**{**GIVEN, "entrypoint": ("python", CONTAINER), "arguments": words, **changes})


def job_of(kind: str, *command: object, **changes: Any) -> Any:
    return (training if kind == "Training" else processing)(*command, **changes)


@dataclass
class RunResult:
    """A run that is over, as a person sees it: the asset's metadata or the failure, the run's log, the compute log."""

    dagster_result: ExecuteInProcessResult
    failed: SageMakerJobFailed | None
    instance: DagsterInstance

    @property
    def success(self) -> bool:
        return self.dagster_result.success

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the one materialisation that the run recorded."""
        (event,) = self.dagster_result.asset_materializations_for_node("loads")
        return {name: value.value for name, value in event.metadata.items()}

    @property
    def failure(self) -> Any:
        """Description and metadata of the step's failure, which reported nothing as done."""
        assert not self.success
        assert not self.dagster_result.asset_materializations_for_node("loads")
        (event,) = [event for event in self.dagster_result.all_events if event.is_step_failure]
        return event.step_failure_data.user_failure_data

    @property
    def description(self) -> str:
        return self.failure.description

    @property
    def final(self) -> bool:
        """Whether retries are ruled out."""
        assert self.failed
        return not self.failed.allow_retries

    @property
    def lines(self) -> list[str]:
        """What the compute log of the run's steps shows as printed."""
        # Not this process's own output: that mirrors the file by a `tail` which Dagster ends without waiting for the last line.
        return printed(self.instance, self.dagster_result.run_id).splitlines()

    @property
    def log(self) -> str:
        """Every entry of the run's log."""
        entries = self.instance.all_logs(self.dagster_result.run_id)
        return "\n".join(
            (entry.dagster_event and entry.dagster_event.message) or entry.user_message for entry in entries
        )


@dataclass
class JobRunner:
    """Runs jobs as the asset `loads`."""

    double: Remote
    instance: DagsterInstance

    def run(
        self,
        job: Any,
        *,
        tags: dict[str, str] | None = None,
        retry_policy: RetryPolicy | None = None,
        **options: Any,
    ) -> RunResult:
        """Materialises the asset. `options` are the client's."""
        client, failed = client_of(job, **options), []

        @asset(retry_policy=retry_policy)
        def loads(context):
            try:
                yield from client.run(context=context, job=job).get_results()
            except SageMakerJobFailed as failure:
                failed.append(failure)
                raise

        result = materialize([loads], instance=self.instance, tags=tags, raise_on_error=False)
        return RunResult(result, failed[-1] if failed else None, self.instance)

    def interrupted_when(self, ready: Callable[[], Any], job: Any, *, cancelled: bool) -> RunResult:
        """A run whose worker Dagster interrupts once it sleeps and is `ready`; because a person cancels it, or for its host."""
        waiting = True

        def sleep(seconds: float) -> None:
            nonlocal waiting
            if not (waiting and ready()):
                time.sleep(seconds)
                return
            waiting = False
            (run,) = self.instance.get_runs(limit=1)
            if cancelled:
                self.instance.report_run_canceling(run)
            raise DagsterExecutionInterruptedError

        return self.run(job, clock=Clock(sleep=sleep))

    def running(self) -> bool:
        """Whether a container of a job has started."""
        return any(job["pids"] for job in self.jobs())

    def resumed(self, result: RunResult, job: Any, **options: Any) -> RunResult:
        """A run from failure of another one."""
        return self.run(job, tags=from_failure(result), **options)

    def jobs(self) -> list[dict[str, Any]]:
        """SageMaker's, in order of creation."""
        return self.double.jobs()

    def job(self) -> dict[str, Any]:
        """The one job that there is."""
        (job,) = self.jobs()
        return job


def printed(instance: DagsterInstance, run_id: str) -> str:
    """The compute log of a run's step, of all its attempts."""
    entries = instance.all_logs(run_id, of_type=DagsterEventType.LOGS_CAPTURED)
    files = [one.dagster_event.logs_captured_data.file_key for one in entries if one.dagster_event]
    logs = [instance.compute_log_manager.get_log_data([run_id, "compute_logs", file]) for file in files]
    return "".join((log.stdout or b"").decode() for log in logs)


def from_failure(result: RunResult) -> dict[str, str]:
    return {"dagster/is_resume_retry": "true", "dagster/parent_run_id": result.dagster_result.run_id}


def client_of(job: Any, **options: Any) -> Any:
    made = PipesSageMakerTrainingClient if isinstance(job, TrainingJob) else PipesSageMakerProcessingClient
    return made("s3://bucket/artifacts", **{"pacing": PACING, **options})


def side_by_side(works: list[Callable[[], Any]], meanwhile: Callable[[], Any]) -> list[Any]:
    """What each returns, run in a process of its own: Dagster's own logging bears one run at a time."""
    processes = multiprocessing.get_context("fork")

    def work(number: int, answers: Any) -> None:
        try:
            answers.put((number, works[number]()))
        except BaseException as error:
            answers.put((number, error))

    answers = processes.Queue()
    started = [processes.Process(target=work, args=(number, answers)) for number in range(len(works))]
    for process in started:
        process.start()
    meanwhile()
    found = dict(answers.get(timeout=180) for _ in started)
    for process in started:
        process.join()
    return [found[number] for number in sorted(found)]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    """An instance with real storage: it captures what steps print."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


@pytest.fixture
def runner(sagemaker_double: Remote, aws: Any, instance: DagsterInstance) -> Iterator[JobRunner]:
    aws("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield JobRunner(sagemaker_double, instance)
