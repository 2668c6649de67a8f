"""A range of dates as SageMaker jobs: side by side once the first has pinned what they read, told as one materialisation."""

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
from sagemaker_double.control import Remote
from tests.chain.local_chain import foreign_variables
from tests.events_queue import queue_of_events, waiting
from tests.faults.dates_jobs import ASSET, QUOTA, DatesJobs, most_at_once, of_date

FIRST = date(2026, 6, 1)
KINDS = pytest.mark.parametrize("kind", ["processing", "training"])


class House:
    """The chain's definitions with the SageMaker launcher, and one asset's runs."""

    def __init__(self, work: DatesJobs, double: Remote, instance: DagsterInstance, patch: Any) -> None:
        self.work, self.double, self.instance, self.patch = work, double, instance, patch

    def run(self, days: int = 1, quota: int = 3, **jobs: str) -> ExecuteInProcessResult:
        """Of so many dates from the first on; `jobs` are settings of the jobs, as TOML."""
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
        wanted = AssetRecordsFilter(AssetKey.from_user_string(ASSET), asset_partitions=[day])
        made = self.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
        assert made
        return {name.removeprefix("sagemaker/"): value.value for name, value in made.metadata.items()}

    def known(self) -> set[str]:
        return set(content_hashes(self.instance, ASSET))

    def materialisations_of(self, ahead: int) -> int:
        of_date = AssetRecordsFilter(
            AssetKey.from_user_string(ASSET), asset_partitions=[str(FIRST + timedelta(ahead))]
        )
        return len(self.instance.fetch_materializations(of_date, limit=10).records)

    def jobs_of(self, ahead: int) -> list[dict[str, Any]]:
        return of_date(self.double.jobs(), FIRST + timedelta(ahead))


