"""The one interface between an asset and the place where its job runs. What runs a job belongs in `local.py` or `sagemaker/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from dagster import (
    AssetCheckResult,
    AssetExecutionContext,
    AssetMaterialization,
    DagsterExecutionInterruptedError,
    Failure,
    MaterializeResult,
    MetadataValue,
)

from ruter_dagster.contracts.errors import PermanentFailure
from ruter_dagster.contracts.jobs import JobParameters
from ruter_dagster.resources.date_chunks import Chunks, JobEvent
from ruter_dagster.resources.date_chunks import NothingThere as NothingThere
from ruter_dagster.resources.merge_results import (
    by_partition,
    events_by_partition,
    merged_checks,
    merged_materialisations,
)
from ruter_dagster.resources.parent_process import end_with_parent


class JobLauncher(ABC):
    """Runs a job for an asset, and gives back what the job reported.

    A range of dates is cut into chunks of `days_per_job`, a job each; their reports become one.
    """

    days_per_job: int

    @abstractmethod
    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        """Runs the jobs that `chunks` says are due, as many at once as it may, and tells it how each ended."""

    def pool_of(self, job: str) -> str | None:
        """The pool of a job, if the launcher limits how many runs share what the job runs on."""
        return None

    def run(
        self, context: AssetExecutionContext, parameters: JobParameters
    ) -> Iterator[JobEvent | AssetMaterialization]:
        """Runs the job, in chunks where it is over dates, and yields each asset's materialisation and checks.

        A chunk of which nothing is there is left out like a single absent date. Where a chunk fails for good, what others
        wrote is recorded by date.
        """
        end_with_parent()
        try:
            parameters.require_known_pins()
        except PermanentFailure as error:
            raise Failure(str(error), allow_retries=False) from error
        chunks = Chunks.of(parameters, self.days_per_job)
        try:
            self.launch_all(context, chunks)
        except DagsterExecutionInterruptedError:
            # Dagster's retry policy would start a step again that a person has just ended.
            raise Failure(
                f"The run was ended while job {parameters.job} was under way", allow_retries=False
            ) from None
        made = [
            result._replace(metadata={**(result.metadata or {}), **chunks.metadata})
            for result in merged_materialisations(chunks.materialised, chunks.absent)
        ]
        if chunks.is_left_out:
            yield from _left_out(context, chunks)
            return
        if failure := chunks.failure:
            # The next try gives what others wrote again, and would record it twice.
            for result in [] if _is_tried_again(context, failure) else made:
                yield from events_by_partition(result, _code_version(context))
            raise failure from None
        for words in chunks.reasons_absent:
            context.log.warning(words)
        for result in made:
            yield by_partition(context, result)
        yield from merged_checks(chunks.checked)


class OneByOneLauncher(JobLauncher):
    """A launcher that runs one job at a time."""

    @abstractmethod
    def launch(
        self, context: AssetExecutionContext, parameters: JobParameters, number: int
    ) -> Sequence[JobEvent]:
        """Runs one job to its end. Raises `Failure`, with `allow_retries=False` where no retry can help."""

    def launch_all(self, context: AssetExecutionContext, chunks: Chunks) -> None:
        for chunk in filter(None, chunks.due()):
            try:
                chunks.ended(chunk.number, self.launch(context, chunk.parameters, chunk.number))
            except Failure as failure:
                chunks.failed(chunk.number, failure)


def _left_out(context: AssetExecutionContext, chunks: Chunks) -> Iterator[JobEvent]:
    """What a step gives that has none of its dates: the same as a range records of dates that it left out."""
    reasons = "\n".join(chunks.reasons_absent)
    context.log.warning(reasons)
    for key in context.selected_asset_keys:
        absent = {"dates_absent": MetadataValue.json(chunks.absent), "reason": reasons}
        yield MaterializeResult(asset_key=key, metadata=absent)
    for check in context.selected_asset_check_keys:
        yield AssetCheckResult(
            asset_key=check.asset_key,
            check_name=check.name,
            passed=True,
            metadata={"judged": False, "observed": reasons},
        )


def _is_tried_again(context: AssetExecutionContext, failure: Failure) -> bool:
    """Whether Dagster starts the step once more after this failure."""
    step = context.get_step_execution_context()
    policy = step.op_retry_policy
    if policy is None or step.retry_mode.disabled or not failure.allow_retries:
        return False
    return step.previous_attempt_count < policy.max_retries


def _code_version(context: AssetExecutionContext) -> str | None:
    return next(iter(context.assets_def.code_versions_by_key.values()), None)
