"""What we rely on when a run is executed again, retried, or given an origin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    Definitions,
    RunsFilter,
    execute_job,
    reconstructable,
)
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.test_utils import create_run_for_test, freeze_time, instance_for_test

from ruter_dagster.compat.clock import get_current_datetime
from ruter_dagster.compat.execution import (
    InMemoryJob,
    KnownExecutionState,
    create_execution_plan,
    execute_run,
    make_new_run_id,
)
from ruter_dagster.compat.executor import INSTANCE_MODULES
from ruter_dagster.compat.instance import InstanceRef
from ruter_dagster.compat.origin import (
    SINGLETON_REPOSITORY_NAME,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from ruter_dagster.compat.retries import (
    BULK_ACTION_TERMINAL_STATUSES,
    RunFailureReason,
    auto_reexecution_should_retry_run,
)
from ruter_dagster.compat.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG
from tests.compat.jobs import forked, two_steps

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), SINGLETON_REPOSITORY_NAME), "two_steps"
)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test(
        {"run_retries": {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}}
    ) as instance:
        yield instance


def test_run_continues_from_its_failed_step(instance: DagsterInstance, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    config = {"ops": {"second": {"config": {"open_file": str(gate)}}}}
    failed = two_steps.execute_in_process(config, instance=instance, raise_on_error=False).dagster_run
    gate.touch()
    steps, state = KnownExecutionState.build_resume_retry_reexecution(instance, failed)
    child = instance.create_run_for_job(
        two_steps,
        execution_plan=create_execution_plan(two_steps, config, steps, state, instance.get_ref()),
        run_id=make_new_run_id(),
        run_config=config,
        root_run_id=failed.run_id,
        parent_run_id=failed.run_id,
        tags={PARENT_RUN_ID_TAG: failed.run_id, ROOT_RUN_ID_TAG: failed.run_id},
    )
    events = execute_run(InMemoryJob(two_steps), child, instance).all_events
    succeeded = [event.step_key for event in events if event.event_type == DagsterEventType.STEP_SUCCESS]
    assert succeeded == ["second"]
    assert instance.get_runs()[0].run_id == child.run_id


def test_new_run_ids_differ() -> None:
    assert make_new_run_id() != make_new_run_id()


def test_origin_survives_in_the_history(instance: DagsterInstance) -> None:
    run = create_run_for_test(instance, remote_job_origin=ORIGIN)
    stored = instance.get_run_by_id(run.run_id)
    assert stored and stored.remote_job_origin == ORIGIN
    of_repository = RunsFilter(tags={".dagster/repository": f"{SINGLETON_REPOSITORY_NAME}@location"})
    assert [one.run_id for one in instance.get_runs(of_repository)] == [run.run_id]


def test_definitions_form_the_singleton_repository() -> None:
    assert Definitions(jobs=[two_steps]).get_repository_def().name == SINGLETON_REPOSITORY_NAME


def test_use_fork_makes_steps_children_of_the_run(instance: DagsterInstance) -> None:
    with execute_job(reconstructable(forked), instance=instance) as result:
        logs = instance.all_logs(result.run_id)
    assert f"parent {os.getpid()}" in [log.user_message for log in logs]


@pytest.mark.parametrize("module", INSTANCE_MODULES)
def test_preloaded_modules_exist(module: str) -> None:
    import_module(module)


def failed_run(instance: DagsterInstance, **fields: Any) -> DagsterRun:
    return create_run_for_test(instance, status=DagsterRunStatus.FAILURE, remote_job_origin=ORIGIN, **fields)


def test_lost_run_is_retried_but_failed_step_is_not(instance: DagsterInstance) -> None:
    run = failed_run(instance)
    assert auto_reexecution_should_retry_run(instance, run, RunFailureReason.UNKNOWN)
    assert not auto_reexecution_should_retry_run(instance, run, RunFailureReason.STEP_FAILURE)


def test_retries_end_at_the_maximum(instance: DagsterInstance) -> None:
    first = failed_run(instance)
    group = {ROOT_RUN_ID_TAG: first.run_id, PARENT_RUN_ID_TAG: first.run_id}
    retry = failed_run(instance, root_run_id=first.run_id, parent_run_id=first.run_id, tags=group)
    assert not auto_reexecution_should_retry_run(instance, retry, RunFailureReason.UNKNOWN)


def test_failure_reasons_can_be_read_from_tags() -> None:
    assert RunFailureReason("STEP_FAILURE") is RunFailureReason.STEP_FAILURE


def test_only_ended_backfills_are_terminal() -> None:
    assert BulkActionStatus.REQUESTED not in BULK_ACTION_TERMINAL_STATUSES
    assert {BulkActionStatus.CANCELED, BulkActionStatus.COMPLETED_FAILED} <= set(
        BULK_ACTION_TERMINAL_STATUSES
    )


def test_clock_knows_time_zones_and_can_be_set() -> None:
    with freeze_time(datetime(2026, 7, 1, 23, 30, tzinfo=UTC)):
        assert get_current_datetime("Europe/Oslo").isoformat() == "2026-07-02T01:30:00+02:00"


def test_instance_reads_settings_and_keeps_data_apart(tmp_path: Path) -> None:
    settings, data = tmp_path / "settings", tmp_path / "data"
    settings.mkdir()
    data.mkdir()
    (settings / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    ref = InstanceRef.from_dir(str(data), config_dir=str(settings))
    with DagsterInstance.from_ref(ref) as instance:
        assert instance.telemetry_enabled is False
        run = create_run_for_test(instance)
        with DagsterInstance.from_ref(instance.get_ref()) as same:
            assert same.get_run_by_id(run.run_id)
    assert [file.name for file in settings.iterdir()] == ["dagster.yaml"]