@pytest.fixture
def house(
    sagemaker_double: Remote,
    aws: Any,
    instance: DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> House:
    for name in foreign_variables():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    aws("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return House(DatesJobs(tmp_path), sagemaker_double, instance, monkeypatch)


def days(*ahead: int) -> set[str]:
    return {str(FIRST + timedelta(number)) for number in ahead}


@KINDS
def test_a_date_is_one_job_of_either_kind_and_shows_it(house: House, kind: str) -> None:
    assert house.run(kind=f'"{kind}"').success
    (job,) = house.double.jobs()
    assert job["kind"].lower() == kind
    told = house.metadata()
    assert told["job_arn"] == job["describe"][f"{job['kind']}JobArn"]
    assert told["image_digest"] == "sha256:" + "0" * 64
    assert told["instance_type"] == "ml.m5.large"
    assert {"console", "studio", "logs", "start_seconds", "run_seconds", "estimated_cost"} <= set(told)
    assert told["content_hash"] == f"version of {FIRST}"


def test_the_first_job_of_a_range_pins_the_others_and_those_run_side_by_side(house: House) -> None:
    house.work.do(seconds=1, reads={"raw.stop_visits": 7})
    assert house.run(4, kind='"training"').success
    first, *others = (house.jobs_of(ahead)[0] for ahead in range(4))
    pins = [
        json.loads(job["describe"]["HyperParameters"]["parameters_1"])["pins"] for job in (first, *others)
    ]
    assert pins == [{}, *[{"raw.stop_visits": 7}] * 3]
    assert min(job["describe"]["CreationTime"] for job in others) > first["describe"]["TrainingEndTime"]
    assert most_at_once(others) == 3


def test_a_range_keeps_to_the_quota(house: House) -> None:
    house.double.set(quotas={QUOTA: 3})
    house.work.do(seconds=0.5)
    assert house.run(8).success
    assert most_at_once(house.double.jobs()) == 3
    assert not house.double.calls()["errors"].get("sagemaker.CreateProcessingJob")


@pytest.mark.extended
def test_a_long_range_has_every_date_once_though_aws_throttles(house: House) -> None:
    for operations in ("sagemaker.*", "logs.*", "s3.GetObject"):
        house.double.fault("throttle", operations=operations, count=20, skip=100)
    assert house.run(50, quota=16).success
    assert len(house.double.jobs()) == 50
    assert {job["status"] for job in house.double.jobs()} == {"Completed"}
    records = house.instance.fetch_materializations(AssetKey.from_user_string(ASSET), limit=100).records
    made = [record.asset_materialization for record in records]
    assert sorted(str(one.partition) for one in made if one) == sorted(days(*range(50)))


def test_a_ranges_jobs_are_one_table_with_sums(house: House) -> None:
    assert house.run(3).success
    told = house.metadata(2)
    totals = told["range_totals"]
    assert totals["sagemaker/job_count"] == 3
    rows = [record.data for record in told["jobs"].records]
    assert [row["dates"] for row in rows] == sorted(days(0, 1, 2))
    assert totals["sagemaker/run_seconds"] == pytest.approx(sum(row["run_seconds"] for row in rows), abs=0.01)
    assert "jobs" not in house.metadata(0), "what describes the whole range stands at its last date"


def test_a_date_that_is_not_there_is_left_out(house: House) -> None:
    house.work.do(**{str(FIRST): (66, "Nothing there")})
    assert house.run(3).success
    assert house.known() == days(1, 2)
    assert house.metadata(2)["dates_absent"] == [str(FIRST)]


def test_a_range_of_which_nothing_is_there_fails_with_its_dates(house: House) -> None:
    house.work.do(**dict.fromkeys(days(0, 1), (66, "Nothing there")))
    result = house.run(2)
    assert not result.success
    assert "Nothing is there of any date from 2026-06-01 to 2026-06-02" in str(
        failure_cause(house.instance, result.run_id)
    )


def test_a_fault_that_no_retry_cures_is_told_with_its_dates_and_what_others_wrote_stands(
    house: House,
) -> None:
    house.work.do(**{str(FIRST + timedelta(2)): (65, "Column temperature has no values")})
    result = house.run(4)
    assert not result.success
    words = str(failure_cause(house.instance, result.run_id))
    assert "Dates 2026-06-03, job 3 of 4" in words
    assert "Column temperature has no values" in words
    assert len(house.jobs_of(2)) == 1
    assert house.known() >= days(0)
    assert str(FIRST + timedelta(2)) not in house.known()


def test_a_fault_that_may_pass_is_tried_again_and_the_other_dates_are_not(house: House) -> None:
    house.work.do(**{str(FIRST + timedelta(1)): (1, "The source did not answer")})
    result = house.run(3)
    assert not result.success
    retries = house.instance.get_records_for_run(result.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY)
    assert len(retries.records) == 1
    assert [len(house.jobs_of(ahead)) for ahead in range(3)] == [1, 2, 1]
    assert [house.materialisations_of(ahead) for ahead in range(3)] == [1, 0, 1]


def test_with_events_a_job_takes_fewer_calls_and_its_end_is_noticed(house: House, aws: Any) -> None:
    queue = queue_of_events(aws, "job-events", "aws.sagemaker")
    house.patch.setenv("RUTER_JOB_EVENTS_QUEUE", queue)
    house.work.do(seconds=1)
    assert house.run().success
    calls = house.double.calls()["total"]
    assert calls["sagemaker.DescribeProcessingJob"] <= 2
    assert waiting(aws, queue) <= 1, "of the events at most the first may be left"


@pytest.mark.extended
def test_with_events_the_end_of_a_killed_job_is_noticed_long_before_it_would_be_asked_for(
    house: House, aws: Any
) -> None:
    """It says nothing on S3, and by itself the client asks again after a minute and a half."""
    house.patch.setenv("RUTER_JOB_EVENTS_QUEUE", queue_of_events(aws, "job-events", "aws.sagemaker"))
    house.work.pace = 1.0
    house.work.do(seconds=60)
    house.double.fault("out_of_memory", after=3)
    assert not house.run().success
    (job,) = house.double.jobs()
    assert job["exits"] == [137]
    assert time.time() - job["describe"]["ProcessingEndTime"] < 45


def test_what_sagemaker_lacks_is_said_before_anything_runs(house: House) -> None:
    house.patch.setenv("RUTER_ENVIRONMENT", "dev")
    for name in [name for name in os.environ if name.startswith(("RUTER_LAKE", "RUTER_SAGEMAKER"))]:
        house.patch.delenv(name)
    with pytest.raises(Exception, match="set RUTER_SAGEMAKER_IMAGE") as fault:
        build_definitions(load_settings(_env_file=None))
    assert "set RUTER_SAGEMAKER_ROLE" in str(fault.value)
    assert "RUTER_LAUNCHER=local" in str(fault.value)
