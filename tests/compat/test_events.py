"""What we rely on in tags and check results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dagster import AssetCheckKey, AssetKey, DagsterEventType, DagsterInstance, Definitions, materialize

from ruter_dagster.compat import tags
from ruter_dagster.compat.checks import AssetCheckExecutionRecordStatus, DagsterAssetCheckFailedError
from tests.compat.jobs import blocked, letters, letters_job, versioned


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


def test_materialisations_carry_code_and_data_version(instance: DagsterInstance) -> None:
    materialize([versioned], instance=instance)
    event = instance.get_latest_materialization_event(versioned.key)
    assert event and event.asset_materialization
    recorded = event.asset_materialization.tags or {}
    assert recorded[tags.CODE_VERSION_TAG] == "7"
    assert recorded[tags.DATA_VERSION_TAG] == "first"


def test_range_tags_choose_the_partitions_of_a_run(instance: DagsterInstance) -> None:
    run_tags = {tags.ASSET_PARTITION_RANGE_START_TAG: "a", tags.ASSET_PARTITION_RANGE_END_TAG: "b"}
    job = Definitions([letters], jobs=[letters_job]).resolve_job_def("letters_job")
    job.execute_in_process(instance=instance, tags=run_tags)
    assert instance.get_materialized_partitions(letters.key) == {"a", "b"}


def test_partition_tag_holds_the_partition_of_a_run(instance: DagsterInstance) -> None:
    run = materialize([letters], instance=instance, partition_key="c").dagster_run
    assert run.tags[tags.PARTITION_NAME_TAG] == "c"


def test_tag_names_match_those_in_stored_runs() -> None:
    stored = {
        tags.AUTO_RETRY_RUN_ID_TAG: "dagster/auto_retry_run_id",
        tags.BACKFILL_ID_TAG: "dagster/backfill",
        tags.GRPC_INFO_TAG: ".dagster/grpc_info",
        tags.PARENT_RUN_ID_TAG: "dagster/parent_run_id",
        tags.RESUME_RETRY_TAG: "dagster/is_resume_retry",
        tags.ROOT_RUN_ID_TAG: "dagster/root_run_id",
        tags.RUN_FAILURE_REASON_TAG: "dagster/failure_reason",
        tags.WILL_RETRY_TAG: "dagster/will_retry",
    }
    assert all(constant == text for constant, text in stored.items())


def test_tags_of_one_run_include_its_retry_and_backfill() -> None:
    assert {
        tags.AUTO_RETRY_RUN_ID_TAG,
        tags.BACKFILL_ID_TAG,
        tags.RESUME_RETRY_TAG,
        tags.RUN_FAILURE_REASON_TAG,
        tags.WILL_RETRY_TAG,
    } <= tags.TAGS_TO_MAYBE_OMIT_ON_RETRY


def test_blocking_check_fails_its_step_with_a_known_error(instance: DagsterInstance) -> None:
    run = materialize([blocked], instance=instance, raise_on_error=False)
    (failure,) = [event for event in run.all_events if event.event_type == DagsterEventType.STEP_FAILURE]
    error = failure.step_failure_data.error
    assert error
    assert DagsterAssetCheckFailedError.__name__ in (error.cls_name, error.cause and error.cause.cls_name)


def test_check_results_can_be_selected_by_status(instance: DagsterInstance) -> None:
    materialize([blocked], instance=instance, raise_on_error=False)
    check = AssetCheckKey(AssetKey("blocked"), "never_passes")

    def count(status: AssetCheckExecutionRecordStatus) -> int:
        history = instance.event_log_storage.get_asset_check_execution_history
        return len(history(check, limit=5, status={status}))

    assert count(AssetCheckExecutionRecordStatus.FAILED) == 1
    assert count(AssetCheckExecutionRecordStatus.SUCCEEDED) == 0
