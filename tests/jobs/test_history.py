"""The cost of a job does not grow with the history: with another week of history it reads the same.

Every table is longer than the longest window that a job reads, so no job needs the earlier dates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
import pytest

from ruter_dagster.contracts.checks import CHECKED_TABLES
from ruter_dagster.contracts.features import DEPARTURE_FEATURES, LEVELS
from ruter_dagster.contracts.jobs import (
    NEWEST,
    Balance,
    Drift,
    Evaluate,
    Features,
    Forecast,
    JobParameters,
    Levels,
    Performance,
    Publish,
    Sample,
    Scores,
    Snapshot,
    Train,
)
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES, STOP_VISITS, WEATHER_FORECASTS
from ruter_dagster.publishing.kafka import PublicationResult
from ruter_dagster.storage.artifacts import ArtifactStore
from tests.jobs.demo_jobs import quality_check, run, run_loads
from tests.jobs.reads import Reads
from tests.publishing.samples import publication_result

pytestmark = [
    pytest.mark.extended,
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]

ISSUED = date(2026, 11, 20)
YESTERDAY = ISSUED - timedelta(1)
SHORT, LONG = 71, 78
"""Operating dates with loads before the issue date: nine weeks are the longest that a job looks back."""
JOBS: dict[str, JobParameters] = {
    "snapshot": Snapshot(table=STOP_VISITS.name, dates=(YESTERDAY,)),
    "balance": Balance(dates=(YESTERDAY,)),
    "features": Features(dates=(ISSUED,), force=True),
    "levels": Levels(dates=(ISSUED,)),
    "forecast": Forecast(dates=(ISSUED,)),
    "publish": Publish(dates=(ISSUED,), issued_at="04:30"),
    "performance": Performance(dates=(YESTERDAY,)),
    "scores": Scores(dates=(YESTERDAY,)),
    "drift": Drift(dates=(YESTERDAY,)),
    "sample": Sample(dates=(YESTERDAY,), rows=200, seed=1),
    "train": Train(
        cutoff=ISSUED - timedelta(8),
        days=28,
        held_out=7,
        parameters={"trees": 5, "spread_trees": 5},
    ),
    "evaluate": Evaluate(model_version=NEWEST, days=7),
    **{f"quality of {table.name}": quality_check(table, YESTERDAY) for table in CHECKED_TABLES},
}


@dataclass
class Cost:
    """What one job read: files, rows and columns by table, and artifacts by the first parts of their keys."""

    files: Counter[str]
    rows: Counter[str]
    columns: dict[str, set[str]]
    artifacts: Counter[str] = field(default_factory=Counter)


def add_history(folder: Path, oldest: int, newest: int) -> None:
    """Fills all tables for the operating dates from `oldest` to `newest` days before the issue date."""
    days = tuple(ISSUED - timedelta(ago) for ago in range(oldest, newest - 1, -1))
    ahead = tuple(days[-1] + timedelta(days=number) for number in range(1, 5)) if newest == 1 else ()
    issued = (*days, ISSUED) if newest == 1 else days
    run_loads(folder, *days)
    for parameters in (
        Snapshot(table=PLANNED_DEPARTURES.name, dates=(*days, *ahead), of_range=True),
        quality_check(PLANNED_DEPARTURES, *days, *ahead),
        Features(dates=(*days, *ahead), of_range=True),
        quality_check(DEPARTURE_FEATURES, *days, *ahead),
        Snapshot(table=WEATHER_FORECASTS.name, dates=issued, of_range=True),
        quality_check(WEATHER_FORECASTS, *issued),
        Levels(dates=issued[1:], of_range=True),
        quality_check(LEVELS, *issued[1:]),
        Sample(dates=days, rows=200, seed=1, of_range=True),
        Forecast(dates=issued[1:], of_range=True),
        Performance(dates=days[1:], of_range=True),
        Drift(dates=days[1:], of_range=True),
    ):
        run(parameters, folder)


def cost_of(parameters: JobParameters, folder: Path) -> Cost:
    with pytest.MonkeyPatch.context() as patched:
        reads, artifacts = Reads(patched), Counter[str]()
        for name in ("find", "list", "exists"):
            _count(patched, name, artifacts)
        for name, result in (
            ("open_cluster_connection", lambda _: nullcontext()),
            ("ensure_topics", lambda _: None),
            ("publish", _published),
        ):
            patched.setattr(f"ruter_dagster.jobs.publish.{name}", result)
        run(parameters, folder)
    return Cost(reads.files, reads.rows, dict(reads.columns), artifacts)


def _count(patched: pytest.MonkeyPatch, name: str, counts: Counter[str]) -> None:
    method, lock = getattr(ArtifactStore, name), Lock()

    def counting(store: ArtifactStore, key: str) -> Any:
        with lock:
            counts["/".join(key.split("/")[:3])] += 1
        return method(store, key)

    patched.setattr(ArtifactStore, name, counting)


def _published(forecasts: pl.DataFrame, *_: Any, **__: Any) -> PublicationResult:
    return publication_result(forecasts)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Cost, Cost]]]:
    """By job: what it read with the shorter and with the longer history."""
    folder = tmp_path_factory.mktemp("state")
    add_history(folder, SHORT, 1)
    run(JOBS["train"], folder)
    # Both measured publications find the issue date in forecasts.publications.
    cost_of(JOBS["publish"], folder)
    short = {name: cost_of(parameters, folder) for name, parameters in JOBS.items()}
    add_history(folder, LONG, SHORT + 1)
    yield {name: (short[name], cost_of(parameters, folder)) for name, parameters in JOBS.items()}


@pytest.mark.parametrize("job", JOBS)
def test_job_reads_no_more_with_a_longer_history(job: str, costs: dict[str, tuple[Cost, Cost]]) -> None:
    shorter, longer = costs[job]
    assert longer == shorter
    # The job snapshot reads files of the source, and an existing version is not trained again.
    assert job in ("snapshot", "train") or shorter.files, "the job reads no counted file"
