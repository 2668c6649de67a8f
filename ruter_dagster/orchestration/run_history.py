"""The local history of runs. It gives each run what Dagster's UI needs to show it in full and to start it again.

Which history is opened belongs in instance.py.
"""

from __future__ import annotations

from dagster import DagsterRun

from ruter_dagster.compat.origin import (
    SINGLETON_REPOSITORY_NAME,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from ruter_dagster.compat.storage import SqliteRunStorage
from ruter_dagster.compat.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    CODE_LOCATION_TAG,
    MAX_RETRIES_TAG,
)
from ruter_dagster.orchestration.partitions import DATES_TAG

LOCATION = "ruter_dagster"
"""The code location's name in workspace.yaml."""


class RunHistory(SqliteRunStorage):
    """Runs in SQLite, each with its code location and, of a range, its dates."""

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        return super().add_run(with_dates(with_origin(dagster_run)))


def job_origin(job_name: str) -> RemoteJobOrigin:
    """The origin that `dagster dev` gives to a run of this job."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
    return RemoteJobOrigin(repository, job_name)


def with_origin(run: DagsterRun) -> DagsterRun:
    """The run with an origin. `dagster asset materialize` records none, and the UI crashes if it re-executes such a run.

    The daemon would start such a run again after Ctrl-C, so the run has no automatic retries.
    """
    if run.remote_job_origin is not None:
        return run
    tags = {CODE_LOCATION_TAG: LOCATION, MAX_RETRIES_TAG: "0", **run.tags}
    return run.with_job_origin(job_origin(run.job_name)).with_tags(tags)


def with_dates(run: DagsterRun) -> DagsterRun:
    """The run with `DATES_TAG` if it is for a range of partitions. A run that the UI started has no such tag."""
    first, last = run.tags.get(ASSET_PARTITION_RANGE_START_TAG), run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    if first is None or last is None:
        return run
    return run.with_tags({DATES_TAG: f"{first} to {last}", **run.tags})
