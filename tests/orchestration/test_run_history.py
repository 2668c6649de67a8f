"""What the local history gives to every run: a code location, and the dates of a range."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, RunsFilter, asset, materialize
from dagster._core.test_utils import create_run_for_test

from ruter_dagster.compat.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    MAX_RETRIES_TAG,
)
from ruter_dagster.orchestration.instance import open_instance
from ruter_dagster.orchestration.partitions import DATES_TAG
from ruter_dagster.orchestration.run_history import job_origin

RANGE = {ASSET_PARTITION_RANGE_START_TAG: "2026-11-13", ASSET_PARTITION_RANGE_END_TAG: "2026-11-19"}
OF_REPOSITORY = RunsFilter(tags={".dagster/repository": "__repository__@ruter_dagster"})
"""The runs that the UI's overview shows."""


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[DagsterInstance]:
    monkeypatch.setenv("RUTER_STATE_DIR", str(tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(Path(__file__).parents[2])
    with open_instance() as instance:
        yield instance


def stored(instance: DagsterInstance, run_id: str) -> DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def test_run_of_a_dagster_command_gets_its_code_location(instance: DagsterInstance) -> None:
    @asset
    def loads() -> None: ...

    result = materialize([loads], instance=instance)
    run = stored(instance, result.run_id)
    assert run.remote_job_origin == job_origin(run.job_name)
    assert run.tags["dagster/code_location"] == "ruter_dagster"
    assert run.tags[MAX_RETRIES_TAG] == "0"
    assert [shown.run_id for shown in instance.get_runs(OF_REPOSITORY)] == [run.run_id]


def test_run_of_the_ui_keeps_its_origin_and_retries(instance: DagsterInstance) -> None:
    origin = job_origin("counts")
    run = stored(instance, create_run_for_test(instance, remote_job_origin=origin).run_id)
    assert run.remote_job_origin == origin
    assert MAX_RETRIES_TAG not in run.tags


@pytest.mark.parametrize(("tags", "dates"), [(RANGE, "2026-11-13 to 2026-11-19"), ({}, None)])
def test_range_run_names_its_dates(
    instance: DagsterInstance, tags: dict[str, str], dates: str | None
) -> None:
    run = stored(instance, create_run_for_test(instance, tags=tags).run_id)
    assert run.tags.get(DATES_TAG) == dates
