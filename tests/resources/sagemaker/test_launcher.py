"""A range of dates runs as SageMaker jobs, in parallel after the first, and is recorded as one materialisation."""

from __future__ import annotations

import json
import os
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterEventType, DagsterInstance, ExecuteInProcessResult

from ruter_dagster.config.settings import load_settings
from ruter_dagster.definitions import build_definitions
from ruter_dagster.orchestration.event_log import content_hashes, failure_cause
from ruter_dagster.orchestration.job_costs import costs_of_runs
from sagemaker_double.control import Remote
from tests.chain.local_chain import foreign_variables
from tests.events_queue import queue_of_events, waiting
from tests.faults.dates_jobs import ASSET, QUOTA, DatesJobs, most_at_once, of_date

FIRST = date(2026, 6, 1)
KINDS = pytest.mark.parametrize("kind", ["processing", "training"])


class AssetRuns:
    """Runs of one asset with the SageMaker launcher, and their jobs and materialisations."""

    def __init__(self, work: DatesJobs, double: Remote, instance: DagsterInstance, patch: Any) -> None:
        self.work, self.double, self.instance, self.patch = work, double, instance, patch

    def run(self, days: int = 1, quota: int = 3, **jobs: str) -> ExecuteInProcessResult:
        """Runs `days` dates from the first on. `jobs`: settings of the jobs, as TOML."""
        for name, value in self.work.variables(quota, **jobs).items():
            self.patch.setenv(name, value)
        definitions = build_definitions(load_settings(_env_file=None))
        last = FIRST + timedelta(days - 1)
        tags = {
            "dagster/asset_partition_range_start": str(FIRST),
            "dagster/asset_partition_range_end": str(last),
        }
        return definitions.resolve_job_def("weather").execute_in_process(
            instance=self.instance,
            asset_selection=[AssetKey.from_user_string(ASSET)],
            tags=tags if days > 1 else None,
            partition_key=str(FIRST) if days == 1 else None,
            raise_on_error=False,
        )

    def metadata(self, ahead: int = 0) -> dict[str, Any]:
        day = str(FIRST + timedelta(ahead))
        records_filter = AssetRecordsFilter(AssetKey.from_user_string(ASSET), asset_partitions=[day])
        event = self.instance.fetch_materializations(records_filter, limit=1).records[0].asset_materialization
        assert event
        return {name.removeprefix("sagemaker/"): value.value for name, value in event.metadata.items()}

    def recorded_dates(self) -> set[str]:
        return set(content_hashes(self.instance, ASSET))

    def materialisations_of(self, ahead: int) -> int:
        of_date = AssetRecordsFilter(
            AssetKey.from_user_string(ASSET), asset_partitions=[str(FIRST + timedelta(ahead))]
        )
        return len(self.instance.fetch_materializations(of_date, limit=10).records)

    def jobs_of(self, ahead: int) -> list[dict[str, Any]]:
        return of_date(self.double.jobs(), FIRST + timedelta(ahead))


