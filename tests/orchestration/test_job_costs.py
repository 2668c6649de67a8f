"""The costs of jobs are summed from Dagster's event log: each job once, in the days of the operator's time zone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from dagster import (
    AssetMaterialization,
    AssetObservation,
    DagsterInstance,
    MetadataValue,
    TableRecord,
)

from ruter_dagster.orchestration import job_costs as module
from ruter_dagster.orchestration.job_costs import costs_of_runs, job_costs, runs_that_wrote, sums_by
from ruter_dagster.resources.sagemaker.job_metadata import merge_job_metadata
from tests.recorded_runs import record

DAY = date(2026, 11, 20)


def materialisation(asset: str, partition: str | None = None, **metadata: Any) -> AssetMaterialization:
    named = {name.replace("__", "/"): value for name, value in metadata.items()}
    return AssetMaterialization(asset, partition=partition, metadata=named)


def of_job(
    asset: str, arn: str, cost: float, partition: str | None = None, **metadata: Any
) -> AssetMaterialization:
    return materialisation(
        asset, partition, sagemaker__job_arn=arn, sagemaker__estimated_cost=cost, **metadata
    )


def costs(instance: DagsterInstance, first: date = DAY, last: date = DAY, zone: str = "UTC") -> list[Any]:
    jobs = job_costs(instance.event_log_storage, first, last, zone)
    return sorted((item.asset, item.job, item.cost) for item in jobs)


def test_each_job_has_its_asset_run_and_cost(instance: DagsterInstance) -> None:
    run = record(instance, of_job("loads", "arn:1", 0.5), of_job("features", "arn:2", 0.25))
    assert costs(instance) == [("features", "arn:2", 0.25), ("loads", "arn:1", 0.5)]
    assert {item.run_id for item in job_costs(instance.event_log_storage, DAY, DAY, "UTC")} == {run}


def test_cost_of_a_range_in_one_job_is_counted_once(instance: DagsterInstance) -> None:
    dates = [
        materialisation("loads", "2026-11-18", sagemaker__job_arn="arn:1"),
        materialisation(
            "loads",
            "2026-11-19",
            sagemaker__job_arn="arn:1",
            range_totals=MetadataValue.json({"sagemaker/estimated_cost": 0.75, "rows": 7}),
        ),
    ]
    record(instance, *dates)
    assert costs(instance) == [("loads", "arn:1", 0.75)]


def test_jobs_of_a_range_are_listed_one_by_one(instance: DagsterInstance) -> None:
    def ended(name: str, cost: float) -> dict[str, Any]:
        return {"sagemaker/job_arn": name, "sagemaker/estimated_cost": cost}

    merged = merge_job_metadata([("2026-11-18", ended("arn:1", 0.5)), ("2026-11-19", ended("arn:2", 0.25))])
    totals = MetadataValue.json({"sagemaker/estimated_cost": merged["sagemaker/estimated_cost"]})
    record(
        instance,
        materialisation("loads", "2026-11-19", sagemaker__jobs=merged["sagemaker/jobs"], range_totals=totals),
    )
    assert costs(instance) == [("loads", "arn:1", 0.5), ("loads", "arn:2", 0.25)]


def test_job_without_a_known_price_has_no_cost(instance: DagsterInstance) -> None:
    rows = [
        TableRecord({"job_arn": "arn:1", "estimated_cost": ""}),
        TableRecord({"job_arn": "arn:2", "estimated_cost": 1}),
    ]
    record(instance, materialisation("loads", sagemaker__jobs=MetadataValue.table(rows)))
    record(instance, materialisation("features", sagemaker__job_arn="arn:3", rows=7))
    assert costs(instance) == [("loads", "arn:2", 1.0)]


def test_job_of_two_assets_is_counted_once(instance: DagsterInstance) -> None:
    record(instance, of_job("model", "arn:1", 0.5), of_job("evaluation", "arn:1", 0.5))
    assert len(costs(instance)) == 1


def test_job_that_a_later_run_found_again_is_counted_once(instance: DagsterInstance) -> None:
    record(instance, of_job("loads", "arn:1", 0.5))
    record(instance, of_job("loads", "arn:1", 0.5))
    assert costs(instance) == [("loads", "arn:1", 0.5)]


def test_failed_job_is_counted_from_its_observation(instance: DagsterInstance) -> None:
    failed = AssetObservation(
        "loads", metadata={"sagemaker/job_arn": "arn:1", "sagemaker/estimated_cost": 0.5}
    )
    run = record(instance, failed, of_job("loads", "arn:2", 0.25))
    assert costs(instance) == [("loads", "arn:1", 0.5), ("loads", "arn:2", 0.25)]
    assert [(item.job, item.failed) for item in costs_of_runs(instance.event_log_storage, [run])] == [
        ("arn:1", True),
        ("arn:2", False),
    ]


def test_branch_is_that_of_the_job(instance: DagsterInstance) -> None:
    record(instance, of_job("loads", "arn:1", 0.5, sagemaker__branch="feature/seats"))
    record(instance, of_job("loads", "arn:2", 0.25))
    jobs = job_costs(instance.event_log_storage, DAY, DAY, "UTC")
    assert [(item.key, item.cost) for item in sums_by(jobs, lambda job: job.branch)] == [
        ("feature/seats", 0.5), ("unknown", 0.25),
    ]  # fmt: skip


def test_costs_without_a_job_are_all_counted(instance: DagsterInstance) -> None:
    record(
        instance,
        *(
            materialisation("loads", day, sagemaker__estimated_cost=1.0)
            for day in ("2026-11-18", "2026-11-19")
        ),
    )
    assert [cost for *_, cost in costs(instance)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("recorded", "zone", "day"),
    [
        ("2026-11-19T22:59:59+00:00", "Europe/Oslo", date(2026, 11, 19)),
        ("2026-11-19T23:00:00+00:00", "Europe/Oslo", date(2026, 11, 20)),
        ("2026-11-19T23:00:00+00:00", "UTC", date(2026, 11, 19)),
        ("2026-07-01T22:00:00+00:00", "Europe/Oslo", date(2026, 7, 2)),
    ],
)
def test_days_begin_at_midnight_of_the_operator(
    recorded: str, zone: str, day: date, instance: DagsterInstance
) -> None:
    record(instance, of_job("loads", "arn:1", 0.5), at=datetime.fromisoformat(recorded))
    days = [date.fromordinal(day.toordinal() + shift) for shift in (-1, 0, 1)]
    assert [len(costs(instance, each, each, zone)) for each in days] == [0, 1, 0]


def test_many_materialisations_are_read_in_pages(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    record(instance, *(of_job("loads", f"arn:{number}", 1.0) for number in range(5)))
    assert len(costs(instance)) == 5


def test_sums_are_by_key_in_order(instance: DagsterInstance) -> None:
    first = record(instance, of_job("loads", "arn:1", 0.1), of_job("features", "arn:2", 0.2))
    second = record(instance, of_job("loads", "arn:3", 0.2))
    jobs = job_costs(instance.event_log_storage, DAY, DAY, "UTC")
    assert [(item.key, item.jobs, item.cost) for item in sums_by(jobs, lambda job: job.asset)] == [
        ("features", 1, 0.2),
        ("loads", 2, 0.3),
    ]
    by_run = {item.key: item.cost for item in sums_by(jobs, lambda job: job.run_id)}
    assert by_run == {first: 0.3, second: 0.2}


def test_costs_of_runs_are_those_of_all_their_assets(instance: DagsterInstance) -> None:
    first = record(instance, of_job("loads", "arn:1", 0.5), of_job("features", "arn:2", 0.25))
    record(instance, of_job("loads", "arn:3", 4.0))
    assert sum(item.cost for item in costs_of_runs(instance.event_log_storage, [first])) == 0.75


def test_run_that_wrote_a_version_is_the_newest_with_it(instance: DagsterInstance) -> None:
    runs = [
        record(instance, materialisation("forecasts", "2026-11-20", content_hash=version))
        for version in ("a", "b", "a", "c")
    ]
    events = instance.event_log_storage
    versions = {date(2026, 11, 20): "a", date(2026, 11, 21): "a"}
    assert runs_that_wrote(events, "forecasts", versions) == {date(2026, 11, 20): runs[2]}
    assert runs_that_wrote(events, "forecasts", {date(2026, 11, 20): "never"}) == {}
