"""A range of dates is split into jobs: dates without data are left out, and failures name their dates."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetRecordsFilter,
    DagsterInstance,
    ExecuteInProcessResult,
    TableMetadataValue,
)

from ruter_dagster.orchestration.event_log import (
    content_hash,
    content_hashes,
    failed_checks,
    failure_cause,
    latest_evaluation,
    total_rows,
)
from ruter_dagster.orchestration.runs import RunRequest
from ruter_dagster.orchestration.staleness import outdated_dates
from tests.orchestration.test_staleness import DAYS, FIRST, LAST
from tests.scripted_launcher import SETTINGS, scripted_definitions, write_script

VISITS, DRIFT = "raw/stop_visits", "monitoring/drift"
DEFS = scripted_definitions(SETTINGS, days_per_job=2)
KEYS = [day.isoformat() for day in DAYS]
"""Six days: three jobs."""


def run(instance: DagsterInstance, job: str, asset: str) -> ExecuteInProcessResult:
    return DEFS.resolve_job_def(job).execute_in_process(
        instance=instance,
        asset_selection=[AssetKey.from_user_string(asset)],
        tags={"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]},
        raise_on_error=False,
    )


def metadata_of(instance: DagsterInstance, asset: str, day: str) -> dict[str, Any]:
    records_filter = AssetRecordsFilter(AssetKey.from_user_string(asset), asset_partitions=[day])
    event = instance.fetch_materializations(records_filter, limit=1).records[0].asset_materialization
    assert event
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize("job", [0, 1, 2])
def test_job_without_data_is_left_out_and_listed(instance: DagsterInstance, job: int) -> None:
    absent = KEYS[2 * job : 2 * job + 2]
    write_script(instance, raw__stop_visits={"absent": absent})
    assert run(instance, "counts", VISITS).success
    assert set(content_hashes(instance, VISITS)) == set(KEYS) - set(absent)
    assert metadata_of(instance, VISITS, KEYS[-1])["dates_absent"] == absent


def test_pin_of_unread_table_fails_step_before_job(instance: DagsterInstance) -> None:
    result = DEFS.resolve_job_def("counts").execute_in_process(
        instance=instance,
        partition_key=KEYS[0],
        asset_selection=[AssetKey(["loads", "stop_loads"])],
        run_config={"ops": {"loads__stop_loads": {"config": {"pins": {"raw.stop_visit": 7}}}}},
        raise_on_error=False,
    )
    assert "Did you mean raw.stop_visits?" in str(failure_cause(instance, result.run_id))
    assert not any(event.is_step_up_for_retry for event in result.all_events)


def test_range_without_data_fails_with_its_dates(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"absent": KEYS})
    result = run(instance, "counts", VISITS)
    assert not result.success
    assert f"No data for any date from {KEYS[0]} to {KEYS[-1]}" in str(failure_cause(instance, result.run_id))


def run_dates(instance: DagsterInstance, job: str, *assets: str, days: tuple[date, ...], part: bool = True):
    """Runs some dates of a range, as the demo does."""
    request = RunRequest(job, assets, days, part_of_range=part)
    return DEFS.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=days[0].isoformat() if len(days) == 1 else None,
        asset_selection=[AssetKey.from_user_string(asset) for asset in assets],
        tags=request.tags(),
        raise_on_error=False,
    )


@pytest.mark.parametrize("days", [DAYS[2:3], DAYS[2:6]], ids=["one date", "several"])
def test_missing_dates_of_existing_range_are_left_out(
    instance: DagsterInstance, days: tuple[date, ...]
) -> None:
    assert run(instance, "counts", VISITS).success
    missing = {"absent": [day.isoformat() for day in days]}
    write_script(instance, raw__stop_visits=missing, quality__stop_visits=missing)
    assert run_dates(instance, "counts", VISITS, "quality/stop_visits", days=tuple(days)).success
    assert set(KEYS) - set(content_hashes(instance, VISITS)) == set(missing["absent"])
    assert metadata_of(instance, VISITS, missing["absent"][-1])["dates_absent"] == missing["absent"]
    assert outdated_dates(DEFS, instance, VISITS, DAYS) == []


def test_single_date_without_data_fails(instance: DagsterInstance) -> None:
    assert run(instance, "counts", VISITS).success
    write_script(instance, raw__stop_visits={"absent": KEYS[2:3]})
    assert not run_dates(instance, "counts", VISITS, days=tuple(DAYS[2:3]), part=False).success


def test_failure_names_dates_and_keeps_written_dates(
    instance: DagsterInstance,
) -> None:
    write_script(instance, raw__stop_visits={"fails": "A file is broken", "fails_on": KEYS[3]})
    result = run(instance, "counts", VISITS)
    assert not result.success
    assert str(failure_cause(instance, result.run_id)) == (
        f"{VISITS}: Dates {KEYS[2]} to {KEYS[3]}, job 2 of 3: A file is broken"
    )
    assert set(content_hashes(instance, VISITS)) == set(KEYS[:2])
    assert outdated_dates(DEFS, instance, VISITS, DAYS) == DAYS[2:]


def test_retry_of_range_finds_same_content(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"fails": "A file is broken", "fails_on": KEYS[3]})
    run(instance, "counts", VISITS)
    before = content_hash(instance, VISITS, KEYS[0])
    write_script(instance)
    assert run(instance, "counts", VISITS).success
    assert content_hash(instance, VISITS, KEYS[0]) == before is not None


def test_each_partition_of_range_has_its_own_numbers(instance: DagsterInstance) -> None:
    numbers = {day: {"wape": 0.1 * n} for n, day in enumerate(KEYS)}
    write_script(instance, raw__stop_visits={"numbers": numbers, "totals": {"wape": 0.25, "bytes": 7}})
    assert run(instance, "counts", VISITS).success
    metadata = [metadata_of(instance, VISITS, day) for day in KEYS]
    assert [of_date["wape"] for of_date in metadata] == [0.1 * n for n in range(6)]
    assert [of_date["dagster/row_count"] for of_date in metadata] == [1] * 6
    assert not any({"rows", "bytes"} & set(of_date) for of_date in metadata)
    assert metadata[-1]["range_totals"] == {"rows": 6, "wape": 0.25, "bytes": 7}
    assert all("range_totals" not in of_date for of_date in metadata[:-1])
    newest = instance.get_latest_materialization_event(AssetKey.from_user_string(VISITS))
    assert newest and newest.asset_materialization
    assert total_rows(newest.asset_materialization.metadata) == 6


def test_single_partition_shows_all_its_numbers(instance: DagsterInstance) -> None:
    write_script(instance, raw__stop_visits={"numbers": {KEYS[0]: {"wape": 0.1}}, "totals": {"bytes": 7}})
    assert run_dates(instance, "counts", VISITS, days=tuple(DAYS[:1])).success
    metadata = metadata_of(instance, VISITS, KEYS[0])
    shown = {name: metadata.get(name) for name in ("dagster/row_count", "wape", "bytes", "rows")}
    assert shown == {"dagster/row_count": 1, "wape": 0.1, "bytes": 7, "rows": None}


@pytest.mark.parametrize(
    ("script", "description"),
    [
        ({"failed_checks": {"bias": {"observed": "0.3"}}}, "warning: 0.3"),
        ({"not_judged": ["bias"]}, "not judged"),
        ({}, "passed"),
    ],
)
def test_check_description_begins_with_outcome(
    script: dict[str, Any], description: str, instance: DagsterInstance
) -> None:
    write_script(instance, monitoring__drift=script)
    assert run(instance, "monitoring", DRIFT).success
    evaluation = latest_evaluation(instance, AssetCheckKey(AssetKey.from_user_string(DRIFT), "bias"))
    assert evaluation and evaluation.description == description


def test_check_failed_in_several_jobs_shows_all_dates_and_rows(
    instance: DagsterInstance,
) -> None:
    row = {"operating_date": KEYS[0], "metric": "bias", "scope": "network", "value": 0.1, "verdict": "warn"}
    write_script(instance, monitoring__drift={"failed_checks": {"bias": {"beyond": [row], "value": 0.1}}})
    result = run(instance, "monitoring", DRIFT)
    (bias,) = failed_checks(instance, result.run_id)
    assert bias.metadata["failed_dates"].value == (
        f"{FIRST} to {KEYS[1]}, {KEYS[2]} to {KEYS[3]}, {KEYS[4]} to {LAST}"
    )
    beyond = bias.metadata["beyond"]
    assert isinstance(beyond, TableMetadataValue)
    assert len(beyond.records) == 3