@pytest.fixture
def runs(
    sagemaker_double: Remote,
    aws: Any,
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> AssetRuns:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return AssetRuns(DatesJobs(tmp_path), sagemaker_double, instance, monkeypatch)


def days(*ahead: int) -> set[str]:
    return {str(FIRST + timedelta(number)) for number in ahead}


@KINDS
def test_date_is_one_job_and_shows_its_metadata(runs: AssetRuns, kind: str) -> None:
    assert runs.run(kind=f'"{kind}"').success
    (job,) = runs.double.jobs()
    assert job["kind"].lower() == kind
    metadata = runs.metadata()
    assert metadata["job_arn"] == job["describe"][f"{job['kind']}JobArn"]
    assert metadata["image_digest"] == "sha256:" + "0" * 64
    assert metadata["instance_type"] == "ml.m5.large"
    assert {"console", "studio", "logs", "start_seconds", "run_seconds", "estimated_cost"} <= set(metadata)
    assert metadata["content_hash"] == f"version of {FIRST}"


def test_first_job_pins_others_which_run_in_parallel(runs: AssetRuns) -> None:
    runs.work.do(seconds=1, reads={"raw.stop_visits": 7})
    assert runs.run(4, kind='"training"').success
    first, *others = (runs.jobs_of(ahead)[0] for ahead in range(4))
    pins = [
        json.loads(job["describe"]["HyperParameters"]["parameters_1"])["pins"] for job in (first, *others)
    ]
    assert pins == [{}, *[{"raw.stop_visits": 7}] * 3]
    assert min(job["describe"]["CreationTime"] for job in others) > first["describe"]["TrainingEndTime"]
    assert most_at_once(others) == 3


def test_range_keeps_to_quota(runs: AssetRuns) -> None:
    runs.double.set(quotas={QUOTA: 3})
    runs.work.do(seconds=0.5)
    assert runs.run(8).success
    assert most_at_once(runs.double.jobs()) == 3
    assert not runs.double.calls()["errors"].get("sagemaker.CreateProcessingJob")


@pytest.mark.extended
def test_throttled_range_records_every_date_once(runs: AssetRuns) -> None:
    for operations in ("sagemaker.*", "logs.*", "s3.GetObject"):
        runs.double.fault("throttle", operations=operations, count=20, skip=100)
    assert runs.run(50, quota=16).success
    assert len(runs.double.jobs()) == 50
    assert {job["status"] for job in runs.double.jobs()} == {"Completed"}
    records = runs.instance.fetch_materializations(AssetKey.from_user_string(ASSET), limit=100).records
    events = [record.asset_materialization for record in records]
    assert sorted(str(event.partition) for event in events if event) == sorted(days(*range(50)))


def test_jobs_of_range_are_one_table_with_sums(runs: AssetRuns) -> None:
    assert runs.run(3).success
    metadata = runs.metadata(2)
    totals = metadata["range_totals"]
    assert totals["sagemaker/job_count"] == 3
    rows = [record.data for record in metadata["jobs"].records]
    assert [row["dates"] for row in rows] == sorted(days(0, 1, 2))
    assert totals["sagemaker/run_seconds"] == pytest.approx(sum(row["run_seconds"] for row in rows), abs=0.01)
    assert "jobs" not in runs.metadata(0), "only the last date describes the whole range"


def test_date_without_data_is_left_out(runs: AssetRuns) -> None:
    runs.work.do(**{str(FIRST): (66, "No data")})
    assert runs.run(3).success
    assert runs.recorded_dates() == days(1, 2)
    assert runs.metadata(2)["dates_absent"] == [str(FIRST)]


def test_range_without_data_fails_with_its_dates(runs: AssetRuns) -> None:
    runs.work.do(**dict.fromkeys(days(0, 1), (66, "No data")))
    result = runs.run(2)
    assert not result.success
    assert "No data for any date from 2026-06-01 to 2026-06-02" in str(
        failure_cause(runs.instance, result.run_id)
    )


def test_permanent_failure_names_dates_and_keeps_others(
    runs: AssetRuns,
) -> None:
    runs.work.do(**{str(FIRST + timedelta(2)): (65, "Column temperature has no values")})
    result = runs.run(4)
    assert not result.success
    reason = str(failure_cause(runs.instance, result.run_id))
    assert "Dates 2026-06-03, job 3 of 4" in reason
    assert "Column temperature has no values" in reason
    assert len(runs.jobs_of(2)) == 1
    assert runs.recorded_dates() >= days(0)
    assert str(FIRST + timedelta(2)) not in runs.recorded_dates()


def test_temporary_failure_retries_only_its_dates_and_each_attempt_has_its_cost(runs: AssetRuns) -> None:
    runs.patch.setenv("RUTER_BRANCH", "feature/seats")
    runs.work.do(**{str(FIRST + timedelta(1)): (1, "The source did not answer")})
    result = runs.run(3)
    assert not result.success
    retries = runs.instance.get_records_for_run(result.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    assert len(retries.records) == 1
    assert [len(runs.jobs_of(ahead)) for ahead in range(3)] == [1, 2, 1]
    assert [runs.materialisations_of(ahead) for ahead in range(3)] == [1, 0, 1]
    costs = costs_of_runs(runs.instance.event_log_storage, [result.run_id])
    failed = {item.job for item in costs if item.failed}
    assert failed == {job["describe"]["ProcessingJobArn"] for job in runs.jobs_of(1)}
    assert all(item.branch == "feature/seats" for item in costs if item.failed)


def test_events_reduce_describe_calls(runs: AssetRuns, aws: Any) -> None:
    queue = queue_of_events(aws, "job-events", "aws.sagemaker")
    runs.patch.setenv("RUTER_JOB_EVENTS_QUEUE", queue)
    runs.work.do(seconds=1)
    assert runs.run().success
    calls = runs.double.calls()["total"]
    assert calls["sagemaker.DescribeProcessingJob"] <= 2
    assert waiting(aws, queue) <= 1, "at most the first event may be left"


@pytest.mark.extended
def test_event_reveals_end_of_killed_job_early(runs: AssetRuns, aws: Any) -> None:
    """A killed job writes nothing to S3. Without events, the client would call Describe after 90 s."""
    runs.patch.setenv("RUTER_JOB_EVENTS_QUEUE", queue_of_events(aws, "job-events", "aws.sagemaker"))
    runs.work.pace = 1.0
    runs.work.do(seconds=60)
    runs.double.fault("out_of_memory", after=3)
    assert not runs.run().success
    (job,) = runs.double.jobs()
    assert job["exits"] == [137]
    assert time.time() - job["describe"]["ProcessingEndTime"] < 45


def test_missing_sagemaker_settings_are_reported_before_runs(runs: AssetRuns) -> None:
    runs.patch.setenv("RUTER_ENVIRONMENT", "dev")
    for name in [name for name in os.environ if name.startswith(("RUTER_LAKE", "RUTER_SAGEMAKER"))]:
        runs.patch.delenv(name)
    with pytest.raises(Exception, match="set RUTER_SAGEMAKER_IMAGE") as fault:
        build_definitions(load_settings(_env_file=None))
    assert "set RUTER_SAGEMAKER_ROLE" in str(fault.value)
    assert "RUTER_LAUNCHER=local" in str(fault.value)
