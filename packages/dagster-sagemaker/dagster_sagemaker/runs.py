"""Reads Dagster's runs for a step: its origin run, other runs of the same work, cancellation and stored results."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from dagster import (
    AssetExecutionContext,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    MetadataValue,
    OpExecutionContext,
    RunRecord,
    RunsFilter,
)

from dagster_sagemaker.compat import ROOT_RUN_ID_TAG, BaseDirectExecutionContext, EngineEventData

Context = AssetExecutionContext | OpExecutionContext
_RESUMED = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
_ANCESTORS = 100
"""Longest chain of re-executions that is followed."""

_STARTS = (DagsterEventType.STEP_START, DagsterEventType.STEP_RESTARTED)
_RESULTS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION)
_ENDS = (DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY)
_INTERRUPTED = {"ChildProcessCrashException", "DagsterExecutionInterruptedError"}
"""Error classes of a step whose process was killed or interrupted."""
_KEYS: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()
"""Job keys by try of a step, in this process."""


def origin_of(instance: DagsterInstance, run: DagsterRun) -> DagsterRun:
    """The first run of the chain that this run resumes. The run itself if it resumes none."""
    for _ in range(_ANCESTORS):
        resumed = any(run.tags.get(tag) == "true" for tag in _RESUMED)
        before = run.parent_run_id or run.tags.get("dagster/parent_run_id", "")
        parent = instance.get_run_by_id(before) if resumed and before else None
        if parent is None:
            break
        run = parent
    return run


def others_with_same_work(instance: DagsterInstance, run: DagsterRun) -> list[RunRecord]:
    """The other re-executions with the same origin run, which share its jobs."""
    root = run.root_run_id or run.tags.get(ROOT_RUN_ID_TAG) or run.run_id
    origin = origin_of(instance, run).run_id
    group = [
        *instance.get_run_records(RunsFilter(run_ids=[root])),
        *instance.get_run_records(RunsFilter(tags={ROOT_RUN_ID_TAG: root})),
    ]
    return [
        record
        for record in group
        if record.dagster_run.run_id != run.run_id
        and origin_of(instance, record.dagster_run).run_id == origin
    ]


def is_live(run: DagsterRun) -> bool:
    """Whether the run, or its pending retry, waits for jobs.

    A run that is being cancelled does not. If two runs are cancelled together, both stop the shared jobs.
    """
    active = not run.is_finished or run.is_complete_and_waiting_to_retry
    return active and run.status is not DagsterRunStatus.CANCELING


def _was_interrupted(end: DagsterEvent) -> bool:
    if end.event_type is DagsterEventType.STEP_SUCCESS:
        return False
    retried = end.event_type is DagsterEventType.STEP_UP_FOR_RETRY
    error = (end.step_retry_data if retried else end.step_failure_data).error
    while error and error.cls_name not in _INTERRUPTED:
        error = error.cause  # A RetryRequested wraps the error.
    return error is not None


class StepRun:
    def __init__(self, context: Context) -> None:
        self.context = context
        self._recorded: dict[str, bool] = {}
        self.direct = isinstance(context, BaseDirectExecutionContext) or isinstance(
            getattr(context, "op_execution_context", None), BaseDirectExecutionContext
        )
        # A unit test calls the asset outside of a run. Nothing can be resumed.
        self.run_id = str(uuid.uuid4()) if self.direct else context.run.run_id
        self.step = "step" if self.direct else context.get_step_execution_context().step.key
        self.origin_run = self.run_id if self.direct else origin_of(context.instance, context.run).run_id

    @property
    def asset(self) -> str:
        """The key of the step's asset as text. The name of the step if it has no asset or several."""
        keys = list(self.context.selected_asset_keys) if self.context.has_assets_def else []
        return keys[0].to_user_string() if len(keys) == 1 else self.step

    @property
    def partition(self) -> str:
        """The partition key, or a range `first...last`. Empty if there is none."""
        if not self.context.has_partition_key and not self.context.has_partition_key_range:
            return ""
        if self.context.has_partition_key_range:
            span = self.context.partition_key_range
            return span.start if span.start == span.end else f"{span.start}...{span.end}"
        return self.context.partition_key

    @property
    def key(self) -> str:
        """The default key of a job: asset and partition."""
        return "/".join(part for part in (self.asset, self.partition) if part)

    def claim(self, key: str) -> None:
        """Reserves a key for this try of the step. Raises ValueError if one of its jobs has the key already."""
        if self.direct:
            return
        keys = _KEYS.setdefault(self.context.get_step_execution_context(), set())
        if key in keys:
            raise ValueError(
                f"two jobs of the step {self.step} have the key {key!r}, so the second one would adopt the results of the "
                "first: give each job its own `key`, for instance ProcessingJob(key=…)"
            )
        keys.add(key)

    def release(self, key: str) -> None:
        """Frees the key of a failed job, so that the step may run another job with it."""
        if not self.direct:
            _KEYS[self.context.get_step_execution_context()].discard(key)

    def is_continued(self) -> bool:
        """Whether another run continues this work; False, with a warning, if runs cannot be read."""
        if self.direct:
            return False
        try:
            others = others_with_same_work(self.context.instance, self.context.run)
        except Exception as error:
            self.context.log.warning(f"[sagemaker] other runs cannot be read: {error}")
            return False
        return any(is_live(other.dagster_run) for other in others)

    def other_live_run(self) -> str:
        """The id of another active run with the same jobs. Empty if there is none or runs cannot be read."""
        if self.direct:
            return ""
        try:
            others = [
                record.dagster_run
                for record in others_with_same_work(self.context.instance, self.context.run)
            ]
        except Exception as error:
            self.context.log.warning(f"[sagemaker] other runs cannot be read: {error}")
            return ""
        return next((run.run_id for run in others if is_live(run) and not run.is_finished), "")

    def tags(self, key: str) -> dict[str, str]:
        """Tags that name the job's run, asset, partition and key."""
        tags = {
            **({} if self.direct else self.context.run.dagster_execution_info),
            "dagster/run-id": self.run_id,
            "dagster/origin-run-id": self.origin_run,
            "dagster/asset": self.asset,
            "dagster/partition": self.partition,
            "dagster/key": key,
        }
        return {name: value for name, value in tags.items() if value}

    def cancelled(self) -> bool:
        """Whether someone cancelled the run. False if its process was evicted or redeployed, or its status is unknown."""
        if self.direct:
            return False
        try:
            run = self.context.instance.get_run_by_id(self.run_id)
        except Exception as error:
            self.context.log.warning(f"[sagemaker] the run's status cannot be read: {error}")
            return False
        return run is not None and run.status in (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)

    def has_results_of(self, run_id: str) -> bool:
        """Whether Dagster has all results of this step from its last earlier try in that run.

        False if that try was killed or interrupted: Dagster may have only a part of its results.
        """
        if self.direct:
            return False
        # Cached for the jobs of a range: events before this try no longer change.
        if run_id not in self._recorded:
            self._recorded[run_id] = self._is_recorded(run_id)
        return self._recorded[run_id]

    def _is_recorded(self, run_id: str) -> bool:
        logs = self.context.instance.all_logs(run_id, of_type={*_STARTS, *_RESULTS, *_ENDS})
        events = [log.dagster_event for log in logs if log.step_key == self.step and log.dagster_event]
        starts = [index for index, event in enumerate(events) if event.event_type in _STARTS]
        if run_id == self.run_id:
            events, starts = events[: starts[-1]], starts[:-1]
        last = events[starts[-1] :] if starts else []
        has_results = any(event.event_type in _RESULTS for event in last)
        return has_results and last[-1].event_type in _ENDS and not _was_interrupted(last[-1])

    def report(self, message: str, metadata: Mapping[str, Any]) -> None:
        """Adds an engine event with links to the log of the run."""
        if self.direct:
            self.context.log.info(message)
            return
        self.context.instance.report_engine_event(
            message,
            dagster_run=self.context.run,
            engine_event_data=EngineEventData(
                metadata={
                    name: value if isinstance(value, MetadataValue) else MetadataValue.text(str(value))
                    for name, value in metadata.items()
                }
            ),
            step_key=self.step,
        )
