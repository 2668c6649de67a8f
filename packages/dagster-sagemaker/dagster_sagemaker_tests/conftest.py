"""A run of one asset whose work is jobs of the fake SageMaker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    ExecuteInProcessResult,
    RetryPolicy,
    asset,
    materialize,
)

from dagster_sagemaker import (
    JobEnd,
    PipesSageMakerProcessingClient,
    PipesSageMakerTrainingClient,
    ProcessingJob,
    SageMakerJobFailed,
    TrainingJob,
)
from dagster_sagemaker_tests.fake_aws import IMAGE, ROLE, FakeAws

DG = Path(sys.executable).parent / "dg"
needs_dg = pytest.mark.skipif(not DG.exists(), reason="dg is not released for the installed Dagster")


def processing(**changes: Any) -> ProcessingJob:
    given: dict[str, Any] = {"image": IMAGE, "role": ROLE, "instance_types": ("ml.m5.large",)}
    return ProcessingJob(**{**given, **changes})


def training(**changes: Any) -> TrainingJob:
    given: dict[str, Any] = {"image": IMAGE, "role": ROLE, "instance_types": ("ml.m5.large",)}
    return TrainingJob(**{**given, **changes})


@dataclass
class JobRunner:
    """Fake AWS, a Dagster instance, and what the asset saw."""

    aws: FakeAws
    instance: DagsterInstance
    returned_at: float = 0.0
    failed: SageMakerJobFailed | None = None
    ends: list[JobEnd] = field(default_factory=list)

    def client(self, kind: str = "Processing", **options: Any) -> Any:
        made = PipesSageMakerTrainingClient if kind == "Training" else PipesSageMakerProcessingClient
        aws = self.aws
        given: dict[str, Any] = {"sagemaker": aws, "s3": aws, "logs": aws, "follow_logs": False}
        return made("s3://bucket/artifacts", clock=aws.clock(), **{**given, **options})

    def run(
        self,
        *jobs: Any,
        tags: dict[str, str] | None = None,
        after: Callable[[AssetExecutionContext], Any] | None = None,
        at_once: int = 1,
        go_on: Callable[[Any], bool] = lambda failure: False,
        retry_policy: RetryPolicy | None = None,
        **options: Any,
    ) -> ExecuteInProcessResult:
        """Materialises the asset `loads` in one run. Returns the result, failed or not."""
        jobs = jobs or (processing(),)
        client = self.client(type(jobs[0]).__name__.removesuffix("Job"), **options)

        @asset(retry_policy=retry_policy)
        def loads(context):
            self.failed = None
            if len(jobs) == 1:
                try:
                    invocation = client.run(context=context, job=jobs[0])
                except SageMakerJobFailed as failed:
                    self.failed = failed
                    raise
                finally:
                    self.returned_at = self.aws.now
                results = invocation.get_results(implicit_materializations=False)
            else:
                self.ends = list(client.run_all(context=context, jobs=jobs, at_once=at_once, go_on=go_on))
                self.returned_at = self.aws.now
                results = self.ends[0].invocation.get_results() if self.ends[0].invocation else []
            if after:
                after(context)
            yield from results

        return materialize([loads], instance=self.instance, tags=tags, raise_on_error=False)

    def failure(self, *jobs: Any, **options: Any) -> SageMakerJobFailed:
        """What a run that must fail fails with."""
        assert not self.run(*jobs, **options).success
        assert self.failed
        return self.failed

    def retry(self, failed: ExecuteInProcessResult, *jobs: Any, **options: Any) -> ExecuteInProcessResult:
        """A run from failure of another one."""
        tags = {"dagster/is_resume_retry": "true", "dagster/parent_run_id": failed.run_id}
        return self.run(*jobs, tags=tags, **options)


def metadata(result: ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("loads")
    return {name: value.value for name, value in event.metadata.items()}


def messages(result: ExecuteInProcessResult, instance: DagsterInstance) -> str:
    entries = instance.all_logs(result.run_id)
    return "\n".join((e.dagster_event and e.dagster_event.message) or e.user_message for e in entries)


@pytest.fixture
def runner() -> Iterator[JobRunner]:
    with DagsterInstance.ephemeral() as instance:
        yield JobRunner(FakeAws(), instance)
