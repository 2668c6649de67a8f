"""The job features: the same rows, whether its dates share one reading of former loads or are made one by one."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from ruter_dagster.contracts.features import DEPARTURE_FEATURES
from ruter_dagster.contracts.jobs import Features, Snapshot
from ruter_dagster.contracts.tables import PLANNED_DEPARTURES
from ruter_dagster.jobs import features
from tests.jobs.demo_jobs import judged, make_loads, run

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match any records")

PLANNED = tuple(date(2026, 11, 20) + timedelta(ahead) for ahead in range(4))


def test_dates_made_one_by_one_equal_those_made_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_loads(tmp_path, *(PLANNED[0] - timedelta(days) for days in range(9, 2, -1)))
    run(Snapshot(table=PLANNED_DEPARTURES.name, dates=PLANNED, of_range=True), tmp_path)
    run(judged(PLANNED_DEPARTURES, *PLANNED), tmp_path)
    together = run(Features(dates=PLANNED, of_range=True), tmp_path)
    monkeypatch.setattr(features, "MOST_ROWS", 1)
    one_by_one = run(Features(dates=PLANNED, of_range=True), tmp_path)
    assert one_by_one.inputs == together.inputs
    versions = together.store.versions(DEPARTURE_FEATURES, PLANNED)
    assert len(versions) == 4
    assert one_by_one.store.versions(DEPARTURE_FEATURES, PLANNED) == versions
    assert one_by_one.store.read(DEPARTURE_FEATURES, PLANNED)["history_count"].max() == 1
